"""The names of everything we keep in Redis."""

from __future__ import annotations

import hashlib
import re

from schemas.errors import NotFound

PREFIX = "cr:"
DRAMATIQ_NAMESPACE = "dramatiq"

_JOB_ID = re.compile(r"job_[0-9A-Z]{26}", re.ASCII)


def is_job_id(text: str) -> bool:
    """Whether a client's text can name a job; anything else could name another key of ours."""
    return _JOB_ID.fullmatch(text) is not None


def check_job_id(text: str) -> None:
    """Raise NotFound for a text that can name no job."""
    if not is_job_id(text):
        raise NotFound(f"no job {text[:64]!r}")


def job(job_id: str) -> str:
    """The hash that is one job."""
    return f"{PREFIX}job:{job_id}"


def job_events(job_id: str) -> str:
    """The stream of one job's events."""
    return f"{PREFIX}job:{job_id}:events"


def tenant_events(tenant_id: str) -> str:
    """The stream of all events of a tenant."""
    return f"{PREFIX}events:{tenant_id}"


def jobs(tenant_id: str, state: str | None = None) -> str:
    """The ids of a tenant's jobs, all or of one state, in order of time."""
    return f"{PREFIX}jobs:{tenant_id}" + (f":{state}" if state else "")


def idempotency(tenant_id: str, key: str) -> str:
    """Which request a tenant's Idempotency-Key came with."""
    return f"{PREFIX}idem:{tenant_id}:{digest(key)}"


def wake(queue: str) -> str:
    """The list an idle worker of the queue waits on."""
    return f"{PREFIX}wake:{queue}"


def bells(queue: str) -> str:
    """The list of message ids dramatiq keeps for the queue."""
    return f"{DRAMATIQ_NAMESPACE}:{queue}"


def quarantine(queue: str) -> str:
    """The stream of messages that were not ours, with what was wrong."""
    return f"{PREFIX}quarantine:{queue}"


def intake(tenant_id: str) -> str:
    """The stream a tenant's queue producer writes to."""
    return f"{PREFIX}intake:{tenant_id}"


def intake_dead(tenant_id: str) -> str:
    """The stream of a tenant's refused entries, each with a problem object."""
    return f"{PREFIX}intake-dead:{tenant_id}"


def webhook(tenant_id: str, webhook_id: str) -> str:
    """The hash of how a webhook is doing; its deliveries stand under names that begin so."""
    return f"{PREFIX}hook:{tenant_id}:{webhook_id}"


def webhook_delivery(tenant_id: str, webhook_id: str, delivery_id: str) -> str:
    """The hash that is one delivery."""
    return f"{webhook(tenant_id, webhook_id)}:d:{delivery_id}"


COUNTS = f"{PREFIX}counts"
TENANTS = f"{PREFIX}tenants"
LEASES = f"{PREFIX}leases"
DUE = f"{PREFIX}due"
WEBHOOKS = f"{PREFIX}hooks-known"


def digest(text: str) -> str:
    """A short safe name for a text of any length."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]
