"""Whole ffmpeg command lines, compared as they would be run."""

from __future__ import annotations

from fractions import Fraction

import pytest
from pydantic import ValidationError

from pipelines.ffargs import LocalInput, encode, encoders
from schemas.profiles import AudioRecipe, Profile, VideoRecipe

INPUT = "-f mpegts -max_pixels 35389440 -max_streams 64 -protocol_whitelist file,pipe"


def test_a_trimmed_input_becomes_an_mp4_by_its_recipe() -> None:
    recipe = Profile(
        name="720p",
        video=VideoRecipe(codec="h264", height=720, bitrate=3_000_000, gop=50, fps=Fraction(25)),
        audio=AudioRecipe(codec="aac", bitrate=96_000),
    )
    source = LocalInput(path="/w/in.ts", demuxer="mpegts", start_ms=1040, length_ms=10_000)

    argv = encode(source, "/w/out.mp4", recipe)

    assert " ".join(argv) == (
        f"{INPUT} -ss 1.040 -t 10.000 -i file:/w/in.ts "
        "-filter_complex [0:v]scale=-2:720[s0] -map [s0] -map 0:a? "
        "-f mp4 -ac 2 -b:a 96000 -b:v 3000000 -bufsize 6000000 -c:a aac -c:v libx264 -g 50 "
        "-keyint_min 50 -maxrate 3000000 -movflags +faststart -movie_timescale 90000 "
        "-pix_fmt yuv420p -r 25/1 -sc_threshold 0 file:/w/out.mp4"
    )


def test_hevc_in_mp4_carries_the_tag_safari_plays() -> None:
    recipe = Profile(name="hevc", video=VideoRecipe(codec="hevc", crf=24))

    argv = encode(LocalInput(path="/w/in.ts", demuxer="mpegts"), "/w/out.mp4", recipe)

    assert " ".join(argv) == (
        f"{INPUT} -i file:/w/in.ts -map 0:v -f mp4 -c:v libx265 -crf 24 "
        "-movflags +faststart -movie_timescale 90000 -pix_fmt yuv420p -tag:v hvc1 file:/w/out.mp4"
    )


def test_sound_alone_in_webm() -> None:
    recipe = Profile(name="sound", container="webm", audio=AudioRecipe(codec="opus", channels=1))

    argv = encode(LocalInput(path="/w/in.ts", demuxer="mpegts"), "/w/out.webm", recipe)

    assert " ".join(argv) == (
        f"{INPUT} -i file:/w/in.ts -map 0:a? -f webm -ac 1 -b:a 128000 -c:a libopus "
        "file:/w/out.webm"
    )


@pytest.mark.parametrize(
    ("video", "audio", "needed"),
    [
        ("h264", "aac", ("libx264", "aac")),
        ("av1", "opus", ("libsvtav1", "libopus")),
        ("vp9", None, ("libvpx-vp9",)),
    ],
)
def test_a_recipe_names_the_encoders_it_needs(
    video: str, audio: str | None, needed: tuple[str, ...]
) -> None:
    recipe = Profile.model_validate(
        {"name": "x", "video": {"codec": video}, "audio": audio and {"codec": audio}}
    )

    assert encoders(recipe) == needed


@pytest.mark.parametrize(
    "fields",
    [
        {"path": "in.ts", "demuxer": "mpegts"},
        {"path": "-i", "demuxer": "mpegts"},
        {"path": "/in.ts", "demuxer": "mpegts -i /etc/passwd"},
        {"path": "/in.ts", "demuxer": "mpegts", "length_ms": 0},
    ],
)
def test_an_input_that_is_no_absolute_path_or_demuxer_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LocalInput.model_validate(fields)
