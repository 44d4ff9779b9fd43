"""Things that obey our protocols without a clock, a server or a child process behind them."""

from __future__ import annotations

import fakeredis

from store.client import Store


class FixedClock:
    """Time that moves only when a test says so; epoch milliseconds."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        """The time it is."""
        return self.now_ms

    def advance(self, by_ms: int) -> None:
        """Let time pass."""
        self.now_ms += by_ms


def fake_store() -> Store:
    """The real store on an in-memory Redis of its own."""
    return Store(fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True))
