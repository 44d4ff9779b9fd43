"""The ledger: what each arrow of a job's state promises."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from schemas.errors import Conflict, LeaseLost, NotFound, QueueFull
from schemas.jobs import MAX_ATTEMPTS, JobError
from schemas.ledger import LEASE_MS, Lease
from schemas.times import parse_rfc3339
from store.client import Store
from store.events import Events
from store.jobs import Jobs, RedisLedger
from store.leases import Leases
from store.listing import JobFilter
from store.queues import Queues
from tests.builders import a_clip_command, a_connector_ref
from tests.fakes import fake_store

OOPS = JobError(code="source_stalled", message="no bytes for 30 s", retryable=True)


@pytest.fixture
def store() -> Store:
    return fake_store()


@pytest.fixture
def jobs(store: Store) -> Jobs:
    return Jobs(store)


@pytest.fixture
def ledger(store: Store) -> RedisLedger:
    return RedisLedger(store)


def claimed(ledger: RedisLedger, owner: str = "w1") -> Lease:
    lease = ledger.claim("clip", owner, f"nonce-{owner}-{id(object())}")
    assert lease is not None
    return lease


def test_an_accepted_command_is_a_queued_job_with_its_request(jobs: Jobs) -> None:
    accepted = jobs.accept(a_clip_command(clip_id="a"))

    job = jobs.get("t1", accepted.job.id)

    assert accepted.created
    assert (job.state, job.attempt, job.progress) == ("queued", 0, None)
    assert job.request == {"clipId": "a"}
    assert (job.connector_id, job.channel_id) == ("con_1", "ch1")


def test_another_tenant_never_sees_a_job(jobs: Jobs) -> None:
    job = jobs.accept(a_clip_command(tenant_id="t1")).job

    for call in (jobs.get, jobs.cancel, jobs.again):
        with pytest.raises(NotFound):
            call("t2", job.id)


def test_an_id_that_names_another_key_of_ours_is_no_job(jobs: Jobs, store: Store) -> None:
    job = jobs.accept(a_clip_command()).job

    for text in (f"{job.id}:events", "", "*", job.id + "\n", job.id.lower(), "job_" + "é" * 26):
        for call in (jobs.get, jobs.cancel, jobs.again):
            with pytest.raises(NotFound):
                call("t1", text)
        with pytest.raises(NotFound):
            Events(store).after("t1", None, job_id=text)


def test_one_idempotency_key_is_one_job(jobs: Jobs) -> None:
    first = jobs.accept(a_clip_command(clip_id="a"), idempotency_key="k", body_hash="h")

    again = jobs.accept(a_clip_command(clip_id="a"), idempotency_key="k", body_hash="h")

    assert again.job.id == first.job.id
    assert not again.created


def test_an_idempotency_key_with_another_body_is_a_conflict(jobs: Jobs) -> None:
    jobs.accept(a_clip_command(clip_id="a"), idempotency_key="k", body_hash="h")

    with pytest.raises(Conflict) as caught:
        jobs.accept(a_clip_command(clip_id="b"), idempotency_key="k", body_hash="i")

    assert caught.value.error_code == "idempotency_conflict"


def test_idempotency_keys_of_two_tenants_are_apart(jobs: Jobs) -> None:
    first = jobs.accept(a_clip_command(tenant_id="t1"), idempotency_key="k", body_hash="h")

    second = jobs.accept(a_clip_command(tenant_id="t2"), idempotency_key="k", body_hash="i")

    assert second.created
    assert second.job.id != first.job.id


def test_two_commands_for_one_resource_are_one_job(jobs: Jobs) -> None:
    first = jobs.accept(a_clip_command(dedup_key="clip:a"))
    sealed_anew = a_connector_ref(sealed_auth="another sealing of the same secret")

    second = jobs.accept(a_clip_command(dedup_key="clip:a", connector=sealed_anew))

    assert (second.job.id, second.created) == (first.job.id, False)


def test_one_resource_with_other_content_is_a_conflict(jobs: Jobs) -> None:
    jobs.accept(a_clip_command(dedup_key="clip:a"))

    with pytest.raises(Conflict) as caught:
        jobs.accept(a_clip_command(dedup_key="clip:a", duration_ms=9_000))

    assert caught.value.error_code == "clip_conflict"


def test_a_failed_resource_may_be_asked_for_again(jobs: Jobs, ledger: RedisLedger) -> None:
    first = jobs.accept(a_clip_command(dedup_key="clip:a"))
    ledger.fail(claimed(ledger), OOPS)

    second = jobs.accept(a_clip_command(dedup_key="clip:a"))

    assert second.created
    assert second.job.id != first.job.id


def test_a_full_queue_refuses(store: Store) -> None:
    jobs = Jobs(store, queue_cap=2)
    for clip in ("a", "b"):
        jobs.accept(a_clip_command(clip_id=clip))

    with pytest.raises(QueueFull):
        jobs.accept(a_clip_command(clip_id="c"))


def test_a_claim_leases_and_an_empty_queue_answers_none(jobs: Jobs, ledger: RedisLedger) -> None:
    job = jobs.accept(a_clip_command()).job

    lease = claimed(ledger)

    assert (lease.job_id, lease.attempt, lease.fence) == (job.id, 1, 1)
    assert jobs.get("t1", job.id).state == "running"
    assert ledger.claim("clip", "w2", "n") is None


def test_a_repeated_claim_answers_the_same_lease(jobs: Jobs, ledger: RedisLedger) -> None:
    jobs.accept(a_clip_command())

    first = ledger.claim("clip", "w1", "nonce")

    assert ledger.claim("clip", "w1", "nonce") == first


def test_a_claim_leaves_alone_what_its_owner_knows_and_recovers_what_it_does_not(
    jobs: Jobs, ledger: RedisLedger
) -> None:
    ids = [jobs.accept(a_clip_command(clip_id=name)).job.id for name in "abc"]
    waits = ledger.claim("clip", "w1", "first")
    lost = ledger.claim("clip", "w1", "its answer never came", [ids[0]])
    assert waits is not None
    assert lost is not None

    again = ledger.claim("clip", "w1", "third", [waits.job_id])

    assert again is not None
    assert (again.job_id, again.attempt) == (lost.job_id, 2)
    assert ledger.renew(waits) == "held"
    assert ledger.renew(lost) == "lost"
    assert jobs.get("t1", ids[2]).state == "queued"


def test_all_jobs_of_a_dead_owner_start_again_at_once(
    jobs: Jobs, ledger: RedisLedger, store: Store
) -> None:
    ids = [jobs.accept(a_clip_command(clip_id=name)).job.id for name in "abc"]
    ledger.claim("clip", "w1", "n1")
    ledger.claim("clip", "w1", "n2", [ids[0]])
    ledger.claim("clip", "w2", "n3")

    released = Leases(store).release("w1")

    assert released == 2
    assert [jobs.get("t1", job_id).state for job_id in ids] == ["queued", "queued", "running"]
    assert Leases(store).release("w1") == 0
    assert store.client.keys("cr:holds:*") == ["cr:holds:w2"]


def test_what_only_waited_in_a_dead_worker_has_lost_no_attempt(
    jobs: Jobs, ledger: RedisLedger, store: Store
) -> None:
    job = jobs.accept(a_clip_command()).job

    def dies_waiting() -> None:
        ledger.waiting(claimed(ledger), 1, release=False)
        Leases(store).release("w1")

    for _ in range(20):
        dies_waiting()
    spared = jobs.get("t1", job.id)
    for _ in range(MAX_ATTEMPTS):
        dies_waiting()

    assert (spared.state, spared.attempt) == ("queued", 0)
    # A job whose looking kills its worker ends nevertheless.
    ended = jobs.get("t1", job.id)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == ("failed", "attempts_exhausted")


def test_a_stale_fence_is_refused_everywhere(jobs: Jobs, ledger: RedisLedger, store: Store) -> None:
    job = jobs.accept(a_clip_command()).job
    stale = claimed(ledger, "w1")
    Leases(store).release("w1")
    claimed(ledger, "w2")

    writes: tuple[Callable[[], object], ...] = (
        lambda: ledger.progress(stale, "cutting", 0.5, None),
        lambda: ledger.waiting(stale, 1, release=True),
        lambda: ledger.publish_intent(stale, {"key": "x"}),
        lambda: ledger.finish(stale, {}),
        lambda: ledger.fail(stale, OOPS),
        lambda: ledger.cancelled(stale),
        lambda: ledger.retry(stale, OOPS, 0, counted=True),
    )
    for write in writes:
        with pytest.raises(LeaseLost):
            write()

    assert ledger.renew(stale) == ledger.peek(stale) == "lost"
    assert jobs.get("t1", job.id).state == "running"


def test_a_finish_may_be_repeated(jobs: Jobs, ledger: RedisLedger) -> None:
    job = jobs.accept(a_clip_command()).job
    lease = claimed(ledger)

    ledger.finish(lease, {"file": "a"})
    ledger.finish(lease, {"file": "a"})

    done = jobs.get("t1", job.id)
    assert (done.state, done.progress, done.result) == ("succeeded", 1.0, {"file": "a"})


def test_progress_never_falls_within_an_attempt(jobs: Jobs, ledger: RedisLedger) -> None:
    job = jobs.accept(a_clip_command()).job
    lease = claimed(ledger)

    ledger.progress(lease, "fetching", 0.6, 3.0)
    ledger.progress(lease, "cutting", 0.4, None)

    seen = jobs.get("t1", job.id)
    assert (seen.progress, seen.stage) == (0.6, "cutting")


def test_a_new_attempt_starts_without_progress(jobs: Jobs, ledger: RedisLedger) -> None:
    job = jobs.accept(a_clip_command()).job
    lease = claimed(ledger)
    ledger.progress(lease, "fetching", 0.6, None)

    ledger.retry(lease, OOPS, 0, counted=True)
    claimed(ledger)

    seen = jobs.get("t1", job.id)
    assert (seen.progress, seen.attempt) == (None, 2)


def test_an_uncounted_retry_gives_the_attempt_back(jobs: Jobs, ledger: RedisLedger) -> None:
    jobs.accept(a_clip_command())
    lease = claimed(ledger)

    ledger.retry(lease, OOPS, 0, counted=False)
    again = claimed(ledger)

    assert (again.attempt, again.fence) == (1, 2)


def test_a_job_out_of_attempts_fails_with_its_last_error(jobs: Jobs, ledger: RedisLedger) -> None:
    job = jobs.accept(a_clip_command()).job

    for _ in range(MAX_ATTEMPTS):
        ledger.retry(claimed(ledger), OOPS, 0, counted=True)

    seen = jobs.get("t1", job.id)
    assert seen.state == "failed"
    assert seen.error is not None
    assert seen.error.code == OOPS.code


def test_a_job_that_kills_its_worker_stops(jobs: Jobs, ledger: RedisLedger, store: Store) -> None:
    job = jobs.accept(a_clip_command()).job

    for _ in range(MAX_ATTEMPTS):
        claimed(ledger, "w1")
        assert Leases(store).release("w1")

    seen = jobs.get("t1", job.id)
    assert seen.error is not None
    assert (seen.state, seen.error.code) == ("failed", "attempts_exhausted")
    assert ledger.claim("clip", "w1", "n") is None


def test_a_waiting_job_holds_no_lease_and_comes_back_when_due(
    jobs: Jobs, ledger: RedisLedger, store: Store
) -> None:
    job = jobs.accept(a_clip_command()).job
    ledger.waiting(claimed(ledger), 1, release=True)
    waiting = jobs.get("t1", job.id)

    reaped = Leases(store).reap()
    again = claimed(ledger)

    assert (waiting.state, waiting.attempt) == ("waiting", 0)
    assert reaped.due == 1
    assert again.attempt == 1


def test_a_job_not_due_stays_where_it_is(jobs: Jobs, ledger: RedisLedger, store: Store) -> None:
    jobs.accept(a_clip_command())
    ledger.retry(claimed(ledger), OOPS, 3_600_000, counted=True)

    Leases(store).reap()

    assert ledger.claim("clip", "w1", "n") is None


def test_cancel_of_a_queued_job_is_immediate(jobs: Jobs, ledger: RedisLedger) -> None:
    job = jobs.accept(a_clip_command()).job

    cancelled = jobs.cancel("t1", job.id)

    assert cancelled.state == "cancelled"
    assert ledger.claim("clip", "w1", "n") is None


def test_cancel_of_a_running_job_reaches_its_worker(jobs: Jobs, ledger: RedisLedger) -> None:
    job = jobs.accept(a_clip_command()).job
    lease = claimed(ledger)

    jobs.cancel("t1", job.id)

    assert ledger.peek(lease) == ledger.renew(lease) == "cancelled"
    ledger.cancelled(lease)
    assert jobs.get("t1", job.id).state == "cancelled"


def test_cancel_of_an_ended_job_is_a_conflict(jobs: Jobs) -> None:
    job = jobs.accept(a_clip_command()).job
    jobs.cancel("t1", job.id)

    with pytest.raises(Conflict) as caught:
        jobs.cancel("t1", job.id)

    assert caught.value.error_code == "job_finished"


def test_a_cancelled_job_whose_worker_died_ends(
    jobs: Jobs, ledger: RedisLedger, store: Store
) -> None:
    job = jobs.accept(a_clip_command()).job
    claimed(ledger, "w1")
    jobs.cancel("t1", job.id)

    Leases(store).release("w1")

    assert jobs.get("t1", job.id).state == "cancelled"


def test_a_failed_job_can_be_asked_for_again(jobs: Jobs, ledger: RedisLedger) -> None:
    job = jobs.accept(a_clip_command()).job
    ledger.fail(claimed(ledger), OOPS)

    again = jobs.again("t1", job.id)
    lease = claimed(ledger)

    assert (again.state, again.error) == ("queued", None)
    assert (lease.job_id, lease.attempt, lease.allowance) == (job.id, 2, 1 + MAX_ATTEMPTS)


def test_only_a_failed_job_can_be_asked_for_again(jobs: Jobs) -> None:
    job = jobs.accept(a_clip_command()).job

    with pytest.raises(Conflict):
        jobs.again("t1", job.id)


def test_the_latest_publish_intent_is_handed_on(jobs: Jobs, ledger: RedisLedger) -> None:
    jobs.accept(a_clip_command())
    found = []

    for upload in ("1", "2", "3"):
        lease = claimed(ledger)
        found.append(lease.intent)
        ledger.publish_intent(lease, {"upload": upload})
        ledger.retry(lease, OOPS, 0, counted=True)

    assert found == [None, {"upload": "1"}, {"upload": "2"}]


def test_lists_are_newest_first_filtered_and_paged(jobs: Jobs, ledger: RedisLedger) -> None:
    ids = [jobs.accept(a_clip_command(clip_id=f"c{i}")).job.id for i in range(5)]
    lease = claimed(ledger)
    jobs.accept(a_clip_command(tenant_id="t2"))

    first = jobs.list("t1", limit=2)
    second = jobs.list("t1", limit=10, cursor=first.next_cursor)
    running = jobs.list("t1", JobFilter(state="running"))
    elsewhere = jobs.list("t1", JobFilter(channel_id="ch2"))

    seen = [job.id for job in first.items + second.items]
    assert sorted(seen) == sorted(ids)
    assert seen == sorted(seen, reverse=True)
    assert second.next_cursor is None
    assert [job.id for job in running.items] == [lease.job_id]
    assert elsewhere.items == ()


def test_lists_know_time(jobs: Jobs) -> None:
    job = jobs.accept(a_clip_command()).job
    born = parse_rfc3339(job.created_at)

    within = jobs.list("t1", JobFilter(from_ms=born, to_ms=born + 1))
    before = jobs.list("t1", JobFilter(to_ms=born))
    after = jobs.list("t1", JobFilter(from_ms=born + 1))

    assert [len(p.items) for p in (within, before, after)] == [1, 0, 0]


def test_a_backlog_of_one_tenant_lets_anothers_job_through(jobs: Jobs, ledger: RedisLedger) -> None:
    for i in range(50):
        jobs.accept(a_clip_command(tenant_id="loud", clip_id=f"c{i}", priority="urgent"))
    running = claimed(ledger, "w1")
    jobs.accept(a_clip_command(tenant_id="quiet", priority="normal"))

    order = []
    for _ in range(3):
        ledger.finish(running, {})
        running = claimed(ledger, "w1")
        order.append(running.tenant_id)

    assert "quiet" in order[:2]


def test_urgent_goes_before_background(jobs: Jobs, ledger: RedisLedger) -> None:
    jobs.accept(a_clip_command(tenant_id="a", priority="background"))
    jobs.accept(a_clip_command(tenant_id="a", clip_id="n"))
    urgent = jobs.accept(a_clip_command(tenant_id="b", priority="urgent")).job
    own = jobs.accept(a_clip_command(tenant_id="a", clip_id="u", priority="urgent")).job

    first, second = claimed(ledger, "w1"), claimed(ledger, "w2")

    assert {first.job_id, second.job_id} == {urgent.id, own.id}


def test_a_job_that_comes_back_stands_at_the_head(
    jobs: Jobs, ledger: RedisLedger, store: Store
) -> None:
    first = jobs.accept(a_clip_command(clip_id="a")).job
    jobs.accept(a_clip_command(clip_id="b"))
    while claimed(ledger, "w1").job_id != first.id:
        pass  # ids of one millisecond sort at random
    Leases(store).release("w1")

    assert claimed(ledger, "w2").job_id == first.id


def test_a_lost_bell_is_rung_again(jobs: Jobs, store: Store) -> None:
    jobs.accept(a_clip_command())
    queues = Queues(store)
    assert queues.sweep("clip", older_than_ms=-1) == 0
    store.run("fetch", "clip")

    rung = queues.sweep("clip", older_than_ms=-1)

    assert rung == 1
    assert store.run("fetch", "clip")


def test_queues_tell_depth_and_counts(jobs: Jobs, ledger: RedisLedger, store: Store) -> None:
    for clip in ("a", "b"):
        jobs.accept(a_clip_command(clip_id=clip))
    ledger.finish(claimed(ledger), {})

    assert Queues(store).stats("clip").depth == 1
    assert Queues(store).counts() == {
        ("accepted", "clip"): 2,
        ("finished", "clip", "succeeded"): 1,
    }


def test_old_records_are_forgotten(jobs: Jobs, store: Store) -> None:
    job = jobs.accept(a_clip_command()).job
    kept = jobs.accept(a_clip_command(clip_id="b")).job
    jobs.cancel("t1", job.id)

    assert jobs.forget(older_than_ms=-1) == 1

    assert [found.id for found in jobs.list("t1").items] == [kept.id]
    assert not [key for key in store.client.keys("*") if job.id in key]


def test_a_clock_set_back_keeps_no_dead_workers_lease(
    jobs: Jobs, ledger: RedisLedger, store: Store
) -> None:
    jobs.accept(a_clip_command())
    lease = claimed(ledger)
    hour_ahead_ms = int(time.time() * 1000) + 3_600_000
    store.client.zadd("cr:leases", {lease.job_id: hour_ahead_ms})

    Leases(store).reap()

    over_ms = int(time.time() * 1000) + LEASE_MS
    assert store.client.zcount("cr:leases", f"({over_ms}", "+inf") == 0


def test_a_clock_set_back_silences_no_progress(
    jobs: Jobs, ledger: RedisLedger, store: Store
) -> None:
    job = jobs.accept(a_clip_command()).job
    lease = claimed(ledger)
    hour_ahead_ms = int(time.time() * 1000) + 3_600_000
    store.client.hset(f"cr:job:{job.id}", "progress_event_ms", hour_ahead_ms)

    ledger.progress(lease, "fetching", 0.5, None)

    assert "job.progress" in {event.type for event in Events(store).after("t1", None)}
