"""One attempt at one job: its workspace, its progress, and the word to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

from schemas.cuts import CutRequest, MediaIndex
from schemas.errors import Cancelled, LeaseLost, StoreUnavailable, WorkerInterrupted
from schemas.jobs import Stage
from schemas.ledger import Lease, Ledger
from workers.metrics import Busy
from workers.turn import Stint

REPORT_EVERY_S = 0.5
Reason = Literal["lost", "cancelled", "interrupted"]


class Signal:
    """Why the work should stop, once it should; the first reason stays."""

    def __init__(self, interrupted: threading.Event) -> None:
        self._interrupted = interrupted
        self._reason: Reason | None = None
        self._stop = threading.Event()

    def give(self, reason: Reason) -> None:
        """Tell the work to stop."""
        self._reason = self._reason or reason
        self._stop.set()

    @property
    def reason(self) -> Reason | None:
        """Why to stop, or None to go on."""
        if self._reason is None and self._interrupted.is_set():
            self.give("interrupted")
        return self._reason

    def wait(self, timeout_s: float) -> bool:
        """Sleep; True as soon as there is a reason to stop."""
        deadline = time.monotonic() + timeout_s
        while self.reason is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._stop.wait(min(left, 0.1))
        return True


Ahead = Callable[[CutRequest], MediaIndex | None]
"""The index begun while media was still arriving, if it is of exactly this."""


class Run:
    """What a phase and a step handler may use of the attempt they belong to.

    What is put on `at_end` is closed when the attempt is over, before its workspace is.
    """

    def __init__(
        self,
        lease: Lease,
        ledger: Ledger,
        workspace: Path,
        signal: Signal,
        clock: Callable[[], int],
        world: Any = None,
        stint: Stint | None = None,
    ) -> None:
        self.lease = lease
        self.workspace = workspace
        self.world = world
        self.clock = clock
        self.stage: Stage | None = None
        self.at_end = ExitStack()
        self.ahead: Ahead | None = None
        self.busy = Busy(lease.kind)
        self._ledger = ledger
        self._signal = signal
        self._stint = stint
        self._outcomes: dict[str, tuple[object, ...]] = {}
        self._began: float | None = None
        self._reported = float("-inf")
        self._waiting = False

    def stopping(self) -> bool:
        """Whether the work should stop; never raises."""
        return self._signal.reason is not None

    def check(self) -> None:
        """Raise where the work should stop: lost, cancelled or interrupted."""
        match self._signal.reason:
            case "lost":
                raise LeaseLost(f"job {self.lease.job_id} is held by another worker")
            case "cancelled":
                raise Cancelled("somebody cancelled the job")
            case "interrupted":
                raise WorkerInterrupted("the worker was told to stop")

    def wait_until(self, at_ms: int) -> None:
        """Sleep until an instant, or raise as `check` does."""
        self._signal.wait(max(0, at_ms - self.clock()) / 1000)
        self.check()

    def wait_for_media(self, at_ms: int) -> bool:
        """Wait in place, with the lease, for media that is nearly there; others work from here on.

        False, and at once, where too many jobs of the slot wait already.
        """
        if self._stint is not None and not self._stint.pause():
            return False
        self._ledger.waiting(self.lease, at_ms, release=False)
        self._waiting = True
        with self.busy.paused():
            self.wait_until(at_ms)
        return True

    def take_turn(self) -> None:
        """Be the one job of the slot that works, as before a wait; or raise as `check` does."""
        if self._stint is not None:
            with self.busy.paused():
                self._stint.resume(self.check)

    def aside(self) -> Callable[[], None] | None:
        """Leave to do something heavy, see `Stint.aside`."""
        return (lambda: None) if self._stint is None else self._stint.aside()

    def go_on(self) -> None:
        """Say that the job runs again, where it had been waiting."""
        if self._waiting:
            self._waiting = False
            self.report(None, at_once=True)

    def enter(self, stage: Stage, done: float | None) -> None:
        """Begin a stage; progress stays unknown until something is done."""
        changed, self.stage = stage != self.stage, stage
        self.report(done or None, at_once=changed)

    def report(self, fraction: float | None, *, at_once: bool = False) -> None:
        """Tell the ledger how far the whole job is, twice a second at most."""
        now = time.monotonic()
        if fraction is not None and self._began is None:
            self._began = now
        if not at_once and now - self._reported < REPORT_EVERY_S:
            return
        self._reported = now
        try:
            self._ledger.progress(self.lease, self.stage, fraction, self._eta_s(now, fraction))
        except StoreUnavailable:
            return  # the work is what matters; the next report tells more anyway
        except LeaseLost:
            self._signal.give("lost")
            raise

    def _eta_s(self, now: float, fraction: float | None) -> float | None:
        if fraction is None or self._began is None or fraction < 0.02 or now == self._began:
            return None
        return (now - self._began) * (1 - fraction) / fraction

    def publish_intent(self, intent: dict[str, Any]) -> None:
        """Store what is about to be published; what an earlier attempt stored is in the lease."""
        self.check()
        self._ledger.publish_intent(self.lease, intent)

    def hold(self) -> None:
        """Raise LeaseLost or Cancelled unless the ledger says now that the lease holds."""
        state = self._ledger.renew(self.lease)
        if state != "held":
            self._signal.give(state)
        self.check()

    def keep(self, phase: str, outcomes: Sequence[object]) -> None:
        """Remember what the steps of a phase answered."""
        self._outcomes[phase] = (*self._outcomes.get(phase, ()), *outcomes)

    def outcomes(self, phase: str) -> tuple[object, ...]:
        """What the steps of a phase answered, in order, of every time it was gone through."""
        return self._outcomes.get(phase, ())
