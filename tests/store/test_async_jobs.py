"""Accepting on the event loop: the same answers as the ledger's, many in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import fakeredis
import pytest

from schemas.errors import Conflict, CuttingRoomError, FieldInvalid, QueueFull, StoreUnavailable
from schemas.ledger import Accepted
from store.async_jobs import AsyncJobs
from store.client import Store
from store.jobs import Jobs
from tests.builders import a_clip_command
from tests.redis_server import free_port, redis_server, redis_url

__all__ = ["redis_url"]
T = TypeVar("T")


def on_fake(act: Callable[[AsyncJobs, Jobs], Awaitable[T]], *, queue_cap: int = 1000) -> T:
    """What an act on both ledgers of one Redis in memory answers."""
    server = fakeredis.FakeServer()
    held = Jobs(
        Store(fakeredis.FakeRedis(server=server, decode_responses=True)), queue_cap=queue_cap
    )

    async def run() -> T:
        client = fakeredis.FakeAsyncRedis(server=server, decode_responses=True)
        jobs = AsyncJobs(client, queue_cap=queue_cap)
        try:
            return await act(jobs, held)
        finally:
            await jobs.close()

    return asyncio.run(run())


def at(url: str, act: Callable[[AsyncJobs], Awaitable[T]]) -> T:
    """What an act on the ledger at a URL answers."""

    async def run() -> T:
        jobs = AsyncJobs.from_url(url)
        try:
            return await act(jobs)
        finally:
            await jobs.close()

    return asyncio.run(run())


def test_what_is_accepted_here_is_the_job_the_ledger_holds() -> None:
    async def act(jobs: AsyncJobs, held: Jobs) -> tuple[Accepted, Accepted]:
        accepted = await jobs.accept(a_clip_command(clip_id="a", dedup_key="k"))
        return accepted, held.accept(a_clip_command(clip_id="a", dedup_key="k"))

    first, again = on_fake(act)

    assert (first.created, again.created) == (True, False)
    assert first.job == again.job


def test_many_at_once_are_as_many_jobs_each_with_its_own_request() -> None:
    async def act(jobs: AsyncJobs, held: Jobs) -> list[Accepted]:
        asked = (jobs.accept(a_clip_command(clip_id=f"c{n}")) for n in range(150))
        found = await asyncio.gather(*asked)
        assert all(held.get("t1", one.job.id) == one.job for one in found)
        return found

    found = on_fake(act)

    assert [one.job.request for one in found] == [{"clipId": f"c{n}"} for n in range(150)]
    assert len({one.job.id for one in found}) == 150


def test_a_refusal_is_its_own_alone() -> None:
    async def act(jobs: AsyncJobs, held: Jobs) -> list[Accepted | BaseException]:
        await jobs.accept(a_clip_command(clip_id="a", dedup_key="k"))
        return await asyncio.gather(
            jobs.accept(a_clip_command(clip_id="b")),
            jobs.accept(a_clip_command(clip_id="z", dedup_key="k")),
            jobs.accept(a_clip_command(metadata={"note": "x" * 2_000_000})),
            jobs.accept(a_clip_command(clip_id="c")),
            jobs.accept(a_clip_command(clip_id="d")),
            return_exceptions=True,
        )

    found = on_fake(act, queue_cap=3)

    assert [type(one) for one in found] == [Accepted, Conflict, FieldInvalid, Accepted, QueueFull]


def test_one_idempotency_key_at_the_same_time_is_one_job() -> None:
    async def act(jobs: AsyncJobs, held: Jobs) -> list[Accepted]:
        same = a_clip_command(clip_id="a")
        return await asyncio.gather(*(jobs.accept(same, idempotency_key="k") for _ in range(20)))

    found = on_fake(act)

    assert len({one.job.id for one in found}) == 1
    assert sum(one.created for one in found) == 1


def test_an_absent_redis_is_unavailable_and_its_password_stays_here() -> None:
    async def act(jobs: AsyncJobs) -> list[BaseException | Accepted]:
        asked = (jobs.accept(a_clip_command(clip_id=f"c{n}")) for n in range(3))
        return await asyncio.gather(*asked, return_exceptions=True)

    found = at(f"redis://:hunter2@127.0.0.1:{free_port()}/0", act)

    assert [type(one) for one in found] == [StoreUnavailable] * 3
    assert "hunter2" not in str(found)


@pytest.mark.redis
def test_a_server_that_forgot_the_script_is_told_it_again(redis_url: str) -> None:
    store = Store.from_url(redis_url)

    async def act(jobs: AsyncJobs) -> int:
        await jobs.accept(a_clip_command(clip_id="a"))
        store.client.script_flush()
        asked = (jobs.accept(a_clip_command(clip_id=f"b{n}")) for n in range(5))
        return len({one.job.id for one in await asyncio.gather(*asked)})

    assert at(redis_url, act) == 5
    assert len(Jobs(store).list("t1").items) == 6
    store.close()


@pytest.mark.redis
def test_a_redis_that_is_nearly_full_takes_no_more_jobs(redis_url: str) -> None:
    store = Store.from_url(redis_url)
    full = int(store.client.info("memory")["used_memory"] * 1.1)
    store.client.config_set("maxmemory", str(full))

    async def act(jobs: AsyncJobs) -> None:
        await jobs.accept(a_clip_command())

    with pytest.raises(StoreUnavailable, match="memory"):
        at(redis_url, act)
    assert Jobs(store).list("t1").items == ()
    store.close()


@pytest.mark.redis
def test_a_killed_redis_refuses_and_one_that_is_back_accepts(tmp_path: Path) -> None:
    async def act(jobs: AsyncJobs) -> None:
        await jobs.accept(a_clip_command(clip_id="a"))
        server.kill()
        with pytest.raises(StoreUnavailable):
            await jobs.accept(a_clip_command(clip_id="b"))
        server.start()
        assert (await _accepted_again(jobs)).created

    with redis_server(tmp_path) as server:
        at(server.url, act)


async def _accepted_again(jobs: AsyncJobs) -> Accepted:
    """A connection that died may cost one call; the next one has a new connection."""
    try:
        return await jobs.accept(a_clip_command(clip_id="c"))
    except CuttingRoomError:
        return await jobs.accept(a_clip_command(clip_id="c"))
