"""Webhooks in the keeper: deliveries planned, sent by a pool of threads, tried for a day."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.receiver import Receivers
from connectors.sealing import Sealer
from schemas.errors import AccessDenied, StoreUnavailable, WorkerInterrupted
from schemas.webhooks import DAY_MS, SECRET_FIELD, Claim, DisabledReason, Outcome, Webhook
from store.queues import Queues
from store.webhooks import RENEW_S, Deliveries, Waiting
from workers.keeper import Chore, Part

TURN_S = 0.25
TIDY_S = 60.0
FRESH_S = 1.0
THREADS = 32
FAILING_THREADS = 8
FIRST_DELAY_MS = 5_000
LONGEST_DELAY_MS = 3 * 3600 * 1000
GROWTH = 3
REPORTED_FOR_S = 30.0
DISABLED = "the webhook is disabled"
OUTCOMES = ("delivered", "retried", "failed")
log = structlog.get_logger(__name__)


class Definitions(Protocol):
    """Where webhooks are written down; a worker knows no catalogue."""

    def everyone(self) -> tuple[Webhook, ...]:
        """The webhooks of every tenant, a tenant's together."""

    def get(self, tenant_id: str, webhook_id: str) -> Webhook | None:
        """One webhook as it is now, None where it is no more."""

    def disable(self, held: Webhook, reason: DisabledReason) -> bool:
        """Disable a webhook, unless it was changed since it was read."""


class Decision(NamedTuple):
    """What becomes of a delivery after a try; `pause_ms` holds its whole webhook up."""

    verdict: Literal["delivered", "retried", "failed"]
    delay_ms: int = 0
    pause_ms: int = 0
    disable: DisabledReason | None = None


def decide(claim: Claim, outcome: Outcome, jitter: float) -> Decision:
    """Try again ever more slowly for a day, not before the receiver wants; `jitter` is 0..1."""
    if outcome.code is not None and 200 <= outcome.code < 300:
        return Decision("delivered")
    if outcome.code == 410:
        return Decision("failed", disable="gone")
    left_ms = DAY_MS - claim.age_ms
    if claim.kind == "test" or left_ms <= 0:
        return Decision("failed")
    asked_ms = int((outcome.retry_after_s or 0) * 1000)
    step_ms = min(FIRST_DELAY_MS * GROWTH ** min(claim.attempts - 1, 20), LONGEST_DELAY_MS)
    # The last try comes when the day is over, whatever was asked for.
    delay_ms = max(1, min(max(int(step_ms * (0.75 + jitter / 2)), asked_ms), left_ms))
    return Decision("retried", delay_ms, min(asked_ms, left_ms))


class _UnderWay(NamedTuple):
    """A delivery that is being sent, and whether its webhook has been failing."""

    claim: Claim
    failing: bool


