"""A cut as data: what is asked of held segments, the plan for it, and what came out.

The request and the report are fixed; the plan between them belongs to `pipelines/spans.py` and
`media/cut`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from schemas.base import Value, WireValue
from schemas.media import HeldTrack
from schemas.times import TimeRange

Mode = Literal["exact", "copy", "encode"]
GapPolicy = Literal["fail", "skip", "black", "hold"]
FuturePolicy = Literal["wait", "reject"]
Clock = Literal["pdt", "estimated"]


class CutRequest(Value):
    """What to cut from what is held in the workspace, into one MP4 named `output`.

    `span_us` is what is wanted to the microsecond, where milliseconds would miss frames.
    """

    wanted: TimeRange
    span_us: tuple[int, int] | None = None
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    tracks: tuple[HeldTrack, ...]
    output: str
    tags: dict[str, str] = {}


class DeliveredTrack(WireValue):
    """One track of the delivered file."""

    kind: Literal["video", "audio"]
    codec: str
    language: str | None = None
    name: str = ""
    frames: int
    av_offset_ms: float = 0.0
    copied: bool


class Gap(WireValue):
    """A stretch of the wanted range for which there is no media, and what was done about it."""

    start_ms: int
    end_ms: int
    reason: str = "absent"
    treatment: GapPolicy


class DeliveredPart(WireValue):
    """One range of a joined cut: its place in the file in frames, and its own wall clock.

    A file without pictures counts frames of sound.
    """

    channel_id: str = ""
    start_ms: int
    end_ms: int
    first_frame: int
    frames: int


class CutReport(Value):
    """What a cut really made: stands next to what was asked.

    `start_ms`/`end_ms` are the wall-clock bounds of the delivered frames (end of the last frame).
    `first_pts`/`last_pts` are source PTS in `timebase` ticks. `mode` is the mode really carried
    out (`encode` where an exact copy could not be made, with the reason in `notes`).
    """

    start_ms: int
    end_ms: int
    first_pts: int
    last_pts: int
    timebase: Fraction
    frames: int
    duration_ms: int
    mode: Mode
    clock: Clock
    reencoded_ms: int
    copied_frames: int
    encoded_frames: int
    av_offset_ms: float
    coverage: float
    gaps: tuple[Gap, ...] = ()
    tracks: tuple[DeliveredTrack, ...] = ()
    start_timecode: str | None = None
    notes: tuple[str, ...] = ()
    frame_rate: Fraction | None = None
    parts: tuple[DeliveredPart, ...] = ()


# --- what is held, as the index finds it


class PictureFacts(Value):
    """What the pictures of a run have in common; `sets` are its parameter sets in hex.

    `frame_ticks` is the usual distance between frames; `regular` says that all keep it.
    `uncopyable` says why edges cannot be re-encoded to match, where they cannot.
    """

    codec: str
    timebase: Fraction
    width: int
    height: int
    frame_ticks: int
    regular: bool = True
    interlaced: bool = False
    bottom_field_first: bool = False
    aspect: Fraction | None = None
    geometry: str = ""
    sets: tuple[str, ...] = ()
    uncopyable: str | None = None


class IndexedSegment(Value):
    """A held segment's pictures in decode order; `keys` are places to start, `idrs` among them.

    `number` counts in the track's `segments`. `continues` says that its first bytes end the last
    picture of the segment before.
    """

    number: int
    name: str
    init_name: str | None = None
    pts: tuple[int, ...] = ()
    keys: tuple[int, ...] = ()
    idrs: tuple[int, ...] = ()
    continues: bool = False


class SoundSpan(Value):
    """Coded sound frames that follow each other without a hole, from `segment` of the run on."""

    segment: int
    first_pts: int
    frames: int


class IndexedSound(Value):
    """One stream of sound in a run; `entry` is its MP4 sample entry in hex."""

    stream_id: int
    codec: str
    timebase: Fraction
    sample_rate_hz: int
    frame_samples: int
    channels: int
    language: str | None = None
    entry: str
    spans: tuple[SoundSpan, ...]


class Run(Value):
    """Held segments in a row on one PTS timeline with nothing missing between them.

    `damaged` says what is wrong with its end, where it ends too early; pictures from `torso_pts`
    on cannot be shown, because the last one is not whole.
    """

    track: int
    discontinuity_sequence: int
    segments: tuple[IndexedSegment, ...]
    pictures: PictureFacts | None = None
    sounds: tuple[IndexedSound, ...] = ()
    damaged: str | None = None
    torso_pts: int | None = None


class Anchor(Value):
    """A PTS, in ticks of `timebase`, and its wall clock. `held` counts the segment, if it is one.

    `stated` is False where the playlist gives no PDT and `wall_us` only estimates. It is a fraction
    where the manifest states the clock of the PTS itself.
    """

    track: int
    discontinuity_sequence: int
    pts: int
    timebase: Fraction
    wall_us: int | Fraction
    start_us: int
    held: int | None = None
    stated: bool = True


class MediaIndex(Value):
    """Facts about all that is held: enough to plan a cut without looking at the media again."""

    runs: tuple[Run, ...]
    anchors: tuple[Anchor, ...]
    start_timecode: str | None = None


# --- what will be done


class PacketAt(Value):
    """A picture by its place: the segment in its run, and the packet in the segment."""

    segment: int
    packet: int


class CopiedSpan(Value):
    """Pictures copied in decode order from `first` up to, without, `stop`.

    Those with a PTS below `floor_pts` are left out (leading pictures of an open GOP). A source
    PTS becomes `pts + offset_ticks` in the output. `to_idr`: the first must be made an IDR.
    """

    kind: Literal["copy"] = "copy"
    run: int
    first: PacketAt
    stop: PacketAt
    floor_pts: int
    frames: int
    offset_ticks: int
    to_idr: bool = False


class EncodedSpan(Value):
    """Pictures re-encoded: decode from `first` to before `stop`, keep `[from_pts, to_pts)`."""

    kind: Literal["encode"] = "encode"
    run: int
    first: PacketAt
    stop: PacketAt
    from_pts: int
    to_pts: int
    frames: int
    offset_ticks: int


class FilledSpan(Value):
    """Pictures made for a gap: black, or the frame before (after, at the start) held still.

    `like` is the run whose geometry they take; `still` names the frame to hold.
    """

    kind: Literal["fill"] = "fill"
    like: int
    treatment: Literal["black", "hold"]
    first_ticks: int
    frame_ticks: int
    frames: int
    still: EncodedSpan | None = None


PictureSpan = CopiedSpan | EncodedSpan | FilledSpan


class CopiedSound(Value):
    """Sound frames copied; the first is placed `at_sample`, counted from the clip's start."""

    kind: Literal["copy"] = "copy"
    run: int
    stream_id: int
    segment: int
    first_pts: int
    frames: int
    at_sample: int


