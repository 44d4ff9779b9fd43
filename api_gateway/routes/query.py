"""What a connector holds: searched, filtered, sorted, and paged as its system pages it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api_gateway import paging
from api_gateway.annotations import place_of
from api_gateway.answers import page
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.params import Id, KeyOfAsking
from api_gateway.problems import about, wrong
from api_gateway.routes.connectors import known_connector
from api_gateway.routing import operation, router
from api_gateway.upstream import asked
from catalog.metadata import Wanted
from connectors.base import Connector as Opened
from connectors.base import Entry, Lists, Live, Page, Query, Reads, key_parts, paged
from pipelines.localize import file_digest
from schemas.base import WireValue
from schemas.connectors import Connector
from schemas.errors import SourceNotFound, Unsupported
from schemas.localized import LocalizedFile
from schemas.metadata import BUILT_IN, PLAIN
from schemas.times import rfc3339
from store.localized import Localized, Place

query: APIRouter = router("connectors")
_METADATA = "metadata."
_MAX_FILTERS = 16
_DEFAULT_LIMIT = 50
# A poster of a channel is of about a minute ago, the same for everybody within ten seconds.
_MINUTE_MS, _STEP_MS = 60_000, 10_000
_FILTERS = frozenset(field.alias or name for name, field in Entry.model_fields.items())
_VIDEO = re.compile(
    r"\.(mp4|m4v|mov|mkv|webm|ts|m2ts|mts|mxf|avi|mpe?g|flv|3gp|wmv|ogv|gxf|vob)", re.IGNORECASE
)
FilterName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=PLAIN)]
FilterValue = Annotated[str, StringConstraints(max_length=1024)]


class QueryBody(WireValue):
    """What is looked for: `text` in names below `path`, `filters` by equality.

    A filter is a field of the answer (`kind`, `contentType` …), or `metadata.<field>` or
    `metadata.<view>.<field>` for a value somebody wrote down.
    """

    text: str | None = Field(default=None, min_length=1, max_length=200)
    filters: dict[FilterName, FilterValue] = Field(default={}, max_length=_MAX_FILTERS)
    path: str = Field(default="", max_length=1024)
    sort: Literal["name", "-name", "modified", "-modified", "size", "-size"] = "name"
    limit: int = Field(default=_DEFAULT_LIMIT, ge=1, le=paging.MAX_LIMIT)
    cursor: str | None = Field(default=None, max_length=4096)


class FoundView(WireValue):
    """A file, folder or channel; `localized` where a copy is held here."""

    file_id: str
    name: str
    kind: Literal["file", "folder", "channel"]
    size: int | None
    duration_ms: int | None
    modified_at: str | None
    content_type: str | None
    thumbnail_url: str | None
    localized: bool


class FoundPage(WireValue):
    """Some of what was found."""

    items: tuple[FoundView, ...]
    next_cursor: str | None


class _Asked(NamedTuple):
    """A body as every step here needs it."""

    connector: Connector
    wanted: Query
    known: tuple[Wanted, ...]


@query.post(
    "/v1/connectors/{id}/query",
    operation_id="queryConnector",
    summary="Look for files, folders and channels of a connector",
    response_model=FoundPage,
    **operation(
        "read",
        400,
        404,
        413,
        415,
        422,
        501,
        502,
        example={"text": "news", "filters": {"kind": "channel"}, "sort": "-modified", "limit": 20},
    ),
)
async def query_connector(
    deps: Deps, caller: Caller, connector_id: Id, body: QueryBody, _: KeyOfAsking = None
) -> Response:
    """Asks the system itself; a page may be shorter than asked for and still have a cursor."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    _check_lists(deps, connector)
    asking = _read(connector, body)
    kind = f"query\n{connector.id}\n{_digest(body)}"
    after = paging.position(kind, body.cursor, "/cursor")
    with about("/cursor", "cursor_invalid"):
        found = await _found(deps, asking, after)
    more = paging.cursor(kind, found.next_cursor) if found.next_cursor else None
    items = await in_thread(_shown, deps, connector, found.items)
    return page(items, more)


def _check_lists(deps: Gateway, connector: Connector) -> None:
    if not deps.registry.capabilities(connector.type) & {"lists", "live"}:
        raise Unsupported(f"{connector.type} connectors cannot list what they hold")


def _read(connector: Connector, body: QueryBody) -> _Asked:
    known = tuple(_wanted(n, v) for n, v in body.filters.items() if n.startswith(_METADATA))
    plain = {n: v for n, v in body.filters.items() if not n.startswith(_METADATA)}
    for name in plain:
        if name not in _FILTERS:
            told = f"entries have no field {name[:40]!r}; there are {', '.join(sorted(_FILTERS))}"
            raise wrong(f"/filters/{name[:64]}", told, "filter_unknown")
    if known and body.sort != "name":
        raise wrong("/sort", "what is found by metadata comes by fileId", "sort_unknown")
    return _Asked(
        connector,
        Query(text=body.text, filters=plain, path=_path(body), sort=body.sort, limit=body.limit),
        known,
    )


def _path(body: QueryBody) -> str:
    path = body.path.rstrip("/")
    with about("/path"):
        return "/".join(key_parts(path)) if path else ""


