"""The ledger as a worker sees it: a lease on a job, and every arrow of the job's state."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, NamedTuple, Protocol

from schemas.base import Value
from schemas.jobs import Job, JobError, Stage

LEASE_MS = 8_000
RENEW_MS = 2_000
LeaseState = Literal["held", "cancelled", "lost"]


class Lease(Value):
    """The right to work on one job until it lapses.

    `fence` grows with every claim and is what the ledger checks; `attempt` counts only the claims
    that count, up to `allowance`. `intent` is what an earlier attempt said it was about to publish.
    """

    job_id: str
    tenant_id: str
    kind: str
    queue: str
    owner: str
    fence: int
    attempt: int
    allowance: int
    command: str
    created_ms: int
    intent: dict[str, Any] | None = None


class Accepted(NamedTuple):
    """The job a command became; `created` is False where it existed already."""

    job: Job
    created: bool


class Ledger(Protocol):
    """Where a worker records what becomes of a job.

    Every call but `claim` carries a lease and raises `LeaseLost` once its fence is stale; every
    call may be repeated with the same arguments and then changes nothing. `StoreUnavailable` means
    the call may or may not have happened: repeat it.
    """

    def claim(
        self, queue: str, owner: str, nonce: str, known: Collection[str] = ()
    ) -> Lease | None:
        """The fairest queued job of the queue, leased to the owner; None where there is none.

        Repeating a claim with one nonce answers the same lease. `known` are the jobs the owner
        knows it holds; any other was leased in an answer that never came, and starts again.
        """

    def renew(self, lease: Lease) -> LeaseState:
        """Hold the lease for another `LEASE_MS`; says so where it is lost or the job cancelled."""

    def peek(self, lease: Lease) -> LeaseState:
        """The same answer as `renew` without extending anything; cheap."""

    def progress(
        self, lease: Lease, stage: Stage | None, fraction: float | None, eta_s: float | None
    ) -> None:
        """Record how far the job is; the fraction never falls within an attempt."""

    def waiting(self, lease: Lease, until_ms: int, *, release: bool) -> None:
        """The job waits for media; with `release` it gives its lease back until then, uncounted."""

    def publish_intent(self, lease: Lease, intent: dict[str, Any]) -> None:
        """Store what is about to be published before any effect, in place of an earlier intent.

        The earlier one came with the lease: abort or finish it before another is begun.
        """

    def finish(self, lease: Lease, result: dict[str, Any]) -> None:
        """The job succeeded."""

    def fail(self, lease: Lease, error: JobError) -> None:
        """The job failed for good."""

    def cancelled(self, lease: Lease) -> None:
        """The job stopped because somebody cancelled it."""

    def retry(self, lease: Lease, error: JobError, delay_ms: int, *, counted: bool) -> None:
        """Put the job back for later; uncounted where the attempt was not the job's fault."""
