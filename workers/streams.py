"""A whole stream on demand, or a clip of a channel, as one file: for jobs that need files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from copy import copy
from pathlib import Path

from media.jail import hand_over
from pipelines import clip as pipeline
from pipelines.clip import ClipFacts
from schemas.commands import ClipFromStream
from schemas.connectors import ConnectorRef, Destination
from schemas.cuts import CutReport
from schemas.errors import CorruptMedia, NotYetAvailable, TooLarge, Unsupported
from schemas.localized import SourceFile, Validators
from schemas.times import TimeRange
from workers import clip as clips
from workers.cutting import cut_all
from workers.fetching import Fetcher, fetch_all, fetches
from workers.run import Run
from workers.world import world_of

OUTPUT = pipeline.OUTPUT
FETCHING = 0.6


def clip_of(ref: ConnectorRef, channel_id: str, wanted: TimeRange) -> ClipFromStream:
    """The clip of a channel that a file stands for; it is published nowhere."""
    return ClipFromStream(
        tenant_id=ref.tenant_id,
        requested_by="localize",
        connector=ref,
        channel_id=channel_id,
        range=wanted,
        clip_id="localize",
        file_id=channel_id,
        requested_file_id=channel_id,
        destination=Destination(key=OUTPUT),
    )


def read_whole(run: Run, ref: ConnectorRef, channel_id: str) -> tuple[ClipFacts, TimeRange]:
    """The playlists of a stream that has ended, and all the time they hold."""
    facts = clips.follow(ref, channel_id, ClipFacts(), run, None)
    main = facts.readings[0].playlist
    if not all(reading.playlist.ended for reading in facts.readings):
        raise Unsupported("the stream is live: it is localized as clips, by their fileIds")
    if main.held is None:
        raise CorruptMedia("the playlist lists no media")
    most_ms = world_of(run).settings.max_clip_ms
    if main.held.length_ms > most_ms:
        raise TooLarge(f"the stream is {main.held.length_ms} ms long; at most {most_ms}")
    return facts, main.held


def version_of(facts: ClipFacts, channel_id: str) -> SourceFile:
    """A stream as a source file: its version is what its playlists list."""
    digest = hashlib.sha256()
    for reading in facts.readings:
        for segment in reading.playlist.segments:
            # Signed addresses change with every reading: their queries say nothing.
            place = segment.uri.partition("?")[0]
            span = segment.byte_range.model_dump_json() if segment.byte_range else ""
            digest.update(f"{place}\n{span}\n{segment.duration_us}\n".encode())
    return SourceFile(
        file_id=channel_id,
        name=OUTPUT,
        content_type="video/mp4",
        validators=Validators(etag=f'"{digest.hexdigest()}"'),
    )


def cut_here(
    run: Run, command: ClipFromStream, folder: Path, report: Callable[[float], None]
) -> Path:
    """The clip as a file in a folder of its own in the workspace."""
    folder.mkdir(exist_ok=True)
    hand_over(folder)
    within = copy(run)
    within.workspace = folder
    facts = clips.read_playlists(command, ClipFacts(), within)
    fetch_plan = pipeline.fetch_plan(command, facts)
    if (again_ms := pipeline.look_again_ms(command, facts)) is not None:
        raise NotYetAvailable("the range has not been broadcast whole yet", retry_at_ms=again_ms)
    world = world_of(run)
    fetch_all(
        fetches(fetch_plan.steps),
        Fetcher(world.live(command.connector), within),
        world.settings.fetch_connections,
        within,
        lambda done: report(FETCHING * done),
    )
    facts = clips.gather_index(command, facts, within)
    plan = clips.plan_cut(command, facts)
    (made,) = cut_all(plan.steps, within, lambda done: report(FETCHING + (1 - FETCHING) * done))
    if not isinstance(made, CutReport):
        raise TypeError("a cut answers its report")
    return folder / OUTPUT
