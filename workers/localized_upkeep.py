"""Upkeep of the localized files: the quota is kept, what is doomed is removed, and the index is
filled again from the media store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from connectors.base import Entry, Query
from connectors.media_store import MediaStore
from pipelines import localize
from schemas.errors import CuttingRoomError, SourceNotFound
from schemas.localized import LocalizedFile
from store.localized import Localized, Place

ROOT = "localized"
MAX_RECORD_BYTES = 1024 * 1024
# A file without a record is one whose job died: it may still be at it.
ORPHAN_MS = 24 * 3600 * 1000
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Upkeep:
    """What looks after one media store; `clock` answers epoch milliseconds."""

    index: Localized
    media: Callable[[], MediaStore]
    quota_bytes: int
    clock: Callable[[], int]

    def keep_quota(self) -> int:
        """Remove what is past the quota, least recently used first; how many files went."""
        self.index.evict(self.quota_bytes)
        doomed = self.index.doomed()
        if not doomed:
            return 0
        media = self.media()
        for one in doomed:
            # The record first: what has none is an orphan, and never found again by a scan.
            media.delete(one.record.record_key)
            media.delete(one.record.key)
            self.index.removed(one)
            log.info("localized file removed", key=one.record.key, size=one.record.size)
        return len(doomed)

    def look_again(self) -> int:
        """Once a day, and after Redis has begun anew: fill the index; how many files it found."""
        if self.index.known():
            return 0
        media, found = self.media(), 0
        for folder in _folders(media):
            found += self._look_into(media, folder)
        self.index.scanned()
        return found

    def _look_into(self, media: MediaStore, folder: str) -> int:
        _, tenant_id, fingerprint, digest = folder.split("/")
        place, entries = Place(tenant_id, fingerprint, digest), list(_entries(media, folder))
        vouched = set()
        for entry in entries:
            record = _record(media, entry, place)
            if record is not None:
                self.index.put(place, record, found=True)
                vouched |= {record.key, entry.file_id}
        for entry in entries:
            age_ms = self.clock() - (entry.modified_ms or self.clock())
            if entry.file_id not in vouched and age_ms > ORPHAN_MS:
                media.delete(entry.file_id)
        return len(vouched) // 2


def _record(media: MediaStore, entry: Entry, place: Place) -> LocalizedFile | None:
    """What a record says, where it speaks of the very file it lies beside."""
    if not entry.name.endswith(".json"):
        return None
    try:
        text = media.read_range(entry.file_id, 0, MAX_RECORD_BYTES)
        told = LocalizedFile.model_validate_json(text)
        size = media.stat(told.key).size
    except (ValidationError, CuttingRoomError):
        return None
    where = Place(
        told.tenant_id,
        told.fingerprint,
        localize.file_digest(told.file_id),
    )
    beside = told.key.rpartition("/")[0] == entry.file_id.rpartition("/")[0]
    if where != place or not beside or size != told.size:
        return None
    return told.model_copy(update={"record_key": entry.file_id})


def _folders(media: MediaStore) -> Iterator[str]:
    """The folder of every file there is: tenant, fingerprint, digest."""
    for tenant in _entries(media, ROOT):
        for source in _entries(media, tenant.file_id, tenant):
            for file in _entries(media, source.file_id, source):
                if file.kind == "folder":
                    yield file.file_id


def _entries(media: MediaStore, path: str, within: Entry | None = None) -> Iterator[Entry]:
    if within is not None and within.kind != "folder":
        return
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
