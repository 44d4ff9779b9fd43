"""Programme guides: stations, which channel is which station, and what is on."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, guides, paging
from api_gateway.answers import conditional
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.guides import Pending
from api_gateway.jobviews import job_answer
from api_gateway.params import DEFAULT, Cursor, Id, IfMatch, IfNoneMatch, Limit, instant
from api_gateway.problems import about, wrong
from api_gateway.routes.connectors import known_connector
from api_gateway.routing import operation, router
from catalog.engine import Transaction
from connectors.base import Live
from pipelines import epg as pipeline
from pipelines import xmltv
from pipelines.epg import Suggestion
from schemas.accounts import Principal
from schemas.base import WireValue
from schemas.connectors import Connector
from schemas.guides import MAX_OFFSET_MS, Programme, Station, StationMapping
from schemas.times import TimeRange, rfc3339, time_range
from store.epg import Guides

epg: APIRouter = router("epg")
_KIND = "stations"
_DAY_MS = 24 * 3600 * 1000
_LONGEST_MS = 14 * _DAY_MS
_MOST_GUIDES = 20
_CHANNELS_WITHIN_S = 5.0
GENERATOR = "cuttingroom"
ChannelId = Annotated[
    str,
    Path(
        alias="channelId", max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$", description="a channel"
    ),
]
Instant = Annotated[str | None, Query(max_length=40, description="RFC 3339 with an offset")]


class StationView(WireValue):
    """A station, and the connector whose guide it is of."""

    station_id: str
    name: str
    call_sign: str | None
    logo: str | None
    xmltv_id: str | None
    country: str | None
    number: str | None
    names: tuple[str, ...]
    connector_id: str


class StationPage(WireValue):
    """Some stations, by name."""

    items: tuple[StationView, ...]
    next_cursor: str | None


class ProgrammeView(Programme):
    """A programme at the channel's own time."""

    start: str
    end: str


class ChannelEpg(WireValue):
    """What a channel shows; `stale` where the guide is older than it should be."""

    items: tuple[ProgrammeView, ...]
    next_cursor: None = None
    station_id: str
    epg_connector_id: str
    offset_ms: int
    fetched_at: str


class MappingBody(WireValue):
    """Which station a channel is; `offsetMs` is added to the guide's times."""

    station_id: str = Field(min_length=1, max_length=255)
    epg_connector_id: str = Field(min_length=1, max_length=200)
    offset_ms: int = Field(default=0, ge=-MAX_OFFSET_MS, le=MAX_OFFSET_MS)


class MappingView(MappingBody):
    """Which station a channel is."""

    connector_id: str
    channel_id: str
    updated_at: str
    links: dict[str, str]


class SuggestionView(WireValue):
    """A station a channel may be: `score` 0..1, and what made it so."""

    station: StationView
    score: float
    why: str


class SuggestionPage(WireValue):
    """Stations a channel may be, the likeliest first."""

    items: tuple[SuggestionView, ...]
    next_cursor: None = None


