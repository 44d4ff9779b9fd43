"""ffmpeg command lines: recipes and local inputs in, argument lists out; nothing is run here."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import ffmpeg
from pydantic import Field

from schemas.base import Value
from schemas.profiles import AudioRecipe, Profile, VideoRecipe

PROTOCOLS = "file,pipe"
MAX_PIXELS = 8192 * 4320
MAX_STREAMS = 64
_VIDEO_ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
_AUDIO_ENCODERS = {"aac": "aac", "opus": "libopus"}
_MUXERS = {"mp4": "mp4", "webm": "webm", "mkv": "matroska"}
# 1000 ticks a second, the muxer's default, rounds edits by up to 0.3 ms.
_MOVIE_TIMESCALE = 90000


class LocalInput(Value):
    """A file of ours to read: its absolute path, the demuxer our own sniff chose, and a trim."""

    path: str = Field(pattern=r"^/")
    demuxer: str = Field(pattern=r"^[a-z0-9_,]+$")
    start_ms: int | None = Field(default=None, ge=0)
    length_ms: int | None = Field(default=None, gt=0)


def encode(source: LocalInput, output: str, recipe: Profile) -> tuple[str, ...]:
    """The arguments that encode a local file, trimmed, into one file by a recipe."""
    opened = ffmpeg.input(f"file:{source.path}", **_input_options(source))
    streams = _streams(opened, recipe)
    made = ffmpeg.output(*streams, f"file:{output}", **_output_options(recipe))
    return tuple(str(argument) for argument in made.get_args())


def encoders(recipe: Profile) -> tuple[str, ...]:
    """The names of the encoders a recipe needs."""
    video = () if recipe.video is None else (_VIDEO_ENCODERS[recipe.video.codec],)
    audio = () if recipe.audio is None else (_AUDIO_ENCODERS[recipe.audio.codec],)
    return (*video, *audio)


def _input_options(source: LocalInput) -> dict[str, Any]:
    options: dict[str, Any] = {
        "f": source.demuxer,
        "protocol_whitelist": PROTOCOLS,
        "max_streams": MAX_STREAMS,
        "max_pixels": MAX_PIXELS,
    }
    if source.start_ms is not None:
        options["ss"] = _seconds(source.start_ms)
    if source.length_ms is not None:
        options["t"] = _seconds(source.length_ms)
    return options


def _streams(opened: Any, recipe: Profile) -> list[Any]:
    streams = []
    if recipe.video is not None:
        streams.append(_scaled(opened.video, recipe.video))
    if recipe.audio is not None:
        # A source without sound is no error: the recipe says how, not whether.
        streams.append(opened["a?"])
    return streams


def _scaled(video: Any, recipe: VideoRecipe) -> Any:
    if recipe.width is None and recipe.height is None:
        return video
    return video.filter("scale", recipe.width or -2, recipe.height or -2)


def _output_options(recipe: Profile) -> dict[str, Any]:
    options: dict[str, Any] = {"f": _MUXERS[recipe.container]}
    if recipe.container == "mp4":
        options |= {"movflags": "+faststart", "movie_timescale": _MOVIE_TIMESCALE}
    if recipe.video is not None:
        options |= _video_options(recipe.video, recipe.container)
    if recipe.audio is not None:
        options |= _audio_options(recipe.audio)
    return options


def _video_options(recipe: VideoRecipe, container: str) -> dict[str, Any]:
    options: dict[str, Any] = {"c:v": _VIDEO_ENCODERS[recipe.codec], "pix_fmt": "yuv420p"}
    if recipe.bitrate is not None:
        options |= {"b:v": recipe.bitrate, "maxrate": recipe.bitrate, "bufsize": 2 * recipe.bitrate}
    if recipe.crf is not None:
        options["crf"] = recipe.crf
    if recipe.fps is not None:
        options["r"] = _ratio(recipe.fps)
    if recipe.gop is not None:
        options |= {"g": recipe.gop, "keyint_min": recipe.gop, "sc_threshold": 0}
    if recipe.codec == "hevc" and container == "mp4":
        # Safari plays HEVC in MP4 only under this tag.
        options["tag:v"] = "hvc1"
    return options


def _audio_options(recipe: AudioRecipe) -> dict[str, Any]:
    return {
        "c:a": _AUDIO_ENCODERS[recipe.codec],
        "b:a": recipe.bitrate,
        "ac": recipe.channels,
    }


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _ratio(rate: Fraction) -> str:
    return f"{rate.numerator}/{rate.denominator}"
