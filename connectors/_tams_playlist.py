"""Flows of a TAMS store as HLS playlists, the one language streams are read in above connectors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from connectors._tams_time import Timescale, parse_span, parse_stamp, wall_ns
from schemas.errors import CorruptMedia, UnsupportedMedia

# Timestamps in nanoseconds of frames that last 1001/30000 s are rounded.
SAME_NS = 1_000_000
MAX_URL_CHARS = 8192
_PLAIN = re.compile(r'["\x00-\x1f\x7f\ud800-\udfff]')
_CODECS = {"video/h264": "avc1", "video/h265": "hvc1", "video/hevc": "hvc1", "audio/aac": "mp4a"}


class Got(BaseModel):
    """A part of an answer: what is not named here is not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class GetUrl(Got):
    """Where an object can be had."""

    url: str = Field(max_length=MAX_URL_CHARS)
    presigned: bool | None = None


class InitObject(Got):
    """The initialisation section of an object."""

    object_id: str
    get_urls: tuple[GetUrl, ...] = ()


class FlowSegment(Got):
    """One segment of a flow: a stretch of its timeline, and the object that holds it."""

    object_id: str
    timerange: str
    ts_offset: str = "0:0"
    object_timerange: str | None = None
    sample_offset: int = 0
    sample_count: int | None = None
    get_urls: tuple[GetUrl, ...] = ()
    init_object: InitObject | None = None


class Member(Got):
    """A flow that another one collects."""

    id: str
    role: str | None = None


class Flow(Got):
    """One encoding of a source."""

    id: str
    source_id: str | None = None
    label: str | None = None
    format: str = ""
    codec: str | None = None
    container: str | None = None
    avg_bit_rate: int | None = None
    max_bit_rate: int | None = None
    generation: int = 0
    essence_parameters: dict[str, Any] = {}
    flow_collection: tuple[Member, ...] = ()
    tags: dict[str, Any] = {}
    timerange: str | None = None

    @property
    def kind(self) -> str:
        """`video`, `audio`, `multi`, `data` or `image`."""
        return self.format.rpartition(":")[2]

    @property
    def status(self) -> str | None:
        """What the ingest says of itself, where it does."""
        said = self.tags.get("flow_status")
        return said if isinstance(said, str) else None

    @property
    def populated(self) -> bool:
        """Whether it has segments of its own."""
        return self.timerange not in {None, "", "()"}


class Placed(Got):
    """A segment on the wall clock; `zero_ns` is where PTS 0 of its object would lie.

    `head` and `tail` say that the object holds more before and after what belongs to the flow;
    `sure` that the store's offset fits what it says of the object.
    """

    start_ns: int
    end_ns: int
    url: str
    offset_ns: int
    zero_ns: int = 0
    init_url: str | None = None
    head: bool = False
    tail: bool = False
    sure: bool = False


def placed(segment: FlowSegment, flow: Flow, scale: Timescale) -> Placed | None:
    """Where a segment lies and where its object is; None where it lasts no time."""
    span, offset = parse_span(segment.timerange), parse_stamp(segment.ts_offset)
    if span.start_ns is None or span.end_ns is None:
        raise CorruptMedia(f"a segment's timerange is open: {segment.timerange[:60]!r}")
    if span.end_ns <= span.start_ns:
        return None
    start = wall_ns(span.start_ns, scale)
    if start < 0:
        raise UnsupportedMedia("the flow's timeline begins before 1970, where no clip can be")
    head, tail = _beyond(segment, span.start_ns, span.end_ns, offset)
    return Placed(
        start_ns=start,
        end_ns=start + span.end_ns - span.start_ns,
        url=_address(segment.get_urls, segment.object_id),
        offset_ns=offset,
        zero_ns=start - span.start_ns + offset,
        init_url=_init_address(segment.init_object),
        head=head,
        tail=tail,
        sure=segment.object_timerange is not None or offset != 0,
    )


def _beyond(segment: FlowSegment, start_ns: int, end_ns: int, offset_ns: int) -> tuple[bool, bool]:
    """Whether the object holds more before what the segment takes of it, and after it."""
    if segment.object_timerange is None:
        return segment.sample_offset > 0, segment.sample_count is not None
    held = parse_span(segment.object_timerange)
    if held.start_ns is None or held.end_ns is None:
        raise CorruptMedia("an object's timerange is open")
    first, last = held.start_ns + offset_ns, held.end_ns + offset_ns
    return first < start_ns - SAME_NS, last > end_ns + SAME_NS


def _ratio(rate: object) -> tuple[int, int]:
    if not isinstance(rate, dict):
        return 0, 1
    over, under = rate.get("numerator"), rate.get("denominator", 1)
    if isinstance(over, int) and isinstance(under, int) and over > 0 and under > 0:
        return over, under
    return 0, 1


def _address(urls: Sequence[GetUrl], object_id: str) -> str:
    """The first address that can be fetched: the store's own order is its preference."""
    for found in urls:
        if re.fullmatch(r"https?://[\x21\x23-\x7e]+", found.url, re.ASCII | re.IGNORECASE):
            return found.url
    raise CorruptMedia(f"the store says not where object {object_id[:80]!r} can be had")


def _init_address(init: InitObject | None) -> str | None:
    return None if init is None else _address(init.get_urls, init.object_id)


