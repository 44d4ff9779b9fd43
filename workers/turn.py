"""Who works in a slot: one of its jobs at a time, while the others wait for media beside it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

TICK_S = 0.1


class Turn:
    """The right to work in a slot; jobs that come back to it go before a new one, in their order.

    `places` is how many jobs may be without it at a time, and `watch` is told their number.
    """

    def __init__(self, places: int, watch: Callable[[int], object] = lambda _away: None) -> None:
        self._places = places
        self._watch = watch
        self._changed = threading.Condition()
        self._holder: Stint | None = None
        self._away: set[Stint] = set()
        self._back: deque[Stint] = deque()
        self._closed = False
        self._aside = threading.BoundedSemaphore(1)

    @property
    def holder(self) -> Stint | None:
        """Whose turn it is."""
        return self._holder

    @property
    def coming_back(self) -> int:
        """How many jobs are over their wait, and stand in the row for the turn."""
        return len(self._back)

    def wait_free(self, timeout_s: float) -> bool:
        """Sleep until something new may begin; False where the time is over before."""
        with self._changed:
            return self._changed.wait_for(self._is_free, timeout_s)

    def begin(self) -> Stint | None:
        """Take the turn for something new; None where a job has it, or comes back to it."""
        with self._changed:
            if not self._is_free():
                return None
            self._holder = Stint(self)
            return self._holder

    def close(self) -> None:
        """Let nothing new begin any more."""
        with self._changed:
            self._closed = True

    def pause(self, stint: Stint) -> bool:
        """See `Stint.pause`."""
        with self._changed:
            if stint in self._away:
                return True
            if len(self._away) >= self._places:
                return False
            self._away.add(stint)
            self._leave(stint)
            return True

    def resume(self, stint: Stint, check: Callable[[], object]) -> None:
        """See `Stint.resume`."""
        with self._changed:
            if stint not in self._away:
                return
            self._back.append(stint)
            try:
                while self._holder is not None or self._back[0] is not stint:
                    check()
                    self._changed.wait(TICK_S)
                self._holder = stint
                self._away.remove(stint)
            finally:
                self._back.remove(stint)
                self._tell()

    def aside(self, stint: Stint) -> Callable[[], None] | None:
        """See `Stint.aside`."""
        with self._changed:
            if stint not in self._away:
                return _nothing
        return self._aside.release if self._aside.acquire(blocking=False) else None

    def end(self, stint: Stint) -> None:
        """See `Stint.end`."""
        with self._changed:
            self._away.discard(stint)
            self._leave(stint)

    def _is_free(self) -> bool:
        return self._holder is None and not self._back and not self._closed

    def _leave(self, stint: Stint) -> None:
        if self._holder is stint:
            self._holder = None
        self._tell()

    def _tell(self) -> None:
        self._watch(len(self._away))
        self._changed.notify_all()


class Stint:
    """One job's part in the turns of its slot; it begins with the turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def pause(self) -> bool:
        """Let others work; False, and the turn is kept, where too many wait already."""
        return self._turn.pause(self)

    def resume(self, check: Callable[[], object]) -> None:
        """Have the turn again, at once where it is still had; raises what `check` raises."""
        self._turn.resume(self, check)

    def aside(self) -> Callable[[], None] | None:
        """Leave to do something heavy, with the turn or without; call the answer when it is done.

        None where another job without it does so already: a slot is busy with two things at most.
        """
        return self._turn.aside(self)

    def end(self) -> None:
        """The job is over, with the turn or without; a second time does nothing."""
        self._turn.end(self)


def _nothing() -> None:
    """Who has the turn needs no leave."""
