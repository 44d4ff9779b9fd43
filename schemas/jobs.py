"""The job: the fold of its events, and what a client sees of it."""

from __future__ import annotations

from typing import Any, Literal

from schemas.base import WireValue

Kind = Literal["localize", "clip", "export", "rendition", "sprite", "epg", "probe", "upload"]
State = Literal["queued", "waiting", "running", "succeeded", "failed", "cancelled"]
Stage = Literal["probing", "fetching", "cutting", "encoding", "publishing", "verifying"]
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
KINDS: tuple[Kind, ...] = (
    "localize",
    "clip",
    "export",
    "rendition",
    "sprite",
    "epg",
    "probe",
    "upload",
)
MAX_ATTEMPTS = 5


class JobError(WireValue):
    """Why a job failed."""

    code: str
    message: str
    retryable: bool
    stage: Stage | None = None


class Job(WireValue):
    """A job as the contract shows it; times are RFC 3339, progress 0..1 or None where unknown."""

    id: str
    kind: Kind
    state: State
    stage: Stage | None = None
    progress: float | None = None
    attempt: int = 0
    priority: str = "normal"
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    heartbeat_at: str | None = None
    eta_seconds: float | None = None
    requested_by: str
    connector_id: str | None = None
    channel_id: str | None = None
    request: dict[str, Any] = {}
    result: dict[str, Any] | None = None
    error: JobError | None = None
    links: dict[str, str] = {}
