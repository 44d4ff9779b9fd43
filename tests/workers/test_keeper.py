"""The keeper: its numbers, and chores that survive their own failures."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry, generate_latest

from schemas.errors import StoreUnavailable
from store.client import Store
from store.jobs import Jobs, RedisLedger
from store.queues import Queues
from tests.builders import a_clip_command
from tests.fakes import fake_store
from tests.redis_server import free_port
from workers.keeper import Chore, Keeper, LedgerCollector


def scraped(store: Store) -> str:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(Queues(store), ("clip",)))
    return generate_latest(registry).decode()


def test_the_numbers_are_those_of_the_ledger() -> None:
    store = fake_store()
    for clip in ("a", "b"):
        Jobs(store).accept(a_clip_command(clip_id=clip))
    lease = RedisLedger(store).claim("clip", "w", "n")
    assert lease is not None
    RedisLedger(store).finish(lease, {})

    text = scraped(store)

    assert 'cuttingroom_jobs_accepted_total{kind="clip"} 2.0' in text
    assert 'cuttingroom_jobs_finished_total{kind="clip",outcome="succeeded"} 1.0' in text
    assert 'cuttingroom_queue_depth{queue="clip"} 1.0' in text
    assert "cuttingroom_redis_up 1.0" in text


def test_without_redis_the_numbers_say_so() -> None:
    text = scraped(Store.from_url(f"redis://127.0.0.1:{free_port()}/0"))

    assert "cuttingroom_redis_up 0.0" in text
    assert "cuttingroom_queue_depth" not in text


def test_a_chore_that_fails_is_done_again() -> None:
    done, turns = threading.Event(), iter((StoreUnavailable("x"), KeyError("y"), None))

    def act() -> None:
        error = next(turns, None)
        if error is not None:
            raise error
        done.set()

    keeper = Keeper([Chore("test", 0.001, act)])
    keeper.start()

    assert done.wait(10)
    keeper.stop()
