"""The ledger in memory: for one process that cuts one clip and needs no server."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Collection
from typing import Any

from schemas.commands import CommandBase
from schemas.errors import LeaseLost
from schemas.jobs import FINAL, MAX_ATTEMPTS, Job, JobError, Stage
from schemas.ledger import Lease, LeaseState
from schemas.times import rfc3339
from workers.runtime import epoch_ms

Watcher = Callable[[Job], None]


class _Entry:
    """One job, its command, and who holds it."""

    def __init__(self, command: CommandBase, job: Job, now_ms: int) -> None:
        self.command = command
        self.job = job
        self.created_ms = now_ms
        self.due_ms = now_ms
        self.fence = 0
        self.owner = ""
        self.nonce = ""
        self.cancel = False
        self.resumed = False
        self.intent: dict[str, Any] | None = None


class LocalLedger:
    """`schemas.ledger.Ledger` for one process; `watch` is told of every change of a job."""

    def __init__(
        self,
        watch: Watcher = lambda _job: None,
        clock: Callable[[], int] = epoch_ms,
        allowance: int = MAX_ATTEMPTS,
    ) -> None:
        self._watch = watch
        self._allowance = allowance
        self._clock = clock
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}

    def submit(self, command: CommandBase) -> Job:
        """Queue a command."""
        now = self._clock()
        job = Job(
            id=f"job_{uuid.uuid4().hex[:26].upper()}",
            kind=getattr(command, "kind", "clip"),
            state="queued",
            priority=command.priority,
            created_at=rfc3339(now),
            requested_by=command.requested_by,
            request=command.request,
        )
        with self._lock:
            self._entries[job.id] = _Entry(command, job, now)
        return job

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        with self._lock:
            return self._entries[job_id].job

    def cancel(self, job_id: str) -> None:
        """Ask the job to stop."""
        with self._lock:
            entry = self._entries[job_id]
            entry.cancel = True
            if not entry.owner and entry.job.state not in FINAL:
                self._end(entry, "cancelled")

    def due_in_ms(self, job_id: str) -> int:
        """How long until the job can be claimed; 0 where it can be now."""
        with self._lock:
            return max(0, self._entries[job_id].due_ms - self._clock())

    def claim(
        self, queue: str, owner: str, nonce: str, known: Collection[str] = ()
    ) -> Lease | None:
        """The oldest job of the queue that is due; no answer is ever lost here."""
        with self._lock:
            for job_id, entry in self._entries.items():
                if entry.nonce == nonce and entry.owner == owner:
                    return self._lease(job_id, entry, queue)
            for job_id, entry in self._entries.items():
                if type(entry.command).queue == queue and self._claimable(entry):
                    self._take(entry, owner, nonce)
                    return self._lease(job_id, entry, queue)
        return None

    def _claimable(self, entry: _Entry) -> bool:
        ready = entry.job.state in {"queued", "waiting"} and not entry.owner
        return ready and entry.due_ms <= self._clock()

    def _take(self, entry: _Entry, owner: str, nonce: str) -> None:
        entry.owner, entry.nonce, entry.fence = owner, nonce, entry.fence + 1
        kept = {} if entry.resumed else {"progress": None, "stage": None}
        entry.resumed = False
        now = rfc3339(self._clock())
        self._change(
            entry,
            state="running",
            attempt=entry.job.attempt + 1,
            started_at=entry.job.started_at or now,
            heartbeat_at=now,
            **kept,
        )

    def _lease(self, job_id: str, entry: _Entry, queue: str) -> Lease:
        return Lease(
            job_id=job_id,
            tenant_id=entry.command.tenant_id,
            kind=entry.job.kind,
            queue=queue,
            owner=entry.owner,
            fence=entry.fence,
            attempt=entry.job.attempt,
            allowance=self._allowance,
            command=entry.command.model_dump_json(),
            created_ms=entry.created_ms,
            intent=entry.intent,
        )

    def renew(self, lease: Lease) -> LeaseState:
        """Whether the lease holds and nobody cancelled."""
        with self._lock:
            entry = self._entries[lease.job_id]
            if entry.fence != lease.fence or not entry.owner:
                return "lost"
            return "cancelled" if entry.cancel else "held"

    def peek(self, lease: Lease) -> LeaseState:
        """The same."""
        return self.renew(lease)

    def progress(
        self, lease: Lease, stage: Stage | None, fraction: float | None, eta_s: float | None
    ) -> None:
        """Record how far the job is."""
        with self._lock:
            entry = self._held(lease)
            known = [p for p in (entry.job.progress, fraction) if p is not None]
            self._change(
                entry,
                state="running",
                stage=stage or entry.job.stage,
                progress=max(known, default=None),
                eta_seconds=eta_s,
            )

    def waiting(self, lease: Lease, until_ms: int, *, release: bool) -> None:
        """The job waits for media."""
        with self._lock:
            entry = self._held(lease)
            self._change(entry, state="waiting", eta_seconds=None)
            if release:
                self._put_back(entry, "waiting", until_ms)

    def publish_intent(self, lease: Lease, intent: dict[str, Any]) -> None:
        """Store what is about to be published, in place of an earlier intent."""
        with self._lock:
            self._held(lease).intent = intent

    def finish(self, lease: Lease, result: dict[str, Any]) -> None:
        """The job succeeded."""
        with self._lock:
            if not self._ended(lease, "succeeded"):
                self._end(self._held(lease), "succeeded", result=result, progress=1.0)

    def fail(self, lease: Lease, error: JobError) -> None:
        """The job failed for good."""
        with self._lock:
            if not self._ended(lease, "failed"):
                self._end(self._held(lease), "failed", error=error)

    def cancelled(self, lease: Lease) -> None:
        """The job stopped because somebody cancelled it."""
        with self._lock:
            if not self._ended(lease, "cancelled"):
                self._end(self._held(lease), "cancelled")

    def retry(self, lease: Lease, error: JobError, delay_ms: int, *, counted: bool) -> None:
        """Put the job back for later."""
        with self._lock:
            entry = self._held(lease)
            if entry.cancel:
                self._end(entry, "cancelled")
            elif counted and entry.job.attempt >= self._allowance:
                self._end(entry, "failed", error=error)
            else:
                self._put_back(entry, "queued", self._clock() + delay_ms, counted=counted)

    def _put_back(self, entry: _Entry, state: str, due_ms: int, *, counted: bool = False) -> None:
        entry.owner, entry.due_ms, entry.resumed = "", due_ms, not counted
        self._change(entry, state=state, attempt=entry.job.attempt - (0 if counted else 1))

    def _ended(self, lease: Lease, state: str) -> bool:
        entry = self._entries[lease.job_id]
        return entry.fence == lease.fence and entry.job.state == state

    def _end(self, entry: _Entry, state: str, **changes: Any) -> None:
        entry.owner = ""
        self._change(
            entry, state=state, finished_at=rfc3339(self._clock()), eta_seconds=None, **changes
        )

    def _held(self, lease: Lease) -> _Entry:
        entry = self._entries[lease.job_id]
        if entry.fence != lease.fence or not entry.owner:
            raise LeaseLost(f"job {lease.job_id} is held by another worker")
        return entry

    def _change(self, entry: _Entry, **changes: Any) -> None:
        entry.job = entry.job.model_copy(update=changes)
        self._watch(entry.job)