def _wanted(name: str, value: str) -> Wanted:
    """What a filter by metadata asks for: `metadata.field` or `metadata.view.field`."""
    *view, field = name.removeprefix(_METADATA).split(".")
    if len(view) > 1 or not field or "\0" in value:
        raise wrong(f"/filters/{name[:64]}", "is metadata.field or metadata.view.field",
                     "filter_unknown")  # fmt: skip
    known = view[0] if view else None
    if known is not None and known in BUILT_IN and BUILT_IN[known].field(field) is None:
        told = f"the view {known} has no field {field[:40]!r}"
        raise wrong(f"/filters/{name[:64]}", told, "filter_unknown")
    return Wanted(known, field, value)


async def _found(deps: Gateway, asking: _Asked, after: str | None) -> Page:
    if not asking.known:
        wanted = asking.wanted.model_copy(update={"cursor": after})
        return await asked(deps, lambda: _listed(_opened(deps, asking.connector), wanted))
    place, limit = place_of(asking.connector), asking.wanted.limit

    named = await deps.read(lambda tx: tx.metadata.files(place, asking.known, after, limit + 1))
    entries = await asked(deps, lambda: _entries(_opened(deps, asking.connector), named[:limit]))
    below = f"{asking.wanted.path}/" if asking.wanted.path else ""
    kept = paged((e for e in entries if e.file_id.startswith(below)), asking.wanted)
    more = named[limit - 1] if len(named) > limit else None
    # Pages follow the fileIds, so what stands on one does too.
    order = {file_id: at for at, file_id in enumerate(named)}
    return Page(items=tuple(sorted(kept.items, key=lambda e: order[e.file_id])), next_cursor=more)


def _listed(opened: Opened, wanted: Query) -> Page:
    if isinstance(opened, Lists):
        return opened.query(wanted)
    return paged(() if wanted.path else _channels(opened), wanted)


def _entries(opened: Opened, file_ids: Sequence[str]) -> list[Entry]:
    """What is there of some files; of a clip only its channel is known to its system."""
    if isinstance(opened, Reads):
        found = (_stated(opened, file_id) for file_id in file_ids)
        return [entry for entry in found if entry is not None]
    channels = {entry.file_id: entry for entry in _channels(opened)}
    return [
        channels.get(file_id) or Entry(file_id=file_id, name=file_id.rpartition("/")[2])
        for file_id in file_ids
    ]


def _stated(opened: Reads, file_id: str) -> Entry | None:
    try:
        return opened.stat(file_id)
    except SourceNotFound:
        return None


def _channels(opened: Opened) -> tuple[Entry, ...]:
    if not isinstance(opened, Live):
        return ()
    return tuple(
        Entry(file_id=channel.id, name=channel.name, kind="channel")
        for channel in opened.channels()
    )


def _opened(deps: Gateway, connector: Connector) -> Opened:
    return deps.registry.open(connector.ref, deps.sealer, deps.env)


def _shown(deps: Gateway, connector: Connector, entries: Sequence[Entry]) -> list[FoundView]:
    places = [
        Place(connector.tenant_id, connector.fingerprint, file_digest(entry.file_id))
        for entry in entries
    ]
    held = Localized(deps.store).held(places)
    return [_view(deps, connector, e, copy) for e, copy in zip(entries, held, strict=True)]


def _view(
    deps: Gateway, connector: Connector, entry: Entry, copy: LocalizedFile | None
) -> FoundView:
    known_ms = None if copy is None else copy.media.duration_ms
    return FoundView(
        file_id=entry.file_id,
        name=entry.name,
        kind=entry.kind,
        size=entry.size,
        duration_ms=known_ms if entry.duration_ms is None else entry.duration_ms,
        modified_at=None if entry.modified_ms is None else rfc3339(entry.modified_ms),
        content_type=entry.content_type,
        thumbnail_url=thumbnail_url(deps, connector, entry),
        localized=copy is not None,
    )


def thumbnail_url(deps: Gateway, connector: Connector, entry: Entry) -> str | None:
    """Where a picture of an entry is to be had, if there can be one."""
    capabilities = deps.registry.capabilities(connector.type)
    base = f"/v1/connectors/{connector.id}/files/{quote(entry.file_id, safe='')}/thumbnail"
    if entry.kind == "channel" and "live" in capabilities and "reads" not in capabilities:
        at_ms = (deps.clock() - _MINUTE_MS) // _STEP_MS * _STEP_MS
        return f"{base}?atMs={at_ms}"
    is_clip = "/" in entry.file_id and "live" in capabilities
    if entry.kind == "file" and (is_clip or ("reads" in capabilities and _is_video(entry))):
        return base
    return entry.thumbnail_url


def _is_video(entry: Entry) -> bool:
    if (entry.content_type or "").startswith("video/"):
        return True
    _, dot, ending = entry.name.rpartition(".")
    return bool(dot) and _VIDEO.fullmatch(f".{ending}") is not None


def _digest(body: QueryBody) -> str:
    """A cursor goes on with the very question it was given for; how many at once may change."""
    text = body.model_dump_json(exclude={"cursor", "limit"})
    return hashlib.sha256(text.encode()).hexdigest()
