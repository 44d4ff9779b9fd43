"""Files of jobs are saved whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from client import ApiError, Job, Unreachable
from store.jobs import RedisLedger
from tests.client_kit import Served, cutting

MIB = 1024 * 1024
DATA = os.urandom(3 * MIB + 5)
URL = "http://127.0.0.1:9/live.m3u8"


@pytest.fixture(scope="module")
def job(gateway: Served) -> Job:
    """A job that has made a file."""
    with gateway.client() as client:
        connector = client.connectors.create("hls", "Downloaded", {"url": URL})
        made = client.clips.create(connector.id, channel="d", start=10**12, end=10**12 + 1000)
    place = Path(gateway.kit.gateway.settings.data_dir) / "media" / "k" / "a b.mp4"
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA)
    ledger = RedisLedger(gateway.kit.gateway.store)
    lease = ledger.claim("clip", "test", "nonce")
    assert lease is not None
    assert lease.job_id == made.id
    url = f"/v1/jobs/{made.id}/files/a%20b.mp4"
    ledger.finish(lease, {"file": {"key": "k/a b.mp4", "url": url, "size": len(DATA)}})
    return made


def test_a_file_is_saved(gateway: Served, job: Job, tmp_path: Path) -> None:
    with gateway.client() as client:
        saved = client.jobs.download(job, "a b.mp4", tmp_path / "out.mp4")

    assert saved.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [saved]


def test_a_connection_that_is_cut_costs_only_what_had_not_come(
    gateway: Served, job: Job, tmp_path: Path
) -> None:
    limits: list[int | None] = [MIB, MIB, 1000]
    with cutting(gateway.port, down=limits) as cutter, gateway.client(cutter.url) as client:
        saved = client.jobs.download(job, "a b.mp4", tmp_path / "out.mp4")

    assert saved.read_bytes() == DATA
    assert cutter.opened >= 4


@pytest.mark.parametrize("broken", [True, False], ids=["cut again and again", "not there"])
def test_what_cannot_be_had_whole_leaves_nothing(
    gateway: Served, job: Job, tmp_path: Path, broken: bool
) -> None:
    kept = tmp_path / "out.mp4"
    kept.write_bytes(b"what was there before")
    limits: list[int | None] = [100] * 20 if broken else []
    with (
        cutting(gateway.port, down=limits) as cutter,
        gateway.client(cutter.url, retries=2) as client,
        pytest.raises(Unreachable if broken else ApiError),
    ):
        client.jobs.download(job, "a b.mp4" if broken else "other.mp4", kept)

    assert kept.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [kept]