@epg.get(
    "/v1/epg/stations",
    operation_id="lookupStations",
    summary="Look for stations in the tenant's guides",
    response_model=StationPage,
    **operation("read", 404, 422, 501, 502),
)
async def lookup_stations(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Annotated[str | None, Query(alias="connectorId", max_length=200)] = None,
    q: Annotated[str | None, Query(max_length=200, description="in names, call signs, ids")] = None,
    country: Annotated[str | None, Query(pattern=r"^[A-Za-z]{2,3}$")] = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Of one guide, or of all; one that is not held yet is fetched: 202 where that takes long."""
    after = paging.position(_KIND, cursor)
    connectors = await _guides_of(deps, caller, connector_id)
    found: list[tuple[str, Station]] = []
    for connector in connectors:
        state = await guides.held(deps, connector)
        if isinstance(state, Pending):
            return _pending(state)
        stations = await in_thread(Guides(deps.store).stations, caller.tenant_id, connector.id)
        found += [(connector.id, s) for s in pipeline.found(stations, q, country)]
    page = await in_thread(_station_page, found, after, limit)
    return conditional(request, page)


def _station_page(found: list[tuple[str, Station]], after: str | None, limit: int) -> StationPage:
    placed = sorted((_place(one), one) for one in found)
    rest = [pair for pair in placed if after is None or pair[0] > after]
    shown = rest[:limit]
    more = paging.cursor(_KIND, shown[-1][0]) if len(rest) > limit else None
    return StationPage(items=tuple(_station_view(*one) for _, one in shown), next_cursor=more)


def _place(found: tuple[str, Station]) -> str:
    connector_id, station = found
    return f"{station.name.casefold()[:80]}\x1f{station.station_id[:120]}\x1f{connector_id}"


def _station_view(connector_id: str, station: Station) -> StationView:
    return StationView(connector_id=connector_id, **dict(station))


async def _guides_of(
    deps: Gateway, caller: Principal, connector_id: str | None
) -> tuple[Connector, ...]:
    if connector_id is not None:
        return (await _guide(deps, caller.tenant_id, connector_id),)
    able = frozenset(kind.name for kind in deps.registry.types() if "epg" in kind.capabilities)

    return await deps.read(
        lambda tx: tx.connectors.page(caller.tenant_id, None, _MOST_GUIDES, types=able)
    )


async def _guide(deps: Gateway, tenant_id: str, connector_id: str) -> Connector:
    connector = await known_connector(deps, tenant_id, connector_id)
    deps.registry.require(connector.type, "epg")
    return connector


@epg.get(
    "/v1/connectors/{id}/channels/{channelId}/epg",
    operation_id="getChannelEpg",
    summary="What a channel shows, as JSON or XMLTV",
    response_model=ChannelEpg,
    **operation("read", 404, 409, 422, 502),
)
async def get_channel_epg(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    channel_id: ChannelId,
    from_: Annotated[str | None, Query(alias="from", max_length=40)] = None,
    to: Instant = None,
    format: Annotated[Literal["json", "xmltv"], Query()] = "json",  # noqa: A002
    _: IfNoneMatch = None,
) -> Response:
    """From now, for a day, unless asked otherwise; from the cache, which refreshes itself."""
    span = _span(from_, to, deps.clock())
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    mapping, guide = await guides.mapping_of(deps, caller.tenant_id, connector.id, channel_id)
    state = await guides.held(deps, guide, mapping.station_id)
    if isinstance(state, Pending):
        return _pending(state)
    programmes = await guides.schedule(deps, mapping, guide, span)
    if format == "xmltv":
        station = await in_thread(_station, deps, guide, mapping.station_id)
        return _xmltv(request, station.model_copy(update={"station_id": channel_id}), programmes)
    shown = ChannelEpg(
        items=tuple(_programme_view(one) for one in programmes),
        station_id=mapping.station_id,
        epg_connector_id=guide.id,
        offset_ms=mapping.offset_ms,
        fetched_at=rfc3339(state.fetched_ms),
    )
    return conditional(request, shown.model_dump_json(by_alias=True, exclude_none=True).encode())


def _programme_view(one: Programme) -> ProgrammeView:
    return ProgrammeView(start=rfc3339(one.start_ms), end=rfc3339(one.end_ms), **dict(one))


def _station(deps: Gateway, guide: Connector, station_id: str) -> Station:
    known = Guides(deps.store).stations(guide.tenant_id, guide.id)
    bare = Station(station_id=station_id, name=station_id)
    return next((one for one in known if one.station_id == station_id), bare)


def _xmltv(request: Request, station: Station, programmes: tuple[Programme, ...]) -> Response:
    body = xmltv.written([(station, programmes)], GENERATOR)
    tag = etag.of_bytes(body)
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if etag.is_known(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/xml", headers=headers)


def _span(from_: str | None, to: str | None, now_ms: int) -> TimeRange:
    start_ms = instant("from", from_)
    end_ms = instant("to", to)
    if start_ms is None:
        start_ms = now_ms if end_ms is None or end_ms > now_ms else end_ms - _DAY_MS
    with about("#query/to" if to is not None else "#query/from"):
        span = time_range(start_ms, start_ms + _DAY_MS if end_ms is None else end_ms)
    if span.length_ms > _LONGEST_MS:
        told = f"the range is {span.length_ms} ms long; at most {_LONGEST_MS} ms"
        raise wrong("#query/to", told, "too_long")
    return span


def _pending(pending: Pending) -> Response:
    return job_answer(pending.job, Retry_After="2")


@epg.get(
    "/v1/connectors/{id}/channels/{channelId}/station",
    operation_id="getChannelStation",
    summary="Which station a channel is",
    response_model=MappingView,
    **operation("read", 404),
)
async def get_channel_station(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    channel_id: ChannelId,
    _: IfNoneMatch = None,
) -> Response:
    """As it was set by hand."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    found = await deps.read(
        lambda tx: tx.channel_stations.get(caller.tenant_id, connector.id, channel_id)
    )
    return conditional(request, _mapping_view(found), etag.of_version(found.version))


