"""One slot: a process that answers the bells of one queue and works at one job at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import dramatiq
import structlog
from dramatiq.worker import Worker

from schemas.errors import CuttingRoomError, StoreUnavailable, WorkerInterrupted
from store.leases import Leases
from store.queues import Bells, Queues
from workers import metrics
from workers.broker import BellBroker
from workers.lifecycle import run_job
from workers.retries import job_error
from workers.runtime import Runtime
from workers.turn import Turn

# Idle threads are woken by work; besides, they look that often whether they should end.
IDLE_MS = 5_000
REAP_EVERY_S = 1.0
DRAIN_S = 3.5
# Each looks twice a segment: many more would fall behind the live edge together, and a crash would
# take more along.
MAX_WAITING = 16
log = structlog.get_logger(__name__)


class Slot:
    """A worker of one queue, from start to drained; `turn` says which of its jobs works."""

    def __init__(
        self,
        queue: str,
        runtime: Runtime,
        bells: Bells,
        queues: Queues,
        leases: Leases,
        places: int = MAX_WAITING,
    ) -> None:
        self._queue = queue
        self._runtime = runtime
        self._queues = queues
        self._leases = leases
        self._waiting = metrics.WAITING_JOBS.labels(queue)
        self._waiting.set(0)  # a slot that died may have left its number
        self.turn = Turn(places, self._waiting.set)
        self._broker = BellBroker(bells, self.turn, self._rering)
        self._worker = Worker(self._broker, worker_timeout=IDLE_MS, worker_threads=1 + places)
        # dramatiq takes two messages a thread unless the environment says otherwise.
        self._worker.queue_prefetch = 1
        self._declare_actor()

    def _declare_actor(self) -> None:
        @dramatiq.actor(broker=self._broker, actor_name=self._queue, queue_name=self._queue)
        def answer(_job_id: str) -> None:
            # Whoever answers a bell has its turn until it gives it away itself.
            run_job(self._queue, self._runtime, self.turn.holder)

    def start(self) -> None:
        """Begin to answer bells, and to help reaping."""
        self._worker.start()
        threading.Thread(target=self._reap, name="reap", daemon=True).start()

    def _reap(self) -> None:
        every(REAP_EVERY_S, self._leases.reap, self._runtime.stop)

    def drain(self, within_s: float = DRAIN_S) -> None:
        """Stop claiming, put every job back, and be gone in time whatever they do."""
        self._runtime.stop.set()
        self.turn.close()  # a bell that is fetched from here on would ring for nothing
        stopper = threading.Thread(target=self._worker.stop, daemon=True)
        stopper.start()
        deadline = time.monotonic() + within_s
        while self._runtime.current and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        self._abandon()
        self._waiting.set(0)
        self._rering(self._queue)

    def _abandon(self) -> None:
        told = job_error(WorkerInterrupted("the worker was told to stop"), None)
        for lease in tuple(self._runtime.current.values()):
            log.warning("job did not stop in time", job=lease.job_id)
            try:
                self._runtime.ledger.retry(lease, told, 0, counted=False)
            except StoreUnavailable:
                return  # there is no time to ask for each: the leases lapse by themselves
            except CuttingRoomError:
                continue

    def _rering(self, queue: str) -> None:
        with suppress(StoreUnavailable):
            self._queues.sweep(queue, older_than_ms=-1)


def every(interval_s: float, act: Callable[[], object], stop: threading.Event) -> None:
    """Act at an interval until told to stop; a failure only skips a turn."""
    while not stop.wait(interval_s):
        try:
            act()
        except StoreUnavailable as error:
            log.warning("skipped a turn", act=act.__qualname__, reason=error.message)
        except Exception as error:  # a chore that ended would end unseen
            log.error("skipped a turn", act=act.__qualname__, exc_info=error)
