"""Localize: which bytes of a source's file to read next, which an earlier attempt left, where it
all goes; decided from facts, without touching anything."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from pydantic import ValidationError

from schemas.base import Value
from schemas.commands import LocalizeFile
from schemas.connectors import ConnectorRef, Destination, Published
from schemas.errors import CorruptMedia, SourceChanged, TooLarge
from schemas.localized import MIN_RATE, FetchedFile, LocalizedFile, Resume, SourceFile, Validators
from schemas.media import ByteRange, MediaInfo
from schemas.plans import FetchFile, Plan, Publish, WriteText
from schemas.probes import spelled

MAX_PART_BYTES = 16 * 1024 * 1024
MIN_PART_BYTES = 512 * 1024
# How much of a file may be read and not yet be in the resume file; eight of these make no part.
JOURNAL_BYTES = 1024 * 1024
MAX_CONNECTIONS = 8
RISE = 1.15
FLAT_WINDOWS = 8
RECORD = "record.json"
_LINE = re.compile(r"(\d{1,19}) (\d{1,19})")
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")


# What is here already


def resume_head(validators: Validators, boot: str) -> str:
    """The first line of a resume file: the version its bytes are of, and when they were written."""
    return Resume(validators=validators, boot=boot).model_dump_json(exclude={"done"}) + "\n"


def resume_line(offset: int, length: int) -> str:
    """A further line: these bytes are here now.

    >>> resume_line(0, 4096)
    '0 4096\\n'
    """
    return f"{offset} {length}\n"


def resume_of(text: str) -> Resume | None:
    """What a resume file says; a last line that was torn by a kill is not believed."""
    head, *lines = text.split("\n")
    try:
        told = Resume.model_validate_json(head)
    except ValidationError:
        return None
    # What follows the last line feed is a line that was still being written.
    matches = [_LINE.fullmatch(line) for line in lines[:-1]]
    done = [ByteRange(offset=int(m[1]), length=int(m[2])) for m in matches if m and int(m[2])]
    return told.model_copy(update={"done": merged(done)})


def still_good(held: Resume | None, now: Validators, boot: str) -> tuple[ByteRange, ...]:
    """The ranges of an earlier attempt that can be gone on from; raises SourceChanged.

    Bytes written before the machine was last started may never have reached its disk, and a source
    that says nothing of its version cannot be gone on with.
    """
    if held is None or not held.done:
        return ()
    if differs(held.validators, now):
        raise SourceChanged("the file at the source is not the one of the first attempt")
    proven = now.etag is not None or now.modified_ms is not None
    return held.done if held.boot == boot and proven and now.size is not None else ()


def differs(before: Validators, after: Validators) -> bool:
    """Whether what is said of two versions proves that they are two.

    >>> differs(Validators(size=5, etag='"a"'), Validators(size=5))
    False
    >>> differs(Validators(size=5), Validators(size=6))
    True
    """
    pairs = (
        (before.size, after.size),
        (before.etag, after.etag),
        (before.modified_ms, after.modified_ms),
    )
    return any(one is not None and other is not None and one != other for one, other in pairs)


def same_version(held: Validators, now: Validators) -> bool:
    """Whether what is said proves that a held copy is still the source's: more than its size."""
    proof = (held.etag and now.etag) or (held.modified_ms and now.modified_ms)
    return bool(proof) and not differs(held, now)


