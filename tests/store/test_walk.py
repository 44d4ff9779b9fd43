"""Whatever workers, clients and keepers do in whatever order, each job stands in one place."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest

from schemas.errors import Conflict, LeaseLost
from schemas.jobs import FINAL, JobError
from schemas.ledger import Lease
from store.client import Store
from store.jobs import Jobs, RedisLedger
from store.leases import Leases
from store.queues import Queues
from tests.builders import a_clip_command
from tests.fakes import fake_store

OOPS = JobError(code="source_stalled", message="x", retryable=True)


class Walk:
    """A random sequence of every arrow, by three workers that also die and freeze."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.store: Store = fake_store()
        self.jobs, self.ledger = Jobs(self.store), RedisLedger(self.store)
        self.ids: list[tuple[str, str]] = []
        self.leases: list[Lease] = []
        self.succeeded: dict[str, int] = {}

    def step(self) -> None:
        """One arrow."""
        moves = (self.accept, self.claim, self.claim, self.work, self.work, self.outside)
        self.dice.choice(moves)()

    def accept(self) -> None:
        """A client asks for something."""
        tenant, clip = self.dice.choice("ab"), f"c{len(self.ids)}"
        lane = self.dice.choice(["urgent", "normal", "background"])
        command = a_clip_command(tenant_id=tenant, clip_id=clip, priority=lane)
        self.ids.append((tenant, self.jobs.accept(command).job.id))

    def claim(self) -> None:
        """A worker takes the next job; it may have left another without a word."""
        owner = self.dice.choice(["w1", "w2", "w3"])
        known = [lease.job_id for lease in self.leases[-4:]] if self.dice.random() < 0.5 else []
        lease = self.ledger.claim("clip", owner, self.nonce(), known)
        if lease is not None:
            self.leases.append(lease)

    def nonce(self) -> str:
        """A new name for a claim."""
        return str(self.dice.random())

    def work(self) -> None:
        """A holder, current or stale, writes something."""
        if not self.leases:
            return
        lease = self.dice.choice(self.leases[-6:])
        writes = (
            lambda: self.ledger.progress(lease, "cutting", self.dice.random(), None),
            lambda: self.ledger.waiting(lease, 1, release=True),
            lambda: self.ledger.waiting(lease, 1, release=False),
            lambda: self.ledger.retry(lease, OOPS, 0, counted=self.dice.random() < 0.5),
            lambda: self.ledger.retry(lease, OOPS, 10**7, counted=True),
            lambda: self.ledger.fail(lease, OOPS),
            lambda: self.finish(lease),
        )
        with suppress(LeaseLost):
            self.dice.choice(writes)()

    def finish(self, lease: Lease) -> None:
        """The job succeeds, under this fence."""
        self.ledger.finish(lease, {"fence": lease.fence})
        assert self.succeeded.setdefault(lease.job_id, lease.fence) == lease.fence

    def outside(self) -> None:
        """A client or a keeper does something."""
        if not self.ids:
            return
        tenant, job_id = self.dice.choice(self.ids)
        acts = (
            lambda: self.jobs.cancel(tenant, job_id),
            lambda: self.jobs.again(tenant, job_id),
            lambda: Leases(self.store).release(self.dice.choice(["w1", "w2", "w3"])),
            lambda: Leases(self.store).reap(),
            lambda: Queues(self.store).sweep("clip", older_than_ms=-1),
            lambda: self.store.run("fetch", "clip"),
        )
        with suppress(Conflict):
            self.dice.choice(acts)()

    def check(self) -> None:
        """Every index tells what the records tell."""
        redis, places = self.store.client, self.places()
        for tenant, job_id in self.ids:
            record: dict[str, str] = redis.hgetall(f"cr:job:{job_id}")  # type: ignore[assignment]  # redis-py types sync and async alike
            state, held = record["state"], bool(record["owner"])
            assert places["indexed"][job_id] == [state]
            expected = 0 if state in FINAL else 1
            where = [name for name in ("ready", "due", "leased") if job_id in places[name]]
            assert len(where) == expected, (job_id, state, where)
            assert held == ("leased" in where)
            assert (job_id in places["ready"]) == (job_id in places["queued"])
            assert int(record["attempt"]) <= int(record["allowance"])
            assert record["tenant"] == tenant

    def places(self) -> dict[str, dict[str, list[str]]]:
        """Every place a job can stand in."""
        redis: Any = self.store.client
        indexed: dict[str, list[str]] = {}
        for tenant in "ab":
            for state in ("queued", "waiting", "running", *FINAL):
                for job_id in redis.zrange(f"cr:jobs:{tenant}:{state}", 0, -1):
                    indexed.setdefault(job_id, []).append(state)
        names = {"queued": "cr:queued:clip", "due": "cr:due", "leased": "cr:leases"}
        ids: dict[str, list[str]] = {k: redis.zrange(key, 0, -1) for k, key in names.items()}
        ids["ready"] = [i for t in "ab" for i in redis.zrange(f"cr:ready:clip:t:{t}", 0, -1)]
        held = [i for key in redis.keys("cr:holds:*") for i in redis.smembers(key)]
        assert sorted(held) == sorted(ids["leased"])
        return {"indexed": indexed, **{name: {key: [] for key in i} for name, i in ids.items()}}


@pytest.mark.parametrize("seed", range(5))
def test_every_index_agrees_with_the_records_after_every_step(seed: int) -> None:
    walk = Walk(seed)

    for _ in range(100):
        walk.step()
        walk.check()

    assert walk.ids


@pytest.mark.parametrize("seed", range(3))
def test_what_waits_always_gets_its_turn(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(120):
        walk.step()
    for owner in ("w1", "w2", "w3"):
        Leases(walk.store).release(owner)
    waiting = Queues(walk.store).stats("clip").depth

    served = 0
    while (lease := walk.ledger.claim("clip", "w1", walk.nonce())) is not None:
        walk.ledger.finish(lease, {})
        served += 1

    assert served == waiting
    assert Queues(walk.store).stats("clip").depth == 0
    assert walk.store.client.zcard("cr:ready:clip") == 0
