"""The connection: failures in our words, memory watched, nothing of the address told."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import FieldInvalid, StoreUnavailable
from store.client import Store
from store.jobs import Jobs, RedisLedger
from store.leases import Leases
from tests.builders import a_clip_command
from tests.fakes import fake_store
from tests.redis_server import free_port, redis_server, redis_url

__all__ = ["redis_url"]


def test_an_absent_redis_is_unavailable_and_its_password_stays_here() -> None:
    store = Store.from_url(f"redis://:hunter2@127.0.0.1:{free_port()}/0")

    with pytest.raises(StoreUnavailable) as caught:
        Jobs(store).get("t1", "job_" + "0" * 26)

    assert "hunter2" not in caught.value.message
    with pytest.raises(StoreUnavailable):
        store.ping()


def test_a_cursor_of_nobody_is_refused() -> None:
    for cursor in ("", "job_", "(", "+", "job_" + "0" * 25 + "é"):
        with pytest.raises(FieldInvalid):
            Jobs(fake_store()).list("t1", cursor=cursor)


def test_an_oversized_command_is_refused() -> None:
    command = a_clip_command(metadata={"note": "x" * 2_000_000})

    with pytest.raises(FieldInvalid):
        Jobs(fake_store()).accept(command)


@pytest.mark.redis
def test_a_redis_that_is_nearly_full_takes_no_more_jobs(redis_url: str) -> None:
    store = Store.from_url(redis_url)
    jobs = Jobs(store)
    job = jobs.accept(a_clip_command()).job
    store.client.config_set("maxmemory", str(int(store.client.info("memory")["used_memory"] * 1.1)))

    pressed = Jobs(Store.from_url(redis_url))

    with pytest.raises(StoreUnavailable):
        pressed.accept(a_clip_command(clip_id="b"))
    assert pressed.get("t1", job.id).state == "queued"
    store.close()


@pytest.mark.redis
def test_a_killed_redis_comes_back_with_everything_and_reaping_is_quiet(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        store = Store.from_url(server.url)
        job = Jobs(store).accept(a_clip_command()).job
        lease = RedisLedger(store).claim("clip", "w1", "n")
        assert lease is not None
        RedisLedger(store).waiting(lease, 1, release=True)
        server.kill()
        server.start()

        quiet = Leases(store).reap()
        seen = Jobs(store).get("t1", job.id)
        store.close()

    assert quiet == (0, 0)
    assert seen.state == "waiting"
