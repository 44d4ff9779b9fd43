"""The plug-in API: what a connector module exports, and what its connector may be able to do.

A connector is one module in this package and one test beside the others; nothing else is edited.
The module exports:

- `TYPE`: the name clients write in `type`, lower case, as in `"s3"`;
- `Config`: a `ConfigModel`, what a client sets in the open;
- `Auth`: an `AuthModel`, what a client sets in secret, its secrets of type `pydantic.SecretStr`;
- `IDENTITY`: the names of the `Config` fields that say *which content* this is (a bucket, not a
  timeout): an equal connector made later finds what an earlier one had localized;
- `connect(config, auth, env)`: makes the connector. Its return annotation is a class, and the
  class is the declaration: every protocol below that it implements is a capability it has.

It may export two more, where what can be asked for is known only once the service runs:

- `describe(env)`: forms of the systems behind it, `{"config": [...], "auth": [...]}`, or None;
- `admit(config, auth, env)`: raises `FieldInvalid` for what this service cannot be asked for.

`connect` must not touch the network: a connector is opened often and cheaply. Failures are raised
as the classes of `schemas.errors`; the library's own exceptions never leave the module, and
neither do secrets or signed URLs (`connectors.egress.redacted`). Everything goes through
`env.egress`, or past its judge (`connectors.s3` shows how an SDK does).

Connectors are used by one thread at a time and may be opened by many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from schemas.base import Value, WireValue
from schemas.connectors import Capability, Published
from schemas.errors import DiskFull, FieldInvalid, SourceUnavailable
from schemas.guides import GuideDocument, GuideWanted
from schemas.localized import MIN_RATE, Validators
from schemas.media import ByteRange
from schemas.settings import Settings
from schemas.times import TimeRange
from schemas.uploads import AnyGrant, UploadMode, UploadWanted

if TYPE_CHECKING:
    from connectors.egress import Body, Downloaded, Egress

Control = Callable[[], None]
"""Called at every chunk; raises `Cancelled` or `WorkerInterrupted` to end the work there."""

OnBytes = Callable[[int], None]
"""Told how many more bytes have moved."""

CheckFence = Callable[[], None]
"""Called just before output becomes visible; raises `LeaseLost` where another worker took over."""

Intent = dict[str, Any]
"""What is about to be published, as JSON the job record keeps: enough to finish or to undo it."""

CHUNK_BYTES = 1024 * 1024
READ_BYTES = 8 * CHUNK_BYTES
TEMP_PREFIX = ".cuttingroom-"
_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


class ConfigModel(WireValue):
    """Base of every `Config`: frozen, closed, camelCase on the wire."""


class PacedConfig(ConfigModel):
    """Base of a `Config` whose connector may be asked to go easy on its system."""

    max_bytes_per_s: int | None = Field(
        default=None, ge=MIN_RATE, description="how fast files are localized from here, in all"
    )


class AuthModel(WireValue):
    """Base of every `Auth`: as `ConfigModel`, its secrets of type `SecretStr`."""


@dataclass(frozen=True)
class ConnectorEnv:
    """What a connector may use of the world; `clock` answers epoch milliseconds."""

    egress: Egress
    settings: Settings
    clock: Callable[[], int]


class Entry(WireValue):
    """One thing a connector holds; what is unknown is None."""

    file_id: str
    name: str
    kind: Literal["file", "folder", "channel"] = "file"
    size: int | None = None
    duration_ms: int | None = None
    modified_ms: int | None = None
    content_type: str | None = None
    etag: str | None = None
    thumbnail_url: str | None = None


class Page(WireValue):
    """Some entries, and the cursor that asks for the next ones (None at the end)."""

    items: tuple[Entry, ...]
    next_cursor: str | None = None


class Query(WireValue):
    """What a client looks for: `text` in names, below `path`, `filters` by field equality."""

    text: str | None = Field(default=None, max_length=200)
    path: str = Field(default="", max_length=1024)
    filters: dict[str, str] = {}
    sort: Literal["name", "-name", "modified", "-modified", "size", "-size"] = "name"
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: str | None = Field(default=None, max_length=2048)


class TimedUrl(WireValue):
    """A URL that works for a while; it may be a credential, so it is never logged."""

    url: str
    expires_ms: int | None = None


class Channel(WireValue):
    """A live source."""

    id: str
    name: str
    language: str | None = None


class Artifact(Value):
    """A finished local file that is to be published under `key` by a job."""

    path: str
    key: str = Field(min_length=1, max_length=1024)
    job_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    size: int = Field(ge=0)
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="None only for a connector that `TakesFiles`, which reads them anyway",
    )
    content_type: str = "video/mp4"
    movable: bool = Field(
        default=False, description="nobody needs the file itself any more: it may be taken away"
    )


@runtime_checkable
class Connector(Protocol):
    """What every connector can do."""

    def check(self, capability: Capability | None = None) -> None:
        """Return where the credentials work for this capability (any, where None); raise else."""


@runtime_checkable
class Lists(Protocol):
    """Capability `lists`: browse and search."""

    def query(self, query: Query) -> Page:
        """The entries that match, one page; a folder that is not there is `SourceNotFound`."""


@runtime_checkable
class Reads(Protocol):
    """Capability `reads`: files can be read, in ranges."""

    def stat(self, file_id: str) -> Entry:
        """What the file is; `SourceNotFound` where it is not."""

    def read_range(self, file_id: str, offset: int, length: int) -> bytes:
        """These bytes of the file; fewer only where the file ends."""

    def url(self, file_id: str, ttl_s: int) -> TimedUrl | None:
        """A URL a browser can read the file from, or None where there is none."""


class ByteStream(Protocol):
    """Bytes as they come from a file; `partial` is False where the whole file comes instead.

    `validators` says of which version they are, as far as the answer itself says so.
    """

    partial: bool
    validators: Validators

    def readinto(self, buffer: memoryview, /) -> int:
        """Some bytes, 0 at the end."""


class Reader(Protocol):
    """One connection to one file, used by one thread at a time."""

    def open(self, offset: int, length: int | None) -> AbstractContextManager[ByteStream]:
        """So many bytes from there, None for the whole file from its first byte.

        `SourceChanged` where the file is known not to be the expected version any more.
        """

    def close(self) -> None:
        """Give the connection up."""


@runtime_checkable
class Streams(Protocol):
    """Beside `reads`: long files are read as streams, over several connections at once.

    A connector without it is read in ranges, by one connector a connection
    (`connectors.ranged`).
    """

    def reader(self, file_id: str, expected: Validators, control: Control) -> Reader:
        """A further connection to a file; `expected` is the version its `stat` told of."""


@runtime_checkable
class TakesFiles(Protocol):
    """A destination that moves a file to its place where it can, and hashes it there."""

    takes_files: Literal[True]


@runtime_checkable
class Writes(Protocol):
    """Capability `writes`: output is published here exactly once.

    `begin` → (the job record stores the intent) → `put` → `finish`. Whoever dies in between leaves
    an intent with which the next attempt asks `find` whether it was done, or says `abort` and
    begins again. `connectors.publishing.publish_once` is that sequence.
    """

    def begin(self, artifact: Artifact) -> Intent:
        """Reserve what is needed; nothing a reader could see. JSON: at least `key`, `job_id`."""

    def put(
        self,
        intent: Intent,
        artifact: Artifact,
        *,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> Intent:
        """Move the bytes, still invisible; answers the intent, which may have grown."""

    def finish(self, intent: Intent, check_fence: CheckFence) -> Published:
        """Make it visible at once and whole, read it back, and answer what lies there.

        `check_fence` is called last before the visible step. What an earlier attempt of the same
        job published is success; what somebody else put there is `DestinationRejected`.
        """

    def abort(self, intent: Intent) -> None:
        """Remove what `begin` and `put` left, never what `finish` made; done twice, no harm."""

    def find(self, intent: Intent) -> Published | None:
        """What this intent's job published, if it did."""

    def delete(self, key: str) -> None:
        """Remove a published file; where there is none, nothing happens."""

    def janitor(self, live: Iterable[Intent], older_than_ms: int) -> int:
        """Abort what no live intent names and began before `older_than_ms` (epoch); how many."""


