"""What else is told when a job ends: trouble with its connector, and gaps of its channel."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from schemas.events import EventType
from schemas.jobs import JobError
from schemas.ledger import Lease

_DENIED = "access_denied"
_MISSING = "segment_missing"
_TOLD = 100


class Notice(NamedTuple):
    """An event beside the job's own."""

    type: EventType
    data: dict[str, Any]


def after_success(lease: Lease, result: dict[str, Any]) -> tuple[Notice, ...]:
    """Gaps that were filled or left out."""
    source, gaps = _source(lease), result.get("gaps")
    if not gaps or "channelId" not in source:
        return ()
    return (Notice("channel.gap_detected", {**source, "gaps": gaps[:_TOLD]}),)


def after_failure(lease: Lease, error: JobError) -> tuple[Notice, ...]:
    """A connector that let nobody in, or media that is not there."""
    source = _source(lease)
    told = {**source, "code": error.code, "message": error.message}
    if error.code == _DENIED and "connectorId" in source:
        return (Notice("connector.auth_failed", told),)
    if error.code == _MISSING and "channelId" in source:
        return (Notice("channel.gap_detected", told),)
    return ()


def _source(lease: Lease) -> dict[str, Any]:
    """Where the job's media comes from, as far as it says so."""
    command = json.loads(lease.command)
    connector = command.get("connector") or {}
    named = {"connectorId": connector.get("id"), "channelId": command.get("channel_id")}
    return {name: value for name, value in named.items() if value}
