"""Localizing: what to gather for each phase of `pipelines.localize`."""

from __future__ import annotations

import hashlib
from typing import Any

from connectors.ranged import source_file
from media.jail import Jail
from media.probe import probe
from pipelines import clip as pipeline
from pipelines import localize
from pipelines.clip import ClipFacts
from schemas.base import Value
from schemas.commands import ClipFromStream, LocalizeFile
from schemas.connectors import Published
from schemas.errors import DestinationUnavailable
from schemas.localized import FetchedFile, LocalizedFile, SourceFile
from schemas.media import MediaInfo
from schemas.plans import Plan
from schemas.times import TimeRange
from store.localized import Place
from workers import clip as clips
from workers import streams
from workers.phases import Phase, Work
from workers.run import Run
from workers.sources import is_channel, place_of
from workers.world import world_of


class LocalizeFacts(Value):
    """What is known so far; `held` is a fresh copy that makes all else unnecessary."""

    source: SourceFile | None = None
    connections: int = localize.MAX_CONNECTIONS
    max_bytes: int = 0
    held: LocalizedFile | None = None
    clip: ClipFacts | None = None
    range: TimeRange | None = None
    fetched: FetchedFile | None = None
    media: MediaInfo | None = None
    record: LocalizedFile | None = None

    @property
    def found(self) -> SourceFile:
        """The source; only there once it was looked at."""
        if self.source is None:
            raise TypeError("nothing has looked at the source yet")
        return self.source

    @property
    def name(self) -> str:
        """What the file is called in the workspace."""
        if self.clip is not None:
            return streams.OUTPUT
        return localize.workspace_name(self.found.name)


def look(command: LocalizeFile, facts: LocalizeFacts, run: Run) -> LocalizeFacts:
    """Ask the source about the file, and the index whether this very version is held."""
    world = world_of(run)
    if is_channel(world, command.connector):
        readings, wanted = streams.read_whole(run, command.connector, command.file_id)
        source = streams.version_of(readings, command.file_id)
        facts = facts.model_copy(update={"clip": readings, "range": wanted})
    else:
        source = source_file(world.reads(command.connector), command.file_id)
    index = world.localized
    record = None if command.force or index is None else index.get(place(command, run))
    fresh = record is not None and localize.same_version(record.validators, source.validators)
    return facts.model_copy(
        update={
            "source": source,
            "connections": world.settings.localize_connections,
            "max_bytes": world.settings.localize_max_bytes,
            "held": record if fresh else None,
        }
    )


def fetch_plan(command: LocalizeFile, facts: LocalizeFacts) -> Plan:
    """Bring the file here, unless it is held."""
    if facts.held is not None:
        return Plan(steps=())
    if facts.clip is not None:
        return pipeline.fetch_plan(_clip(command, facts), facts.clip)
    return localize.fetch_plan(
        command.connector,
        facts.found,
        facts.name,
        connections=facts.connections,
        max_bytes=facts.max_bytes,
    )


def index_stream(command: LocalizeFile, facts: LocalizeFacts, run: Run) -> LocalizeFacts:
    """Index what came of a stream."""
    if facts.clip is None or facts.held is not None:
        return facts
    indexed = clips.gather_index(_clip(command, facts), facts.clip, run)
    return facts.model_copy(update={"clip": indexed})


def cut_plan(command: LocalizeFile, facts: LocalizeFacts) -> Plan:
    """A stream becomes one file, every frame of it kept; a file is one already."""
    if facts.clip is None or facts.held is not None:
        return Plan(steps=())
    return clips.plan_cut(_clip(command, facts), facts.clip)