@runtime_checkable
class Live(Protocol):
    """Capability `live`: channels as playlists, whose media is fetched through the connector.

    URLs inside a playlist may lead to other hosts; credentials go to the connector's own alone.
    """

    def channels(self) -> tuple[Channel, ...]:
        """The channels there are."""

    def playlist_url(self, channel_id: str) -> str:
        """The address of a channel's playlist; `SourceNotFound` where there is no such channel."""

    def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        byte_range: ByteRange | None = None,
        control: Control | None = None,
    ) -> Body:
        """A small resource (playlist, key, init section) into memory."""

    def download(
        self,
        url: str,
        path: Path,
        *,
        max_bytes: int,
        byte_range: ByteRange | None = None,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> Downloaded:
        """A resource (segment) into a file."""


@runtime_checkable
class TimeShifted(Protocol):
    """Beside `live`: the origin lists any stretch of the past by itself, however long it keeps it.

    A connector without it is asked for the one playlist its channel has.
    """

    def playlist_within(self, channel_id: str, wanted: TimeRange) -> str:
        """The address of a playlist that lists this range, and its neighbours where there are any.

        A range that ends in the future is listed as far as it has come, more at each reading.
        `OutsideWindow` where it begins before what is kept, as far as that is known.
        """


class Reference(WireValue):
    """A stretch of a channel that is a channel of its own now, no media of it copied."""

    channel_id: str
    name: str
    start_ms: int
    end_ms: int
    objects: int


@runtime_checkable
class Refers(Protocol):
    """Beside `live`: the store keeps a stretch by referring to the media it has already."""

    def refer(self, channel_id: str, wanted: TimeRange, name: str) -> Reference:
        """Keep the stretch as a channel of this name; asked for again, it is the same one.

        `InFuture` where its end has not been broadcast, `OutsideWindow` where its start is gone.
        """


def playlist_of(live: Live, channel_id: str, wanted: TimeRange | None) -> str:
    """The address of the playlist to read for a range of a channel, or for all there is of it."""
    if wanted is not None and isinstance(live, TimeShifted):
        return live.playlist_within(channel_id, wanted)
    return live.playlist_url(channel_id)


Presentation = Literal["hls", "dash"]
"""The formats of playlists that are read: a DASH manifest is one, too."""


@runtime_checkable
class Presents(Protocol):
    """Beside `live`: the connector's playlists are, or may be, something else than HLS.

    A connector without it speaks HLS.
    """

    def presentation(self, url: str) -> Presentation:
        """The format of what lies behind an address of `playlist_url` or `playlist_within`."""


def presentation_of(live: Live, url: str) -> Presentation:
    """The format of what lies behind an address a connector gave for a playlist."""
    return live.presentation(url) if isinstance(live, Presents) else "hls"


@runtime_checkable
class Epg(Protocol):
    """Capability `epg`: a programme guide, brought here as the documents its system publishes.

    What stands in them is read above this package (`pipelines.xmltv`, `pipelines.schedulesdirect`):
    a connector only fetches, bounded, and says which format it is. A system with a format of its
    own brings a reader there, and its name in `schemas.guides.GuideDocument`.
    """

    def guide(
        self,
        wanted: GuideWanted,
        folder: Path,
        *,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> GuideDocument:
        """The guide's files, written into the folder.

        Stations come whole, whatever is wanted; programmes at least of the wanted stations and
        range. What `wanted.known` shows to be unchanged may be left out, its validator kept.
        """


@runtime_checkable
class TempCredentials(Protocol):
    """Capability `temp_credentials`: a client uploads one file itself, then we check and admit it.

    `open_upload` → `grant`, as often as wanted → the client's bytes → `settle` → `read_upload`, by
    which a worker judges them → `admit`, or `abandon`. The intent is JSON that the upload's record
    keeps: it holds `key` and `job_id` (the upload's id), and no secret. What `admit` has not
    passed is either invisible to readers or carries the upload's id, so that `abandon` finds it.
    """

    def upload_modes(self, size: int) -> tuple[UploadMode, ...]:
        """How a file of this size may come, the best way first; none where it is too large."""

    def open_upload(self, wanted: UploadWanted, mode: UploadMode) -> Intent:
        """Prepare for the file; nothing a reader could see.

        Where its key is taken, or the system cannot refuse to overwrite, the intent's key is
        another one, made unique by the upload's id.
        """

    def grant(self, intent: Intent, ttl_s: int) -> AnyGrant:
        """Fresh credentials that write this upload and nothing else, and read nothing.

        They say what has arrived already. `SourceNotFound` where the upload is gone.
        """

    def arrived(self, intent: Intent) -> int:
        """How many bytes have come so far; `SourceNotFound` where the upload is gone."""

    def settle(self, intent: Intent) -> Intent:
        """Make what came one readable object that its client can change no more; answers the
        intent as it is now. Done twice, no harm. `CorruptMedia` where bytes are missing,
        `TooLarge` where there are more than agreed."""

    def read_upload(self, intent: Intent, offset: int, length: int) -> bytes:
        """These bytes of what was settled, admitted or not yet."""

    def admit(self, intent: Intent, sha256: str, check_fence: CheckFence) -> Published:
        """Let what was read, its hash told, lie under its key for everybody; twice, no harm.

        Like `Writes.finish`, it never replaces what somebody else put there.
        """

    def abandon(self, intent: Intent, *, admitted: bool = False) -> None:
        """Remove everything of an upload that was not admitted; done twice, no harm.

        Of an `admitted` one, only what its client may have written beside it since.
        """


class Receiver(Protocol):
    """The only writer of an upload, used by one thread at a time; `offset` is where it began."""

    offset: int

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""

    def commit(self) -> int:
        """Make what was written last; the new offset."""

    def discard(self) -> None:
        """Take back what was written since the beginning or the last commit."""


@runtime_checkable
class Receives(Protocol):
    """Beside `temp_credentials`, for the mode `tus`: the bytes come through our own gateway."""

    def receive(self, intent: Intent, *, whole: bool = False) -> AbstractContextManager[Receiver]:
        """The upload to write on, held by nobody else; `Conflict` `upload_locked` where it is.

        What is written stays, also where nobody commits; with `whole`, only a commit makes it
        stay. `SourceNotFound` where the upload is gone.
        """


PROTOCOLS: Mapping[Capability, type[Any]] = {
    "lists": Lists,
    "reads": Reads,
    "writes": Writes,
    "live": Live,
    "epg": Epg,
    "temp_credentials": TempCredentials,
}


def key_parts(key: str) -> tuple[str, ...]:
    """The names a key or fileId is made of; refused where it could mean another place.

    >>> key_parts("a/b.mp4")
    ('a', 'b.mp4')
    """
    parts = tuple(key.split("/"))
    why = _unfit(key, parts)
    if why is not None:
        raise FieldInvalid(why, code="file_id_invalid")
    return parts


def _unfit(key: str, parts: tuple[str, ...]) -> str | None:
    if len(key) > 1024:
        return "a path has at most 1024 characters"
    if "\\" in key:
        return "a path has no backslash"
    if _UNSPEAKABLE.search(key):
        return "a path has no control characters, as a line feed is one"
    if any(part in {"", ".", ".."} for part in parts):
        return "a path is names joined by single slashes, none of them . or .."
    if any(len(part.encode()) > 255 for part in parts):
        return "a name of a path has at most 255 bytes"
    if any(part.startswith(TEMP_PREFIX) for part in parts):
        return f"names that begin with {TEMP_PREFIX} are this service's own"
    return None


def paged(entries: Iterable[Entry], query: Query) -> Page:
    """One page of entries that are all known: filtered, sorted, and cut at the cursor."""
    text = (query.text or "").casefold()
    matching = [e for e in entries if text in e.name.casefold() and _passes(e, query.filters)]
    field = {"name": "name", "modified": "modified_ms", "size": "size"}[query.sort.lstrip("-")]
    # What is unknown sorts first, whatever the type of the field.
    matching.sort(key=lambda e: (getattr(e, field) is not None, getattr(e, field), e.file_id))
    if query.sort.startswith("-"):
        matching.reverse()
    start = _offset(query.cursor)
    end = start + query.limit
    return Page(
        items=tuple(matching[start:end]), next_cursor=str(end) if end < len(matching) else None
    )


def _passes(entry: Entry, filters: Mapping[str, str]) -> bool:
    values = entry.model_dump(by_alias=True)
    unknown = sorted(set(filters) - set(values))
    if unknown:
        raise FieldInvalid(f"entries have no field {unknown[0][:40]!r}", code="filter_unknown")
    return all(str(values[name]) == wanted for name, wanted in filters.items())


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 12):
        raise FieldInvalid("the cursor is not one of ours", code="cursor_invalid")
    return int(cursor)


def copy_to_file(
    source: Reads,
    file_id: str,
    path: Path,
    *,
    on_bytes: OnBytes | None = None,
    control: Control | None = None,
) -> Entry:
    """Bring a whole file here, in ranges; a file that ends early is `SourceUnavailable`."""
    entry = source.stat(file_id)
    if entry.size is None:
        raise SourceUnavailable(f"{entry.name} has no known size and cannot be read in ranges")
    try:
        with path.open("wb") as out:
            for offset in range(0, entry.size, READ_BYTES):
                if control:
                    control()
                data = source.read_range(file_id, offset, min(READ_BYTES, entry.size - offset))
                _expect(len(data), min(READ_BYTES, entry.size - offset), entry.name)
                out.write(data)
                if on_bytes:
                    on_bytes(len(data))
    except OSError as error:
        raise DiskFull(f"{path.name} could not be written: {error.strerror}") from error
    return entry


def _expect(got: int, wanted: int, name: str) -> None:
    if got != wanted:
        raise SourceUnavailable(f"{name} ended early: {got} bytes of {wanted} came")
