"""A small cache: what was looked up a moment ago, bounded in age and number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """Values by key that are believed for `ttl_ms`; the oldest leave first."""

    def __init__(self, ttl_ms: int, size: int, clock: Callable[[], int]) -> None:
        self._ttl_ms, self._size, self._clock = ttl_ms, size, clock
        self._held: OrderedDict[tuple[str, ...], tuple[int, T]] = OrderedDict()

    def get(self, *key: str) -> tuple[T] | None:
        """The value in a tuple of its own, since a value may be None; None where not held."""
        found = self._held.get(key)
        if found is None or found[0] <= self._clock():
            return None
        return (found[1],)

    def put(self, value: T, *key: str) -> T:
        """Hold a value."""
        self._held[key] = (self._clock() + self._ttl_ms, value)
        self._held.move_to_end(key)
        if len(self._held) > self._size:
            self._held.popitem(last=False)
        return value

    def drop(self, *key: str) -> None:
        """Forget a value that was changed."""
        self._held.pop(key, None)

    def clear(self) -> None:
        """Hold nothing."""
        self._held.clear()