def merged(ranges: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """The same bytes as few ranges, in order."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((r.offset, r.offset + r.length) for r in ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(ByteRange(offset=start, length=end - start) for start, end in joined)


def missing(done: Iterable[ByteRange], size: int) -> tuple[ByteRange, ...]:
    """What of a file is not here, in order."""
    gaps, at = [], 0
    for held in merged(done):
        if at < min(held.offset, size):
            gaps.append(ByteRange(offset=at, length=min(held.offset, size) - at))
        at = max(at, held.offset + held.length)
    if at < size:
        gaps.append(ByteRange(offset=at, length=size - at))
    return tuple(gaps)


# How to read on


def part_bytes(left: int, connections: int) -> int:
    """How much one connection takes next: parts shrink, so that all end at about the same time.

    >>> part_bytes(10**12, 8) == MAX_PART_BYTES, part_bytes(1000, 8) == MIN_PART_BYTES
    (True, True)
    """
    return max(MIN_PART_BYTES, min(MAX_PART_BYTES, left // (2 * max(1, connections))))


class Ramp(Value):
    """How many connections are open, and whether more of them made it faster so far."""

    connections: int = 1
    most: int = MAX_CONNECTIONS
    best_rate: float = 0.0
    flat_windows: int = 0


def ramped(ramp: Ramp, rate: float) -> Ramp:
    """The ramp after one more stretch of time at this rate: twice as many while that helps."""
    if rate > ramp.best_rate * RISE:
        wider = min(ramp.most, 2 * ramp.connections)
        return ramp.model_copy(update={"connections": wider, "best_rate": rate, "flat_windows": 0})
    return ramp.model_copy(update={"flat_windows": ramp.flat_windows + 1})


def settled(ramp: Ramp) -> bool:
    """Whether more connections have stopped to help, or are not allowed."""
    return ramp.connections >= ramp.most or ramp.flat_windows >= FLAT_WINDOWS


def narrowed(ramp: Ramp, connections: int) -> Ramp:
    """The ramp once the source has refused one connection more than these."""
    most = max(1, connections)
    return ramp.model_copy(update={"connections": min(ramp.connections, most), "most": most})


def rate_limit(config: dict[str, object]) -> int | None:
    """The bytes a second a connector's config allows, None where it says nothing."""
    told = config.get("maxBytesPerS", config.get("max_bytes_per_s"))
    return max(MIN_RATE, told) if isinstance(told, int) and told > 0 else None


def connections_at(limit: int | None, most: int) -> int:
    """How many connections a rate is worth sharing among."""
    return most if limit is None else max(1, min(most, limit // (16 * MIN_RATE)))


# Where it goes


def file_digest(file_id: str) -> str:
    """A short safe name for a file of a source."""
    return hashlib.sha256(file_id.encode()).hexdigest()[:40]


def folder(tenant_id: str, fingerprint: str, digest: str) -> str:
    """The folder of all versions of one file in the media store."""
    return f"localized/{tenant_id}/{fingerprint}/{digest}"


def dedup_key(connector_id: str, file_id: str, rendition_id: str | None) -> str:
    """The name under which localizing a file is one job, but for how often it is forced."""
    return f"localize\n{connector_id}\n{file_id}\n{rendition_id or ''}"


def workspace_name(name: str) -> str:
    """What a file is called in the workspace: our word, the source's ending where it is plain."""
    suffix = name[name.rfind(".") :] if "." in name else ""
    return f"source{suffix.lower()}" if _SUFFIX.fullmatch(suffix) else "source.bin"


def fetch_plan(
    ref: ConnectorRef, source: SourceFile, name: str, *, connections: int, max_bytes: int
) -> Plan:
    """Bring the whole file here; raises TooLarge or CorruptMedia where its size rules it out."""
    size = source.validators.size
    if size is not None and size > max_bytes:
        raise TooLarge(f"the file has {size} bytes; at most {max_bytes} may be localized")
    if size == 0:
        raise CorruptMedia("the file is empty at its source")
    limit = rate_limit(ref.config)
    return Plan(
        steps=(
            FetchFile(
                connector=ref,
                source=source,
                name=name,
                max_bytes=max_bytes,
                max_connections=connections_at(limit, connections),
                max_bytes_per_s=limit,
            ),
        )
    )


def record_of(
    command: LocalizeFile,
    fingerprint: str,
    job_id: str,
    name: str,
    source: SourceFile,
    fetched: FetchedFile,
    media: MediaInfo,
    now_ms: int,
) -> LocalizedFile:
    """What is written down of the version this job brought."""
    base = f"{folder(command.tenant_id, fingerprint, file_digest(command.file_id))}/{job_id}"
    return LocalizedFile(
        tenant_id=command.tenant_id,
        fingerprint=fingerprint,
        connector_id=command.connector.id,
        file_id=command.file_id,
        job_id=job_id,
        key=f"{base}{name[name.rfind('.') :]}",
        record_key=f"{base}.json",
        size=fetched.size,
        sha256=fetched.sha256,
        content_type=source.content_type or "application/octet-stream",
        validators=source.validators,
        media=media,
        localized_ms=now_ms,
    )


def publish_plan(record: LocalizedFile, name: str) -> Plan:
    """The bytes go to the media store first."""
    to = Destination(key=record.key, content_type=record.content_type)
    return Plan(steps=(Publish(name=name, to=to),))


def record_plan(record: LocalizedFile) -> Plan:
    """The record that vouches for the bytes goes there after them."""
    return Plan(
        steps=(
            WriteText(name=RECORD, text=record.model_dump_json(by_alias=True)),
            Publish(
                name=RECORD,
                to=Destination(key=record.record_key, content_type="application/json"),
            ),
        )
    )


def result(
    record: LocalizedFile, *, fetched: FetchedFile | None, published: Published | None
) -> dict[str, object]:
    """The job's result: what is held, and how it came here."""
    told = record.model_dump(
        mode="json", by_alias=True, exclude={"tenant_id", "record_key", "fingerprint"}
    )
    return {
        **told,
        "media": spelled(record.media),
        "reused": fetched is None,
        "resumedBytes": fetched.resumed if fetched else 0,
        "connections": fetched.connections if fetched else 0,
        "file": {
            "destination": published.destination if published else None,
            "key": record.key,
            "url": published.url if published else None,
            "size": record.size,
            "sha256": record.sha256,
            "durationMs": record.media.duration_ms,
        },
    }
