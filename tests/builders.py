"""Values with good defaults: a test says only what matters to it."""

from __future__ import annotations

from typing import Any

from schemas.commands import ClipFromStream
from schemas.connectors import ConnectorRef, Destination
from schemas.jobs import Job
from schemas.times import TimeRange

START_MS = 1_643_957_046_000


def a_connector_ref(**changes: Any) -> ConnectorRef:
    """A connector as a command carries it."""
    values: dict[str, Any] = {
        "id": "con_1",
        "tenant_id": "t1",
        "type": "hls",
        "config": {"url": "http://127.0.0.1:9/live.m3u8"},
    }
    return ConnectorRef(**values | changes)


def a_clip_command(
    *,
    tenant_id: str = "t1",
    clip_id: str = "goal",
    start_ms: int = START_MS,
    duration_ms: int = 10_000,
    **changes: Any,
) -> ClipFromStream:
    """A clip of ten seconds, of one tenant's channel."""
    span = TimeRange(start_ms=start_ms, end_ms=start_ms + duration_ms)
    file_id = f"ch1/2022/02/04/range-{span.start_ms}-{span.end_ms}-clip-{clip_id}"
    values: dict[str, Any] = {
        "tenant_id": tenant_id,
        "requested_by": "user:u1",
        "request": {"clipId": clip_id},
        "connector": a_connector_ref(tenant_id=tenant_id),
        "channel_id": "ch1",
        "range": span,
        "clip_id": clip_id,
        "file_id": file_id,
        "requested_file_id": file_id,
        "destination": Destination(key=f"clips/{tenant_id}/{clip_id}.mp4"),
    }
    return ClipFromStream(**values | changes)


def a_job(**changes: Any) -> Job:
    """A queued clip job as the contract shows it."""
    values: dict[str, Any] = {
        "id": "job_01HZZZZZZZ0000000000000000",
        "kind": "clip",
        "state": "queued",
        "created_at": "2022-02-04T06:44:06.000Z",
        "requested_by": "user:u1",
    }
    return Job(**values | changes)
