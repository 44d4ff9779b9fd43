"""Commands: what somebody wants done, complete in itself, with secrets sealed."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

from schemas.base import Value
from schemas.connectors import ConnectorRef, Destination
from schemas.cuts import FuturePolicy, GapPolicy, Mode
from schemas.guides import MAX_REFRESHED
from schemas.metadata import NOTHING_CARRIED, Carried
from schemas.profiles import Profile
from schemas.thumbnails import (
    MAX_PICTURES,
    MAX_POSTER_WIDTH,
    PictureFormat,
    Seek,
    ThumbnailKind,
)
from schemas.times import TimeRange

Priority = Literal["urgent", "normal", "background"]
MAX_METADATA_BYTES = 64 * 1024
MAX_EXPORT_PARTS = 200
Sidecar = Literal["json", "xmp", "otio", "edl", "fcpxml", "webvtt"]


class CommandBase(Value):
    """What every command carries.

    `request` is the client's own words, echoed in the job. `dedup_key` names the resource the
    command makes: two accepted commands with one key are one job. `queue` names the worker family.
    Where `from_intake` is False, only the service itself says it, never a queue producer.
    """

    queue: ClassVar[str]
    from_intake: ClassVar[bool] = True

    tenant_id: str
    requested_by: str
    request: dict[str, Any] = {}
    priority: Priority = "normal"
    dedup_key: str | None = None

    @property
    def connectors(self) -> tuple[ConnectorRef, ...]:
        """Every connector the command reaches; all must belong to its tenant."""
        return ()


class SourceCommand(CommandBase):
    """A command whose media comes through one connector."""

    connector: ConnectorRef

    @property
    def connectors(self) -> tuple[ConnectorRef, ...]:
        """The source, and the destination where one is named."""
        to: Destination | None = getattr(self, "destination", None)
        return (self.connector, *((to.connector,) if to and to.connector else ()))


class ClipFromStream(SourceCommand):
    """A clip of a live channel, addressed by its fileId.

    `carried` is what was known of the channel and of the clip when it was accepted.
    """

    queue: ClassVar[str] = "clip"

    kind: Literal["clip"] = "clip"
    channel_id: str
    range: TimeRange
    clip_id: str
    file_id: str
    requested_file_id: str
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    on_future: FuturePolicy = "wait"
    metadata: dict[str, str] = {}
    carried: Carried = NOTHING_CARRIED
    destination: Destination


class LocalizeFile(SourceCommand):
    """A copy of a connector's file in the media store, under the connector's fingerprint.

    `force` fetches again what is held and fresh.
    """

    queue: ClassVar[str] = "localize"

    kind: Literal["localize"] = "localize"
    file_id: str = Field(min_length=1, max_length=1024)
    force: bool = False


class ProbeFile(SourceCommand):
    """What a file holds, from as few of its bytes as tell it.

    `stored_key` is where the media store holds it, for one that the connector itself does not.
    """

    queue: ClassVar[str] = "probe"

    kind: Literal["probe"] = "probe"
    file_id: str = Field(min_length=1, max_length=1024)
    stored_key: str | None = None


class CreateRenditions(SourceCommand):
    """Renditions of a file: every recipe as it stood when the job was accepted.

    `destination.key` is a folder; where a single file or a single ladder is made and the key ends
    like it (.mp4, .m3u8 ...), it is the file's or the manifest's own key. `stored_key` is where the
    media store holds the file, for one that the connector itself does not: a clip.
    """

    queue: ClassVar[str] = "rendition"

    kind: Literal["rendition"] = "rendition"
    file_id: str
    recipes: tuple[Profile, ...] = Field(min_length=1, max_length=16)
    rendition_ids: tuple[str, ...] = ()
    stored_key: str | None = None
    destination: Destination


class ExportPart(Value):
    """One range of one channel, through the connector that carries it.

    With a `file_id` it is a range of that file's own time, counted from its first frame. `span_us`
    is the range to the microsecond, where milliseconds would miss frames. With a `clip_file_id` it
    is taken from that clip where the media store holds it, else from the channel. For `pause_us`
    before it the file shows nothing new.
    """

    connector: ConnectorRef
    channel_id: str = Field(min_length=1, max_length=512)
    range: TimeRange
    file_id: str | None = Field(default=None, min_length=1, max_length=1024)
    clip_file_id: str | None = Field(default=None, min_length=1, max_length=1024)
    span_us: tuple[int, int] | None = None
    pause_us: int = Field(default=0, ge=0, le=24 * 3600 * 1_000_000)


class ExportSegment(SourceCommand):
    """Ranges of channels as one file, in the order given, with what stands beside it.

    `destination.key` is a template whose variables the pipeline fills in. `audio` names the
    languages or tracks of sound that are wanted; all for None. With a `recipe`, the file is that
    rendition of the ranges. `channel_id` is the channel the export was asked of. `carried` is what
    was known of the channels when it was accepted, its markers in wall clock.
    """

    queue: ClassVar[str] = "export"

    kind: Literal["export"] = "export"
    channel_id: str = Field(min_length=1, max_length=512)
    parts: tuple[ExportPart, ...] = Field(min_length=1, max_length=MAX_EXPORT_PARTS)
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    on_future: FuturePolicy = "wait"
    audio: tuple[str, ...] | None = Field(default=None, max_length=32)
    metadata: dict[str, str] = {}
    carried: Carried = NOTHING_CARRIED
    sidecars: tuple[Sidecar, ...] = ()
    title: str = ""
    programme_id: str | None = None
    rendition_id: str | None = None
    recipe: Profile | None = None
    notes: tuple[str, ...] = ()
    destination: Destination

    @property
    def connectors(self) -> tuple[ConnectorRef, ...]:
        """Every part's connector, and the destination's."""
        to = (self.destination.connector,) if self.destination.connector else ()
        return (self.connector, *(part.connector for part in self.parts), *to)


class RefreshEpg(SourceCommand):
    """A programme guide fetched anew: all its stations, and what `stations` show.

    `days` is how far ahead is asked for, where the guide's system lets one ask.
    """

    queue: ClassVar[str] = "epg"

    kind: Literal["epg"] = "epg"
    stations: tuple[str, ...] = Field(default=(), max_length=MAX_REFRESHED)
    days: int = Field(default=8, ge=1, le=14)


class MakeThumbnails(SourceCommand):
    """A poster or sprite sheets of a file, of a clip in the media store, or of a live range.

    `stored_key` is where the media store holds a clip; with a `range` the pictures come from the
    channel itself. `at_ms` counts from the media's first moment. `destination.key` is the folder
    that everything goes to; of a sprite, `every_ms` or `count` says how many pictures.
    """

    queue: ClassVar[str] = "sprite"

    kind: Literal["sprite"] = "sprite"
    file_id: str = Field(min_length=1, max_length=1024)
    stored_key: str | None = None
    channel_id: str = Field(default="", max_length=512)
    range: TimeRange | None = None
    type: ThumbnailKind = "poster"
    at_ms: int = Field(default=0, ge=0, le=10**13)
    every_ms: int | None = Field(default=None, ge=40, le=24 * 3600 * 1000)
    count: int | None = Field(default=None, ge=1, le=MAX_PICTURES)
    width: int | None = Field(default=None, ge=16, le=MAX_POSTER_WIDTH)
    format: PictureFormat = "jpg"
    times: Seek = "exact"
    destination: Destination


class CheckUpload(CommandBase):
    """An upload whose bytes have all come: judged as it was announced, then let in or removed.

    `destination.key` is where it will lie; `intent` is what its connector keeps of it.
    """

    queue: ClassVar[str] = "upload"
    from_intake: ClassVar[bool] = False

    kind: Literal["upload"] = "upload"
    upload_id: str
    size: int = Field(ge=1)
    content_type: str
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    allowed_types: tuple[str, ...] | None = None
    intent: dict[str, Any]
    destination: Destination

    @property
    def connectors(self) -> tuple[ConnectorRef, ...]:
        """Where the file was sent to."""
        return (self.destination.connector,) if self.destination.connector else ()


# Every command there is; each has a pipeline, a worker and a queue of its own.
COMMANDS: tuple[type[CommandBase], ...] = (
    ClipFromStream,
    LocalizeFile,
    RefreshEpg,
    CreateRenditions,
    ExportSegment,
    MakeThumbnails,
    ProbeFile,
    CheckUpload,
)


def parse_command(raw: str | bytes) -> CommandBase:
    """The command a JSON text spells; raises pydantic's ValidationError."""
    kind = _Kind.model_validate_json(raw).kind
    command = next(c for c in COMMANDS if c.model_fields["kind"].default == kind)
    return command.model_validate_json(raw)


class _Kind(BaseModel):
    """Only which command a text is meant to be."""

    kind: str

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        known = [c.model_fields["kind"].default for c in COMMANDS]
        if kind not in known:
            raise ValueError(f"there is no command {kind[:40]!r}; there are {', '.join(known)}")
        return kind
