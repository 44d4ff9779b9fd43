"""Rate limits of this process: a token bucket a credential, one an address without a credential.

On the path of every request: the `limits` package starts a timer thread a request in memory and
costs a round trip in Redis, so neither serves here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

_MINUTE_MS = 60_000
_MAX_BUCKETS = 10_000


class Allowance(NamedTuple):
    """What a caller may still do: requests left, and seconds until one more is allowed or all."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The RateLimit headers of an answer."""
        given = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }
        return given if self.allowed else {**given, "Retry-After": str(self.reset_s)}


class Buckets:
    """Token buckets by name, each holding a minute's worth; the longest unused are forgotten."""

    def __init__(self, per_minute: int, clock: Callable[[], int]) -> None:
        self._limit, self._clock = per_minute, clock
        self._step_ms = _MINUTE_MS / per_minute
        # When each bucket will be full again, epoch milliseconds: all that a bucket needs to know.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str) -> Allowance:
        """Take a token, or learn how long to wait for one."""
        now = self._clock()
        used_ms = max(self._full_at.get(name, 0.0) - now, 0.0) + self._step_ms
        # Half a step of slack, since the steps of a minute are not whole milliseconds.
        if used_ms > _MINUTE_MS + self._step_ms / 2:
            return Allowance(False, self._limit, 0, _seconds(used_ms - _MINUTE_MS))
        self._full_at[name] = now + used_ms
        self._full_at.move_to_end(name)
        if len(self._full_at) > _MAX_BUCKETS:
            self._full_at.popitem(last=False)
        remaining = round((_MINUTE_MS - used_ms) / self._step_ms)
        return Allowance(True, self._limit, max(0, remaining), _seconds(used_ms))


def _seconds(ms: float) -> int:
    return max(1, -int(-ms // 1000))
