"""Whose job is next: no backlog holds up another tenant, and urgent work goes first."""

from __future__ import annotations

import pytest

from schemas.commands import Priority
from store.jobs import Jobs, RedisLedger
from tests.builders import a_clip_command
from tests.fakes import fake_store


class Queue:
    """A queue and one worker that is always at a job."""

    def __init__(self) -> None:
        store = fake_store()
        self._jobs, self._ledger = Jobs(store), RedisLedger(store)
        self._made = 0

    def add(self, tenant: str, count: int = 1, priority: Priority = "normal") -> None:
        """Queue jobs of a tenant."""
        for _ in range(count):
            self._made += 1
            clip = f"c{self._made}"
            command = a_clip_command(tenant_id=tenant, clip_id=clip, priority=priority)
            self._jobs.accept(command)

    def next(self) -> str:
        """Finish the job at hand, take another; its tenant and priority."""
        self._made += 1
        lease = self._ledger.claim("clip", f"w{self._made}", str(self._made))
        assert lease is not None
        self._ledger.finish(lease, {})
        job = self._jobs.get(lease.tenant_id, lease.job_id)
        return f"{lease.tenant_id}:{job.priority}"


@pytest.mark.parametrize("backlog", ["urgent", "normal", "background"])
@pytest.mark.parametrize("single", ["urgent", "normal", "background"])
def test_one_job_waits_two_job_lengths_at_most(backlog: Priority, single: Priority) -> None:
    queue = Queue()
    queue.add("loud", 20, backlog)
    for _ in range(5):
        queue.next()

    queue.add("quiet", 1, single)
    # One job is at work when the quiet tenant's arrives; at most one more may pass before it.
    served = [queue.next() for _ in range(2)]

    assert f"quiet:{single}" in served


def test_tenants_with_backlogs_take_turns() -> None:
    queue = Queue()
    for tenant in ("a", "b", "c"):
        queue.add(tenant, 10)

    served = [queue.next()[0] for _ in range(12)]

    assert [served.count(tenant) for tenant in ("a", "b", "c")] == [4, 4, 4]
    assert all(len(set(served[n : n + 3])) == 3 for n in range(0, 12, 3))


def test_urgent_goes_before_what_can_wait() -> None:
    queue = Queue()
    queue.add("a", 3, "background")
    queue.add("a", 1, "urgent")
    queue.add("b", 1, "urgent")

    served = [queue.next() for _ in range(5)]

    assert set(served[:2]) == {"a:urgent", "b:urgent"}


def test_a_tenant_that_comes_and_goes_gains_nothing() -> None:
    queue = Queue()
    queue.add("patient", 10)
    served = []
    for _ in range(10):
        queue.add("eager")
        served.append(queue.next()[0])

    assert served.count("p") >= 4
