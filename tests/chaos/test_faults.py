"""What a worker, its machine, or Redis may do without a job being lost or done twice."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.client import Store
from store.jobs import Jobs
from store.queues import Queues
from tests.chaos.processes import Crew, accept, crew, ended, kill, look, until
from tests.redis_server import RedisServer, redis_server

pytestmark = [pytest.mark.slow, pytest.mark.redis]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as running:
        yield running


@pytest.fixture
def jobs(server: RedisServer) -> Iterator[Jobs]:
    store = Store.from_url(server.url)
    yield Jobs(store)
    store.close()


def begun(team: Crew, clip: str, times: int = 1) -> int:
    """Wait until the clip was begun so often; the process that began it last."""
    until(lambda: len(team.started(clip)) >= times, f"{clip} begun {times} times")
    return team.started(clip)[-1]


def test_a_killed_worker_is_replaced_and_its_job_done_once(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path) as team:
        job_id = accept(jobs, "a", steps=8)
        first = begun(team, "a")
        kill(first)
        second = begun(team, "a", times=2)
        until(lambda: ended(jobs, job_id), "the job's end")

    job = look(jobs, job_id)
    assert second != first
    assert (job.state, job.attempt, team.done("a")) == ("succeeded", 2, 1)


def test_a_killed_worker_costs_what_waited_in_it_no_attempt(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    airs = tmp_path / "airs"
    with crew(server.url, tmp_path) as team:
        live = accept(jobs, "live", steps=1, airs=airs)
        until(lambda: look(jobs, live).state == "waiting", "a job waiting")
        working = accept(jobs, "a", steps=8)
        kill(begun(team, "a"))
        begun(team, "a", times=2)
        airs.touch()
        for job_id in (live, working):
            until(lambda job_id=job_id: ended(jobs, job_id), "every job's end")  # type: ignore[misc]  # mypy cannot infer a bound default

    ends = [look(jobs, job_id) for job_id in (live, working)]
    assert [(job.state, job.attempt) for job in ends] == [("succeeded", 1), ("succeeded", 2)]
    assert (team.done("live"), team.done("a")) == (1, 1)


def test_told_to_stop_a_worker_puts_back_what_waits_in_it_too(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path) as team:
        live = accept(jobs, "live", steps=1, airs=tmp_path / "never")
        until(lambda: look(jobs, live).state == "waiting", "a job waiting")
        working = accept(jobs, "a", steps=100)
        begun(team, "a")
        team.stop()

    ends = [look(jobs, job_id) for job_id in (live, working)]
    assert [(job.state, job.attempt) for job in ends] == [("queued", 0)] * 2
    assert team.process.returncode == 0
    store = Store.from_url(server.url)
    heard = [store.run("fetch", "clip") is not None for _ in range(3)]
    store.close()
    assert heard == [True, True, False]


def test_a_worker_frozen_past_its_lease_writes_nothing_when_it_thaws(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path, slots=2) as team:
        job_id = accept(jobs, "a", steps=8)
        frozen = begun(team, "a")
        kill(frozen, signal.SIGSTOP)
        begun(team, "a", times=2)
        kill(frozen, signal.SIGCONT)
        until(lambda: ended(jobs, job_id), "the job's end")
        other = accept(jobs, "b", steps=1)
        until(lambda: ended(jobs, other), "another job after the thaw")

    job = look(jobs, job_id)
    assert (job.state, job.attempt, team.done("a")) == ("succeeded", 2, 1)


def test_a_machine_that_is_gone_loses_no_job(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path / "one") as lost:
        job_id = accept(jobs, "a", steps=30)
        begun(lost, "a")
        with crew(server.url, tmp_path / "two") as team:
            lost.kill_all()
            begun(team, "a")
            until(lambda: ended(jobs, job_id), "the job's end")

    assert look(jobs, job_id).state == "succeeded"
    assert lost.done("a") + team.done("a") == 1


def test_redis_killed_in_the_middle_loses_nothing(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path) as team:
        ids = [accept(jobs, clip, steps=6) for clip in ("a", "b", "c")]
        until(lambda: any(team.started(clip) for clip in "abc"), "a job begun")
        server.kill()
        server.start()
        for job_id in ids:
            until(lambda job_id=job_id: ended(jobs, job_id), "every job's end")  # type: ignore[misc]  # mypy cannot infer a bound default

    assert [look(jobs, job_id).state for job_id in ids] == ["succeeded"] * 3
    assert [team.done(clip) for clip in "abc"] == [1, 1, 1]


def test_a_job_that_kills_its_worker_stops_after_five_attempts(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path) as team:
        job_id = accept(jobs, "poison", steps=100)
        for attempt in range(1, 6):
            kill(begun(team, "poison", times=attempt))
        until(lambda: ended(jobs, job_id), "the end of the poison job")
        healthy = accept(jobs, "a", steps=1)
        until(lambda: ended(jobs, healthy), "a job after the poison")

    job = look(jobs, job_id)
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "attempts_exhausted")
    assert look(jobs, healthy).state == "succeeded"


def test_told_to_stop_a_worker_puts_its_job_back_uncounted(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path) as team:
        job_id = accept(jobs, "a", steps=100)
        begun(team, "a")
        took = team.stop()

    job = look(jobs, job_id)
    assert (job.state, job.attempt) == ("queued", 0)
    assert took < 5
    store = Store.from_url(server.url)
    assert store.run("fetch", "clip") is not None  # somebody else will hear of it
    store.close()


def test_a_cancelled_job_stops_within_two_seconds(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path) as team:
        job_id = accept(jobs, "a", steps=100)
        begun(team, "a")
        jobs.cancel("t1", job_id)
        took = until(lambda: look(jobs, job_id).state == "cancelled", "the job cancelled")

    assert took < 2
    assert team.done("a") == 0


def test_malformed_messages_end_no_worker(server: RedisServer, jobs: Jobs, tmp_path: Path) -> None:
    store = Store.from_url(server.url)
    for number, raw in enumerate(('{"queue_name": "other"}', "", "[[[", '{"options": 5}')):
        store.client.hset("dramatiq:clip.msgs", f"m{number}", raw)
        store.client.rpush("dramatiq:clip", f"m{number}")
    with crew(server.url, tmp_path) as team:
        job_id = accept(jobs, "a", steps=1)
        until(lambda: ended(jobs, job_id), "a job after the malformed messages")
        slots = team.slots()
        until(lambda: store.client.xlen("cr:quarantine:clip") == 4, "the quarantine")

    assert look(jobs, job_id).state == "succeeded"
    assert len(slots) == 1
    store.close()


def just_begun(team: Crew, clips: list[str]) -> str:
    """Wait for the next of some jobs to begin, which is far from its end then."""
    before = {clip: len(team.started(clip)) for clip in clips}

    def began() -> list[str]:
        return [clip for clip in clips if len(team.started(clip)) > before[clip]]

    until(lambda: bool(began()), "another job begun")
    return began()[-1]


def test_many_jobs_under_many_faults_are_done_once_each(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    clips = [f"c{n}" for n in range(24)]
    with crew(server.url, tmp_path, slots=4) as team:
        ids = {clip: accept(jobs, clip, steps=4) for clip in clips}
        until(lambda: any(team.started(clip) for clip in clips), "the first job begun")
        unharmed = list(clips)  # one job killed every time would have no attempt left
        for turn in range(6):
            if turn == 2:
                server.kill()
                server.start()
            else:
                unharmed.remove(victim := just_begun(team, unharmed))
                kill(team.started(victim)[-1])
        for job_id in ids.values():
            until(lambda job_id=job_id: ended(jobs, job_id), "every job's end", 60)  # type: ignore[misc]  # mypy cannot infer a bound default

    states = {clip: look(jobs, job_id).state for clip, job_id in ids.items()}
    assert states == dict.fromkeys(clips, "succeeded")
    assert {clip: team.done(clip) for clip in clips} == dict.fromkeys(clips, 1)
    stats = Queues(Store.from_url(server.url)).stats("clip")
    assert stats.depth == 0


def test_an_idle_worker_hears_a_job_at_once(
    server: RedisServer, jobs: Jobs, tmp_path: Path
) -> None:
    with crew(server.url, tmp_path) as team:
        warm = accept(jobs, "warm", steps=0)
        until(lambda: ended(jobs, warm), "the first job")
        quickest = 60.0
        for number in range(10):
            began = time.monotonic()
            job_id = accept(jobs, f"n{number}", steps=0)
            until(lambda job_id=job_id: ended(jobs, job_id), "a job")  # type: ignore[misc]  # mypy cannot infer a bound default
            quickest = min(quickest, time.monotonic() - began)
        assert team.process.poll() is None

    # A consumer that polls needs hundreds of milliseconds even at its best.
    assert quickest < 0.2
