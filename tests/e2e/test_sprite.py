"""Posters and sprites of files, end to end: which frame a picture shows is read off it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.e2e.sprite_kit import board_in, numbers_in, sprite
from tests.media_builder import StreamSpec, build, segment, write_mp4

NTSC = Fraction(30000, 1001)


def on_screen(spec: StreamSpec, at_ms: int) -> int:
    """The frame a player shows at a time; one that begins within the millisecond is meant."""
    times = spec.frame_times[:-1]
    return spec.first_number + max(n for n, t in enumerate(times) if t * 1000 <= at_ms + 1)


SPECS = {
    "closed gop": StreamSpec(seconds=4, gop=25, audio=()),
    "open gop": StreamSpec(seconds=4, gop=24, open_gop=True, fps=NTSC),
    "one long gop": StreamSpec(seconds=24, gop=600, fps=Fraction(25), audio=(), b_pyramid=True),
    "vfr": StreamSpec(seconds=4, gop=20, durations_ticks=(3003, 6006, 30030), audio=()),
    "hevc": StreamSpec(seconds=3, gop=25, codec="hevc", audio=()),
    "hevc 10 bit": StreamSpec(seconds=3, gop=25, codec="hevc", pix_fmt="yuv420p10le", audio=()),
    "interlaced": StreamSpec(seconds=3, gop=25, interlaced="tff", audio=()),
    "no b-frames": StreamSpec(seconds=3, gop=10, bframes=0),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_every_picture_is_the_one_on_screen_at_its_time(
    tmp_path: Path, spec: StreamSpec, container: str
) -> None:
    source = a_file(tmp_path, spec, container)

    job = sprite(source, tmp_path / "out", every_s=0.31)

    assert job.state == "succeeded", job.error
    cues = board_in(tmp_path / "out").cues
    assert numbers_in(tmp_path / "out") == [on_screen(spec, cue.start_ms) for cue in cues]


def a_file(folder: Path, spec: StreamSpec, container: str) -> Path:
    """The stream as a whole file."""
    stream = build(spec)
    path = folder / f"source.{container}"
    if container == "mp4":
        write_mp4(stream, path)
    else:
        asset = segment(stream, container="ts", segment_s=600)
        (data,) = (d for n, d in asset.files.items() if n.endswith(".ts"))
        path.write_bytes(data)
    return path
