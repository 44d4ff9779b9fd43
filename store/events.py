"""The events of a tenant and of a job: replayed from an id, waited for as they happen."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import redis.asyncio

from schemas.errors import FieldInvalid, NotFound
from schemas.events import Event, EventType
from schemas.times import rfc3339
from store import keys
from store.client import Store, async_connection, awaited, translated

BEGINNING = "0-0"
MAX_PAGE = 500
# Each holds a connection: to Redis here, and to its client in the ingress.
MAX_FOLLOWERS = 400
# Shorter than the socket timeout, which would otherwise end a wait that is going well.
_BLOCK_S = 4.0
# Followers end with their process, which does not wait for long.
_LOOK_S = 1.0
_ID = re.compile(r"(\d{1,20})-(\d{1,20})", re.ASCII)
# Redis counts to here, and nothing follows the last id of all.
_LARGEST = 2**64 - 1

Entry = tuple[str, Mapping[str, str]]


def position(text: str | None) -> str:
    """A place in the stream from a client's `Last-Event-ID` or `after`; None is the beginning."""
    if text is None:
        return BEGINNING
    found = _ID.fullmatch(text)
    if found is None or not all(int(part) < _LARGEST for part in found.groups()):
        raise FieldInvalid("the event id is not one of ours", code="cursor_invalid")
    return text


def event_of(tenant_id: str, entry: Entry) -> Event:
    """The event a stream entry holds."""
    entry_id, fields = entry
    return Event.model_validate(
        {
            "id": entry_id,
            "seq": int(fields["seq"]),
            "type": fields["type"],
            "tenant_id": tenant_id,
            "job_id": fields["job"] or None,
            "attempt": int(fields["attempt"]),
            "occurred_at": rfc3339(int(fields["at"])),
            "data": json.loads(fields["data"]),
        }
    )


def _key(tenant_id: str, job_id: str | None) -> str:
    return keys.tenant_events(tenant_id) if job_id is None else keys.job_events(job_id)


def _of_tenant(job_id: str, found: object, tenant_id: str) -> None:
    if found != tenant_id:
        raise NotFound(f"no job {job_id[:64]!r}")


class Events:
    """Events for callers that may block."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def emit(self, tenant_id: str, kind: EventType, data: dict[str, Any]) -> str:
        """Record what happened outside every job; answers the event's id."""
        return str(self._store.run("emit", tenant_id, kind, json.dumps(data, allow_nan=False)))

    def after(
        self, tenant_id: str, after: str | None, limit: int = 100, job_id: str | None = None
    ) -> tuple[Event, ...]:
        """The events that follow an id, oldest first; of one job where it is given."""
        self._check(tenant_id, job_id)
        with translated():
            entries: Any = self._store.client.xrange(
                _key(tenant_id, job_id),
                min=f"({position(after)}",
                count=max(1, min(limit, MAX_PAGE)),
            )
        return tuple(event_of(tenant_id, entry) for entry in entries)

    def wait(
        self, tenant_id: str, after: str, timeout_s: float, job_id: str | None = None
    ) -> tuple[Event, ...]:
        """The same, sleeping until there is one or the time is over."""
        self._check(tenant_id, job_id)
        block_ms = max(1, int(min(timeout_s, _BLOCK_S) * 1000))
        key = _key(tenant_id, job_id)
        with translated():
            answer: Any = self._store.client.xread(
                {key: position(after)}, count=MAX_PAGE, block=block_ms
            )
        return tuple(event_of(tenant_id, entry) for entry in _entries(answer))

    def latest(self, tenant_id: str) -> str:
        """The id of the tenant's newest event: where to start for what comes now."""
        with translated():
            newest: Any = self._store.client.xrevrange(keys.tenant_events(tenant_id), count=1)
        return str(newest[0][0]) if newest else BEGINNING

    def _check(self, tenant_id: str, job_id: str | None) -> None:
        if job_id is not None:
            keys.check_job_id(job_id)
            with translated():
                _of_tenant(job_id, self._store.client.hget(keys.job(job_id), "tenant"), tenant_id)


class AsyncEvents:
    """Events for the ingress: one connection a follower, none of its threads."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    @classmethod
    def from_url(cls, url: str) -> AsyncEvents:
        """The events at a URL; nothing is sent before the first call."""
        # A few more: whoever begins to follow asks something first, and some are just leaving.
        return cls(async_connection(url, at_once=MAX_FOLLOWERS + 50))

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def latest(self, tenant_id: str) -> str:
        """The id of the tenant's newest event."""
        with translated():
            newest: Any = await awaited(
                self._client.xrevrange(keys.tenant_events(tenant_id), count=1)
            )
        return str(newest[0][0]) if newest else BEGINNING

    async def follow(
        self,
        tenant_id: str,
        after: str | None,
        *,
        job_id: str | None = None,
        heartbeat_s: float = 15.0,
        over: Callable[[], bool] = lambda: False,
    ) -> AsyncGenerator[Event | None, None]:
        """Every event from there on until it is `over`; None when nothing happened for a while.

        Raises NotFound where the job is not the tenant's, and StoreUnavailable where Redis goes.
        """
        if job_id is not None:
            keys.check_job_id(job_id)
            with translated():
                found = await awaited(self._client.hget(keys.job(job_id), "tenant"))
            _of_tenant(job_id, found, tenant_id)
        key, last, quiet_since = _key(tenant_id, job_id), position(after), time.monotonic()
        block_ms = int(min(_LOOK_S, heartbeat_s) * 1000)
        while not over():
            with translated():
                answer = await awaited(
                    self._client.xread({key: last}, count=MAX_PAGE, block=block_ms)
                )
            for entry in _entries(answer):
                last, quiet_since = entry[0], time.monotonic()
                yield event_of(tenant_id, entry)
            if time.monotonic() - quiet_since >= heartbeat_s:
                quiet_since = time.monotonic()
                yield None


def _entries(answer: Any) -> list[Entry]:
    """The entries of an XREAD of one stream: a list of pairs, or a mapping under RESP3."""
    if not answer:
        return []
    streams = answer.values() if isinstance(answer, dict) else [entries for _, entries in answer]
    found: list[Entry] = []
    for entries in streams:
        # RESP3 wraps a stream's entries in one more list.
        nested = entries and isinstance(entries[0], list) and not isinstance(entries[0][0], str)
        found.extend((i, f) for i, f in (entries[0] if nested else entries))
    return found
