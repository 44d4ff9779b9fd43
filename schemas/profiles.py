"""Recipes for renditions: what an encoding shall be, checked when it is written down."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StrictBool, WithJsonSchema, model_validator

from schemas.base import WireValue

VideoCodec = Literal["h264", "hevc", "av1", "vp9"]
AudioCodec = Literal["aac", "opus"]
Container = Literal["mp4", "webm", "mkv"]
Packaging = Literal["hls", "dash"]
Fit = Literal["contain", "pad", "crop", "stretch"]


def _as_written(value: object) -> object:
    """29.97 is 2997/100: what was written, not the binary number nearest to it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return Fraction(repr(value) if isinstance(value, float) else value)
    except ZeroDivisionError as error:
        raise ValueError("a rate has no denominator of 0") from error


# One schema for what is sent and what is told: two of one name are no class of a generated client.
FrameRate = Annotated[
    Fraction,
    Field(gt=0, le=240),
    BeforeValidator(_as_written),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 240},
                {"type": "string", "format": "fraction"},
            ]
        }
    ),
]
DEFAULT_GOP_MS = 2000
_MAX_CRF = {"h264": 51, "hevc": 51, "av1": 63, "vp9": 63}
# What the encoders themselves refuse.
_SMALLEST = {"h264": 16, "hevc": 16, "av1": 64, "vp9": 16}
_MOST_BPS_A_CHANNEL = {"aac": 288_000, "opus": 256_000}
_MOST_OPUS_BPS = 510_000


class VideoRecipe(WireValue):
    """The video of a rendition; width and height keep the aspect where one is missing.

    `fit`: how a picture of another shape becomes width x height: `contain` keeps the shape inside
    them, `pad` adds bars, `crop` cuts the sides or top and bottom away, `stretch` distorts.
    `upscale` permits more pixels than the source has. `rotation`: `apply` turns the picture,
    `keep` leaves the flag to the player. `bit_depth` and `tone_map` are the source's where absent.
    `gop` is in frames.
    """

    codec: VideoCodec
    width: int | None = Field(default=None, ge=16, le=8192, multiple_of=2)
    height: int | None = Field(default=None, ge=16, le=8192, multiple_of=2)
    bitrate: int | None = Field(default=None, ge=10_000, le=400_000_000)
    crf: int | None = Field(default=None, ge=0, le=63)
    fps: FrameRate | None = None
    gop: int | None = Field(default=None, ge=1, le=1200)
    fit: Fit = "contain"
    upscale: StrictBool = False
    rotation: Literal["apply", "keep"] = "apply"
    deinterlace: Literal["auto", "always", "never"] = "auto"
    bit_depth: Literal[8, 10] | None = None
    tone_map: Literal["sdr"] | None = None
    speed: Literal["fast", "balanced", "slow"] = "balanced"

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        problem = self._rate_problem() or self._shape_problem()
        if problem:
            raise ValueError(problem)
        return self

    def _rate_problem(self) -> str | None:
        if self.bitrate is not None and self.crf is not None:
            return "give a bitrate or a crf, not both"
        if self.crf is not None and self.crf > _MAX_CRF[self.codec]:
            return f"a crf of {self.crf} is above {_MAX_CRF[self.codec]}, the worst of {self.codec}"
        if self.fps is not None and self.fps.denominator > 1_000_000:
            return f"{self.fps} is no frame rate a container can write"
        return None

    def _shape_problem(self) -> str | None:
        if self.fit != "contain" and (self.width is None or self.height is None):
            return f"fit {self.fit!r} needs both width and height"
        least = _SMALLEST[self.codec]
        if any(side is not None and side < least for side in (self.width, self.height)):
            return f"{self.codec} makes no picture smaller than {least} pixels a side"
        if (self.width or 0) * (self.height or 0) > 8192 * 4320:
            return f"{self.width}x{self.height} is more than a job may make"
        return None


class AudioRecipe(WireValue):
    """The sound of a rendition; bitrate in bits per second.

    With `loudness_lufs` it is brought to that loudness (EBU R128, measured first), its true peak
    staying below `true_peak_dbtp`. Fewer channels in the source stay fewer.
    """

    codec: AudioCodec
    bitrate: int = Field(default=128_000, ge=16_000, le=640_000)
    channels: int = Field(default=2, ge=1, le=8)
    loudness_lufs: float | None = Field(default=None, ge=-40, le=-5)
    true_peak_dbtp: float = Field(default=-1.5, ge=-9, le=0)

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        most = _MOST_BPS_A_CHANNEL[self.codec] * self.channels
        if self.codec == "opus":
            most = min(most, _MOST_OPUS_BPS if self.channels <= 2 else most)
        if self.bitrate > most:
            raise ValueError(
                f"{self.codec} carries at most {most} bit/s in {self.channels} channels"
            )
        return self


class Profile(WireValue):
    """A named recipe.

    With `packaging` it is a rung of an HLS or DASH ladder of CMAF segments, `segment_ms` long.
    `subtitles`: the source's text track drawn into the picture, or beside it as WebVTT.
    """

    name: str = Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f\x7f]+$")
    container: Container = "mp4"
    video: VideoRecipe | None = None
    audio: AudioRecipe | None = None
    packaging: Packaging | None = None
    segment_ms: int = Field(default=6000, ge=1000, le=20_000)
    subtitles: Literal["burn_in", "sidecar"] | None = None

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        for problem in (
            self._empty_problem(),
            self._container_problem(),
            self._packaging_problem(),
        ):
            if problem:
                raise ValueError(problem)
        return self

    def _empty_problem(self) -> str | None:
        if self.video is None and self.audio is None:
            return "a recipe makes video, audio or both"
        if self.subtitles == "burn_in" and self.video is None:
            return "subtitles are drawn into a picture, and this recipe makes none"
        return None

    def _container_problem(self) -> str | None:
        if self.container != "mp4" and self.video is not None and self.video.rotation == "keep":
            return f"the rotation is kept in mp4, not in {self.container}"
        if self.container != "webm":
            return None
        if self.video is not None and self.video.codec not in {"vp9", "av1"}:
            return f"webm holds vp9 or av1, not {self.video.codec}"
        if self.audio is not None and self.audio.codec != "opus":
            return f"webm holds opus, not {self.audio.codec}"
        return None

    def _packaging_problem(self) -> str | None:
        if self.packaging is None:
            return None
        if self.container != "mp4":
            return f"{self.packaging} segments are CMAF: container mp4, not {self.container}"
        if self.video is None:
            return None
        if self.video.rotation == "keep":
            return f"players of {self.packaging} do not turn pictures: apply the rotation"
        return self._grid_problem(self.video)

    def _grid_problem(self, video: VideoRecipe) -> str | None:
        if video.gop is None or video.fps is None:
            return None
        gop_ms = 1000 * video.gop / video.fps
        if gop_ms > self.segment_ms + 1000 / video.fps:
            return f"a GOP of {float(gop_ms):.0f} ms does not fit a segment of {self.segment_ms} ms"
        return None