def look_inside(command: LocalizeFile, facts: LocalizeFacts, run: Run) -> LocalizeFacts:
    """Probe what came, both its ends decoded, and write down what it is."""
    if facts.held is not None:
        return facts
    path = run.workspace / facts.name
    media = probe(
        world_of(run).media,
        path,
        jail=Jail(workspace=run.workspace),
        edges=True,
        control=run.check,
    )
    fetched = _fetched(facts, run)
    record = localize.record_of(
        command,
        place(command, run).fingerprint,
        run.lease.job_id,
        facts.name,
        facts.found,
        fetched,
        media,
        run.clock(),
    )
    return facts.model_copy(update={"media": media, "record": record, "fetched": fetched})


def publish_plan(command: LocalizeFile, facts: LocalizeFacts) -> Plan:
    """The file goes to the media store, unless it is there."""
    if facts.record is None:
        return Plan(steps=())
    return localize.publish_plan(facts.record, facts.name)


def where_it_lies(command: LocalizeFile, facts: LocalizeFacts, run: Run) -> LocalizeFacts:
    """The key the media store gave the file, which its record must name."""
    if facts.record is None:
        return facts
    (published,) = run.outcomes("publish")
    if not isinstance(published, Published):
        raise TypeError("the publish step answers what was published")
    if published.sha256 != facts.record.sha256:
        raise DestinationUnavailable("the media store did not keep what was written")
    return facts.model_copy(
        update={"record": facts.record.model_copy(update={"key": published.key})}
    )


def record_plan(command: LocalizeFile, facts: LocalizeFacts) -> Plan:
    """The record that vouches for the file goes beside it."""
    return Plan(steps=()) if facts.record is None else localize.record_plan(facts.record)


def nothing_new(command: LocalizeFile, facts: LocalizeFacts, run: Run) -> LocalizeFacts:
    """All facts are known."""
    return facts


def no_steps(command: LocalizeFile, facts: LocalizeFacts) -> Plan:
    """Looking was all."""
    return Plan(steps=())


def result(command: LocalizeFile, facts: LocalizeFacts, run: Run) -> dict[str, Any]:
    """The result; from here on the index knows the file."""
    if facts.held is not None:
        return localize.result(facts.held, fetched=None, published=None)
    (published,) = run.outcomes("publish")
    written = next(o for o in run.outcomes("record") if isinstance(o, Published))
    if facts.record is None or facts.fetched is None:
        raise TypeError("a file is published only once it is fetched and recorded")
    record = facts.record.model_copy(update={"record_key": written.key})
    index = world_of(run).localized
    if index is not None:
        index.put(place(command, run), record)
    told = published if isinstance(published, Published) else None
    return localize.result(record, fetched=facts.fetched, published=told)


def _clip(command: LocalizeFile, facts: LocalizeFacts) -> ClipFromStream:
    if facts.range is None:
        raise TypeError("a stream's range is known once its playlists were read")
    return streams.clip_of(command.connector, command.file_id, facts.range)


def _fetched(facts: LocalizeFacts, run: Run) -> FetchedFile:
    """What lies in the workspace now."""
    if facts.clip is not None:
        path = run.workspace / facts.name
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FetchedFile(name=facts.name, size=path.stat().st_size, sha256=sha256)
    (fetched,) = run.outcomes("fetch")
    if not isinstance(fetched, FetchedFile):
        raise TypeError("the fetch step answers what was fetched")
    return fetched


def place(command: LocalizeFile, run: Run) -> Place:
    """Where the index holds the command's file."""
    return place_of(world_of(run), command.connector, command.file_id)


WORK: Work[LocalizeFile, LocalizeFacts] = Work(
    command=LocalizeFile,
    begin=lambda _command: LocalizeFacts(),
    phases=(
        Phase("look", "probing", 1, look, no_steps),
        Phase("fetch", "fetching", 70, nothing_new, fetch_plan),
        Phase("cut", "cutting", 10, index_stream, cut_plan),
        Phase("check", "verifying", 4, look_inside, no_steps),
        Phase("publish", "publishing", 14, nothing_new, publish_plan),
        Phase("record", "publishing", 1, where_it_lies, record_plan),
    ),
    result=result,
)
