"""Every cut position over two GOPs, for the kinds of stream whose edges differ most."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest

from tests.cutting import clip, held_tracks
from tests.media_builder import StreamSpec, build, segment
from tests.oracle import inspect

SMALL = (96, 64)
VARIANTS = {
    "closed": StreamSpec(gop=10, seconds=2.4, size=SMALL),
    "open": StreamSpec(gop=10, seconds=2.4, size=SMALL, open_gop=True),
    "pyramid": StreamSpec(
        gop=12, seconds=2.4, size=SMALL, open_gop=True, bframes=5, b_pyramid=True, refs=5
    ),
    "59.94": StreamSpec(gop=12, seconds=1.2, size=SMALL, fps=Fraction(60000, 1001)),
    "hevc": StreamSpec(
        gop=10, seconds=2.4, size=SMALL, codec="hevc", open_gop=True, bframes=4, b_pyramid=True
    ),
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_start_and_every_end_is_exact(variant: str, tmp_path: Path) -> None:
    asset = segment(build(VARIANTS[variant]), segment_s=Fraction(2, 5))
    tracks = held_tracks(asset, tmp_path)
    walls = [asset.wall_ms(number) - asset.epoch_ms for number in range(48)]

    for first in range(4, 30):
        for length in (1, 2, 3, 5, 9, 17):
            start = ceil(walls[first])
            end = ceil(walls[first + length])
            start, end = asset.epoch_ms + start, asset.epoch_ms + end
            made = clip(asset, tmp_path, start, end, tracks=tracks, everything=True)
            seen = inspect(made.path)

            where = f"[{first}, {first + length})"
            assert seen.numbers == asset.numbers_between(start, end), where
            assert seen.clean, (where, seen.errors)
            assert not seen.hidden, where
