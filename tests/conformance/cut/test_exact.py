"""The exact cut over every kind of stream: judged from outside, by what its frames show."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.cutting import clip
from tests.media_builder import AudioSpec, StreamSpec, build, segment
from tests.oracle import check_exact

NTSC = Fraction(30000, 1001)
VARIANTS: dict[str, tuple[StreamSpec, str]] = {
    "closed": (StreamSpec(), "ts"),
    "closed-fmp4": (StreamSpec(), "fmp4"),
    "no-b": (StreamSpec(bframes=0), "ts"),
    "open": (StreamSpec(open_gop=True), "ts"),
    "open-fmp4": (StreamSpec(open_gop=True), "fmp4"),
    "open-pyramid": (StreamSpec(open_gop=True, bframes=3, b_pyramid=True, refs=4), "ts"),
    "open-cavlc": (StreamSpec(open_gop=True, cavlc=True), "ts"),
    "pyramid": (StreamSpec(bframes=3, b_pyramid=True, refs=4), "ts"),
    "irregular": (StreamSpec(gops=(12, 31, 7, 50)), "ts"),
    "slices": (StreamSpec(slices=4, open_gop=True), "ts"),
    "weightp": (StreamSpec(weightp=2, open_gop=True), "ts"),
    "baseline": (StreamSpec(profile="baseline", bframes=0, cavlc=True), "ts"),
    "29.97": (StreamSpec(fps=NTSC, gop=30), "ts"),
    "29.97-fmp4": (StreamSpec(fps=NTSC, gop=30), "fmp4"),
    "50": (StreamSpec(fps=Fraction(50), gop=50, seconds=5), "ts"),
    "59.94": (StreamSpec(fps=2 * NTSC, gop=60, seconds=5), "ts"),
    "vfr": (StreamSpec(durations_ticks=(3000, 4500, 3600, 7200)), "ts"),
    "vfr-fmp4": (StreamSpec(durations_ticks=(3000, 4500, 3600, 7200)), "fmp4"),
    "tff": (StreamSpec(interlaced="tff"), "ts"),
    "bff": (StreamSpec(interlaced="bff"), "ts"),
    "wrap": (StreamSpec(start_pts_90k=(1 << 33) - 270_000), "ts"),
    "latm": (StreamSpec(audio=(AudioSpec(latm=True),)), "ts"),
    "44.1k": (StreamSpec(audio=(AudioSpec(rate=44100),)), "ts"),
    "ac3": (StreamSpec(audio=(AudioSpec(codec="ac3"),)), "ts"),
    "eac3": (StreamSpec(audio=(AudioSpec(codec="eac3"),)), "ts"),
    "eac3-fmp4": (StreamSpec(audio=(AudioSpec(codec="eac3"),)), "fmp4"),
    "mp2": (StreamSpec(audio=(AudioSpec(codec="mp2"),)), "ts"),
    "two-sounds": (StreamSpec(audio=(AudioSpec(), AudioSpec(language="deu"))), "ts"),
    "silent": (StreamSpec(audio=()), "ts"),
    "hevc": (StreamSpec(codec="hevc"), "ts"),
    "hevc-fmp4": (StreamSpec(codec="hevc"), "fmp4"),
    "hevc-open": (StreamSpec(codec="hevc", open_gop=True, bframes=3, b_pyramid=True), "ts"),
    "10-bit": (StreamSpec(pix_fmt="yuv420p10le"), "fmp4"),
}
RANGES = {
    "over two gops": (1330, 4510),
    "inside a gop": (1330, 1720),
    "one frame": (1340, 1380),
    "on keyframes": (2000, 4000),
}


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("place", RANGES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_clip_holds_exactly_its_frames(variant: str, place: str, tmp_path: Path) -> None:
    spec, container = VARIANTS[variant]
    asset = segment(build(spec), container=container)
    start, end = (asset.epoch_ms + at for at in RANGES[place])

    made = clip(asset, tmp_path, start, end)

    assert check_exact(made.path, asset, start, end) == []
    assert made.report.frames == len(asset.numbers_between(start, end))
