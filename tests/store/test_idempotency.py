"""A key is one request's, however many come with it at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.errors import Conflict
from store import idempotency, keys
from store.client import Store
from store.idempotency import CLAIM_S, Claim
from store.jobs import Jobs
from tests.builders import a_clip_command
from tests.fakes import fake_store
from tests.redis_server import redis_server

AT_ONCE = 8


@pytest.fixture
def store() -> Store:
    return fake_store()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Store]:
    with redis_server(tmp_path) as server:
        made = Store.from_url(server.url)
        yield made
        made.close()


def claimed(store: Store, words: str = "a") -> Claim:
    return idempotency.claim(store, "t1", "k", words)


def lives_s(store: Store) -> int:
    found = store.client.ttl(keys.idempotency("t1", "k"))
    assert isinstance(found, int)
    return found


def test_of_equal_requests_at_one_moment_one_is_carried_out(shared: Store) -> None:
    barrier = threading.Barrier(AT_ONCE)

    def ask() -> bool:
        barrier.wait(10)
        return claimed(shared).under_way

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = [pool.submit(ask) for _ in range(AT_ONCE)]

        assert Counter(one.result() for one in answers) == {False: 1, True: AT_ONCE - 1}


def test_of_other_requests_at_one_moment_one_has_the_key_be_it_for_a_job(shared: Store) -> None:
    barrier = threading.Barrier(AT_ONCE)

    def ask(n: int) -> str:
        barrier.wait(10)
        try:
            if n % 2:
                return claimed(shared, f"request {n}").words
            command = a_clip_command(clip_id=f"c{n}")
            return Jobs(shared).accept(command, idempotency_key="k", body_hash=f"{n}").job.id
        except Conflict as error:
            return error.error_code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(ask, range(AT_ONCE)))

    assert Counter(answers)["idempotency_conflict"] == AT_ONCE - 1


def test_a_claim_whose_process_died_lapses(store: Store) -> None:
    claimed(store)

    assert claimed(store).under_way
    assert 0 < lives_s(store) <= CLAIM_S


def test_an_answered_key_is_its_requests_for_a_day(store: Store) -> None:
    idempotency.settle(store, claimed(store))

    assert not claimed(store).under_way
    assert lives_s(store) > 23 * 3600
    with pytest.raises(Conflict):
        claimed(store, "b")


def test_a_refused_request_gives_its_key_back(store: Store) -> None:
    idempotency.release(store, claimed(store))

    assert not claimed(store, "b").under_way


@pytest.mark.parametrize("end", [idempotency.settle, idempotency.release])
def test_a_claim_that_lapsed_leaves_the_next_ones_key_alone(store: Store, end: object) -> None:
    late = claimed(store)
    store.client.delete(keys.idempotency("t1", "k"))
    next_one = claimed(store, "b")

    assert callable(end)
    end(store, late)

    assert claimed(store, "b").under_way
    idempotency.settle(store, next_one)
    assert not claimed(store, "b").under_way


def test_an_equal_request_under_way_does_not_end_the_claim(store: Store) -> None:
    claimed(store)

    idempotency.release(store, claimed(store))

    assert claimed(store).under_way


def test_a_key_answered_with_a_known_job_is_that_jobs(store: Store) -> None:
    jobs = Jobs(store)
    one, two = (jobs.accept(a_clip_command(clip_id=name)).job.id for name in "ab")

    assert idempotency.known_job(store, "t1", "k", "words") is None
    assert idempotency.job_of(store, "t1", "k", "words", one) == one
    assert idempotency.job_of(store, "t1", "k", "words", two) == one
    assert idempotency.known_job(store, "t1", "k", "words") == one
    for call in (
        lambda: idempotency.known_job(store, "t1", "k", "other"),
        lambda: idempotency.job_of(store, "t1", "k", "other", one),
        lambda: claimed(store),
    ):
        with pytest.raises(Conflict):
            call()
