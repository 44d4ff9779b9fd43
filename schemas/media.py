"""Media as nouns: what a playlist lists, what we hold of it, what a probe finds in it."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from schemas.base import Value
from schemas.times import TimeRange


class ByteRange(Value):
    """A sub-range of a resource: RFC 8216 4.3.2.2."""

    offset: int = Field(ge=0)
    length: int = Field(gt=0)


def implied_iv(sequence: int) -> str:
    """The IV of a segment whose key writes none: its media sequence number, 128 bits big-endian."""
    return f"{sequence:032x}"


class SegmentKey(Value):
    """How a segment is encrypted: EXT-X-KEY, RFC 8216 4.3.2.4; `iv_hex` is None where implied."""

    method: Literal["AES-128", "SAMPLE-AES", "SAMPLE-AES-CTR", "OTHER"]
    uri: str
    iv_hex: str | None = None
    key_format: str = "identity"


class InitSection(Value):
    """An EXT-X-MAP: the initialisation section that the segments after it need."""

    uri: str
    byte_range: ByteRange | None = None
    key: SegmentKey | None = None


class Segment(Value):
    """One entry of a media playlist. URIs are absolute.

    `span_us` is where the playlist places it: from its own PDT, else from the nearest PDT of the
    same region plus EXTINFs, else estimated (see `Region.clock`). Good for choosing segments; never
    for choosing frames.
    """

    sequence: int = Field(ge=0)
    discontinuity_sequence: int = Field(ge=0)
    uri: str
    duration_us: int = Field(ge=0)
    start_us: int
    pdt_us: int | None = None
    byte_range: ByteRange | None = None
    init: InitSection | None = None
    key: SegmentKey | None = None
    gap: bool = False

    @property
    def end_us(self) -> int:
        """Where the playlist says it ends, epoch microseconds."""
        return self.start_us + self.duration_us


class PtsClock(Value):
    """What a manifest itself states of a region's PTS: the wall clock at which PTS 0 would lie.

    The region is shown from `start_us` to `end_us`, whatever its segments hold beside that. Each
    track has its own: sound may count its PTS from elsewhere than the pictures.
    """

    discontinuity_sequence: int
    zero_us: Fraction
    start_us: int
    end_us: int | None = None


class Region(Value):
    """A run of segments between discontinuities: one PTS timeline.

    `clock` is `pdt` where a PDT inside the region anchors it, or the manifest states the wall clock
    of its PTS (`pts_clock`); else `estimated`.
    """

    discontinuity_sequence: int
    clock: Literal["pdt", "estimated"]
    segments: tuple[Segment, ...]
    pts_clock: PtsClock | None = None


class MediaPlaylist(Value):
    """A media playlist, placed on the wall clock.

    `timed`: its segments are known again by their time, not by their numbers. `slack_us` is how
    far they may really lie beside their place.
    """

    uri: str
    regions: tuple[Region, ...]
    target_duration_us: int
    part_target_us: int | None = None
    ended: bool
    media_sequence: int
    independent_segments: bool = False
    timed: bool = False
    slack_us: int = 0

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Every segment in playlist order."""
        return tuple(segment for region in self.regions for segment in region.segments)

    @property
    def held(self) -> TimeRange | None:
        """The DVR window: first start to last end, epoch milliseconds; None when empty."""
        listed = self.segments
        if not listed:
            return None
        start, end = listed[0].start_us // 1000, -(-listed[-1].end_us // 1000)
        return TimeRange(start_ms=start, end_ms=end) if end > start else None


class AudioRendition(Value):
    """An EXT-X-MEDIA TYPE=AUDIO entry; `uri` is None where it is muxed into the variant."""

    group_id: str
    name: str
    language: str | None = None
    default: bool = False
    autoselect: bool = False
    channels: str | None = None
    characteristics: str | None = None
    uri: str | None = None


class SubtitleRendition(Value):
    """An EXT-X-MEDIA TYPE=SUBTITLES entry."""

    group_id: str
    name: str
    language: str | None = None
    default: bool = False
    forced: bool = False
    characteristics: str | None = None
    uri: str


class Variant(Value):
    """An EXT-X-STREAM-INF entry of a multivariant playlist."""

    uri: str
    bandwidth_bps: int
    average_bandwidth_bps: int | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: Fraction | None = None
    codecs: str | None = None
    audio_group: str | None = None
    subtitle_group: str | None = None