class Silence(Value):
    """Frames of silence, coded like their neighbours."""

    kind: Literal["silence"] = "silence"
    frames: int
    at_sample: int


class Recoding(Value):
    """Sound that is decoded and encoded again, as AAC: the encoder's first frame only warms up."""

    codec: Literal["aac"] = "aac"
    sample_rate_hz: int
    channels: int
    bitrate_bps: int
    frame_samples: int = 1024
    at_sample: int = -1024
    frames: int


class SoundTrack(Value):
    """One sound track of the output, and where each of its pieces comes from.

    Codec, rate and entry are the source's; `recoding` says what they become, where they change.
    """

    track: int
    stream_id: int
    codec: str
    sample_rate_hz: int
    frame_samples: int
    channels: int
    entry: str
    language: str | None = None
    name: str = ""
    default: bool = False
    pieces: tuple[CopiedSound | Silence, ...]
    recoding: Recoding | None = None

    @property
    def written_frames(self) -> int:
        """How many frames the output has of it."""
        if self.recoding is not None:
            return self.recoding.frames
        return sum(piece.frames for piece in self.pieces)


class RunFile(Value):
    """A segment of a run as the executor opens it; `first_pts` is that of its first picture."""

    name: str
    init_name: str | None = None
    first_pts: int | None = None
    pictures: int = 0
    continues: bool = False


class RunFiles(Value):
    """Where a run's media lies."""

    track: int
    files: tuple[RunFile, ...]
    pictures: PictureFacts | None = None


class Mapping(Value):
    """How PTS of a run become wall clock from `from_pts` on: `wall_us` at `pts`, exactly."""

    run: int
    from_pts: int
    pts: int
    timebase: Fraction
    wall_us: Fraction


class CutPlan(Value):
    """What will be copied and what re-encoded, in output order.

    `timescale` counts the output's picture ticks a second; `end_ticks` is where the last frame
    ends. `reason` says why the whole is re-encoded, where it is. Where several ranges are joined,
    `parts` tells them apart and `wanted` is as long as all of them, from where the first begins.
    """

    output: str
    wanted: TimeRange
    mode: Mode
    asked: Mode
    clock: Clock
    runs: tuple[RunFiles, ...]
    mappings: tuple[Mapping, ...]
    timescale: int
    pictures: tuple[PictureSpan, ...]
    sounds: tuple[SoundTrack, ...]
    end_ticks: int
    start_us: Fraction
    end_us: Fraction
    first_pts: int
    last_pts: int
    timebase: Fraction
    frames: int
    copied_frames: int
    gaps: tuple[Gap, ...] = ()
    start_timecode: str | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    frame_rate: Fraction | None = None
    parts: tuple[DeliveredPart, ...] = ()
