"""Recipes for renditions: what an encoding shall be, checked when it is written down."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from schemas.base import WireValue


class VideoRecipe(WireValue):
    """The video of a rendition; width and height keep the aspect where one is missing."""

    codec: Literal["h264", "hevc", "av1", "vp9"]
    width: int | None = Field(default=None, ge=16, le=8192, multiple_of=2)
    height: int | None = Field(default=None, ge=16, le=8192, multiple_of=2)
    bitrate: int | None = Field(default=None, ge=10_000, le=400_000_000)
    crf: int | None = Field(default=None, ge=0, le=63)
    fps: Fraction | None = Field(default=None, gt=0, le=240)
    gop: int | None = Field(default=None, ge=1, le=1200)


class AudioRecipe(WireValue):
    """The sound of a rendition; bitrate in bits per second."""

    codec: Literal["aac", "opus"]
    bitrate: int = Field(default=128_000, ge=16_000, le=640_000)
    channels: int = Field(default=2, ge=1, le=8)


class Profile(WireValue):
    """A named recipe."""

    name: str = Field(min_length=1, max_length=120)
    container: Literal["mp4", "webm", "mkv"] = "mp4"
    video: VideoRecipe | None = None
    audio: AudioRecipe | None = None
    packaging: Literal["hls", "dash"] | None = None
