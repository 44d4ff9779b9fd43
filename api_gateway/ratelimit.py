"""Rate limits: a bucket a credential, a bucket an address for those without one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from schemas.base import Value

_MAX_BUCKETS = 10_000


class Allowance(Value):
    """What a caller may still do: requests left, and seconds until the bucket is full again."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_after_s: int

    @property
    def headers(self) -> dict[str, str]:
        """The RateLimit headers, with Retry-After where the caller must wait."""
        given = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }
        return given if self.allowed else {**given, "Retry-After": str(self.retry_after_s)}


class Buckets:
    """Token buckets by name that hold a minute's worth; the oldest are forgotten first."""

    def __init__(self, per_minute: int, clock: Callable[[], int]) -> None:
        self._limit, self._clock = per_minute, clock
        self._step_ms = 60_000 / per_minute
        # When each bucket will be full again, epoch milliseconds: all that a token bucket needs.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, name: str) -> Allowance:
        """Take a token, or say how long to wait."""
        now = self._clock()
        full_at = max(self._full_at.get(name, 0.0), now) + self._step_ms
        if full_at - now > 60_000 + self._step_ms / 2:
            return self._allowance(full_at - self._step_ms - now, allowed=False)
        self._full_at[name] = full_at
        self._full_at.move_to_end(name)
        if len(self._full_at) > _MAX_BUCKETS:
            self._full_at.popitem(last=False)
        return self._allowance(full_at - now, allowed=True)

    def look(self, name: str) -> Allowance:
        """What is left, without taking any."""
        left = max(self._full_at.get(name, 0.0) - self._clock(), 0.0)
        return self._allowance(left, allowed=left + self._step_ms <= 60_000)

    def _allowance(self, used_ms: float, *, allowed: bool) -> Allowance:
        remaining = max(0, int((60_000 - used_ms) / self._step_ms))
        return Allowance.model_construct(
            allowed=allowed,
            limit=self._limit,
            remaining=remaining,
            reset_s=-int(-used_ms // 1000),
            retry_after_s=max(1, -int(-(used_ms + self._step_ms - 60_000) // 1000)),
        )
