"""Upkeep of posters and sprites: what was looked at least recently goes once they are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from connectors.base import Entry, Query
from connectors.media_store import MediaStore
from schemas.errors import SourceNotFound
from store.thumbs import Thumbs

ROOT = "thumbs"
# Tenant, fingerprint, file: below lie its posters, and its sprites in folders of their own.
DEPTH = 3
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ThumbsUpkeep:
    """What looks after the pictures in one media store."""

    index: Thumbs
    media: Callable[[], MediaStore]
    quota_bytes: int

    def keep_quota(self) -> int:
        """Remove what is past the quota, least recently used first; how many went."""
        doomed = self.index.over(self.quota_bytes)
        if not doomed:
            return 0
        media = self.media()
        for key in doomed:
            # What names a sprite's sheets goes last, and comes last: it is whole or not there.
            parts = [entry.file_id for entry in _entries(media, key)]
            for part in reversed(parts or [key]):
                media.delete(part)
            self.index.gone(key)
        log.info("pictures removed", count=len(doomed))
        return len(doomed)

    def look_again(self) -> int:
        """Once a day, and after Redis has begun anew: fill the index; how many it found."""
        if self.index.known():
            return 0
        media, found = self.media(), 0
        for file in _folders(media, ROOT, DEPTH):
            for entry in _entries(media, file):
                found += self._put(media, entry)
        self.index.scanned()
        return found

    def _put(self, media: MediaStore, entry: Entry) -> bool:
        parts = [entry] if entry.kind == "file" else list(_entries(media, entry.file_id))
        if not parts:
            return False
        size = sum(part.size or 0 for part in parts)
        at_ms = max((part.modified_ms or 0 for part in parts), default=0)
        self.index.put(entry.file_id, size, at_ms)
        return True


def _folders(media: MediaStore, path: str, depth: int) -> Iterator[str]:
    """The folders so far below a path."""
    if depth == 0:
        yield path
        return
    for entry in _entries(media, path):
        if entry.kind == "folder":
            yield from _folders(media, entry.file_id, depth - 1)


def _entries(media: MediaStore, path: str) -> Iterator[Entry]:
    """What lies in a folder; nothing where there is none."""
    cursor: str | None = None
    while True:
        try:
            page = media.query(Query(path=path, limit=1000, cursor=cursor))
        except SourceNotFound:
            return
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