class MultivariantPlaylist(Value):
    """A multivariant playlist: variants and the renditions they refer to.

    `variables` are its EXT-X-DEFINE values, which its media playlists may import.
    """

    uri: str
    variants: tuple[Variant, ...]
    audio: tuple[AudioRendition, ...] = ()
    subtitles: tuple[SubtitleRendition, ...] = ()
    independent_segments: bool = False
    variables: dict[str, str] = {}


class HeldSegment(Value):
    """A segment as it lies in the workspace, decrypted; names are ours and relative.

    `pdt_us` is the playlist's own EXT-X-PROGRAM-DATE-TIME for this segment, or None.
    `start_us` is the playlist's placement (see Segment). A gap has `name` None and keeps its time.
    """

    name: str | None
    init_name: str | None = None
    sequence: int
    discontinuity_sequence: int
    duration_us: int
    start_us: int
    pdt_us: int | None = None
    size: int = 0

    @property
    def gap(self) -> bool:
        """Whether nothing is held for this stretch of time."""
        return self.name is None


class HeldTrack(Value):
    """What was fetched of one playlist: the variant (`main`) or one audio rendition.

    `anchors` are segments outside the range fetched only for their PDT and first PTS, where the
    range's own segments carry no PDT. `clock` is the worst among its regions; `pts_clocks` are
    those the manifest states. `end_doubt_us` is how much earlier the media may end than it is
    listed, where nothing follows.
    """

    role: Literal["main", "audio"]
    name: str = ""
    language: str | None = None
    default: bool = False
    clock: Literal["pdt", "estimated"] = "pdt"
    segments: tuple[HeldSegment, ...]
    anchors: tuple[HeldSegment, ...] = ()
    pts_clocks: tuple[PtsClock, ...] = ()
    end_doubt_us: int = 0

    def pts_clock(self, discontinuity_sequence: int) -> PtsClock | None:
        """What is stated of a region's PTS, if anything is."""
        wanted = (c for c in self.pts_clocks if c.discontinuity_sequence == discontinuity_sequence)
        return next(wanted, None)


class Mastering(Value):
    """What the display could show that HDR pictures were made on (SMPTE ST 2086).

    Red, green, blue and white by their x and y; then the least and the most light, in cd/m2.
    """

    colours: tuple[Fraction, ...] = Field(min_length=8, max_length=8)
    least_nits: Fraction
    most_nits: Fraction


class StreamInfo(Value):
    """One stream of a file as a jailed probe found it; unknown values are None.

    Where `mirrored` its picture is shown upside down, and turned after that. `light_levels` are
    the most light of a pixel and of a frame's average (CTA-861.3), in cd/m2. A turn that is no
    quarter is `tilted_deg`: players show such a picture as if it were not turned, and so do we.
    """

    index: int
    kind: Literal["video", "audio", "subtitle", "data"]
    codec: str
    codec_tag: str | None = None
    profile: str | None = None
    bitrate_bps: int | None = None
    timebase: Fraction | None = None
    start_ticks: int | None = None
    duration_ticks: int | None = None
    language: str | None = None
    default: bool = False
    width: int | None = None
    height: int | None = None
    sample_aspect: Fraction | None = None
    pixel_format: str | None = None
    frame_rate: Fraction | None = None
    frames: int | None = None
    field_order: str | None = None
    rotation_deg: int = 0
    tilted_deg: int = 0
    mirrored: bool = False
    color_primaries: str | None = None
    color_transfer: str | None = None
    color_space: str | None = None
    color_range: str | None = None
    mastering: Mastering | None = None
    light_levels: tuple[int, int] | None = None
    sample_rate_hz: int | None = None
    channels: int | None = None
    channel_layout: str | None = None


class MediaInfo(Value):
    """What a file holds, as a jailed probe found it; `lacking_bytes` it declares and has not."""

    container: str
    size: int
    lacking_bytes: int = 0
    chapters: int = 0
    duration_ms: int | None
    start_ms: int | None = None
    bitrate_bps: int | None = None
    start_timecode: str | None = None
    streams: tuple[StreamInfo, ...]
    tags: dict[str, str] = {}
