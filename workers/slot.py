"""One slot: a process with one worker thread that answers the bells of one queue."""

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
from workers.broker import BellBroker
from workers.lifecycle import run_job
from workers.retries import job_error
from workers.runtime import Runtime

IDLE_MS = 1_000
REAP_EVERY_S = 1.0
DRAIN_S = 3.5
log = structlog.get_logger(__name__)


class Slot:
    """A worker of one queue, from start to drained."""

    def __init__(
        self, queue: str, runtime: Runtime, bells: Bells, queues: Queues, leases: Leases
    ) -> None:
        self._queue = queue
        self._runtime = runtime
        self._queues = queues
        self._leases = leases
        self._broker = BellBroker(bells, self._rering)
        self._worker = Worker(self._broker, worker_timeout=IDLE_MS, worker_threads=1)
        # dramatiq takes two messages a thread unless the environment says otherwise.
        self._worker.queue_prefetch = 1
        self._declare_actor()

    def _declare_actor(self) -> None:
        @dramatiq.actor(broker=self._broker, actor_name=self._queue, queue_name=self._queue)
        def answer(_job_id: str) -> None:
            run_job(self._queue, self._runtime)

    def start(self) -> None:
        """Begin to answer bells, and to help reaping."""
        self._worker.start()
        threading.Thread(target=self._reap, name="reap", daemon=True).start()

    def _reap(self) -> None:
        every(REAP_EVERY_S, self._leases.reap, self._runtime.stop)

    def drain(self) -> None:
        """Stop claiming, put the job back, and be gone in time whatever the job does."""
        self._runtime.stop.set()
        stopper = threading.Thread(target=self._worker.stop, daemon=True)
        stopper.start()
        deadline = time.monotonic() + DRAIN_S
        while self._runtime.current is not None and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        self._abandon()
        self._rering(self._queue)

    def _abandon(self) -> None:
        lease = self._runtime.current
        if lease is None:
            return
        log.warning("job did not stop in time", job=lease.job_id)
        told = job_error(WorkerInterrupted("the worker was told to stop"), None)
        with suppress(CuttingRoomError):
            self._runtime.ledger.retry(lease, told, 0, counted=False)

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
