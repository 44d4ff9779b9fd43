"""Renditions as nouns: what was measured of a source, what was made of it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from pydantic import Field, field_serializer

from schemas.base import Value, WireValue
from schemas.profiles import Packaging, Profile
from schemas.results import DeliveredFile

MAX_KEYFRAMES = 200_000


class TrackPace(Value):
    """When the packets of one stream are shown, in microseconds of the file's own clock.

    `step_us` is the usual distance of two frames, `variable` whether others occur that rounding
    does not explain, `open_gop` whether pictures lean on the GOP before their own. `keyframes_us`
    is None where there were too many to list. `hidden` packets more are there and never shown.
    """

    index: int
    packets: int
    hidden: int = 0
    first_us: int
    end_us: int
    bytes: int
    step_us: int = 0
    variable: bool = False
    open_gop: bool = False
    keyframes_us: tuple[int, ...] | None = None

    @property
    def length_us(self) -> int:
        """From the first packet's start to the last one's end."""
        return self.end_us - self.first_us

    @property
    def bitrate_bps(self) -> int:
        """What the stream takes on average."""
        return self.bytes * 8 * 1_000_000 // max(1, self.length_us)


class Pace(Value):
    """Every timed stream of a file, measured by reading all of its packets."""

    tracks: tuple[TrackPace, ...]

    def of(self, index: int) -> TrackPace | None:
        """The pace of one stream."""
        return next((track for track in self.tracks if track.index == index), None)


class Loudness(Value):
    """What the first pass of EBU R128 measured; None where there is only silence."""

    integrated_lufs: float = Field(ge=-99, le=20)
    range_lu: float = Field(ge=0, le=99)
    true_peak_dbtp: float = Field(ge=-99, le=40)
    threshold_lufs: float = Field(ge=-120, le=20)
    offset_lu: float = Field(ge=-99, le=99)


class MadeVideo(WireValue):
    """The picture of a rendition as it was read back; `copied` where the source already met it."""

    codec: str
    width: int
    height: int
    frame_rate: Fraction | None = None
    bitrate: int | None = None
    copied: bool = False

    @field_serializer("frame_rate")
    def _as_text(self, rate: Fraction | None) -> str | None:
        return None if rate is None else f"{rate.numerator}/{rate.denominator}"


class MadeAudio(WireValue):
    """The sound of a rendition as it was read back."""

    codec: str
    channels: int
    sample_rate_hz: int | None = None
    language: str | None = None
    copied: bool = False


class MadeRendition(WireValue):
    """One recipe's outcome; `manifest` names the playlist it belongs to, by its key."""

    name: str
    packaging: Packaging | None = None
    video: MadeVideo | None = None
    audio: tuple[MadeAudio, ...] = ()
    duration_ms: int
    manifest: str | None = None
    file: DeliveredFile | None = None
    notes: tuple[str, ...] = ()


class RenditionResult(WireValue):
    """The result of a rendition job: what was asked, and every file as it lies there now."""

    requested: dict[str, Any]
    renditions: tuple[MadeRendition, ...]
    manifests: tuple[DeliveredFile, ...] = ()
    files: int
    bytes: int
    loudness: dict[str, float] | None = None
    sidecars: tuple[DeliveredFile, ...] = ()
    notes: tuple[str, ...] = ()


class Rendition(Value):
    """A recipe as its tenant keeps it; `version` counts changes, times are epoch milliseconds."""

    id: str
    tenant_id: str
    recipe: Profile
    version: int = 1
    created_ms: int
    updated_ms: int
