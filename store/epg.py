"""Guides as they are held: stations, programmes by station and day, and what is refreshed when.

Everything here can be had again from its source, so everything ends by itself: what is not
written anew for two weeks is gone, and a guide nobody asks for is no longer refreshed.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from schemas.base import Value
from schemas.commands import RefreshEpg
from schemas.errors import StoreUnavailable, TooLarge
from schemas.guides import GuideFailure, GuideState, Programme, Station, StationDay
from schemas.plans import KeepGuide
from schemas.times import TimeRange, rfc3339
from store import keys
from store.client import Store, translated

DAY_MS = 24 * 3600 * 1000
KEEP_S = 15 * 24 * 3600
WATCHED_MS = 7 * DAY_MS
REFRESH_MS = 6 * 3600 * 1000
MAX_GUIDE_BYTES = 32 * 1024 * 1024
MAX_DAYS_READ = 40
DUE_AT_ONCE = 50
_STATIONS = TypeAdapter(tuple[Station, ...])
_PROGRAMMES = TypeAdapter(tuple[Programme, ...])
_WATCHED = f"{keys.PREFIX}epg-watched"
_NEXT = f"{keys.PREFIX}epg-next"


class Watched(Value):
    """A guide that is refreshed by itself, until nobody has asked for it for a while."""

    command: RefreshEpg
    until_ms: int


class Guides:
    """The guides of all tenants; the tenant is the first argument of every call."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, tenant_id: str, connector_id: str, kept: KeepGuide) -> GuideState:
        """Take in what was read, all of it at once; days that are not named stay."""
        if self._store.pressed():
            raise StoreUnavailable("Redis is nearly out of memory")
        programmes = sum(len(day.programmes) for day in kept.days)
        state = GuideState(
            fetched_ms=kept.fetched_ms,
            stations=len(kept.stations),
            covered=kept.covered,
            programmes=programmes,
            repairs=kept.repairs,
        )
        place = _guide(tenant_id, connector_id)
        texts = {f"{place}:stations": _packed(_STATIONS.dump_json(kept.stations))}
        texts |= {_day(place, d.station_id, d.day): _packed_day(d) for d in kept.days}
        _check_size(texts)
        with translated(), self._store.client.pipeline(transaction=True) as pipe:
            for name, text in texts.items():
                pipe.set(name, text, ex=KEEP_S)
            record: dict[Any, Any] = {
                "state": state.model_dump_json(),
                "validators": json.dumps(kept.validators),
                "failure": "",
            }
            pipe.hset(place, mapping=record)
            pipe.expire(place, KEEP_S)
            pipe.execute()
        return state

    def state(self, tenant_id: str, connector_id: str) -> GuideState | None:
        """What is held of a guide, or None."""
        text = self._field(tenant_id, connector_id, "state")
        return GuideState.model_validate_json(text) if text else None

    def validators(self, tenant_id: str, connector_id: str) -> dict[str, str]:
        """What the last refresh said names its content."""
        text = self._field(tenant_id, connector_id, "validators")
        found: dict[str, str] = json.loads(text) if text else {}
        return found

    def failure(self, tenant_id: str, connector_id: str) -> GuideFailure | None:
        """Why the newest refresh failed, where it did."""
        text = self._field(tenant_id, connector_id, "failure")
        return GuideFailure.model_validate_json(text) if text else None

    def fail(self, tenant_id: str, connector_id: str, failure: GuideFailure) -> None:
        """Note that a refresh failed; what is held stays."""
        place = _guide(tenant_id, connector_id)
        with translated():
            self._store.client.hset(place, "failure", failure.model_dump_json())
            self._store.client.expire(place, KEEP_S)

    def stations(self, tenant_id: str, connector_id: str) -> tuple[Station, ...]:
        """Every station of the guide."""
        with translated():
            text: Any = self._store.client.get(f"{_guide(tenant_id, connector_id)}:stations")
        return _STATIONS.validate_json(_unpacked(text)) if text else ()

    def programmes(
        self, tenant_id: str, connector_id: str, station_id: str, span: TimeRange
    ) -> tuple[Programme, ...]:
        """The station's programmes of which any part is on in the range, in the guide's time."""
        place = _guide(tenant_id, connector_id)
        names = [_day(place, station_id, day) for day in _days(span)]
        with translated():
            texts: Any = self._store.client.mget(names)
        found = (p for text in texts if text for p in _PROGRAMMES.validate_json(_unpacked(text)))
        return tuple(p for p in found if p.start_ms < span.end_ms and span.start_ms < p.end_ms)

    def watch(self, command: RefreshEpg, now_ms: int, *, next_ms: int | None = None) -> None:
        """Refresh this guide by itself from now on, for a week; a newer command replaces it."""
        member = _member(command.tenant_id, command.connector.id)
        watched = Watched(command=command, until_ms=now_ms + WATCHED_MS)
        with translated(), self._store.client.pipeline(transaction=True) as pipe:
            pipe.hset(_WATCHED, member, watched.model_dump_json())
            pipe.zadd(_NEXT, {member: now_ms + REFRESH_MS if next_ms is None else next_ms}, nx=True)
            pipe.execute()

    def due(self, now_ms: int) -> Iterator[RefreshEpg]:
        """The refreshes whose time has come; each is put off to its next time as it is taken."""
        with translated():
            members: Any = self._store.client.zrangebyscore(_NEXT, 0, now_ms, 0, DUE_AT_ONCE)
        for member in members:
            command = self._taken(member, now_ms)
            if command is not None:
                yield command

    def forget(self, tenant_id: str, connector_id: str) -> None:
        """The connector is gone or changed: what is held of it is no longer true."""
        place, member = _guide(tenant_id, connector_id), _member(tenant_id, connector_id)
        with translated(), self._store.client.pipeline(transaction=True) as pipe:
            pipe.hdel(_WATCHED, member)
            pipe.zrem(_NEXT, member)
            pipe.delete(place, f"{place}:stations")
            pipe.execute()

    def _taken(self, member: str, now_ms: int) -> RefreshEpg | None:
        with translated():
            text: Any = self._store.client.hget(_WATCHED, member)
        watched = Watched.model_validate_json(text) if text else None
        with translated():
            if watched is None or watched.until_ms < now_ms:
                self._store.client.zrem(_NEXT, member)
                self._store.client.hdel(_WATCHED, member)
                return None
            self._store.client.zadd(_NEXT, {member: now_ms + REFRESH_MS})
        return watched.command

    def _field(self, tenant_id: str, connector_id: str, name: str) -> str:
        with translated():
            text: Any = self._store.client.hget(_guide(tenant_id, connector_id), name)
        return text or ""


