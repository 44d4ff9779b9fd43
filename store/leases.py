"""What becomes of jobs whose worker is gone, and of those whose time has come."""

from __future__ import annotations

from typing import NamedTuple

from schemas.ledger import LEASE_MS
from store.client import Store

QUIET_AFTER_RESTART_S = 4.0
BATCH = 500


class Reaped(NamedTuple):
    """How many jobs a reap put back."""

    lapsed: int
    due: int


class Leases:
    """The leases of every job, seen from outside the workers that hold them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def reap(self) -> Reaped:
        """Put back what lapsed or is due; quiet while workers find a restarted Redis again."""
        uptime = self._store.uptime_s()
        if uptime is not None and uptime < QUIET_AFTER_RESTART_S:
            return Reaped(0, 0)
        return Reaped(*self._store.run("reap", BATCH, LEASE_MS))

    def release(self, owner: str) -> int:
        """The owner's process is dead: all its jobs start again now; how many there were."""
        return int(self._store.run("release", owner))
