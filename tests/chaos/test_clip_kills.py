"""A worker killed with -9 in the middle of each stage of a clip: another finishes it, once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Set
from itertools import count
from pathlib import Path

import pytest

from schemas.errors import StoreUnavailable
from tests.chaos.clip_worker import MOMENTS
from tests.chaos.media_crew import END_MS, START_MS, Crew, running_crew
from tests.chaos.processes import kill, look, until
from tests.e2e.service import alive, freeze_next_child, parent
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.oracle import check_exact
from tests.origin import Fault, Live, ManualClock, Origin

pytestmark = [pytest.mark.slow, pytest.mark.redis]
_numbers = count()


@pytest.fixture(scope="module", params=["local", "s3"])
def crew(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crew]:
    with running_crew(tmp_path_factory.mktemp(f"crew-{request.param}"), request.param) as made:
        yield made


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(StreamSpec()))


@pytest.fixture
def key() -> str:
    """The key of a clip nobody else makes."""
    return f"goal{next(_numbers)}.mp4"


@pytest.fixture
def origin(asset: HlsAsset) -> Iterator[Origin]:
    with Origin(asset) as made:
        yield made


def finished_once(
    crew: Crew,
    job_id: str,
    asset: HlsAsset,
    key: str,
    tmp_path: Path,
    attempts: int = 2,
    but_left: Set[str] = frozenset(),
) -> None:
    """The clip is there once, exact, and was told of once; nothing else is left but workspaces."""
    job = crew.end_of(job_id)
    assert (job.state, job.error) == ("succeeded", None)
    assert job.attempt == attempts
    told = crew.told(job_id)
    assert (told["job.succeeded"], told["clip.ready"]) == (1, 1)
    stem = key.removesuffix(".mp4")
    assert [found for found in crew.finished() if stem in found or job_id in found] == [key]
    file = crew.fetched(key, tmp_path / "read-back.mp4")
    at = asset.epoch_ms
    assert check_exact(file, asset, at + START_MS, at + END_MS) == []
    left = {path.name for path in (crew.folder / "work").glob(f"{job_id}*") if path.is_dir()}
    assert left == but_left


def test_killed_while_it_fetches(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, tmp_path: Path
) -> None:
    origin.fault("main-1.ts", Fault.stall(1000, times=1))
    job_id = crew.accept(origin.url, asset, key)
    here = crew.folder / "work" / job_id
    until(lambda: origin.asked("main-1.ts") > 0 and any(here.glob("v-*0.ts")), "its segments")

    kill(crew.holder(job_id))

    finished_once(crew, job_id, asset, key, tmp_path)
    assert origin.asked("main-0.ts") == 1  # what was fetched already is used


def test_killed_while_it_waits(crew: Crew, asset: HlsAsset, key: str, tmp_path: Path) -> None:
    clock = ManualClock(asset.epoch_ms + 2000)
    with Origin(asset, live=Live(clock)) as origin:
        job_id = crew.accept(origin.url, asset, key)
        until(lambda: look(crew.jobs, job_id).state == "waiting", "the job waiting")

        kill(crew.holder(job_id))
        clock.advance(4)

        # What only waited had no part in the end of its worker.
        finished_once(crew, job_id, asset, key, tmp_path, attempts=1)


@pytest.mark.parametrize("child", [1, 2], ids=["indexing", "cutting"])
def test_killed_while_it_cuts(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, child: int, tmp_path: Path
) -> None:
    job_id = crew.accept(origin.url, asset, key)
    frozen = freeze_next_child(os.getpid())
    if child == 2:
        kill(frozen, signal.SIGCONT)
        frozen = freeze_next_child(os.getpid(), but=frozen)
    slot = parent(parent(frozen))
    assert slot == crew.holder(job_id)

    kill(slot)

    finished_once(crew, job_id, asset, key, tmp_path)
    until(lambda: not alive(frozen), "the end of the jailed child")


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_it_publishes(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, moment: str, tmp_path: Path
) -> None:
    reached = crew.halt(moment, key)
    job_id = crew.accept(origin.url, asset, key)
    until(reached.exists, f"the worker {moment}")

    kill(int(reached.read_text()))

    finished_once(crew, job_id, asset, key, tmp_path)


def test_frozen_past_its_lease_once_the_clip_is_visible(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, tmp_path: Path
) -> None:
    reached = crew.halt("visible", key)
    job_id = crew.accept(origin.url, asset, key)
    until(reached.exists, "the worker there")
    frozen = int(reached.read_text())

    kill(frozen, signal.SIGSTOP)
    crew.end_of(job_id)
    kill(frozen)

    finished_once(crew, job_id, asset, key, tmp_path, but_left={job_id})


def test_redis_killed_while_it_fetches(
    crew: Crew, origin: Origin, asset: HlsAsset, key: str, tmp_path: Path
) -> None:
    origin.fault("main-1.ts", Fault.trickle(20_000, times=1))
    job_id = crew.accept(origin.url, asset, key)
    origin.wait_for(lambda: origin.asked("main-1.ts"), 30)

    crew.redis.kill()
    with pytest.raises(StoreUnavailable):
        crew.store.ping()
    crew.redis.start()

    attempts = crew.end_of(job_id).attempt
    assert attempts in {1, 2}
    finished_once(crew, job_id, asset, key, tmp_path, attempts)
