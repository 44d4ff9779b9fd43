"""One slot over a real Redis: it works at others while a job of it waits for media."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from schemas.commands import ClipFromStream
from schemas.ledger import LEASE_MS
from schemas.plans import Plan
from store import keys
from store.client import Store
from store.jobs import Jobs, RedisLedger
from store.leases import Leases
from store.queues import Bells, Queues
from tests.builders import a_clip_command
from tests.chaos.processes import until
from tests.redis_server import redis_url
from workers import metrics
from workers.phases import Phase, Work
from workers.run import Run
from workers.runtime import Runtime, epoch_ms
from workers.slot import MAX_WAITING, Slot

__all__ = ["redis_url"]
pytestmark = pytest.mark.redis
NOTHING = Plan(steps=())
LOOK_AGAIN_MS = 20


@dataclass
class Studio:
    """Whose media has been broadcast, who may go on cutting, and what was cut in which order."""

    jobs: Jobs
    store: Store
    slot: Slot
    runtime: Runtime
    aired: set[str] = field(default_factory=set)
    held_up: set[str] = field(default_factory=set)
    stubborn: threading.Event = field(default_factory=threading.Event)
    cutting: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    at_once: list[int] = field(default_factory=list)

    def clip(self, name: str, *, live: bool = False, held_up: bool = False) -> str:
        """Ask for a clip, whose media is still to come, or whose cut takes until it is told."""
        if not live:
            self.aired.add(name)
        if held_up:
            self.held_up.add(name)
        return self.jobs.accept(a_clip_command(clip_id=name)).job.id

    def state(self, job_id: str) -> str:
        """How a job stands."""
        return self.jobs.get("t1", job_id).state

    def becomes(self, job_id: str, state: str) -> None:
        """Wait until a job stands so."""
        until(lambda: self.state(job_id) == state, f"{job_id} {state}")

    def waiting(self) -> float:
        """What the gauge of waiting jobs says."""
        found = metrics.REGISTRY.get_sample_value(
            "cuttingroom_worker_waiting_jobs", {"queue": "clip"}
        )
        return -1 if found is None else found

    def work(self) -> Work[ClipFromStream, int]:
        """A clip that looks again until its media was broadcast, and is then cut."""
        phases = (
            Phase("fetch", "fetching", 1, same, nothing, self.look_again_ms, beside=True),
            Phase("cut", "cutting", 1, self.do_cut, nothing),
        )
        return Work(ClipFromStream, lambda _command: 0, phases, lambda *_: {})

    def look_again_ms(self, command: ClipFromStream, _facts: int) -> int | None:
        """When to look again, until the media was broadcast."""
        return None if command.clip_id in self.aired else epoch_ms() + LOOK_AGAIN_MS

    def do_cut(self, command: ClipFromStream, facts: int, run: Run) -> int:
        """Take as long as the test says, or as the job is not told to stop."""
        name = command.clip_id
        self.cutting.append(name)
        self.at_once.append(len(self.cutting))
        try:
            while name in self.held_up:
                run.wait_until(epoch_ms() + LOOK_AGAIN_MS)
            if name == "stubborn":
                self.stubborn.wait(30)
        finally:
            self.cutting.remove(name)
        self.cut.append(name)
        return facts


def same(_command: ClipFromStream, facts: int, _run: Run) -> int:
    return facts


def nothing(_command: ClipFromStream, _facts: int) -> Plan:
    return NOTHING


@contextmanager
def opened(url: str, folder: Path, places: int = MAX_WAITING) -> Iterator[Studio]:
    """A slot at work, drained afterwards."""
    store, bells = Store.from_url(url), Bells(url)
    runtime = Runtime(
        ledger=RedisLedger(store), works={}, handlers={}, work_dir=folder / "work", owner="h/clip/1"
    )
    slot = Slot("clip", runtime, bells, Queues(store), Leases(store), places)
    studio = Studio(Jobs(store), store, slot, runtime)
    runtime.works = {"clip": studio.work()}
    slot.start()
    try:
        yield studio
    finally:
        studio.stubborn.set()
        if not runtime.stop.is_set():
            slot.drain()
        until(lambda: not runtime.current, "the end of every job")
        bells.close()
        store.close()


@pytest.fixture
def studio(redis_url: str, tmp_path: Path) -> Iterator[Studio]:
    with opened(redis_url, tmp_path) as made:
        yield made


def test_another_job_is_done_while_one_waits_for_media(studio: Studio) -> None:
    live = studio.clip("live", live=True)
    studio.becomes(live, "waiting")

    past = studio.clip("past")
    studio.becomes(past, "succeeded")
    before = (list(studio.cut), studio.waiting())
    studio.aired.add("live")
    studio.becomes(live, "succeeded")

    assert before == (["past"], 1)
    assert studio.cut == ["past", "live"]
    assert [studio.jobs.get("t1", job).attempt for job in (live, past)] == [1, 1]
    assert studio.waiting() == 0


def test_what_was_broadcast_meanwhile_is_cut_before_what_came_later(studio: Studio) -> None:
    live = studio.clip("live", live=True)
    studio.becomes(live, "waiting")
    working = studio.clip("working", held_up=True)
    until(lambda: studio.cutting == ["working"], "the other job at work")
    later = studio.clip("later")

    studio.aired.add("live")
    # It goes on beside the other until it has fetched all there is, and then stands in the row.
    until(lambda: studio.slot.turn.coming_back == 1, "a row")
    queued = studio.state(later)
    studio.held_up.clear()
    for job_id in (working, live, later):
        studio.becomes(job_id, "succeeded")

    assert queued == "queued"
    assert studio.cut == ["working", "live", "later"]
    assert set(studio.at_once) == {1}


def test_a_job_that_waits_is_cancelled_and_takes_no_other_its_turn(studio: Studio) -> None:
    live = studio.clip("live", live=True)
    studio.becomes(live, "waiting")
    working = studio.clip("working", held_up=True)
    until(lambda: studio.cutting == ["working"], "the other job at work")
    later = studio.clip("later")

    studio.jobs.cancel("t1", live)
    studio.becomes(live, "cancelled")
    until(lambda: studio.waiting() == 0, "its end in the slot")
    queued = studio.state(later)
    studio.held_up.clear()
    for job_id in (working, later):
        studio.becomes(job_id, "succeeded")

    assert queued == "queued"
    assert studio.cut == ["working", "later"]
    assert set(studio.at_once) == {1}


def test_a_job_in_the_row_is_cancelled_before_its_turn(studio: Studio) -> None:
    live = studio.clip("live", live=True)
    studio.becomes(live, "waiting")
    studio.clip("working", held_up=True)
    until(lambda: studio.cutting == ["working"], "the other job at work")
    studio.aired.add("live")
    until(lambda: studio.slot.turn.coming_back == 1, "a row")

    studio.jobs.cancel("t1", live)
    studio.becomes(live, "cancelled")

    assert studio.cutting == ["working"]
    assert studio.cut == []


def test_told_to_stop_it_puts_back_what_waits_and_what_works(studio: Studio) -> None:
    live = studio.clip("live", live=True)
    studio.becomes(live, "waiting")
    working = studio.clip("working", held_up=True)
    until(lambda: studio.cutting == ["working"], "the other job at work")

    studio.slot.drain()

    jobs = [studio.jobs.get("t1", job_id) for job_id in (live, working)]
    assert [(job.state, job.attempt) for job in jobs] == [("queued", 0)] * 2
    # Somebody else will hear of both.
    assert [studio.store.run("fetch", "clip") is not None for _ in range(3)] == [True, True, False]


def test_jobs_that_do_not_stop_in_time_are_put_back_without_asking_them(studio: Studio) -> None:
    live = studio.clip("live", live=True)
    studio.becomes(live, "waiting")
    stubborn = studio.clip("stubborn")
    until(lambda: studio.cutting == ["stubborn"], "the other job at work")

    studio.slot.drain(within_s=0)

    jobs = [studio.jobs.get("t1", job_id) for job_id in (live, stubborn)]
    assert [(job.state, job.attempt) for job in jobs] == [("queued", 0)] * 2
    assert studio.waiting() == 0


def test_with_all_places_taken_a_job_that_would_wait_is_given_back(
    redis_url: str, tmp_path: Path
) -> None:
    with opened(redis_url, tmp_path, places=1) as studio:
        studio.runtime.early_ms = 0
        first = studio.clip("first", live=True)
        studio.becomes(first, "waiting")
        second = studio.clip("second", live=True)
        studio.becomes(second, "waiting")
        until(lambda: not owner(studio, second), "the lease given back")

        past = studio.clip("past")
        studio.becomes(past, "succeeded")
        held = owner(studio, first)
        studio.aired |= {"first", "second"}
        studio.becomes(first, "succeeded")
        until(
            lambda: studio.store.run("reap", 10, LEASE_MS) and studio.state(second) == "succeeded",
            "the time of the other",
        )

    assert held
    assert [studio.jobs.get("t1", job).attempt for job in (first, second, past)] == [1, 1, 1]


def owner(studio: Studio, job_id: str) -> Any:
    return studio.store.client.hget(keys.job(job_id), "owner")
