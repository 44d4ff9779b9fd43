"""The recipes everybody gets: by name, for the command line and as examples."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.profiles import AudioRecipe, Profile, VideoRecipe

_AAC = AudioRecipe(codec="aac", bitrate=128_000)
_OPUS = AudioRecipe(codec="opus", bitrate=96_000)


def _video(name: str, video: VideoRecipe, audio: AudioRecipe = _AAC, **more: object) -> Profile:
    return Profile.model_validate({"name": name, "video": video, "audio": audio, **more})


def _rung(name: str, height: int, bitrate: int) -> Profile:
    recipe = VideoRecipe(codec="h264", height=height, bitrate=bitrate)
    return _video(name, recipe, packaging="hls")


RECIPES: Mapping[str, tuple[Profile, ...]] = {
    "h264-1080p": (
        _video("h264-1080p", VideoRecipe(codec="h264", width=1920, height=1080, crf=21)),
    ),
    "h264-720p": (_video("h264-720p", VideoRecipe(codec="h264", width=1280, height=720, crf=21)),),
    "hevc-1080p": (
        _video("hevc-1080p", VideoRecipe(codec="hevc", width=1920, height=1080, crf=24)),
    ),
    "av1-1080p": (
        _video("av1-1080p", VideoRecipe(codec="av1", width=1920, height=1080, crf=32), _OPUS),
    ),
    "vp9-720p": (
        _video(
            "vp9-720p",
            VideoRecipe(codec="vp9", width=1280, height=720, crf=33),
            _OPUS,
            container="webm",
        ),
    ),
    "square-1080": (
        _video("square-1080", VideoRecipe(codec="h264", width=1080, height=1080, fit="crop")),
    ),
    "vertical-1080x1920": (
        _video(
            "vertical-1080x1920", VideoRecipe(codec="h264", width=1080, height=1920, fit="crop")
        ),
    ),
    "ladder-hls": (
        _rung("1080p", 1080, 5_000_000),
        _rung("720p", 720, 2_800_000),
        _rung("480p", 480, 1_400_000),
        _rung("360p", 360, 800_000),
    ),
    "audio-aac": (Profile(name="audio-aac", audio=_AAC),),
}


def file_suffix(recipes: tuple[Profile, ...]) -> str:
    """How the file ends that one set of recipes makes: a playlist's ending for a ladder."""
    first = recipes[0]
    if first.packaging is not None:
        return {"hls": ".m3u8", "dash": ".mpd"}[first.packaging]
    return f".{first.container}"
