"""Clocks that stand still until a test moves them."""

from __future__ import annotations


class SteppedClock:
    """Answers the same epoch milliseconds until moved."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def move(self, ms: int) -> None:
        """Let time pass."""
        self.now_ms += ms
