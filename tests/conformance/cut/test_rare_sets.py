"""Streams whose parameter sets stand at IDRs alone: other segments have none of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import CorruptMedia
from tests.cutting import clip
from tests.hls_builder import annexb_units, segment
from tests.media_builder import HlsAsset, StreamSpec, build
from tests.oracle import check_exact
from tests.streams import Sample

SPEC = StreamSpec(seconds=10, gop=24, open_gop=True, size=(96, 64), audio=())


def without_sets(codec: str, keeping: frozenset[int]) -> HlsAsset:
    """Segments of a GOP or two; only these of the keyframes keep their parameter sets."""
    stream = build(replace(SPEC, codec=codec))
    keys = [sample for sample in stream.video.samples if sample.key]
    bare = {id(sample) for at, sample in enumerate(keys) if at not in keeping}
    samples = tuple(
        _bare(sample, codec) if id(sample) in bare else sample for sample in stream.video.samples
    )
    return segment(replace(stream, tracks=(replace(stream.video, samples=samples),)))


def _bare(sample: Sample, codec: str) -> Sample:
    units = annexb_units(sample.data)
    sets = {32, 33, 34} if codec == "hevc" else {7, 8}
    kinds = (unit[0] >> 1 & 63 if codec == "hevc" else unit[0] & 31 for unit in units)
    kept = (unit for unit, kind in zip(units, kinds, strict=True) if kind not in sets)
    return replace(sample, data=b"".join(b"\0\0\0\1" + unit for unit in kept))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("keeping", [{0}, {8}], ids=["sets before", "sets after"])
def test_sets_of_another_segment_serve(codec: str, keeping: set[int], tmp_path: Path) -> None:
    asset = without_sets(codec, frozenset(keeping))
    start, end = asset.epoch_ms + 2480, asset.epoch_ms + 7480

    made = clip(asset, tmp_path, start, end, everything=True)

    assert check_exact(made.path, asset, start, end) == []
    assert made.lossless > 0.6


def test_a_range_without_any_sets_is_refused(tmp_path: Path) -> None:
    asset = without_sets("h264", frozenset({0}))

    with pytest.raises(CorruptMedia, match="parameter sets"):
        clip(asset, tmp_path, asset.epoch_ms + 8480, asset.epoch_ms + 9480)
