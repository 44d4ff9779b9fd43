"""What a probe does inside the jailed child: open one file with PyAV and say what it holds."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from pydantic import JsonValue

from media.declared import lacking_bytes
from media.probe import ProbeLimits, ProbeRequest
from media.sniff import HEAD_BYTES
from media.turning import is_mirrored, quarter_turn
from schemas.errors import CorruptMedia, TooLarge
from schemas.media import Mastering, MediaInfo, StreamInfo

_Flags = dict[str, object]
# As libav holds them: ten ratios and what of them is known; two levels.
_BRIGHTEST_NITS = 10_000
_MASTERING, _LEVELS = struct.Struct("=22i"), struct.Struct("=2I")
_KINDS = frozenset(("video", "audio", "subtitle", "data"))
_FIELD_ORDERS = {1: "progressive", 2: "tt", 3: "bb", 4: "tb", 5: "bt"}
_RANGES = {1: "tv", 2: "pc"}
_PRIMARIES = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film",
    9: "bt2020", 10: "smpte428", 11: "smpte431", 12: "smpte432", 22: "jedec-p22",
}  # fmt: skip
_TRANSFERS = {
    1: "bt709", 4: "gamma22", 5: "gamma28", 6: "smpte170m", 7: "smpte240m", 8: "linear",
    9: "log100", 10: "log316", 11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1",
    14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_SPACES = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco",
    9: "bt2020nc", 10: "bt2020c",
}  # fmt: skip
_TAG_CHARS, _TAGS = 500, 64
# No camera takes so many pictures a second, and no container counts in longer ticks.
_LEAST_CLOCK = 10_000
# Frames of sound one after the other, with nothing that says how many.
_BARE = frozenset(("aac", "ac3", "eac3"))
_TABLES = (b"Xing", b"Info", b"VBRI")
# Decoding one GOP at each end proves the edges; more of a damaged file is not worth the time.
_EDGE_PACKETS = 600
_END_SLACK_MS = 250
_TIME = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)")


def probe(argument: JsonValue, _report: Callable[[Mapping[str, JsonValue]], None]) -> MediaInfo:
    """What the file holds; raises CorruptMedia or TooLarge."""
    request = ProbeRequest.model_validate(argument)
    with _opened(request) as container:
        found = _info(request, container)
        _hold_against(found, request.limits)
        if request.edges and found.lacking_bytes:
            raise CorruptMedia(f"the file is cut off: {found.lacking_bytes} bytes are not there")
        rotation = _first_frames(container, strict=request.edges)
        if request.edges:
            _last_frames(request, container)
    streams = tuple(_turned(stream, rotation) for stream in found.streams)
    return found.model_copy(update={"streams": streams})


def _opened(request: ProbeRequest) -> InputContainer:
    options = {
        "protocol_whitelist": "file",
        "max_streams": str(request.limits.max_streams + 1),
        "max_pixels": str(request.limits.max_pixels),
    }
    try:
        return av.open(
            f"file:{request.path}",
            "r",
            format=request.demuxer,
            options=options,
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise CorruptMedia(
            f"not readable as {request.container}: {type(error).__name__}"
        ) from error


def _info(request: ProbeRequest, container: InputContainer) -> MediaInfo:
    whole_us = _length_us(container)
    streams = tuple(_stream(stream) for stream in container.streams)
    if not streams:
        raise CorruptMedia("no stream was found in it")
    tags = _tags(container.metadata)
    timecodes = (stream.metadata.get("timecode") for stream in container.streams)
    return MediaInfo(
        container=request.container,
        size=request.size,
        lacking_bytes=lacking_bytes(request.container, Path(request.path), request.size),
        chapters=len(container.chapters()),
        duration_ms=_milliseconds(whole_us),
        start_ms=_milliseconds(container.start_time),
        bitrate_bps=container.bit_rate or None,
        start_timecode=tags.get("timecode") or next((t for t in timecodes if t), None),
        streams=streams,
        tags=tags,
    )


def _length_us(container: Any) -> int | None:
    """How long it says it lasts. Matroska tells where it ends, on a clock that may begin late."""
    told: int | None = container.duration
    if told is None or container.format.name != "matroska":
        return told
    return max(0, told - max(0, container.start_time or 0))


def _stream(stream: Stream) -> StreamInfo:
    context: Any = stream.codec_context
    kind = stream.type if stream.type in _KINDS else "data"
    facts: dict[str, Any] = {}
    if context is not None and kind == "video":
        facts = _video_facts(stream, context)
    elif context is not None and kind == "audio":
        facts = _audio_facts(context)
    return StreamInfo(
        index=stream.index,
        kind=kind,
        codec="unknown" if context is None else context.codec.canonical_name,
        codec_tag=_tag(context),
        profile=None if context is None else stream.profile,
        timebase=stream.time_base,
        start_ticks=stream.start_time,
        duration_ticks=_declared_ticks(stream),
        language=None if stream.language in {None, "", "und"} else stream.language,
        default=bool(stream.disposition & Disposition.default),
        frames=stream.frames or None,
        bitrate_bps=getattr(context, "bit_rate", None) or None,
        **facts,
    )


def _declared_ticks(stream: Stream) -> int | None:
    """How long a stream says it lasts; a Matroska track says so in a tag, as where it ends."""
    if _is_guessed(stream.container):
        return None
    if stream.duration is not None or stream.time_base is None:
        return stream.duration
    tags = (value for key, value in stream.metadata.items() if key.startswith("DURATION"))
    told = _TIME.fullmatch(next(tags, ""))
    if told is None:
        return None
    hours, minutes, seconds = told.groups()
    ends_s = 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    return max(0, round(ends_s / stream.time_base) - max(0, stream.start_time or 0)) or None


def _is_guessed(container: Any) -> bool:
    """Whether its length is but its size over the rate it begins with."""
    if container.format.name != "mp3":
        return container.format.name in _BARE
    with Path(container.name.removeprefix("file:")).open("rb") as file:
        head = file.read(HEAD_BYTES)
    return not any(table in head for table in _TABLES)


def _video_facts(stream: Any, context: Any) -> dict[str, Any]:
    return {
        "width": context.width or None,
        "height": context.height or None,
        "sample_aspect": stream.sample_aspect_ratio or context.sample_aspect_ratio or None,
        "pixel_format": context.pix_fmt,
        "frame_rate": _rate(stream),
        "field_order": _FIELD_ORDERS.get(int(context.field_order)),
        "color_primaries": _PRIMARIES.get(int(context.color_primaries)),
        "color_transfer": _TRANSFERS.get(int(context.color_trc)),
        "color_space": _SPACES.get(int(context.colorspace)),
        "color_range": _RANGES.get(int(context.color_range)),
    }


def _rate(stream: Any) -> Fraction | None:
    """Frames a second. Where they come irregularly libav may guess at the ticks of its clock."""
    if _is_cover(stream):
        return None
    rates = (stream.guessed_rate, stream.average_rate)
    return next((rate for rate in rates if rate and rate < _LEAST_CLOCK), None)


def _audio_facts(context: Any) -> dict[str, Any]:
    return {
        "sample_rate_hz": context.sample_rate or None,
        "channels": context.channels or None,
        "channel_layout": context.layout.name if context.channels else None,
    }


def _hold_against(found: MediaInfo, limits: ProbeLimits) -> None:
    if len(found.streams) > limits.max_streams:
        raise TooLarge(f"it has more than {limits.max_streams} streams")
    if (found.duration_ms or 0) > limits.max_duration_ms:
        raise TooLarge(f"it lasts {found.duration_ms} ms, more than {limits.max_duration_ms}")
    for stream in found.streams:
        _hold_stream_against(stream, limits)


def _hold_stream_against(stream: StreamInfo, limits: ProbeLimits) -> None:
    pixels = (stream.width or 0) * (stream.height or 0)
    if pixels > limits.max_pixels:
        raise TooLarge(f"a picture of {stream.width}x{stream.height} is over the ceiling")
    if stream.frame_rate is not None and stream.frame_rate > limits.max_frame_rate:
        raise TooLarge(f"{float(stream.frame_rate):.0f} frames a second are over the ceiling")


def _first_frames(container: InputContainer, *, strict: bool) -> dict[int, _Flags]:
    """How to show each stream, from its first picture; where strict, each stream must decode."""
    wanted = {s.index: s for s in container.streams if s.type == "video" or _is_strict(s, strict)}
    flags: dict[int, _Flags] = {}
    missing = {index for index, stream in wanted.items() if stream.codec_context is not None}
    for number, packet in enumerate(container.demux(*wanted.values())):
        if not missing or number > _EDGE_PACKETS:
            break
        for frame in (
            _decoded(packet, "start", strict=strict) if packet.stream_index in missing else ()
        ):
            missing.discard(packet.stream_index)
            flags[packet.stream_index] = _flags(frame)
    if missing and strict:
        raise CorruptMedia(f"stream {min(missing)} holds no frame that decodes")
    return flags


def _flags(frame: Any) -> _Flags:
    if not isinstance(frame, av.VideoFrame):
        return {}
    turned = int(frame.rotation)
    tilted = quarter_turn(turned) == 0 and min(turned % 360, -turned % 360) > 1
    found = {
        "rotation_deg": quarter_turn(turned),
        "tilted_deg": turned % 360 if tilted else 0,
        "mirrored": not tilted and is_mirrored(frame),
        "mastering": _mastering(frame.side_data.get("MASTERING_DISPLAY_METADATA")),
        "light_levels": _light_levels(frame.side_data.get("CONTENT_LIGHT_LEVEL")),
    }
    return {key: value for key, value in found.items() if value}


def _mastering(side: Any) -> Mastering | None:
    data = b"" if side is None else bytes(side)
    if len(data) < _MASTERING.size:
        return None
    *parts, has_colours, has_light = _MASTERING.unpack_from(data)
    if not has_colours or not has_light or not all(parts[1::2]):
        return None
    values = [Fraction(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
    colours, (least, most) = values[:8], values[8:]
    if not all(0 <= part <= 1 for part in colours) or not 0 <= least < most <= _BRIGHTEST_NITS:
        return None
    return Mastering(colours=tuple(colours), least_nits=least, most_nits=most)


def _light_levels(side: Any) -> tuple[int, int] | None:
    data = b"" if side is None else bytes(side)
    if len(data) < _LEVELS.size:
        return None
    pixel, frame = _LEVELS.unpack_from(data)
    return (pixel, frame) if max(pixel, frame) <= _BRIGHTEST_NITS else None


def _is_strict(stream: Stream, strict: bool) -> bool:
    return strict and stream.type == "audio"


def _last_frames(request: ProbeRequest, container: InputContainer) -> None:
    for stream in container.streams.video:
        if _is_cover(stream):
            continue
        end = (stream.start_time or 0) + (_declared_ticks(stream) or _whole_ticks(stream))
        container.seek(end, stream=stream, backward=True)
        reached = _decoded_up_to(container, stream)
        if reached is None:
            # A transport stream is entered anywhere, also past its last keyframe: read it all.
            with _opened(request) as again:
                reached = _decoded_up_to(again, again.streams[stream.index])
        _hold_end_against(stream, end, reached)


def _whole_ticks(stream: Stream) -> int:
    """How long its file lasts: near its own end, where it does not tell it."""
    whole_us = _length_us(stream.container)
    return round(whole_us / stream.time_base / 1_000_000) if whole_us and stream.time_base else 0


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & Disposition.attached_pic)


def _hold_end_against(stream: Stream, end: int, reached: int | None) -> None:
    if reached is None or stream.time_base is None:
        raise CorruptMedia("the video holds no frame that decodes at its end")
    lacking_ms = round((end - reached) * stream.time_base * 1000)
    if _declared_ticks(stream) and lacking_ms > _END_SLACK_MS:
        raise CorruptMedia(f"the video ends {lacking_ms} ms before the end it declares")


def _decoded_up_to(container: InputContainer, stream: Any) -> int | None:
    """Where the last frame that decodes ends, in ticks; errors count once one has decoded."""
    reached: int | None = None
    for packet in container.demux(stream):
        for frame in _decoded(packet, "end", strict=reached is not None):
            ended = (frame.pts or 0) + (frame.duration or 0)
            reached = ended if reached is None else max(reached, ended)
    return reached


def _decoded(packet: Any, where: str, *, strict: bool) -> list[Any]:
    try:
        return list(packet.decode())
    except av.FFmpegError as error:
        if strict:
            raise CorruptMedia(f"the media does not decode at its {where}") from error
    return []


def _turned(stream: StreamInfo, flags: Mapping[int, _Flags]) -> StreamInfo:
    return stream.model_copy(update=flags.get(stream.index, {}))


def _tag(context: Any) -> str | None:
    tag = str(getattr(context, "codec_tag", "") or "").strip("\x00 ")
    return tag if tag.isprintable() and tag else None


def _tags(metadata: Mapping[str, str]) -> dict[str, str]:
    kept = list(metadata.items())[:_TAGS]
    return {key[:64]: value[:_TAG_CHARS] for key, value in kept}


def _milliseconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else round(Fraction(microseconds, 1000))
