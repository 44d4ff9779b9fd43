"""Clips of live channels: what to gather for each phase of `pipelines.clip`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from connectors.base import playlist_of
from pipelines import clip, clip_sidecar
from pipelines.clip import ClipFacts, CutFile, Reading, Source
from schemas.commands import ClipFromStream
from schemas.connectors import ConnectorRef, Published
from schemas.cuts import CutReport
from schemas.errors import SourceNotFound, SourceUnavailable, Stalled
from schemas.media import MediaPlaylist
from schemas.plans import Cut, Plan
from schemas.times import TimeRange
from workers import cutting, history
from workers.fetching import arrived, fetch_through
from workers.phases import Phase, Work
from workers.playlists import Playlists
from workers.run import Run
from workers.world import world_of

AWAY = (SourceNotFound, SourceUnavailable, Stalled)


def read_playlists(command: ClipFromStream, facts: ClipFacts, run: Run) -> ClipFacts:
    """Read every playlist of the clip, the first time the multivariant one above them too."""
    return follow(command.connector, command.channel_id, facts, run, command.range)


def follow(
    connector: ConnectorRef,
    channel_id: str,
    facts: ClipFacts,
    run: Run,
    span: TimeRange | None,
    prefix: str = "",
    wanted: Callable[[tuple[Source, ...]], tuple[Source, ...]] = lambda sources: sources,
) -> ClipFacts:
    """One more look at the playlists of a channel; its files are named after `prefix`.

    Nothing is owed before `span` begins; where it is None, the whole of a stream is meant.
    `wanted` chooses among the sources when they become known.
    """
    live = world_of(run).live(connector)
    playlists = Playlists(live, run.clock(), run.check, span)
    known: tuple[Reading | None, ...] = facts.readings
    sources = tuple(reading.source for reading in facts.readings)
    if not sources:
        top = playlists.read(playlist_of(live, channel_id, span))
        sources = wanted(clip.sources(top, prefix))
        known = _remembered(run, prefix, sources)
    now_ms, due_ms = run.clock(), span.start_ms if span else 0
    readings = tuple(
        _look(playlists, before, source, now_ms, due_ms)
        for before, source in zip(known, sources, strict=True)
    )
    kept_us = _kept(run, prefix, readings, facts.kept_us) if facts.readings else 0
    sizes = arrived(run.workspace)
    return ClipFacts(readings=readings, now_ms=now_ms, sizes=sizes, kept_us=kept_us)


def _remembered(run: Run, prefix: str, sources: tuple[Source, ...]) -> tuple[Reading | None, ...]:
    """What an earlier attempt has read of each source."""
    held = history.known(run.workspace / f"{prefix}{history.NAME}")
    return tuple(
        Reading(source=one, playlist=held[one.uri], moved_ms=run.clock())
        if one.uri in held
        else None
        for one in sources
    )


def _kept(run: Run, prefix: str, readings: tuple[Reading, ...], before_us: int) -> int:
    """Keep what was read for another attempt, now and then; how far the kept reaches."""
    listed = [reading.playlist for reading in readings if reading.playlist.segments]
    edge_us = max((playlist.segments[-1].end_us for playlist in listed), default=0)
    step_us = max((playlist.target_duration_us for playlist in listed), default=0)
    if edge_us < before_us + history.EVERY_TARGETS * step_us or not listed:
        return before_us
    playlists = {reading.source.uri: reading.playlist for reading in readings}
    history.keep(run.workspace / f"{prefix}{history.NAME}", playlists)
    return edge_us


def index_ahead(command: ClipFromStream, facts: ClipFacts, run: Run) -> None:
    """Index segments while others are still fetched, where the whole range is listed."""
    expected = clip.expected_request(command, facts)
    if expected is not None:
        cutting.index_ahead(expected, run)


def gather_index(command: ClipFromStream, facts: ClipFacts, run: Run) -> ClipFacts:
    """Index what has arrived; what the range's first pictures lean on is fetched besides."""
    known = facts.model_copy(update={"sizes": arrived(run.workspace)})
    request = clip.cut_request(command, known)
    index = cutting.index(request, run)
    further = clip.leaning(request, index, known)
    if further is not known:
        fetch_through(command.connector, clip.fetch_plan(command, further).steps, run)
        further = further.model_copy(update={"sizes": arrived(run.workspace)})
        if clip.cut_request(command, further) != request:
            return gather_index(command, further, run)
    return known.model_copy(update={"request": request, "index": index})


def plan_cut(command: ClipFromStream, facts: ClipFacts) -> Plan:
    """The cut of what was indexed."""
    request, index = facts.cut_facts
    return Plan(steps=(Cut(plan=clip.cut_plan(request, index)),))


def see_cut(command: ClipFromStream, facts: ClipFacts, run: Run) -> ClipFacts:
    """Take in what was cut, where something stands beside it that tells of it."""
    reports = [o for o in run.outcomes("cut") if isinstance(o, CutReport)]
    if not reports or not clip_sidecar.is_wanted(command):
        return facts
    with (run.workspace / clip.OUTPUT).open("rb") as made:
        digest, size = hashlib.file_digest(made, "sha256"), made.tell()
    made_file = CutFile(report=reports[0], sha256=digest.hexdigest(), size=size)
    return facts.model_copy(update={"made": made_file})


def plan_publish(command: ClipFromStream, facts: ClipFacts) -> Plan:
    """The finished clip goes to its destination."""
    return clip_sidecar.publish_plan(command, facts)


def result(command: ClipFromStream, facts: ClipFacts, run: Run) -> dict[str, Any]:
    """The result of the contract."""
    (report,) = run.outcomes("cut")
    if not isinstance(report, CutReport):
        raise TypeError("the cut step answers a report")
    published = [o for o in run.outcomes("publish") if isinstance(o, Published)]
    made = clip_sidecar.result(command, report, published)
    return made.model_dump(mode="json", by_alias=True)


WORK: Work[ClipFromStream, ClipFacts] = Work(
    command=ClipFromStream,
    begin=lambda _command: ClipFacts(),
    phases=(
        Phase(
            "fetch",
            "fetching",
            50,
            read_playlists,
            clip.fetch_plan,
            clip.look_again_ms,
            ahead=index_ahead,
            beside=True,
        ),
        Phase("cut", "cutting", 40, gather_index, plan_cut),
        Phase("publish", "publishing", 10, see_cut, plan_publish),
    ),
    result=result,
)


def _look(
    playlists: Playlists, before: Reading | None, source: Source, now_ms: int, due_ms: int
) -> Reading:
    """One more look; an origin that is away for a moment is one whose playlist has not grown."""
    try:
        fresh = _media(playlists, source)
    except AWAY:
        # A new attempt would have forgotten what has left the DVR window since the first look.
        if before is None or clip.stands_still(before, now_ms, due_ms):
            raise
        return before
    return clip.updated(before, source, fresh, now_ms, due_ms)


def _media(playlists: Playlists, source: Source) -> MediaPlaylist:
    return clip.checked_media(playlists.read(source.uri, source.variables))
