"""The index of localized files: what is held, when it was used last, and what may be removed.

It only speeds up looking: the records in the media store tell the same, and a scan of them fills
it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from schemas.localized import LocalizedFile
from store import keys
from store.client import Store, translated

HOLD_MS = 600_000
SCAN_EVERY_S = 24 * 3600
_BASE = f"{keys.PREFIX}localized:"


class Place(NamedTuple):
    """Which file: whose, of which source, and the digest of its fileId and rendition."""

    tenant_id: str
    fingerprint: str
    digest: str

    @property
    def name(self) -> str:
        """The file's name in the index."""
        return "/".join(self)


class Doomed(NamedTuple):
    """A version nobody will be given any more; its files are to be removed, then the entry."""

    entry: str
    record: LocalizedFile


class Localized:
    """Every tenant's localized files."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, place: Place, record: LocalizedFile, *, found: bool = False) -> None:
        """Hold this version; an older one is doomed. `found` by a scan, it was not used just now.

        Repeating it changes nothing, and an older version than the held one is itself doomed.
        """
        text = record.model_dump_json(by_alias=True)
        self._run("put", place.name, text, record.size, record.localized_ms, int(not found))

    def get(self, place: Place) -> LocalizedFile | None:
        """The version held, if one is."""
        with translated():
            text = self._store.client.hget(f"{_BASE}records", place.name)
        return LocalizedFile.model_validate_json(text) if isinstance(text, str) else None

    def held(self, places: Sequence[Place]) -> tuple[LocalizedFile | None, ...]:
        """The version held of each of several files, asked for at once."""
        if not places:
            return ()
        with translated():
            texts: Any = self._store.client.hmget(f"{_BASE}records", [p.name for p in places])
        return tuple(LocalizedFile.model_validate_json(text) if text else None for text in texts)

    def use(self, place: Place, job_id: str, hold_ms: int = HOLD_MS) -> LocalizedFile | None:
        """The version held, kept from eviction for a while or until `let_go`."""
        text = self._run("use", place.name, job_id, hold_ms)
        return LocalizedFile.model_validate_json(text) if isinstance(text, str) else None

    def let_go(self, place: Place, job_id: str) -> None:
        """The job has what it needs."""
        with translated():
            self._store.client.zrem(f"{_BASE}pins:{place.name}", job_id)

    def drop(self, place: Place) -> None:
        """Hold this file no longer, whatever version; its files will be removed."""
        self._run("drop", place.name)

    def sources(self, tenant_id: str) -> frozenset[str]:
        """The fingerprints of a tenant's connectors, deleted ones too, with content here."""
        with translated():
            found: list[str] = self._store.client.hkeys(f"{_BASE}sources:{tenant_id}")  # type: ignore[assignment]  # redis-py types sync and async alike
        return frozenset(found)

    def total_bytes(self) -> int:
        """How much is held, of all tenants."""
        with translated():
            text = self._store.client.get(f"{_BASE}bytes")
        return int(text) if isinstance(text, str) else 0

    def known(self) -> bool:
        """Whether the index was filled lately, and not lost with Redis since."""
        with translated():
            return bool(self._store.client.exists(f"{_BASE}scanned"))

    def scanned(self) -> None:
        """A scan of the media store has filled the index; it is to be done again in a day."""
        with translated():
            self._store.client.set(f"{_BASE}scanned", "1", ex=SCAN_EVERY_S)

    def evict(self, limit_bytes: int, most: int = 100) -> int:
        """Doom what was used least recently until so much is left; never what a job uses."""
        return int(self._run("evict", "", limit_bytes, most))

    def doomed(self, most: int = 100) -> Sequence[Doomed]:
        """What is to be removed from the media store and is not in use."""
        entries: list[str] = self._run("doomed", "", most)
        return [Doomed(e, LocalizedFile.model_validate_json(e.partition("\n")[2])) for e in entries]

    def removed(self, doomed: Doomed) -> None:
        """The files of a doomed version are gone."""
        with translated():
            self._store.client.zrem(f"{_BASE}doomed", doomed.entry)

    def generation(self, name: str, after: int | None = None) -> int:
        """How often a file has been asked for anew; `after` begins the next, once for all askers.

        Two who both saw generation 3 and want another get the same fourth.
        """
        return int(self._run("generation", keys.digest(name), "" if after is None else after))

    def _run(self, op: str, *args: str | int) -> Any:
        return self._store.run("localized", op, *args)
