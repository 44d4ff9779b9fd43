"""Rate limits that every process of the ingress shares, or that one keeps for itself."""

from __future__ import annotations

import time

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import SlidingWindowCounterRateLimiter

from schemas.base import Value
from schemas.errors import StoreUnavailable
from store.keys import PREFIX, digest


class Allowance(Value):
    """What a caller may still do in this minute, and in how many seconds it is over."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int


class RateLimits:
    """Counters by name: a credential, an address, a mail address."""

    def __init__(self, storage: Storage) -> None:
        self._windows = SlidingWindowCounterRateLimiter(storage)

    @classmethod
    def in_memory(cls) -> RateLimits:
        """Counters of this process alone."""
        return cls(MemoryStorage())

    @classmethod
    def from_url(cls, url: str) -> RateLimits:
        """Counters in the Redis of a redis://, rediss:// or unix:// URL."""
        uri = f"redis+{url}" if url.startswith("unix:") else url
        return cls(RedisStorage(uri, wrap_exceptions=True, socket_timeout=2.0))

    def hit(self, name: str, per_minute: int) -> Allowance:
        """Count one request; not allowed once the minute's worth is used up."""
        item, key = RateLimitItemPerMinute(per_minute, namespace=f"{PREFIX}limit"), digest(name)
        try:
            allowed = self._windows.hit(item, key)
            stats = self._windows.get_window_stats(item, key)
        except StorageError as error:
            raise StoreUnavailable("Redis did not answer: rate limits") from error
        return Allowance(
            allowed=allowed,
            limit=per_minute,
            remaining=max(0, stats.remaining),
            reset_s=max(1, int(stats.reset_time - time.time() + 0.999)),
        )
