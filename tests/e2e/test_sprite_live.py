"""Pictures of a live range: from the smallest variant, only the segments that hold one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.sprite_kit import board_in, number_of, numbers_in, poster, sprite
from tests.media_builder import HlsAsset, StreamSpec, build, multivariant, segment
from tests.origin import Origin

SMALL = StreamSpec(seconds=12, gop=24, open_gop=True, fps=Fraction(24), audio=())


def on_air(asset: HlsAsset, wall_ms: int) -> int:
    """The frame that is broadcast at an instant."""
    frames = range(asset.streams[0].spec.frame_count)
    return max(n for n in frames if asset.wall_ms(n) <= wall_ms + 1)


@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_a_sprite_of_a_range_is_exact_on_the_wall_clock(tmp_path: Path, container: str) -> None:
    asset = segment(build(SMALL), container=container, segment_s=2)
    start_ms = asset.epoch_ms + 1_000

    with Origin(asset) as origin:
        job = sprite(origin.url, tmp_path / "out", start="1", end="11", every_s=0.9, times="exact")

    assert job.state == "succeeded", job.error
    board = board_in(tmp_path / "out")
    assert board.start_ms == start_ms
    expected = [on_air(asset, start_ms + cue.start_ms) for cue in board.cues]
    assert numbers_in(tmp_path / "out") == expected
    assert [cue.at_ms for cue in board.cues] == pytest.approx(
        [float(asset.wall_ms(n)) - start_ms for n in expected], abs=0.51
    )


def test_only_segments_of_the_smallest_variant_that_hold_a_time_are_fetched(
    tmp_path: Path,
) -> None:
    small = segment(build(SMALL), segment_s=2)
    large = segment(build(replace(SMALL, size=(384, 224))), segment_s=2)
    top = multivariant({"hi": large, "lo": small})

    with Origin(top) as origin:
        job = sprite(origin.url, tmp_path / "out", start="0.5", end="11.5", every_s=5)
        asked = [name for name in top.files if origin.count(name)]

    assert job.state == "succeeded", job.error
    assert len(board_in(tmp_path / "out").cues) == 3
    assert asked == ["lo/main-0.ts", "lo/main-2.ts", "lo/main-5.ts"]


def test_a_poster_of_an_instant(tmp_path: Path) -> None:
    asset = segment(build(SMALL), segment_s=2)
    at_ms = asset.epoch_ms + 7_130

    with Origin(asset) as origin:
        job = poster(origin.url, tmp_path / "out.jpg", at=str(at_ms))

    assert job.state == "succeeded", job.error
    assert number_of(Image.open(tmp_path / "out.jpg")) == on_air(asset, at_ms)


def test_keyframes_of_a_range_tell_their_true_times(tmp_path: Path) -> None:
    asset = segment(build(SMALL), segment_s=2)

    with Origin(asset) as origin:
        job = sprite(
            origin.url, tmp_path / "out", start="1", end="11", every_s=2.5, times="keyframe"
        )

    assert job.state == "succeeded", job.error
    board = board_in(tmp_path / "out")
    shown = numbers_in(tmp_path / "out")
    assert all(number is not None and number % 24 == 0 for number in shown)
    assert [cue.at_ms for cue in board.cues] == pytest.approx(
        [float(asset.wall_ms(n or 0)) - board.start_ms for n in shown], abs=0.51
    )


def test_times_that_are_not_broadcast_yet_are_refused(tmp_path: Path) -> None:
    asset = segment(build(SMALL), segment_s=2)

    with Origin(asset) as origin:
        job = poster(origin.url, tmp_path / "out.jpg", at="3600")

    assert job.error is not None
    assert job.error.code in {"in_future", "out_of_window"}
