"""Programme guides: fetched by their connector, read and put right here, kept in the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from connectors.base import Control
from pipelines import epg, schedulesdirect, xmltv
from pipelines.epg import GuideFacts
from schemas.commands import RefreshEpg, parse_command
from schemas.errors import (
    Cancelled,
    CorruptMedia,
    CuttingRoomError,
    LeaseLost,
    StoreUnavailable,
    WorkerInterrupted,
)
from schemas.guides import (
    Airing,
    GuideDocument,
    GuideFailure,
    GuideState,
    Programme,
    Repairs,
    Station,
    StationDay,
)
from schemas.plans import KeepGuide, Plan, Step
from schemas.times import TimeRange
from workers import metrics
from workers.phases import Phase, Work
from workers.run import Run
from workers.world import world_of

_OURS = (Cancelled, LeaseLost, WorkerInterrupted, StoreUnavailable)
Read = tuple[tuple[Station, ...], dict[str, list[Airing]], int]


def bring(command: RefreshEpg, facts: GuideFacts, run: Run) -> GuideFacts:
    """Fetch the guide's documents into the workspace; a failure is noted for those who wait."""
    world, now_ms = world_of(run), run.clock()
    wanted = epg.wanted(command, now_ms, _held_validators(command, run))
    try:
        document = world.epg(command.connector).guide(
            wanted,
            run.workspace,
            control=run.check,
            on_bytes=metrics.FETCHED_BYTES.labels(run.lease.kind).inc,
        )
    except CuttingRoomError as error:
        _note(error, command, run)
        raise
    return facts.model_copy(update={"wanted": wanted, "document": document})


def gather(command: RefreshEpg, facts: GuideFacts, run: Run) -> GuideFacts:
    """Read the documents: every station, and the schedules of the command's stations."""
    if facts.document is None:
        raise CorruptMedia("the guide was not fetched", code="guide_invalid")
    try:
        known = read(facts.document, run.workspace, frozenset(command.stations), run.check)
    except CuttingRoomError as error:
        _note(error, command, run)
        raise
    stations, airings, unreadable = known
    now_ms, repairs, days = run.clock(), Repairs(unreadable=unreadable), list[StationDay]()
    for station_id, feed in airings.items():
        run.check()
        schedule = epg.scheduled(feed, now_ms)
        repairs = repairs.plus(schedule.repairs)
        days += _days(station_id, schedule.programmes, command, facts.document, run)
    return facts.model_copy(
        update={
            "stations": stations, "days": tuple(days), "repairs": repairs, "fetched_ms": now_ms,
        }
    )  # fmt: skip


def read(
    document: GuideDocument,
    folder: Path,
    stations: frozenset[str] | None,
    control: Control,
) -> Read:
    """All stations, the airings of the given ones, and how many were unreadable."""
    seen: Counter[str] = Counter()
    entries = _entries(document, folder, stations, seen, control)
    found: list[Station] = []
    airings = epg.by_station(_airings(entries, found))
    return epg.distinct(found), airings, seen["unreadable"]


def _airings(entries: Iterable[Station | Airing], stations: list[Station]) -> Iterator[Airing]:
    for entry in entries:
        if isinstance(entry, Station):
            stations.append(entry)
        else:
            yield entry


def _entries(
    document: GuideDocument,
    folder: Path,
    stations: frozenset[str] | None,
    seen: Counter[str],
    control: Control,
) -> Iterator[Station | Airing]:
    if document.format == "xmltv":
        rules = xmltv.Rules(
            zone=ZoneInfo(document.zone) if document.zone else None,
            ignore_offsets=document.ignore_offsets,
            country=document.country,
            language=document.language,
        )
        for file in document.files:
            chunks = _chunks(folder / file.name)
            yield from xmltv.read(chunks, rules, stations=stations, seen=seen, control=control)
        return
    yield from _schedules_direct(document, folder, seen, control)


def _schedules_direct(
    document: GuideDocument, folder: Path, seen: Counter[str], control: Control
) -> Iterator[Station | Airing]:
    programs: dict[str, dict[str, Any]] = {}
    by_role = sorted(document.files, key=lambda file: file.role == "schedules")
    for file in by_role:
        control()
        data = (folder / file.name).read_bytes()
        match file.role:
            case "lineup":
                yield from schedulesdirect.stations(data)
            case "programs":
                programs |= schedulesdirect.programs(data)
            case _:
                yield from schedulesdirect.airings(data, programs, seen)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(xmltv.PIECE_BYTES):
            yield chunk


def _days(
    station_id: str,
    programmes: tuple[Programme, ...],
    command: RefreshEpg,
    document: GuideDocument,
    run: Run,
) -> tuple[StationDay, ...]:
    """The station's days; on the first one, what a feed has dropped already stays."""
    days = epg.by_day(station_id, programmes)
    if not days or document.format != "xmltv":
        return days
    start_ms = programmes[0].start_ms
    since = TimeRange(start_ms=start_ms - start_ms % epg.DAY_MS, end_ms=start_ms + 1)
    held = world_of(run).guides.programmes(
        command.tenant_id, command.connector.id, station_id, since
    )
    today = [p for p in held if epg.day_of(p.start_ms) == days[0].day]
    first = days[0].model_copy(update={"programmes": epg.merged(today, days[0].programmes)})
    return (first, *days[1:])


def keep(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> Sequence[object]:
    """Put guides into the cache; answers what is held of each."""
    command = parse_command(run.lease.command)
    if not isinstance(command, RefreshEpg):
        raise CorruptMedia("only a refresh keeps a guide", code="invalid_command")
    run.hold()
    guides = world_of(run).guides
    kept = [step for step in steps if isinstance(step, KeepGuide)]
    return [guides.keep(command.tenant_id, command.connector.id, step) for step in kept]


def result(command: RefreshEpg, facts: GuideFacts, run: Run) -> dict[str, Any]:
    """What is held now."""
    (state,) = run.outcomes("keep")
    if not isinstance(state, GuideState):
        raise TypeError("a keep step answers the state of the guide")
    return state.model_dump(mode="json", by_alias=True)


def _nothing(command: RefreshEpg, facts: GuideFacts) -> Plan:
    return Plan(steps=())


def _held_validators(command: RefreshEpg, run: Run) -> dict[str, str]:
    """What need not come again: only of the stations that are held already."""
    guides, key = world_of(run).guides, (command.tenant_id, command.connector.id)
    state = guides.state(*key)
    covered = set(state.covered) if state else set()
    return {
        name: value
        for name, value in guides.validators(*key).items()
        if name.partition("/")[0] in covered
    }


def _note(error: CuttingRoomError, command: RefreshEpg, run: Run) -> None:
    if isinstance(error, _OURS):
        return
    failure = GuideFailure(code=error.error_code, message=error.message, at_ms=run.clock())
    with suppress(StoreUnavailable):
        world_of(run).guides.fail(command.tenant_id, command.connector.id, failure)


WORK: Work[RefreshEpg, GuideFacts] = Work(
    command=RefreshEpg,
    begin=lambda _command: GuideFacts(),
    phases=(
        Phase("fetch", "fetching", 60, bring, _nothing),
        Phase("keep", "publishing", 40, gather, epg.keep_plan),
    ),
    result=result,
)
