"""Events: every change of a job's state, in order, per tenant."""

from __future__ import annotations

from typing import Any, Literal

from schemas.base import WireValue

EventType = Literal[
    "job.queued",
    "job.started",
    "job.progress",
    "job.waiting",
    "job.retrying",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
    "clip.ready",
    "export.ready",
    "file.localized",
    "thumbnail.ready",
    "upload.completed",
    "connector.auth_failed",
    "channel.gap_detected",
]
READY_EVENT: dict[str, EventType] = {
    "clip": "clip.ready",
    "export": "export.ready",
    "localize": "file.localized",
    "sprite": "thumbnail.ready",
    "upload": "upload.completed",
}


class Event(WireValue):
    """One change; `seq` counts within the job, `id` orders and resumes the tenant's stream."""

    id: str
    seq: int
    type: EventType
    tenant_id: str
    job_id: str | None
    attempt: int
    occurred_at: str
    data: dict[str, Any] = {}
