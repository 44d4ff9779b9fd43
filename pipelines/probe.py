"""Which bytes of a file tell what it holds: its beginning, its end, and an MP4's index between."""

from __future__ import annotations

from pipelines.localize import missing
from schemas.base import Value
from schemas.commands import ProbeFile
from schemas.errors import CorruptMedia, TooLarge
from schemas.localized import Validators
from schemas.media import ByteRange, MediaInfo
from schemas.plans import Plan
from schemas.probes import Probed, ProbeFailure, spelled

SOURCE = "source"
MIB = 1024 * 1024
# A probe reads 5 MB of packets; the last timestamps of a stream stand in its last megabytes.
HEAD_BYTES, TAIL_BYTES = 8 * MIB, 4 * MIB
WHOLE_BYTES = 16 * MIB
MAX_INDEX_BYTES = 128 * MIB
MAX_BOXES = 64
HEADER_BYTES = 16
HOUR_MS = 3600 * 1000
BOXED = frozenset({"mp4", "fmp4"})


class Box(Value):
    """A box of an MP4 at its top level."""

    kind: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the next box begins."""
        return self.offset + self.length

    @property
    def range(self) -> ByteRange:
        """The bytes of it."""
        return ByteRange(offset=self.offset, length=self.length)


class ProbeFacts(Value):
    """What was found out; one of `media` and `failure`, once all is."""

    validators: Validators = Validators()
    read_bytes: int = 0
    media: MediaInfo | None = None
    failure: ProbeFailure | None = None


def first_ranges(size: int | None) -> tuple[ByteRange, ...]:
    """What to read before anything is known: all of a small file, both ends of a long one.

    >>> [r.length for r in first_ranges(100)], [r.offset for r in first_ranges(10**9)]
    ([100], [0, 995805696])
    """
    if size == 0:
        raise CorruptMedia("the file is empty")
    if size is None:
        return (ByteRange(offset=0, length=HEAD_BYTES),)
    if size <= WHOLE_BYTES:
        return (ByteRange(offset=0, length=size),)
    tail = ByteRange(offset=size - TAIL_BYTES, length=TAIL_BYTES)
    return (ByteRange(offset=0, length=HEAD_BYTES), tail)


def box_at(header: bytes, offset: int, size: int) -> Box | None:
    """The box whose header these bytes are; None where they are no header (ISO 14496-12 4.2).

    >>> box_at(bytes.fromhex("0000001866747970"), 0, 100)
    Box(kind='ftyp', offset=0, length=24)
    """
    if len(header) < 8:
        return None
    length, least = int.from_bytes(header[:4], "big"), 8
    if length == 1:
        length, least = int.from_bytes(header[8:16], "big"), 16
    elif length == 0:
        length = size - offset
    if length < least or len(header) < least or offset + length > size:
        return None
    return Box(kind=header[4:8].decode("latin-1"), offset=offset, length=length)


def index_ranges(box: Box, held: tuple[ByteRange, ...]) -> tuple[ByteRange, ...]:
    """What of an index is not here yet; raises TooLarge where it is longer than any honest one."""
    if box.length > MAX_INDEX_BYTES:
        raise TooLarge(f"the index of the file has {box.length} bytes, above {MAX_INDEX_BYTES}")
    return tuple(
        ByteRange(offset=max(gap.offset, box.offset), length=end - max(gap.offset, box.offset))
        for gap in missing(held, box.end)
        if (end := min(gap.offset + gap.length, box.end)) > max(gap.offset, box.offset)
    )


def plan(command: ProbeFile, facts: ProbeFacts) -> Plan:
    """Looking is all."""
    return Plan(steps=())


def result(facts: ProbeFacts) -> Probed:
    """What the job answers."""
    return Probed(
        media=None if facts.media is None else spelled(facts.media),
        failure=facts.failure,
        validators=facts.validators,
        read_bytes=facts.read_bytes,
    )


def dedup_key(fingerprint: str, file_id: str, validators: Validators, now_ms: int) -> str:
    """The name under which looking at one version of a file is one job.

    A source that does not tell versions apart is looked at anew every hour.
    """
    told = validators.etag is not None or validators.modified_ms is not None
    hour = "" if told else str(now_ms // HOUR_MS)
    return f"probe\n{fingerprint}\n{file_id}\n{validators.model_dump_json()}\n{hour}"
