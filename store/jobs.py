"""The job ledger: every arrow of a job's state is one script in Redis, and may be repeated."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from schemas.commands import CommandBase
from schemas.errors import Conflict, LeaseLost, NotFound, StoreUnavailable
from schemas.jobs import MAX_ATTEMPTS, Job, JobError, Stage
from schemas.ledger import LEASE_MS, Accepted, Lease, LeaseState
from store import keys
from store.acceptance import acceptance
from store.client import Store, fields, translated
from store.listing import JobFilter, Page, list_jobs
from store.notices import Notice, after_failure, after_success
from store.records import job_of, lease_of


class Jobs:
    """The jobs of all tenants: what the ingress may ask of them."""

    def __init__(self, store: Store, *, queue_cap: int = 100_000) -> None:
        self._store = store
        self._queue_cap = queue_cap

    def accept(
        self,
        command: CommandBase,
        *,
        idempotency_key: str | None = None,
        body_hash: str | None = None,
    ) -> Accepted:
        """Record the command as a queued job, together with its event, keys and bell.

        The same idempotency key answers the same job (`idempotency_conflict` for another body);
        so does the same `dedup_key` while its job lives or has succeeded.
        """
        if self._store.pressed():
            raise StoreUnavailable("Redis is nearly out of memory")
        wanted = acceptance(command, self._queue_cap, idempotency_key, body_hash)
        return wanted.accepted(self._store.run("accept", *wanted.args))

    def get(self, tenant_id: str, job_id: str) -> Job:
        """The tenant's job, or NotFound."""
        keys.check_job_id(job_id)
        with translated():
            record: dict[str, str] = self._store.client.hgetall(keys.job(job_id))  # type: ignore[assignment]  # redis-py types sync and async alike
        if not record or record.get("tenant") != tenant_id:
            raise NotFound(f"no job {job_id[:64]!r}")
        return job_of(job_id, record)

    def list(
        self,
        tenant_id: str,
        wanted: JobFilter | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """The tenant's jobs, newest first; a cursor goes on where a page ended."""
        return list_jobs(self._store, tenant_id, wanted or JobFilter(), limit, cursor)

    def cancel(self, tenant_id: str, job_id: str) -> Job:
        """Stop a job: at once where nobody works on it, else as soon as its worker sees it."""
        keys.check_job_id(job_id)
        return self._changed(job_id, self._store.run("cancel", tenant_id, job_id))

    def again(self, tenant_id: str, job_id: str) -> Job:
        """Queue a failed job once more, with a full set of attempts."""
        keys.check_job_id(job_id)
        return self._changed(job_id, self._store.run("again", tenant_id, job_id, MAX_ATTEMPTS))

    def _changed(self, job_id: str, answer: Sequence[Any]) -> Job:
        match answer[0]:
            case "ok":
                return job_of(job_id, fields(answer[1]))
            case "not_found":
                raise NotFound(f"no job {job_id[:64]!r}")
            case "job_finished":
                raise Conflict(f"job {job_id} has ended already", code="job_finished")
            case "job_not_failed":
                raise Conflict(
                    f"only a failed job can be retried; {job_id} has not failed",
                    code="job_not_failed",
                )
        raise Conflict(f"job {answer[2]} makes the same thing now", code="conflict")

    def forget(self, older_than_ms: int, limit: int = 200) -> int:
        """Delete the records of jobs that ended that long ago; answers how many."""
        return int(self._store.run("forget", older_than_ms, limit))


class RedisLedger:
    """`schemas.ledger.Ledger` on Redis."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def claim(
        self, queue: str, owner: str, nonce: str, known: Collection[str] = ()
    ) -> Lease | None:
        """The fairest queued job of the queue, leased to the owner."""
        answer = self._store.run("claim", queue, owner, nonce, LEASE_MS, *known)
        return lease_of(queue, owner, answer) if answer else None

    def renew(self, lease: Lease) -> LeaseState:
        """Hold the lease for another `LEASE_MS`."""
        answer: LeaseState = self._store.run("renew", lease.job_id, lease.fence, LEASE_MS)
        return answer

    def peek(self, lease: Lease) -> LeaseState:
        """Whether the lease holds and nobody cancelled, without writing anything."""
        with translated():
            fence, owner, cancel = self._store.client.hmget(
                keys.job(lease.job_id), ["fence", "owner", "cancel"]
            )
        if fence != str(lease.fence) or not owner:
            return "lost"
        return "cancelled" if cancel == "1" else "held"

    def progress(
        self, lease: Lease, stage: Stage | None, fraction: float | None, eta_s: float | None
    ) -> None:
        """Record how far the job is."""
        self._hold(lease, "progress", stage or "", _text(fraction), _text(eta_s))

    def waiting(self, lease: Lease, until_ms: int, *, release: bool) -> None:
        """The job waits for media, with its lease or without."""
        self._hold(lease, "waiting", until_ms, int(release))

    def publish_intent(self, lease: Lease, intent: dict[str, Any]) -> None:
        """Store what is about to be published, in place of an earlier intent."""
        self._hold(lease, "intent", json.dumps(intent))

    def finish(self, lease: Lease, result: dict[str, Any]) -> None:
        """The job succeeded."""
        told = _words(after_success(lease, result))
        self._hold(lease, "finish", "succeeded", json.dumps(result, allow_nan=False), "", *told)

    def fail(self, lease: Lease, error: JobError) -> None:
        """The job failed for good."""
        told = _words(after_failure(lease, error))
        self._hold(lease, "finish", "failed", "", error.model_dump_json(), *told)

    def cancelled(self, lease: Lease) -> None:
        """The job stopped because somebody cancelled it."""
        self._hold(lease, "finish", "cancelled", "", "")

    def retry(self, lease: Lease, error: JobError, delay_ms: int, *, counted: bool) -> None:
        """Put the job back for later."""
        text = error.model_dump_json()
        self._hold(lease, "retry", delay_ms, int(counted), text, error.code, error.message)

    def _hold(self, lease: Lease, script: str, *args: str | int) -> None:
        if self._store.run(script, lease.job_id, lease.fence, *args) == "lost":
            raise LeaseLost(f"job {lease.job_id} is held by another worker")


def _words(notices: Sequence[Notice]) -> list[str]:
    return [word for notice in notices for word in (notice.type, json.dumps(notice.data))]


def _text(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"
