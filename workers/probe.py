"""Probes: as few bytes of a file as tell what it holds, looked at in the jail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectors.base import READ_BYTES, Reads
from connectors.ranged import source_file
from media.jail import Jail
from media.probe import probe, recognised
from pipelines import probe as pipeline
from pipelines.localize import merged
from pipelines.probe import ProbeFacts
from schemas.commands import ProbeFile
from schemas.errors import (
    CorruptMedia,
    Encrypted,
    SourceNotFound,
    SourceUnavailable,
    TooLarge,
    UnsupportedMedia,
)
from schemas.localized import Validators
from schemas.media import ByteRange, MediaInfo
from schemas.probes import ProbeFailure
from workers.phases import Phase, Work
from workers.run import Run
from workers.world import world_of

# What a file is, and not what became of an attempt to read it.
_ANSWERS = (CorruptMedia, UnsupportedMedia, TooLarge, Encrypted)


class Partial:
    """A file of the source's own length in the workspace, of which some ranges are here."""

    def __init__(self, source: Reads, file_id: str, size: int | None, run: Run) -> None:
        self.path: Path = run.workspace / pipeline.SOURCE
        self.size, self.held = size, tuple[ByteRange, ...]()
        self._source, self._file_id, self._run = source, file_id, run
        with self.path.open("wb") as file:
            file.truncate(size or 0)

    @property
    def read_bytes(self) -> int:
        """How much of it is here."""
        return sum(held.length for held in self.held)

    def bring(self, wanted: ByteRange) -> None:
        """Read a range; one that ends early is only an end where the size is not known."""
        at, end = wanted.offset, wanted.offset + wanted.length
        with self.path.open("r+b") as file:
            while at < end:
                self._run.check()
                data = self._source.read_range(self._file_id, at, min(READ_BYTES, end - at))
                if not data:
                    break
                file.seek(at)
                file.write(data)
                at += len(data)
        if at < end and self.size is not None:
            raise SourceUnavailable(f"the file ended early: at {at}, not at {end}")
        if at > wanted.offset:
            here = ByteRange(offset=wanted.offset, length=at - wanted.offset)
            self.held = merged((*self.held, here))

    def header(self, offset: int) -> bytes:
        """The first bytes of a box, read from the source where they are not here."""
        wanted = ByteRange(offset=offset, length=pipeline.HEADER_BYTES)
        inside = any(
            held.offset <= offset and offset + wanted.length <= held.offset + held.length
            for held in self.held
        )
        if not inside:
            self._run.check()
            return self._source.read_range(self._file_id, offset, wanted.length)
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(wanted.length)


def look(command: ProbeFile, facts: ProbeFacts, run: Run) -> ProbeFacts:
    """Read what is needed, and look at it; what is no media is an answer too."""
    source = _source(command, run)
    file_id = command.stored_key or command.file_id
    validators = source_file(source, file_id).validators
    known = facts.model_copy(update={"validators": validators})
    try:
        found, read_bytes = _examined(source, file_id, validators, run)
    except _ANSWERS as error:
        told = ProbeFailure(code=error.error_code, message=error.message)
        return known.model_copy(update={"failure": told})
    return known.model_copy(update={"media": found, "read_bytes": read_bytes})


def _examined(
    source: Reads, file_id: str, validators: Validators, run: Run
) -> tuple[MediaInfo, int]:
    ranges = pipeline.first_ranges(validators.size)
    partial = Partial(source, file_id, validators.size, run)
    for wanted in ranges:
        partial.bring(wanted)
    _bring_index(partial)
    jail = Jail(workspace=run.workspace)
    info = probe(world_of(run).media, partial.path, jail=jail, control=run.check)
    if validators.size is None:
        # Only its beginning is here, and that must not be told as its length.
        info = info.model_copy(update={"duration_ms": None, "bitrate_bps": None})
    return info, partial.read_bytes


def _bring_index(partial: Partial) -> None:
    """Bring the index of an MP4, which stands at either end of it or anywhere between."""
    container, _ = recognised(partial.path)
    if container not in pipeline.BOXED or partial.size is None:
        return
    at = 0
    for _number in range(pipeline.MAX_BOXES):
        box = pipeline.box_at(partial.header(at), at, partial.size)
        if box is None:
            return
        if box.kind == "moov":
            for wanted in pipeline.index_ranges(box, partial.held):
                partial.bring(wanted)
            return
        at = box.end


def _source(command: ProbeFile, run: Run) -> Reads:
    world = world_of(run)
    if command.stored_key is None:
        return world.reads(command.connector)
    if not isinstance(world.media_store, Reads):
        raise SourceNotFound("the media store cannot be read")
    return world.media_store


def result(command: ProbeFile, facts: ProbeFacts, run: Run) -> dict[str, Any]:
    """What is known now; whoever asks for the file reads it here."""
    return pipeline.result(facts).model_dump(mode="json", by_alias=True)


WORK: Work[ProbeFile, ProbeFacts] = Work(
    command=ProbeFile,
    begin=lambda _command: ProbeFacts(),
    phases=(Phase("look", "probing", 1, look, pipeline.plan),),
    result=result,
)
