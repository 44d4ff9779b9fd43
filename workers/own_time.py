"""Brings files, and whole streams, here as if they were channels that began at zero."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from media.jail import Jail
from media.pace import pace
from media.probe import probe, recognised
from pipelines import ffargs, own_time
from pipelines.clip import ClipFacts, Reading, Source
from pipelines.export import Channel
from pipelines.ffargs import LocalInput
from schemas import file_id as file_ids
from schemas.errors import UnsupportedMedia
from schemas.media import MediaInfo, MediaPlaylist
from schemas.plans import RunFfmpeg
from workers.clip import follow
from workers.encoding import run_all
from workers.fetching import arrived
from workers.run import Run
from workers.sources import held_clip, local_copy
from workers.world import world_of

Wanted = Callable[[tuple[Source, ...]], tuple[Source, ...]]


def follow_own_time(channel: Channel, before: ClipFacts, run: Run, wanted: Wanted) -> ClipFacts:
    """The media of a channel that is a file, or a stream that has ended; read once."""
    if before.readings:
        return before.model_copy(update={"now_ms": run.clock(), "sizes": arrived(run.workspace)})
    file_id = channel.file_id or channel.channel_id
    if "reads" not in world_of(run).registry.capabilities(channel.connector.type):
        whole = follow(channel.connector, file_id, before, run, None, channel.prefix, wanted)
        return whole.model_copy(update={"readings": tuple(map(_at_zero, whole.readings))})
    known = _split_before(channel.prefix, run)
    return known or _split(local_copy(run, channel.connector, file_id), channel.prefix, run)


def follow_clip(channel: Channel, before: ClipFacts, run: Run) -> ClipFacts | None:
    """A channel's media from the clip that was made of it; None where that is not held.

    What was seen in the clip is what is rendered, also once the channel holds it no longer.
    """
    if before.readings:
        is_clip = before.readings[0].source == own_time.source(channel.prefix)
        return before.model_copy(update={"now_ms": run.clock()}) if is_clip else None
    clip = file_ids.parse(channel.clip_file_id or "")
    begin_us = clip.range.start_ms * 1000
    if known := _split_before(channel.prefix, run, begin_us):
        return known
    path = run.workspace / f"{channel.prefix}-clip.mp4"
    if not held_clip(run, channel.connector, clip, path):
        return None
    return _split(path, channel.prefix, run, begin_us)


def _at_zero(reading: Reading) -> Reading:
    return reading.model_copy(update={"playlist": own_time.at_zero(reading.playlist)})


def _split(path: Path, prefix: str, run: Run, begin_us: int = 0) -> ClipFacts:
    """The file as segments under the names the cut looks for; it begins at `begin_us`."""
    server, jail = world_of(run).media, Jail(workspace=run.workspace)
    info = probe(server, path, jail=jail, control=run.check)
    trimmed = own_time.trimmed(info, pace(server, path, jail=jail, control=run.check))
    listed = _listing(prefix, run)
    run_all((_splitting(path, info, trimmed, prefix, listed.name),), run, lambda _share: None)
    playlist = own_time.of_file(listed.read_text(encoding="utf-8"), begin_us)
    for name, called in own_time.names(playlist, prefix).items():
        (run.workspace / name).rename(run.workspace / called)
    # From here on the source is of no use: another attempt finds its segments.
    _notes(prefix, run).write_text(json.dumps(own_time.changes(info, trimmed)), encoding="utf-8")
    path.unlink()
    return _facts(playlist, prefix, run)


def _split_before(prefix: str, run: Run, begin_us: int = 0) -> ClipFacts | None:
    """What an earlier attempt split; None where none came so far."""
    if not _notes(prefix, run).exists():
        return None
    text = _listing(prefix, run).read_text(encoding="utf-8")
    return _facts(own_time.of_file(text, begin_us), prefix, run)


def _facts(playlist: MediaPlaylist, prefix: str, run: Run) -> ClipFacts:
    now_ms = run.clock()
    reading = Reading(source=own_time.source(prefix), playlist=playlist, moved_ms=now_ms)
    return ClipFacts(
        readings=(reading,),
        now_ms=now_ms,
        sizes=arrived(run.workspace),
        notes=tuple(json.loads(_notes(prefix, run).read_text(encoding="utf-8"))),
    )


def _listing(prefix: str, run: Run) -> Path:
    return run.workspace / f"{prefix}-file.m3u8"


def _notes(prefix: str, run: Run) -> Path:
    return run.workspace / f"{prefix}-file.json"


def _splitting(
    path: Path, info: MediaInfo, trimmed: frozenset[int], prefix: str, listed: str
) -> RunFfmpeg:
    _, demuxer = recognised(path)
    seen = own_time.pictures(info)
    sounds = tuple(s for s in info.streams if s.kind == "audio")
    if seen is None and not sounds:
        raise UnsupportedMedia("the file holds neither pictures nor sound")
    argv = ffargs.segmented(
        LocalInput(path=str(path.absolute()), demuxer=demuxer),
        listed,
        prefix,
        pictures=None if seen is None else (seen.index, own_time.is_copied(seen, trimmed)),
        sounds=tuple(
            (s.index, s.codec if own_time.is_copied(s, trimmed) else None) for s in sounds
        ),
    )
    encoders = ("libx264",) if own_time.changes(info, trimmed) else ()
    return RunFfmpeg(argv=argv, duration_ms=info.duration_ms or 1, encoders=encoders)
