"""What a probe does inside the jailed child: open one file with PyAV and say what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from pydantic import JsonValue

from media.probe import ProbeLimits, ProbeRequest
from schemas.errors import CorruptMedia, TooLarge
from schemas.media import MediaInfo, StreamInfo

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
# Decoding one GOP at each end proves the edges; more of a damaged file is not worth the time.
_EDGE_PACKETS = 600
_END_SLACK_MS = 250


def probe(argument: JsonValue, _report: Callable[[Mapping[str, JsonValue]], None]) -> MediaInfo:
    """What the file holds; raises CorruptMedia or TooLarge."""
    request = ProbeRequest.model_validate(argument)
    with _opened(request) as container:
        found = _info(request, container)
        _hold_against(found, request.limits)
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
    streams = tuple(_stream(stream) for stream in container.streams)
    if not streams:
        raise CorruptMedia("no stream was found in it")
    tags = _tags(container.metadata)
    timecodes = (stream.metadata.get("timecode") for stream in container.streams)
    return MediaInfo(
        container=request.container,
        size=request.size,
        duration_ms=_milliseconds(container.duration),
        start_ms=_milliseconds(container.start_time),
        bitrate_bps=container.bit_rate or None,
        start_timecode=tags.get("timecode") or next((t for t in timecodes if t), None),
        streams=streams,
        tags=tags,
    )


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
        duration_ticks=stream.duration,
        language=None if stream.language in {None, "", "und"} else stream.language,
        default=bool(stream.disposition & Disposition.default),
        frames=stream.frames or None,
        bitrate_bps=getattr(context, "bit_rate", None) or None,
        **facts,
    )


def _video_facts(stream: Any, context: Any) -> dict[str, Any]:
    return {
        "width": context.width or None,
        "height": context.height or None,
        "sample_aspect": stream.sample_aspect_ratio or context.sample_aspect_ratio or None,
        "pixel_format": context.pix_fmt,
        "frame_rate": stream.guessed_rate or stream.average_rate or None,
        "field_order": _FIELD_ORDERS.get(int(context.field_order)),
        "color_primaries": _PRIMARIES.get(int(context.color_primaries)),
        "color_transfer": _TRANSFERS.get(int(context.color_trc)),
        "color_space": _SPACES.get(int(context.colorspace)),
        "color_range": _RANGES.get(int(context.color_range)),
    }


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


def _first_frames(container: InputContainer, *, strict: bool) -> dict[int, int]:
    """Rotation by stream, from its first picture; where strict, each stream must decode."""
    wanted = {s.index: s for s in container.streams if s.type == "video" or _is_strict(s, strict)}
    rotations: dict[int, int] = {}
    missing = {index for index, stream in wanted.items() if stream.codec_context is not None}
    for number, packet in enumerate(container.demux(*wanted.values())):
        if not missing or number > _EDGE_PACKETS:
            break
        for frame in (
            _decoded(packet, "start", strict=strict) if packet.stream_index in missing else ()
        ):
            missing.discard(packet.stream_index)
            rotations[packet.stream_index] = int(getattr(frame, "rotation", 0)) % 360
    if missing and strict:
        raise CorruptMedia(f"stream {min(missing)} holds no frame that decodes")
    return rotations


def _is_strict(stream: Stream, strict: bool) -> bool:
    return strict and stream.type == "audio"


def _last_frames(request: ProbeRequest, container: InputContainer) -> None:
    for stream in container.streams.video:
        end = (stream.start_time or 0) + (stream.duration or 0)
        container.seek(end, stream=stream, backward=True)
        reached = _decoded_up_to(container, stream)
        if reached is None:
            # A transport stream is entered anywhere, also past its last keyframe: read it all.
            with _opened(request) as again:
                reached = _decoded_up_to(again, again.streams[stream.index])
        _hold_end_against(stream, end, reached)


def _hold_end_against(stream: Stream, end: int, reached: int | None) -> None:
    if reached is None or stream.time_base is None:
        raise CorruptMedia("the video holds no frame that decodes at its end")
    lacking_ms = round((end - reached) * stream.time_base * 1000)
    if stream.duration and lacking_ms > _END_SLACK_MS:
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


def _turned(stream: StreamInfo, rotations: Mapping[int, int]) -> StreamInfo:
    degrees = rotations.get(stream.index, 0)
    return stream.model_copy(update={"rotation_deg": degrees}) if degrees else stream


def _tag(context: Any) -> str | None:
    tag = str(getattr(context, "codec_tag", "") or "").strip("\x00 ")
    return tag if tag.isprintable() and tag else None


def _tags(metadata: Mapping[str, str]) -> dict[str, str]:
    kept = list(metadata.items())[:_TAGS]
    return {key[:64]: value[:_TAG_CHARS] for key, value in kept}


def _milliseconds(microseconds: int | None) -> int | None:
    return None if microseconds is None else round(Fraction(microseconds, 1000))