@epg.put(
    "/v1/connectors/{id}/channels/{channelId}/station",
    operation_id="setChannelStation",
    summary="Say which station a channel is",
    response_model=MappingView,
    **operation(
        "connectors",
        400,
        404,
        409,
        412,
        413,
        415,
        422,
        501,
        example={"stationId": "bbc1.uk", "epgConnectorId": "con_01HZY2", "offsetMs": 0},
    ),
)
async def set_channel_station(
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    channel_id: ChannelId,
    body: MappingBody,
    if_match: IfMatch = None,
) -> Response:
    """The station's programmes are fetched with the guide's next refresh, or when asked for."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    guide = await _guide(deps, caller.tenant_id, body.epg_connector_id)
    wanted = StationMapping(
        connector_id=connector.id,
        channel_id=channel_id,
        epg_connector_id=guide.id,
        station_id=body.station_id,
        offset_ms=body.offset_ms,
    )

    def put(tx: Transaction) -> StationMapping:
        held = tx.channel_stations.find(caller.tenant_id, connector.id, channel_id)
        if if_match is not None:
            etag.check_match(if_match, etag.of_version(held.version if held else 0))
        return tx.channel_stations.put(caller.tenant_id, wanted)

    made = await deps.write(put)
    return Response(
        _mapping_view(made).model_dump_json(by_alias=True),
        media_type="application/json",
        headers={"ETag": etag.of_version(made.version)},
    )


@epg.delete(
    "/v1/connectors/{id}/channels/{channelId}/station",
    operation_id="removeChannelStation",
    summary="Forget which station a channel is",
    status_code=204,
    response_class=Response,
    **operation("connectors", 404),
)
async def remove_channel_station(
    deps: Deps, caller: Caller, connector_id: Id, channel_id: ChannelId
) -> None:
    """The guide itself stays."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)

    def remove(tx: Transaction) -> None:
        tx.channel_stations.delete(caller.tenant_id, connector.id, channel_id)

    await deps.write(remove)


@epg.get(
    "/v1/connectors/{id}/channels/{channelId}/station/suggestions",
    operation_id="suggestStations",
    summary="Stations a channel may be, the likeliest first",
    response_model=SuggestionPage,
    **operation("read", 404, 422, 501, 502),
)
async def suggest_stations(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    channel_id: ChannelId,
    epg_connector_id: Annotated[str | None, Query(alias="epgConnectorId", max_length=200)] = None,
    name: Annotated[str | None, Query(max_length=200, description="the channel's name")] = None,
) -> Response:
    """By the given name, else by the channel's own, compared with names, call signs and ids."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    names = (name,) if name else await _names(deps, connector, channel_id)
    found: list[SuggestionView] = []
    for guide in await _guides_of(deps, caller, epg_connector_id):
        state = await guides.held(deps, guide)
        if isinstance(state, Pending):
            return _pending(state)
        stations = await in_thread(Guides(deps.store).stations, caller.tenant_id, guide.id)
        likely = await in_thread(pipeline.suggestions, names, stations)
        found += [_suggestion_view(guide.id, one) for one in likely]
    best = tuple(sorted(found, key=lambda one: -one.score)[: pipeline.SUGGESTED])
    page = SuggestionPage(items=best)
    return conditional(request, page)


def _suggestion_view(connector_id: str, one: Suggestion) -> SuggestionView:
    station = _station_view(connector_id, one.station)
    return SuggestionView(station=station, score=one.score, why=one.why)


async def _names(deps: Gateway, connector: Connector, channel_id: str) -> tuple[str, ...]:
    """What the connector calls the channel, where it has channels and says so soon."""
    if "live" not in deps.registry.capabilities(connector.type):
        return (channel_id,)

    def read() -> tuple[str, ...]:
        opened: Any = deps.registry.open(connector.ref, deps.sealer, deps.env)
        source: Live = opened
        named = [c.name for c in source.channels() if c.id == channel_id]
        return (channel_id, *named, connector.name)

    try:
        async with asyncio.timeout(_CHANNELS_WITHIN_S):
            return await anyio.to_thread.run_sync(read, abandon_on_cancel=True, limiter=deps.probes)
    except TimeoutError:
        return (channel_id, connector.name)


def _mapping_view(found: StationMapping) -> MappingView:
    place = f"/v1/connectors/{found.connector_id}/channels/{found.channel_id}"
    return MappingView(
        station_id=found.station_id,
        epg_connector_id=found.epg_connector_id,
        offset_ms=found.offset_ms,
        connector_id=found.connector_id,
        channel_id=found.channel_id,
        updated_at=rfc3339(found.updated_ms),
        links={"self": f"{place}/station", "epg": f"{place}/epg"},
    )