def media_playlist(
    segments: Sequence[Placed],
    *,
    ended: bool,
    gap: tuple[int, int] | None = None,
    stated: bool = False,
) -> str:
    """The segments of a flow as a media playlist; it begins with a gap where one is named.

    `stated`: the clock of its PTS is told, since what is shown beside it may count from elsewhere.
    """
    longest = max((s.end_ns - s.start_ns for s in segments), default=10**9)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{-(-longest // 10**9)}"]
    lines.append("#EXT-X-MEDIA-SEQUENCE:0")
    if gap is not None:
        lines += _gap(*gap)
    init: str | None = None
    for number, region in enumerate(_regions(segments)):
        lines += ["#EXT-X-DISCONTINUITY"] if number else []
        lines += _clock(region, stated=stated)
        for segment in region:
            lines += _entry(segment, init)
            init = segment.init_url
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


def _regions(segments: Sequence[Placed]) -> Iterator[list[Placed]]:
    """Runs of segments whose media's own timestamps go on from one to the next."""
    region: list[Placed] = []
    for segment in segments:
        if region and _is_break(region[-1], segment):
            yield region
            region = []
        region.append(segment)
    if region:
        yield region


def _is_break(before: Placed, segment: Placed) -> bool:
    return before.offset_ns != segment.offset_ns or before.tail or segment.head


def _clock(region: Sequence[Placed], *, stated: bool) -> list[str]:
    """Our own tag, where it is needed: whoever does not know it shows all of the objects."""
    first, last = region[0], region[-1]
    if not (first.head or last.tail or (stated and first.sure)):
        return []
    named = {"PTS-ZERO": first.zero_ns, "START": first.start_ns}
    named |= {"END": last.end_ns} if last.tail else {}
    said = ",".join(f"{name}={_exact(ns)}" for name, ns in named.items())
    return [f"#EXT-X-CUTTINGROOM-SHOWN:{said}"]


def _exact(ns: int) -> str:
    return f"{'-' if ns < 0 else ''}{abs(ns) // 10**9}.{abs(ns) % 10**9:09d}"


def _gap(start_ns: int, end_ns: int) -> list[str]:
    return [
        "#EXT-X-GAP",
        f"#EXT-X-PROGRAM-DATE-TIME:{_date(start_ns)}",
        f"#EXTINF:{_seconds(end_ns - start_ns)},",
        "http://gap.invalid/",
        "#EXT-X-DISCONTINUITY",
    ]


def _entry(segment: Placed, init: str | None) -> Iterator[str]:
    if segment.init_url and segment.init_url != init:
        yield f'#EXT-X-MAP:URI="{segment.init_url}"'
    yield f"#EXT-X-PROGRAM-DATE-TIME:{_date(segment.start_ns)}"
    yield f"#EXTINF:{_seconds(segment.end_ns - segment.start_ns)},"
    yield segment.url


def _date(ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=(ns + 500) // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def _seconds(ns: int) -> str:
    us = (ns + 500) // 1000
    return f"{us // 10**6}.{us % 10**6:06d}"


def multivariant(
    pictures: Iterable[tuple[Flow, str]], sounds: Sequence[tuple[Flow, str, str]]
) -> str:
    """Video flows as variants and audio flows as renditions, each with its playlist's address."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for number, (flow, name, url) in enumerate(sounds):
        lines.append(_sound(flow, name, url, default=number == 0))
    for flow, url in pictures:
        lines += [f"#EXT-X-STREAM-INF:{_stream(flow, with_sound=bool(sounds))}", url]
    return "\n".join([*lines, ""])


def _sound(flow: Flow, name: str, url: str, *, default: bool) -> str:
    said = {"TYPE": "AUDIO", "GROUP-ID": '"sound"', "NAME": f'"{plain(name)}"'}
    language = flow.tags.get("language")
    if isinstance(language, str) and re.fullmatch(r"[A-Za-z0-9-]{1,35}", language):
        said["LANGUAGE"] = f'"{language}"'
    said |= {"DEFAULT": "YES" if default else "NO", "AUTOSELECT": "YES", "URI": f'"{url}"'}
    return "#EXT-X-MEDIA:" + ",".join(f"{key}={value}" for key, value in said.items())


def _stream(flow: Flow, *, with_sound: bool) -> str:
    said = [f"BANDWIDTH={bitrate_bps(flow)}"]
    shown = flow.essence_parameters
    width, height = shown.get("frame_width"), shown.get("frame_height")
    if isinstance(width, int) and isinstance(height, int) and 0 < width < 10**5 > height > 0:
        said.append(f"RESOLUTION={width}x{height}")
    over, under = _ratio(shown.get("frame_rate"))
    if 0 < over < 1000 * under:
        said.append(f"FRAME-RATE={over / under:.6f}")
    if flow.codec in _CODECS:
        said.append(f'CODECS="{_CODECS[flow.codec]}"')
    return ",".join([*said, *(['AUDIO="sound"'] if with_sound else [])])


def bitrate_bps(flow: Flow) -> int:
    """About how many bits a second of it has; the store counts thousands."""
    kbps = flow.max_bit_rate or flow.avg_bit_rate or 0
    return min(max(kbps, 0), 10**9) * 1000


def plain(text: str) -> str:
    """A name as it can stand between quotes in a playlist."""
    return _PLAIN.sub(" ", text)[:200].strip() or "unnamed"
