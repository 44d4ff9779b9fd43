"""A worker killed with -9, or a cancel, in each stage of an export: the whole set, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from schemas.profiles import AudioRecipe, Profile, VideoRecipe
from tests.chaos.clip_worker import MOMENTS
from tests.chaos.media_crew import END_MS, START_MS, Crew, running_crew
from tests.chaos.processes import kill, look, until
from tests.e2e.service import alive, freeze_next_child, parent
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.oracle import inspect
from tests.origin import Fault, Origin

pytestmark = [pytest.mark.slow, pytest.mark.redis]
RECIPE = Profile(
    name="small",
    video=VideoRecipe(codec="h264", width=96, height=56, speed="fast"),
    audio=AudioRecipe(codec="aac", bitrate=64_000),
)
_numbers = count()


@pytest.fixture(scope="module", params=["local", "s3"])
def crew(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crew]:
    with running_crew(tmp_path_factory.mktemp(f"exports-{request.param}"), request.param) as made:
        yield made


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(StreamSpec()))


@pytest.fixture
def stem() -> str:
    """The name of an export nobody else makes."""
    return f"match{next(_numbers)}"


@pytest.fixture
def origin(asset: HlsAsset) -> Iterator[Origin]:
    with Origin(asset) as made:
        yield made


def held(crew: Crew, stem: str, job_id: str) -> list[str]:
    """What a reader of the media store could see of an export, and every leftover of it."""
    return sorted(name for name in crew.finished() if f"{stem}." in name or job_id in name)


def whole_once(crew: Crew, job_id: str, asset: HlsAsset, stem: str, tmp_path: Path) -> None:
    """The set is there once, tells of itself, and holds the right frames."""
    job = crew.end_of(job_id)
    assert (job.state, job.error) == ("succeeded", None)
    assert job.attempt == 2
    told = crew.told(job_id)
    assert (told["job.succeeded"], told["export.ready"]) == (1, 1)
    assert held(crew, stem, job_id) == [f"{stem}.edl", f"{stem}.json", f"{stem}.mp4"]
    made = crew.fetched(f"{stem}.mp4", tmp_path / "read-back.mp4")
    known = json.loads(crew.fetched(f"{stem}.json", tmp_path / "read-back.json").read_text())
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    assert known["sha256"] == digest == (job.result or {})["file"]["sha256"]
    assert len(inspect(made).frames) == len(numbers(asset))


def numbers(asset: HlsAsset) -> list[int]:
    """The frames of the two ranges."""
    at = asset.epoch_ms
    spans = ((START_MS, END_MS), (400, 1200))
    return [n for a, b in spans for n in asset.numbers_between(at + a, at + b)]


def nothing_left(crew: Crew, job_id: str, stem: str) -> None:
    """The job was cancelled and nobody would know that it ever ran."""
    assert crew.end_of(job_id).state == "cancelled"
    assert held(crew, stem, job_id) == []
    until(lambda: not any((crew.folder / "work").glob(f"{job_id}*")), "an empty workspace")


def test_killed_while_it_fetches(
    crew: Crew, origin: Origin, asset: HlsAsset, stem: str, tmp_path: Path
) -> None:
    origin.fault("main-1.ts", Fault.stall(1000, times=1))
    job_id = crew.export(origin.url, asset, f"{stem}.mp4")
    here = crew.folder / "work" / job_id
    until(lambda: origin.asked("main-1.ts") > 0 and any(here.glob("c0v-*0.ts")), "its segments")

    kill(crew.holder(job_id))

    whole_once(crew, job_id, asset, stem, tmp_path)
    assert origin.asked("main-0.ts") == 1


@pytest.mark.parametrize("child", [1, 3, 4, 6], ids=["indexing", "cutting", "probing", "encoding"])
def test_killed_while_it_works(
    crew: Crew, origin: Origin, asset: HlsAsset, stem: str, child: int, tmp_path: Path
) -> None:
    recipe = RECIPE if child > 3 else None
    name, job_id, frozen = caught(crew, origin, asset, stem, child, recipe)

    kill(parent(parent(frozen)))

    whole_once(crew, job_id, asset, name, tmp_path)
    until(lambda: not alive(frozen), "the end of the jailed child")


@pytest.mark.parametrize("ending", [".json", ".edl", ".mp4"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_it_publishes(
    crew: Crew, origin: Origin, asset: HlsAsset, stem: str, moment: str, ending: str, tmp_path: Path
) -> None:
    reached = crew.halt(moment, f"{stem}{ending}")
    # The sidecars come to be the same way whether the pictures are encoded or copied.
    recipe = RECIPE if ending == ".mp4" else None
    job_id = crew.export(origin.url, asset, f"{stem}.mp4", recipe=recipe)
    until(reached.exists, f"the worker {moment}")

    kill(int(reached.read_text()))

    whole_once(crew, job_id, asset, stem, tmp_path)


def test_cancelled_while_it_fetches(crew: Crew, origin: Origin, asset: HlsAsset, stem: str) -> None:
    origin.fault("main-1.ts", Fault.stall(1000))
    job_id = crew.export(origin.url, asset, f"{stem}.mp4")
    origin.wait_for(lambda: origin.asked("main-1.ts"), 30)

    crew.jobs.cancel("t1", job_id)

    nothing_left(crew, job_id, stem)


@pytest.mark.parametrize("child", [1, 3, 4, 6], ids=["indexing", "cutting", "probing", "encoding"])
def test_cancelled_while_it_works(
    crew: Crew, origin: Origin, asset: HlsAsset, stem: str, child: int
) -> None:
    recipe = RECIPE if child > 3 else None
    name, job_id, frozen = caught(crew, origin, asset, stem, child, recipe)

    crew.jobs.cancel("t1", job_id)

    nothing_left(crew, job_id, name)
    until(lambda: not alive(frozen), "the end of the jailed child")


def test_the_stages_are_told_in_order_with_a_progress_that_rises(
    crew: Crew, origin: Origin, asset: HlsAsset, stem: str
) -> None:
    origin.fault("main-1.ts", Fault.trickle(60_000, times=1))
    job_id = crew.export(origin.url, asset, f"{stem}.mp4", recipe=RECIPE)
    seen: list[tuple[str | None, float | None, float | None]] = []

    def watched() -> bool:
        job = look(crew.jobs, job_id)
        seen.append((job.stage, job.progress, job.eta_seconds))
        return job.state == "succeeded"

    until(watched, "the end", 60)

    progress = [done for _, done, _ in seen if done is not None]
    assert progress == sorted(progress)
    assert len(set(progress)) >= 4
    stages = [stage for stage in dict.fromkeys(stage for stage, _, _ in seen) if stage]
    order = ("fetching", "cutting", "probing", "encoding", "verifying", "publishing")
    assert stages[0] == "fetching"
    assert [stage for stage in order if stage in stages] == sorted(
        stages, key=lambda stage: order.index(stage)
    )
    assert any(eta is not None for _, _, eta in seen)


def caught(
    crew: Crew, origin: Origin, asset: HlsAsset, stem: str, child: int, recipe: Profile | None
) -> tuple[str, str, int]:
    """An export stopped in its child of that number: its name, job and child.

    A child may be over before anybody sees it: then another export is made.
    """
    for turn in range(5):
        name = f"{stem}{'abcde'[turn]}"
        job_id = crew.export(origin.url, asset, f"{name}.mp4", recipe=recipe)
        with suppress(AssertionError):
            return name, job_id, nth_child(child, 5)
        crew.end_of(job_id)
    raise AssertionError(f"five exports were made before child {child} was seen")


def nth_child(wanted: int, timeout_s: float = 30) -> int:
    """The jailed child of that number, stopped; those before it go on and end."""
    frozen = freeze_next_child(os.getpid(), timeout_s)
    for _ in range(wanted - 1):
        kill(frozen, signal.SIGCONT)
        frozen = freeze_next_child(os.getpid(), timeout_s, but=frozen)
    return frozen
