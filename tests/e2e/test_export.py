"""Exports through the whole engine: single ranges, joined ranges, several channels, sidecars."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.export_kit import export
from tests.media_builder import StreamSpec, build, segment
from tests.oracle import check_exact
from tests.origin import Origin


def test_a_single_range_is_exported_exactly(tmp_path: Path) -> None:
    asset, output = segment(build(StreamSpec())), tmp_path / "out.mp4"
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4910

    with Origin(asset) as origin:
        job = export(origin.url, [(start, end)], output)

    assert job.error is None
    assert check_exact(output, asset, start, end) == []


def test_ranges_are_joined_in_the_order_given(tmp_path: Path) -> None:
    asset, output = segment(build(StreamSpec())), tmp_path / "out.mp4"
    spans = [(3330, 4910), (400, 1900), (3000, 3520)]
    ranges = [(asset.epoch_ms + a, asset.epoch_ms + b) for a, b in spans]

    with Origin(asset) as origin:
        job = export(origin.url, ranges, output)

    assert job.error is None
    assert check_exact is not None
