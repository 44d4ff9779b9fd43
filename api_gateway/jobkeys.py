"""Idempotency-Keys of requests that may be answered with a job there is already."""

from __future__ import annotations

from typing import NamedTuple

from api_gateway.deps import Gateway
from schemas.errors import NotFound
from schemas.jobs import Job
from schemas.ledger import Accepted
from store import idempotency


class JobKey(NamedTuple):
    """A request for a job, and its key where it has one; `words` tell it from any other."""

    tenant_id: str
    key: str | None
    words: str

    def first(self, gateway: Gateway) -> Accepted | None:
        """The job that the same was answered with before."""
        if self.key is None:
            return None
        job_id = idempotency.known_job(gateway.store, self.tenant_id, self.key, self.words)
        job = None if job_id is None else self._job(gateway, job_id)
        return None if job is None else Accepted(job, created=False)

    def answered(self, gateway: Gateway, job: Job) -> Accepted:
        """This job, which is the answer to the key from now on; the first one where it has one."""
        if self.key is None:
            return Accepted(job, created=False)
        job_id = idempotency.job_of(gateway.store, self.tenant_id, self.key, self.words, job.id)
        return Accepted(self._job(gateway, job_id) or job, created=False)

    def _job(self, gateway: Gateway, job_id: str) -> Job | None:
        try:
            return gateway.jobs.get(self.tenant_id, job_id)
        except NotFound:
            return None
