"""What every ledger promises its workers: one suite for the one in Redis and the one in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from schemas.errors import LeaseLost
from schemas.jobs import MAX_ATTEMPTS, Job, JobError
from schemas.ledger import Lease, Ledger
from store.jobs import Jobs, RedisLedger
from store.leases import Leases
from tests.builders import a_clip_command
from tests.fakes import fake_store
from workers.local_ledger import LocalLedger

OOPS = JobError(code="source_stalled", message="no bytes for 30 s", retryable=True)


class Bench(NamedTuple):
    """A ledger with one queued job, and how a test looks at it from outside."""

    ledger: Ledger
    job_id: str
    look: Callable[[], Job]
    cancel: Callable[[], object]
    let_due: Callable[[], object]


def in_redis() -> Bench:
    store = fake_store()
    jobs = Jobs(store)
    job_id = jobs.accept(a_clip_command()).job.id
    return Bench(
        ledger=RedisLedger(store),
        job_id=job_id,
        look=lambda: jobs.get("t1", job_id),
        cancel=lambda: jobs.cancel("t1", job_id),
        let_due=Leases(store).reap,
    )


def in_memory() -> Bench:
    ledger = LocalLedger()
    job_id = ledger.submit(a_clip_command()).id
    return Bench(
        ledger=ledger,
        job_id=job_id,
        look=lambda: ledger.job(job_id),
        cancel=lambda: ledger.cancel(job_id),
        let_due=lambda: None,
    )


@pytest.fixture(params=[in_redis, in_memory], ids=["redis", "memory"])
def bench(request: pytest.FixtureRequest) -> Bench:
    made: Bench = request.param()
    return made


def claimed(bench: Bench, nonce: str = "n1") -> Lease:
    lease = bench.ledger.claim("clip", "w1", nonce)
    assert lease is not None
    return lease


def test_a_claim_is_a_first_attempt(bench: Bench) -> None:
    lease = claimed(bench)

    assert (lease.job_id, lease.attempt, lease.kind) == (bench.job_id, 1, "clip")
    assert bench.look().state == "running"
    assert claimed(bench) == lease
    assert bench.ledger.claim("other", "w1", "n2") is None


def test_progress_only_rises(bench: Bench) -> None:
    lease = claimed(bench)
    assert bench.look().progress is None

    bench.ledger.progress(lease, "fetching", 0.5, 2.0)
    bench.ledger.progress(lease, "cutting", 0.25, None)

    assert (bench.look().progress, bench.look().stage) == (0.5, "cutting")


def test_waiting_in_place_keeps_the_lease(bench: Bench) -> None:
    lease = claimed(bench)

    bench.ledger.waiting(lease, 1, release=False)
    waiting = bench.look()
    bench.ledger.progress(lease, "fetching", None, None)

    assert waiting.state == "waiting"
    assert bench.look().state == "running"
    assert bench.ledger.renew(lease) == "held"


def test_waiting_released_counts_no_attempt_and_keeps_progress(bench: Bench) -> None:
    lease = claimed(bench)
    bench.ledger.progress(lease, "fetching", 0.5, None)

    bench.ledger.waiting(lease, 1, release=True)
    waiting = bench.look()
    bench.let_due()
    again = claimed(bench, "n2")

    assert (waiting.state, waiting.attempt) == ("waiting", 0)
    assert again.attempt == 1
    assert again.fence > lease.fence
    assert bench.look().progress == 0.5


def test_a_counted_retry_is_another_attempt(bench: Bench) -> None:
    lease = claimed(bench)
    bench.ledger.progress(lease, "fetching", 0.5, None)

    bench.ledger.retry(lease, OOPS, 0, counted=True)
    again = claimed(bench, "n2")

    assert (again.attempt, bench.look().progress) == (2, None)


def test_attempts_run_out(bench: Bench) -> None:
    for n in range(MAX_ATTEMPTS):
        bench.ledger.retry(claimed(bench, f"n{n}"), OOPS, 0, counted=True)

    assert bench.look().state == "failed"
    assert bench.look().error == OOPS


def test_a_lease_given_back_writes_nothing_more(bench: Bench) -> None:
    lease = claimed(bench)
    bench.ledger.retry(lease, OOPS, 0, counted=True)
    claimed(bench, "n2")

    with pytest.raises(LeaseLost):
        bench.ledger.finish(lease, {})
    with pytest.raises(LeaseLost):
        bench.ledger.progress(lease, None, None, None)
    assert bench.ledger.renew(lease) == bench.ledger.peek(lease) == "lost"


def test_every_end_may_be_told_twice(bench: Bench) -> None:
    lease = claimed(bench)

    bench.ledger.finish(lease, {"a": 1})
    bench.ledger.finish(lease, {"a": 1})

    assert (bench.look().state, bench.look().result) == ("succeeded", {"a": 1})
    assert bench.look().finished_at is not None


def test_a_failure_tells_why(bench: Bench) -> None:
    lease = claimed(bench)

    bench.ledger.fail(lease, OOPS)
    bench.ledger.fail(lease, OOPS)

    assert (bench.look().state, bench.look().error) == ("failed", OOPS)


def test_a_cancelled_job_stops(bench: Bench) -> None:
    lease = claimed(bench)

    bench.cancel()
    told = bench.ledger.renew(lease), bench.ledger.peek(lease)
    bench.ledger.cancelled(lease)

    assert told == ("cancelled", "cancelled")
    assert bench.look().state == "cancelled"


def test_a_cancelled_job_is_not_tried_again(bench: Bench) -> None:
    lease = claimed(bench)
    bench.cancel()

    bench.ledger.retry(lease, OOPS, 0, counted=True)

    assert bench.look().state == "cancelled"


def test_the_latest_intent_outlives_its_attempt(bench: Bench) -> None:
    found = []

    for upload in ("1", "2", "3"):
        lease = claimed(bench, f"n{upload}")
        found.append(lease.intent)
        bench.ledger.publish_intent(lease, {"upload": upload})
        bench.ledger.retry(lease, OOPS, 0, counted=True)

    assert found == [None, {"upload": "1"}, {"upload": "2"}]
