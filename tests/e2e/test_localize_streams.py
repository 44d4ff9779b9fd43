"""Streams on demand and clips of channels become files for whoever needs files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.clip_address import clip_key
from schemas import file_id as file_ids
from schemas.connectors import ConnectorRef
from schemas.file_id import ClipFileId
from schemas.times import TimeRange
from tests.hls_builder import HlsAsset
from tests.localizing import TENANT, Bench, a_bench, a_copy
from tests.media_builder import StreamSpec, build, segment
from tests.oracle import check_exact
from tests.origin import Live, ManualClock, Origin


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(StreamSpec(seconds=4)), segment_s=1)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with a_bench(tmp_path / "bench") as made:
        yield made


def channel(origin: Origin) -> ConnectorRef:
    return ConnectorRef(id="con_1", tenant_id=TENANT, type="hls", config={"url": origin.url})


def whole_of(asset: HlsAsset) -> tuple[int, int]:
    return asset.epoch_ms, asset.epoch_ms + 4000


def test_a_stream_on_demand_is_localized_as_one_exact_file(bench: Bench, asset: HlsAsset) -> None:
    with Origin(asset) as origin:
        first = bench.run(channel(origin), "main")
        sent = sum(origin.bytes_sent(name) for name in asset.files)
        again = bench.run(channel(origin), "main")
        copied = a_copy(bench, channel(origin), "main", bench.folder / "copy")

        assert sum(origin.bytes_sent(name) for name in asset.files) < sent + 20_000

    assert first.state == "succeeded", first.error
    path = bench.media / (first.result or {})["key"]
    assert check_exact(path, asset, *whole_of(asset)) == []
    assert (again.result or {})["reused"] is True
    assert copied.read_bytes() == path.read_bytes()


def test_a_live_channel_is_not_localized_whole(bench: Bench, asset: HlsAsset) -> None:
    with Origin(asset, live=Live(ManualClock(asset.epoch_ms + 3000), window_s=20)) as origin:
        job = bench.run(channel(origin), "main")

    assert (job.state, job.error and job.error.code) == ("failed", "not_supported")


def clip_id(asset: HlsAsset) -> str:
    wanted = TimeRange(start_ms=asset.epoch_ms + 1000, end_ms=asset.epoch_ms + 2400)
    return ClipFileId(channel_id="main", range=wanted, clip_id="goal").canonical


def test_a_job_gets_a_clip_that_nobody_has_made_yet(bench: Bench, asset: HlsAsset) -> None:
    with Origin(asset) as origin:
        path = a_copy(bench, channel(origin), clip_id(asset), bench.folder / "copy")

    assert check_exact(path, asset, asset.epoch_ms + 1000, asset.epoch_ms + 2400) == []


def test_a_clip_that_was_made_is_taken_from_the_store(bench: Bench, asset: HlsAsset) -> None:
    with Origin(asset) as origin:
        ref = channel(origin)
        fingerprint = bench.world.registry.fingerprint(ref)
        key = clip_key(TENANT, fingerprint, file_ids.parse(clip_id(asset)))
        (bench.media / key).parent.mkdir(parents=True)
        (bench.media / key).write_bytes(b"as it was made")

        path = a_copy(bench, ref, clip_id(asset), bench.folder / "copy")

        assert (path.read_bytes(), origin.count("main.m3u8")) == (b"as it was made", 0)
