"""dramatiq on our bells: a consumer that sleeps on the wake list and trusts no message."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

import dramatiq
import structlog
from dramatiq.broker import Broker, Consumer, MessageProxy

from schemas.errors import StoreUnavailable
from store.queues import Bells
from workers.middleware import chosen
from workers.turn import Stint, Turn

AWAY_PAUSE_S = 0.25
IDLE_S = 1.0
MAX_MESSAGE_BYTES = 4_096
_JOB_ID = re.compile(r"job_[0-9A-Z]{26}", re.ASCII)
log = structlog.get_logger(__name__)


class Malformed(Exception):
    """A message that is not one of our bells; the reason is its only argument."""


def decoded(raw: bytes, queue: str) -> dramatiq.Message[Any]:
    """The bell a message is: only its job id is believed, options are dropped."""
    if len(raw) > MAX_MESSAGE_BYTES:
        raise Malformed("it is too long")
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Malformed("it is not JSON") from error
    if not isinstance(fields, dict):
        raise Malformed("it is not an object")
    if fields.get("queue_name") != queue or fields.get("actor_name") != queue:
        raise Malformed("it is for another queue or actor")
    args = fields.get("args")
    if not isinstance(args, list) or len(args) != 1 or not _is_job_id(args[0]):
        raise Malformed("it names no job")
    return dramatiq.Message(
        queue_name=queue, actor_name=queue, args=(args[0],), kwargs={}, options={}
    )


def _is_job_id(value: object) -> bool:
    return isinstance(value, str) and _JOB_ID.fullmatch(value) is not None


class BellBroker(Broker):
    """The receiving half of a broker: jobs enter through the ledger, never through here."""

    def __init__(self, bells: Bells, turn: Turn, rering: Callable[[str], object]) -> None:
        super().__init__(middleware=chosen())
        self.bells = bells
        self.turn = turn
        self.rering = rering

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 500) -> Consumer:
        """A consumer of one queue, one bell at a time; it sleeps as long as suits a wake list."""
        return BellConsumer(self.bells, self.turn, queue_name, IDLE_S, self.rering)

    def declare_queue(self, queue_name: str) -> None:
        """Know a queue; there is no delay queue beside it, the ledger keeps what is due."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: dramatiq.Message[Any], *, delay: int | None = None) -> Any:
        """Refused: a message without a job record would ring for nothing."""
        raise NotImplementedError("jobs are accepted by store.jobs.Jobs.accept")


class Bell(MessageProxy):
    """A message that was taken out of Redis, and the turn that was taken for it."""

    def __init__(self, message: dramatiq.Message[Any], stint: Stint) -> None:
        super().__init__(message)
        self.stint = stint


def _end(message: MessageProxy) -> None:
    if isinstance(message, Bell):
        message.stint.end()


class BellConsumer(Consumer):
    """Bells of one queue; waits in Redis while idle and for the turn while a job has it."""

    def __init__(
        self,
        bells: Bells,
        turn: Turn,
        queue: str,
        idle_s: float,
        rering: Callable[[str], object],
    ) -> None:
        self._bells = bells
        self._turn = turn
        self._queue = queue
        self._idle_s = idle_s
        self._rering = rering

    def __next__(self) -> MessageProxy | None:
        if not self._turn.wait_free(self._idle_s):
            return None
        try:
            return self._fetched() or self._awaited()
        except StoreUnavailable as error:
            log.warning("queue not readable", queue=self._queue, reason=error.message)
            threading.Event().wait(AWAY_PAUSE_S)
            return None

    def _awaited(self) -> Bell | None:
        rung = self._bells.wait(self._queue, self._idle_s)
        bell = self._fetched()
        if bell is None and rung and not self._turn.wait_free(0):
            # A job came back meanwhile, or we end: who else is idle should answer, and at once.
            self._bells.pass_on(self._queue)
        return bell

    def _fetched(self) -> Bell | None:
        """The next bell, with the turn; none is taken out of Redis while a job has it."""
        stint, bell = self._turn.begin(), None
        if stint is None:
            return None
        try:
            raw = self._bells.fetch(self._queue)
            bell = None if raw is None else self._accepted(raw, stint)
        finally:
            if bell is None:
                stint.end()
        return bell

    def _accepted(self, raw: bytes, stint: Stint) -> Bell | None:
        try:
            return Bell(decoded(raw, self._queue), stint)
        except Malformed as error:
            log.error("message quarantined", queue=self._queue, reason=str(error))
            self._bells.quarantine(self._queue, raw, str(error))
            return None

    def ack(self, message: MessageProxy) -> None:
        """The bell was answered; it left Redis when it was fetched."""
        _end(message)

    def nack(self, message: MessageProxy) -> None:
        """The bell could not be answered: the sweep rings again for what still waits."""
        _end(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Bells nobody will answer here ring elsewhere."""
        unanswered = list(messages)
        for message in unanswered:
            _end(message)
        if unanswered:
            self._rering(self._queue)

    def close(self) -> None:
        """Nothing to let go: the connection is the broker's."""
