"""A ledger that outlasts Redis being away: calls are repeated, which they are made for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from schemas.errors import StoreUnavailable
from schemas.jobs import JobError, Stage
from schemas.ledger import Lease, LeaseState, Ledger

T = TypeVar("T")
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


class PatientLedger:
    """Repeats what must arrive for `patience_s`; progress, renewals and claims go once."""

    def __init__(self, ledger: Ledger, stop: threading.Event, patience_s: float = 60.0) -> None:
        self._ledger = ledger
        self._stop = stop
        self._patience_s = patience_s

    def claim(
        self, queue: str, owner: str, nonce: str, known: Collection[str] = ()
    ) -> Lease | None:
        """As the ledger's."""
        return self._insist(lambda: self._ledger.claim(queue, owner, nonce, known))

    def renew(self, lease: Lease) -> LeaseState:
        """As the ledger's, once."""
        return self._ledger.renew(lease)

    def peek(self, lease: Lease) -> LeaseState:
        """As the ledger's, once."""
        return self._ledger.peek(lease)

    def progress(
        self, lease: Lease, stage: Stage | None, fraction: float | None, eta_s: float | None
    ) -> None:
        """As the ledger's, once."""
        self._ledger.progress(lease, stage, fraction, eta_s)

    def waiting(self, lease: Lease, until_ms: int, *, release: bool) -> None:
        """As the ledger's."""
        self._insist(lambda: self._ledger.waiting(lease, until_ms, release=release))

    def publish_intent(self, lease: Lease, intent: dict[str, Any]) -> None:
        """As the ledger's."""
        self._insist(lambda: self._ledger.publish_intent(lease, intent))

    def finish(self, lease: Lease, result: dict[str, Any]) -> None:
        """As the ledger's."""
        self._insist(lambda: self._ledger.finish(lease, result))

    def fail(self, lease: Lease, error: JobError) -> None:
        """As the ledger's."""
        self._insist(lambda: self._ledger.fail(lease, error))

    def cancelled(self, lease: Lease) -> None:
        """As the ledger's."""
        self._insist(lambda: self._ledger.cancelled(lease))

    def retry(self, lease: Lease, error: JobError, delay_ms: int, *, counted: bool) -> None:
        """As the ledger's."""
        self._insist(lambda: self._ledger.retry(lease, error, delay_ms, counted=counted))

    def _insist(self, call: Callable[[], T]) -> T:
        deadline, pause = time.monotonic() + self._patience_s, FIRST_PAUSE_S
        while True:
            try:
                return call()
            except StoreUnavailable:
                # A worker told to stop has seconds, not a minute: the lease will lapse instead.
                if self._stop.is_set() or time.monotonic() + pause > deadline:
                    raise
            self._stop.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
