"""Events: in order, replayed from an id, waited for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import fakeredis
import pytest

from schemas.errors import FieldInvalid, NotFound
from schemas.events import Event
from schemas.jobs import JobError
from schemas.ledger import Lease
from store.client import Store
from store.events import MAX_FOLLOWERS, AsyncEvents, Events
from store.jobs import Jobs, RedisLedger
from tests.builders import a_clip_command
from tests.fakes import fake_store
from tests.redis_server import redis_server

MANY = MAX_FOLLOWERS // 2


@pytest.fixture
def store() -> Store:
    return fake_store()


def claimed(store: Store, nonce: str = "n") -> Lease:
    lease = RedisLedger(store).claim("clip", "w1", nonce)
    assert lease is not None
    return lease


def types(events: tuple[Event, ...]) -> list[str]:
    return [event.type for event in events]


def test_a_job_is_the_fold_of_its_events(store: Store) -> None:
    job = Jobs(store).accept(a_clip_command()).job
    ledger = RedisLedger(store)
    oops = JobError(code="source_stalled", message="x", retryable=True)
    ledger.retry(claimed(store), oops, 0, counted=True)
    lease = claimed(store, "n2")
    ledger.progress(lease, "cutting", 0.5, 3.0)
    ledger.waiting(lease, 5, release=False)
    ledger.progress(lease, "cutting", 0.6, 2.0)
    ledger.finish(lease, {"file": "x"})

    events = Events(store).after("t1", None, job_id=job.id)

    assert types(events) == [
        "job.queued",
        "job.started",
        "job.retrying",
        "job.started",
        "job.progress",
        "job.waiting",
        "job.started",
        "job.succeeded",
        "clip.ready",
    ]
    assert [event.seq for event in events] == list(range(1, 10))
    assert [event.attempt for event in events] == [0, 1, 1, 2, 2, 2, 2, 2, 2]
    assert events[-1].data == {"result": {"file": "x"}}
    assert events == Events(store).after("t1", None)


def test_progress_is_told_once_a_second_at_most(store: Store) -> None:
    Jobs(store).accept(a_clip_command())
    lease = claimed(store)

    for hundredth in range(100):
        RedisLedger(store).progress(lease, "cutting", hundredth / 100, None)

    told = [e for e in Events(store).after("t1", None, limit=500) if e.type == "job.progress"]
    seconds = {event.occurred_at[:19] for event in told}
    assert 1 <= len(told) <= len(seconds) + 1


def test_a_replay_goes_on_after_the_id(store: Store) -> None:
    jobs, events = Jobs(store), Events(store)
    for clip in ("a", "b", "c"):
        jobs.accept(a_clip_command(clip_id=clip))
    first = events.after("t1", None, limit=1)[0]

    rest = events.after("t1", first.id)

    assert len(rest) == 2
    assert events.after("t1", rest[-1].id) == ()
    assert events.latest("t1") == rest[-1].id


def test_tenants_have_streams_of_their_own(store: Store) -> None:
    job = Jobs(store).accept(a_clip_command(tenant_id="t1")).job

    assert Events(store).after("t2", None) == ()
    with pytest.raises(NotFound):
        Events(store).after("t2", None, job_id=job.id)


@pytest.mark.parametrize("text", ["", "x", "1", "1-", "-1-1", "1-1\n", "$", "9" * 30 + "-1"])
def test_an_id_that_is_not_ours_is_refused(store: Store, text: str) -> None:
    with pytest.raises(FieldInvalid):
        Events(store).after("t1", text)


def test_what_happens_outside_jobs_is_told_too(store: Store) -> None:
    Events(store).emit("t1", "connector.auth_failed", {"connectorId": "c"})

    (event,) = Events(store).after("t1", None)

    assert (event.type, event.job_id, event.data) == (
        "connector.auth_failed",
        None,
        {"connectorId": "c"},
    )


@pytest.mark.redis
def test_followers_hear_what_happens_next(tmp_path: Path) -> None:
    async def listen(url: str, store: Store) -> list[str]:
        events = AsyncEvents.from_url(url)
        heard: list[str] = []
        job = Jobs(store).accept(a_clip_command()).job
        following = events.follow("t1", None, job_id=job.id, heartbeat_s=0.2)
        async for event in following:
            if event is None:
                await asyncio.to_thread(Jobs(store).cancel, "t1", job.id)
                continue
            heard.append(event.type)
            if event.type == "job.cancelled":
                break
        await following.aclose()
        await events.close()
        return heard

    with redis_server(tmp_path) as server:
        store = Store.from_url(server.url)
        heard = asyncio.run(listen(server.url, store))
        waited = Events(store).wait("t1", Events(store).latest("t1"), 0.05)
        store.close()

    assert heard == ["job.queued", "job.cancelled"]
    assert waited == ()


@pytest.mark.redis
def test_many_follow_at_once(tmp_path: Path) -> None:
    async def listen(url: str) -> int:
        events = AsyncEvents.from_url(url)

        async def one() -> bool:
            following = events.follow("t1", None, heartbeat_s=1.0)
            told = await anext(following)
            await following.aclose()
            return told is None

        heard = await asyncio.gather(*(one() for _ in range(MANY)))
        await events.close()
        return sum(heard)

    with redis_server(tmp_path) as server:
        assert asyncio.run(listen(server.url)) == MANY


def test_followers_of_anothers_job_are_refused(store: Store) -> None:
    async def listen() -> None:
        events = AsyncEvents(fakeredis.FakeAsyncRedis(decode_responses=True))
        async for _ in events.follow("t2", None, job_id="job_x"):
            pass

    with pytest.raises(NotFound):
        asyncio.run(listen())
