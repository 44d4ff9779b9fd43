"""Frames coded as two fields, each in a PES unit with a PTS of its own, count as frames."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.cutting import clip
from tests.field_pictures import SPEC, Fields, in_fields
from tests.hls_builder import segment
from tests.oracle import check_exact

LAYOUTS = {
    "top field first": Fields(),
    "bottom field first": Fields(bottom_first=True),
    "open GOPs": Fields(open_gop=True),
}


@pytest.mark.parametrize("how", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize(
    ("start_ms", "end_ms"), [(1000, 4000), (1480, 4520), (1440, 1520)],
    ids=["on keyframes", "between keyframes", "two frames"],
)  # fmt: skip
def test_a_clip_of_fields_is_exact(how: Fields, start_ms: int, end_ms: int, tmp_path: Path) -> None:
    asset = segment(in_fields(SPEC, how))
    start, end = asset.epoch_ms + start_ms, asset.epoch_ms + end_ms

    made = clip(asset, tmp_path, start, end)

    assert check_exact(made.path, asset, start, end) == []
    assert made.report.frames == (end_ms - start_ms) // 40
    assert made.lossless >= 1 - 26 / made.report.frames


@pytest.mark.parametrize("mode", ["exact", "encode"])
def test_fields_stay_fields(mode: str, tmp_path: Path) -> None:
    asset = segment(in_fields(SPEC, Fields(bottom_first=True)))
    start, end = asset.epoch_ms + 480, asset.epoch_ms + 2000

    made = clip(asset, tmp_path, start, end, mode=mode)

    assert check_exact(made.path, asset, start, end) == []
    with av.open(str(made.path)) as container:
        shown = [f.interlaced_frame for f in container.decode(video=0)]
    assert shown == [True] * 38