def _guide(tenant_id: str, connector_id: str) -> str:
    return f"{keys.PREFIX}epg:{tenant_id}:{connector_id}"


def _day(place: str, station_id: str, day: str) -> str:
    # A station's id is a feed's text of any length and characters.
    return f"{place}:{keys.digest(station_id)}:{day}"


def _member(tenant_id: str, connector_id: str) -> str:
    return f"{tenant_id}:{connector_id}"


def _days(span: TimeRange) -> list[str]:
    """The days on which a programme of the range can have begun."""
    first = span.start_ms // DAY_MS - 1
    last = (span.end_ms - 1) // DAY_MS
    if last - first >= MAX_DAYS_READ:
        raise TooLarge(f"a guide is read for {MAX_DAYS_READ - 1} days at most")
    return [rfc3339(max(0, day) * DAY_MS)[:10] for day in range(first, last + 1)]


def _packed_day(day: StationDay) -> str:
    return _packed(_PROGRAMMES.dump_json(day.programmes, exclude_defaults=True))


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 3)).decode()


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _check_size(texts: dict[str, str]) -> None:
    size = sum(map(len, texts.values()))
    if size > MAX_GUIDE_BYTES:
        raise TooLarge(
            f"the guide takes {size} bytes; {MAX_GUIDE_BYTES} are kept: map fewer stations"
        )


def dedup_key(command: RefreshEpg, now_ms: int) -> str:
    """One refresh a minute of the same stations in the same way, however many ask for it."""
    content = command.model_dump_json(exclude={"dedup_key"})
    return f"epg:{command.connector.id}:{keys.digest(content)}:{now_ms // 60_000}"