class Postman:
    """Sends deliveries until told to stop; several keepers may have one each."""

    def __init__(
        self,
        deliveries: Deliveries,
        definitions: Definitions,
        receivers: Receivers,
        sealer: Sealer,
        clock: Callable[[], int],
    ) -> None:
        self._deliveries = deliveries
        self._definitions = definitions
        self._receivers = receivers
        self._sealer = sealer
        self._clock = clock
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook")
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._busy: dict[str, _UnderWay] = {}
        self._renewed_s = 0.0
        self._hooks: tuple[Webhook, ...] = ()
        self._read_s = float("-inf")

    def turn(self) -> None:
        """Send everything that is due; comes back when nothing is under way any more."""
        while not self._stop.is_set():
            self._renew()
            self._plan()
            self._ended.clear()
            if not self._begin() and not self._count():
                return
            self._ended.wait(TURN_S)

    def tidy(self) -> int:
        """Forget the webhooks that are no more, and what ended long ago of the others."""
        known = self._deliveries.known()
        living = {(hook.tenant_id, hook.id) for hook in self._definitions.everyone()}
        for tenant_id, webhook_id in known - living:
            self._deliveries.forget(tenant_id, webhook_id)
        return self._deliveries.tidy(sorted(known & living))

    def close(self) -> None:
        """Stop sending; what is under way is put back to be sent again."""
        with self._lock:  # nothing is handed to the threads after this
            self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._receivers.close()

    def _plan(self) -> None:
        if time.monotonic() - self._read_s > FRESH_S:
            hooks = self._definitions.everyone()
            self._hooks = tuple(hook for hook in hooks if hook.enabled)
            self._read_s = time.monotonic()
        self._deliveries.plan(self._hooks)

    def _renew(self) -> None:
        if time.monotonic() - self._renewed_s < RENEW_S:
            return
        with self._lock:
            claims = [one.claim for one in self._busy.values()]
        self._deliveries.renew(claims)
        self._renewed_s = time.monotonic()

    def _begin(self) -> int:
        """Send as much as there are threads for; how much that is."""
        with self._lock:
            free = THREADS - len(self._busy)
            failing = sum(one.failing for one in self._busy.values())
        if free <= 0:
            return 0
        found = self._deliveries.claim(free, max(0, FAILING_THREADS - failing))
        with self._lock:
            for claim in found.claims:
                failed = claim.delivery_id in found.failing
                self._busy[_name(claim)] = _UnderWay(claim, failed)
        for claim in found.claims:
            self._submit(claim)
        return len(found.claims)

    def _submit(self, claim: Claim) -> None:
        with self._lock:
            if not self._stop.is_set():
                self._pool.submit(self._send_and_leave, claim)
                return
            self._busy.pop(_name(claim), None)
        self._deliveries.interrupted(claim)

    def _count(self) -> int:
        with self._lock:
            return len(self._busy)

    def _send_and_leave(self, claim: Claim) -> None:
        try:
            self._send(claim)
        except StoreUnavailable as error:
            # The claim lapses, and the delivery is sent again under the same id.
            log.warning("a delivery's end was not recorded", reason=error.message)
        except Exception as error:
            log.error("a delivery went wrong", webhook=claim.webhook_id, exc_info=error)
        finally:
            with self._lock:
                self._busy.pop(_name(claim), None)
            self._ended.set()

    def _send(self, claim: Claim) -> None:
        hook = self._definitions.get(claim.tenant_id, claim.webhook_id)
        if hook is None:
            self._deliveries.forget(claim.tenant_id, claim.webhook_id)
        elif not hook.enabled and claim.kind == "event":
            self._deliveries.cancel(claim.tenant_id, claim.webhook_id, DISABLED)
        else:
            try:
                outcome = self._tried(hook, claim)
            except WorkerInterrupted:
                self._deliveries.interrupted(claim)
            else:
                self._record(hook, claim, outcome)

    def _tried(self, hook: Webhook, claim: Claim) -> Outcome:
        try:
            keys = tuple(self._secrets(hook))
        except AccessDenied as error:
            return Outcome(reason=error.message)
        body = json.dumps(claim.message.model_dump(mode="json"), separators=(",", ":"))
        return self._receivers.send(hook.url, keys, claim.delivery_id, body, self._check)

    def _secrets(self, hook: Webhook) -> Iterator[str]:
        """The secret, and the one before it through its grace."""
        yield self._opened(hook, hook.sealed_secret)
        if hook.sealed_previous and (hook.previous_until_ms or 0) > self._clock():
            yield self._opened(hook, hook.sealed_previous)

    def _opened(self, hook: Webhook, sealed: str) -> str:
        return self._sealer.open(hook.tenant_id, hook.id, SECRET_FIELD, sealed).get_secret_value()

    def _check(self) -> None:
        if self._stop.is_set():
            raise WorkerInterrupted("the keeper was told to stop")

    def _record(self, hook: Webhook, claim: Claim, outcome: Outcome) -> None:
        decision = decide(claim, outcome, random.random())  # noqa: S311 - spreads retries
        failing_ms = self._insist(lambda: self._told(claim, outcome, decision))
        reason = decision.disable or self._worn_out(hook, claim, failing_ms)
        if reason is not None and self._definitions.disable(hook, reason):
            self._deliveries.cancel(hook.tenant_id, hook.id, DISABLED)
            log.warning("webhook disabled", webhook=hook.id, tenant=hook.tenant_id, reason=reason)

    def _told(self, claim: Claim, outcome: Outcome, decision: Decision) -> int | None:
        match decision.verdict:
            case "delivered":
                self._deliveries.delivered(claim, outcome)
                return None
            case "failed":
                return self._deliveries.failed(claim, outcome)
        return self._deliveries.retried(claim, outcome, decision.delay_ms, decision.pause_ms)

    def _worn_out(
        self, hook: Webhook, claim: Claim, failing_ms: int | None
    ) -> DisabledReason | None:
        """A webhook that took nothing for a day, nor was changed in it, is left alone."""
        if failing_ms is None or claim.kind == "test":
            return None
        since_ms = max(failing_ms, hook.updated_ms)
        return "failing" if self._clock() - since_ms >= DAY_MS else None

    def _insist(self, call: Callable[[], int | None]) -> int | None:
        """Redis may be away for a moment: what was sent is better recorded than sent again."""
        deadline = time.monotonic() + REPORTED_FOR_S
        while True:
            try:
                return call()
            except StoreUnavailable:
                if time.monotonic() > deadline or self._stop.wait(0.2):
                    raise


class WebhookCollector(Collector):
    """What Redis knows of all deliveries."""

    def __init__(self, deliveries: Deliveries, queues: Queues) -> None:
        self._deliveries, self._queues = deliveries, queues

    def collect(self) -> Iterator[Metric]:
        """The metric families; none while Redis is away."""
        try:
            waiting, counts = self._deliveries.waiting(), self._queues.counts()
        except StoreUnavailable:
            return
        tried = CounterMetricFamily(
            "cuttingroom_webhook_deliveries", "Tries of deliveries.", labels=["outcome"]
        )
        for outcome in OUTCOMES:
            tried.add_metric([outcome], counts.get(("webhook_deliveries", outcome), 0))
        yield tried
        yield from _waiting_metrics(waiting)


def _waiting_metrics(waiting: Waiting) -> Iterator[Metric]:
    pending = GaugeMetricFamily("cuttingroom_webhook_pending", "Deliveries that have not ended.")
    pending.add_metric([], waiting.number)
    yield pending
    age = GaugeMetricFamily(
        "cuttingroom_webhook_oldest_pending_age_seconds", "Age of the oldest one."
    )
    age.add_metric([], waiting.oldest_age_ms / 1000)
    yield age


def part(postman: Postman, deliveries: Deliveries, queues: Queues) -> Part:
    """What a keeper needs to know of webhooks."""
    return Part(
        chores=(
            Chore("webhooks", TURN_S, postman.turn),
            Chore("webhook logs", TIDY_S, postman.tidy),
        ),
        collectors=(WebhookCollector(deliveries, queues),),
        close=postman.close,
    )


def _name(claim: Claim) -> str:
    return f"{claim.webhook_id} {claim.delivery_id} {claim.fence}"
