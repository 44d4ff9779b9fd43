"""Guides as routes need them: what is held, a refresh where it is not, and the wait for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple

from api_gateway.deps import Gateway, in_thread
from api_gateway.problems import Problem
from pipelines import epg
from schemas.commands import RefreshEpg
from schemas.connectors import Connector
from schemas.errors import NotFound, StoreUnavailable
from schemas.guides import GuideFailure, GuideState, Programme, Station, StationMapping
from schemas.jobs import FINAL, Job
from schemas.times import TimeRange
from store.epg import REFRESH_MS, Guides, dedup_key

POLL_S = 0.1
# Whoever asks first, the refresh is everybody's, and the keeper goes on with it.
REFRESHER = "guides"
# A guide that just failed is not asked again by everybody who would like to see it.
FAILED_FOR_MS = 30_000
_LATE_MS = REFRESH_MS + 30 * 60 * 1000


class Pending(NamedTuple):
    """A guide that is not held yet, and the job that fetches it."""

    job: Job


class Mapped(NamedTuple):
    """A channel's station as its guide knows it."""

    mapping: StationMapping
    station: Station


async def held(
    deps: Gateway, guide: Connector, station_id: str | None = None
) -> GuideState | Pending:
    """What is held of a guide, with this station's programmes.

    What is old is answered and refreshed behind the answer. Where nothing is held a refresh is
    begun and waited for a little; an upstream that fails meanwhile is 502.
    """
    guides, key = Guides(deps.store), (guide.tenant_id, guide.id)
    state = await in_thread(guides.state, *key)
    command = await in_thread(_command, deps, guide, station_id)
    await in_thread(guides.watch, command, deps.clock())
    has = state is not None and (station_id is None or station_id in state.covered)
    if state is not None and has:
        if deps.clock() - state.fetched_ms > _LATE_MS:
            await in_thread(_accept, deps, command)
        return state
    before = await in_thread(guides.failure, *key)
    if before is not None and deps.clock() - before.at_ms < FAILED_FOR_MS:
        raise _upstream(before)
    job = await in_thread(_accept, deps, command)
    return await _awaited(deps, guides, guide, station_id, job, before)


async def _awaited(
    deps: Gateway,
    guides: Guides,
    guide: Connector,
    station_id: str | None,
    job: Job,
    before: GuideFailure | None,
) -> GuideState | Pending:
    key, waited_s = (guide.tenant_id, guide.id), 0.0
    while True:
        job = await in_thread(deps.jobs.get, guide.tenant_id, job.id)
        state = await in_thread(guides.state, *key)
        if state is not None and (station_id is None or station_id in state.covered):
            return state
        failure = await in_thread(guides.failure, *key)
        if failure is not None and failure != before:
            raise _upstream(failure)
        if job.state == "failed" and job.error is not None:
            raise _upstream(GuideFailure(code=job.error.code, message=job.error.message, at_ms=0))
        if job.state in FINAL or waited_s >= deps.settings.epg_wait_s:
            return Pending(job)
        await asyncio.sleep(POLL_S)
        waited_s += POLL_S


def _command(deps: Gateway, guide: Connector, station_id: str | None) -> RefreshEpg:
    with deps.catalog.read() as tx:
        stations = set(tx.channel_stations.stations(guide.tenant_id, guide.id))
    wanted = tuple(sorted(stations | ({station_id} if station_id else set())))
    return RefreshEpg(
        tenant_id=guide.tenant_id,
        requested_by=REFRESHER,
        request={"epgConnectorId": guide.id},
        connector=guide.ref,
        stations=wanted,
    )


def _accept(deps: Gateway, command: RefreshEpg) -> Job:
    key = dedup_key(command, deps.clock())
    accepted = deps.jobs.accept(command.model_copy(update={"dedup_key": key}))
    if accepted.job.state != "succeeded":
        return accepted.job
    # It was done a moment ago, and what it kept was forgotten since.
    again = command.model_copy(update={"dedup_key": f"{key}:{deps.clock()}"})
    return deps.jobs.accept(again).job


def _upstream(failure: GuideFailure) -> Problem:
    return Problem(
        502, f"the guide could not be had: {failure.message} ({failure.code})", code="upstream"
    )


async def forget(deps: Gateway, tenant_id: str, connector_id: str) -> None:
    """A connector was changed or deleted: what is held of its guide is no longer true."""
    with suppress(StoreUnavailable):  # then it is forgotten by age
        await in_thread(Guides(deps.store).forget, tenant_id, connector_id)


async def mapping_of(
    deps: Gateway, tenant_id: str, connector_id: str, channel_id: str
) -> tuple[StationMapping, Connector]:
    """The channel's mapping and its guide's connector; 409 `station_not_mapped` where none is."""

    def find() -> tuple[StationMapping, Connector] | None:
        with deps.catalog.read() as tx:
            mapping = tx.channel_stations.find(tenant_id, connector_id, channel_id)
            if mapping is None:
                return None
            try:
                return mapping, tx.connectors.get(tenant_id, mapping.epg_connector_id)
            except NotFound:
                return None

    found = await in_thread(find)
    if found is None:
        raise Problem(
            409,
            "no station is mapped to this channel: PUT …/station names one, and "
            "GET …/station/suggestions proposes some",
            code="station_not_mapped",
        )
    return found


async def schedule(
    deps: Gateway, mapping: StationMapping, guide: Connector, span: TimeRange
) -> tuple[Programme, ...]:
    """What is held of the channel's programmes in a range, at the channel's own time."""
    theirs = TimeRange(
        start_ms=span.start_ms - mapping.offset_ms, end_ms=span.end_ms - mapping.offset_ms
    )
    found = await in_thread(
        Guides(deps.store).programmes, guide.tenant_id, guide.id, mapping.station_id, theirs
    )
    return epg.shifted(found, mapping.offset_ms)


async def programme_range(
    deps: Gateway,
    connector: Connector,
    channel_id: str,
    programme_id: str,
    pad_ms: int = 0,
) -> tuple[TimeRange, Programme]:
    """What an export of a programme takes: its range on this channel, and the programme.

    404 `programme_not_found`, 409 `station_not_mapped`, 502 where the guide fails, 503
    `guide_not_ready` where it is still being fetched.
    """
    around = epg.near(programme_id)
    mapping, guide = await mapping_of(deps, connector.tenant_id, connector.id, channel_id)
    if isinstance(await held(deps, guide, mapping.station_id), Pending):
        raise Problem(
            503,
            "the guide is being fetched; try again",
            code="guide_not_ready",
            headers={"Retry-After": "2"},
        )
    span = TimeRange(
        start_ms=around.start_ms + mapping.offset_ms, end_ms=around.end_ms + mapping.offset_ms
    )
    theirs = epg.shifted(await schedule(deps, mapping, guide, span), -mapping.offset_ms)
    (programme,) = epg.shifted([epg.named(programme_id, theirs)], mapping.offset_ms)
    return epg.export_range(programme, pad_ms), programme
