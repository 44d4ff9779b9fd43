"""Plans: what will be done, as data that can be printed, stored, compared and replayed.

File names are relative to the job's workspace and invented by us; URIs may carry credentials and
are therefore kept out of logs and events (`redacted` in connectors).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import Value
from schemas.connectors import ConnectorRef, Destination
from schemas.cuts import CutPlan
from schemas.guides import Repairs, Station, StationDay
from schemas.localized import SourceFile
from schemas.media import ByteRange
from schemas.thumbnails import Grid, PictureFormat, PictureSource, Seek


class DecryptKey(Value):
    """The AES-128 key of a segment: fetched from `uri`, used with this 16-byte IV in hex."""

    uri: str
    iv_hex: str = Field(pattern=r"^[0-9a-f]{32}$")


class Fetch(Value):
    """Bring one resource into the workspace as `name`, decrypted where a key is given.

    `optional`: its absence (404, 410, truncated after retries) becomes a gap, not a failure.
    `spare`: nothing at all that keeps it from coming fails the job.
    `patience_ms`: at a live edge, how long an absence may only mean that it is not there yet.
    `connector` is the one to go through, where it is not the command's own.
    """

    step: Literal["fetch"] = "fetch"
    uri: str
    name: str
    byte_range: ByteRange | None = None
    key: DecryptKey | None = None
    optional: bool = False
    spare: bool = False
    patience_ms: int = 0
    max_bytes: int = 512 * 1024 * 1024
    connector: ConnectorRef | None = None


class FetchFile(Value):
    """Bring a connector's whole file into the workspace as `name`, in ranges, several at a time.

    What an earlier attempt left there is gone on from, if the source is still the same version.
    """

    step: Literal["fetch_file"] = "fetch_file"
    connector: ConnectorRef
    source: SourceFile
    name: str
    max_bytes: int
    max_connections: int = 8
    max_bytes_per_s: int | None = None


class WriteText(Value):
    """Write a small text file into the workspace."""

    step: Literal["write"] = "write"
    name: str
    text: str


class ReadFile(Value):
    """Bring a whole file of the command's connector into the workspace as `name`.

    With `stored_key` it is the media store that holds it.
    """

    step: Literal["read"] = "read"
    file_id: str
    name: str
    stored_key: str | None = None


class RunFfmpeg(Value):
    """Run ffmpeg with these arguments inside the workspace; answers the end of what it said.

    `encoders` and `filters` are what the machine's ffmpeg must have for it. `load` is how many
    times the work of one ordinary run it is, for the watchdog.
    """

    step: Literal["ffmpeg"] = "ffmpeg"
    argv: tuple[str, ...]
    duration_ms: int
    weight: int = 1
    encoders: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    load: int = 1


class Turn(Value):
    """Flag the picture of an MP4 as turned by so many degrees, counter-clockwise.

    Where `mirrored` it is shown upside down before that.
    """

    step: Literal["turn"] = "turn"
    name: str
    degrees: int
    mirrored: bool = False


class Cut(Value):
    """Carry out a cut plan; writes `plan.output`."""

    step: Literal["cut"] = "cut"
    plan: CutPlan


class Probe(Value):
    """Probe a file and hold it against what is expected; both its edges must decode.

    `expect_ms` is the length of its picture, or of its sound where it has no other. `parts` are
    joined first: a fragmented file's header and some of its segments.
    """

    step: Literal["probe"] = "probe"
    name: str
    expect_ms: int | None = None
    tolerance_ms: int = 50
    parts: tuple[str, ...] = ()


class Publish(Value):
    """Put a file at its destination, once, and read it back.

    `together`: all such files of a plan are of one attempt, the last of them makes them whole.
    """

    step: Literal["publish"] = "publish"
    name: str
    to: Destination
    together: bool = False


class KeepGuide(Value):
    """Put what was read of a guide into the cache; days that are not named stay as they were."""

    step: Literal["keep_guide"] = "keep_guide"
    stations: tuple[Station, ...]
    days: tuple[StationDay, ...]
    covered: tuple[str, ...]
    repairs: Repairs = Repairs()
    validators: dict[str, str] = {}
    fetched_ms: int


class TakePictures(Value):
    """Take pictures out of media and lay them on sheets named `sheets`; answers `Pictures`.

    `span_ms` is how much media there is to look through, for the watchdog.
    """

    step: Literal["pictures"] = "pictures"
    sources: tuple[PictureSource, ...] = Field(min_length=1)
    seek: Seek = "exact"
    grid: Grid
    format: PictureFormat = "jpg"
    quality: int = Field(default=80, ge=1, le=100)
    sheets: str = "sprite-{number:03d}"
    span_ms: int = 0


class TakeUpload(Value):
    """Close an upload against its client, and bring what came into the workspace as `name`."""

    step: Literal["take_upload"] = "take_upload"
    to: Destination
    intent: dict[str, Any]
    size: int
    name: str


class AdmitUpload(Value):
    """Let an upload that was found good lie at its destination for everybody, once."""

    step: Literal["admit_upload"] = "admit_upload"
    to: Destination
    intent: dict[str, Any]
    sha256: str


Step = Annotated[
    Fetch
    | FetchFile
    | ReadFile
    | WriteText
    | RunFfmpeg
    | Turn
    | Cut
    | Probe
    | Publish
    | KeepGuide
    | TakePictures
    | TakeUpload
    | AdmitUpload,
    Field(discriminator="step"),
]


class Plan(Value):
    """The steps of one phase, in order; neighbouring fetches run several at a time."""

    steps: tuple[Step, ...]

    def of(self, kind: str) -> tuple[Step, ...]:
        """The steps of one kind."""
        return tuple(step for step in self.steps if step.step == kind)
