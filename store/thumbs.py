"""Which pictures of media lie in the media store: their sizes, and when each was last looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from store import keys
from store.client import Store, translated

_BASE = f"{keys.PREFIX}thumbs:"
SCAN_EVERY_S = 24 * 3600
VERSION_FOR_S = 30 * SCAN_EVERY_S


class Thumbs:
    """An index of posters, by their keys, and of sprites, by their folders."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, key: str, size: int, at_ms: int | None = None) -> None:
        """It is there, so large; looked at then, or now where no time is given."""
        self._run("put", key, size, "" if at_ms is None else at_ms)

    def over(self, limit_bytes: int, most: int = 1000) -> Sequence[str]:
        """What is to go so that no more than so much is left, least recently used first."""
        found: list[str] = self._run("over", "", limit_bytes, most)
        return found

    def gone(self, key: str) -> None:
        """It is there no longer."""
        self._run("gone", key)

    def version(self, folder: str) -> str | None:
        """Of which version the pictures of a file were, when it was last asked after."""
        with translated():
            found = self._store.client.get(f"{_BASE}version:{keys.digest(folder)}")
        return found if isinstance(found, str) else None

    def put_version(self, folder: str, version: str) -> None:
        """The version the source told of."""
        with translated():
            self._store.client.set(
                f"{_BASE}version:{keys.digest(folder)}", version, ex=VERSION_FOR_S
            )

    def known(self) -> bool:
        """Whether the index was filled lately, and not lost with Redis since."""
        with translated():
            return bool(self._store.client.exists(f"{_BASE}scanned"))

    def scanned(self) -> None:
        """A scan of the media store has filled the index; it is to be done again in a day."""
        with translated():
            self._store.client.set(f"{_BASE}scanned", "1", ex=SCAN_EVERY_S)

    def _run(self, op: str, *args: str | int) -> Any:
        return self._store.run("thumbs", op, *args)
