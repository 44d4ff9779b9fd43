"""Rates that all processes of the service share: so many bytes a second of one name."""

from __future__ import annotations

from store import keys
from store.client import Store


class Pacing:
    """Hands out parts of a rate, each asker in turn, by Redis's own clock."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def grant(self, name: str, bytes_per_s: int, count: int) -> float:
        """How many seconds to wait until so many bytes may have moved."""
        wait_us = self._store.run("pace", keys.digest(name), bytes_per_s, count)
        return int(wait_us) / 1_000_000
