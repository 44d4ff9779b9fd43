"""A job's record in Redis, read as the job the contract shows and as the lease a worker holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from schemas.commands import CommandBase
from schemas.jobs import Job, JobError
from schemas.ledger import Lease
from schemas.times import rfc3339

# The client's words, its name and sealed secrets change between two spellings of one command, and
# what is known of a source changes by itself.
_INCIDENTAL: dict[str, Any] = {
    "requested_by": True,
    "requested_file_id": True,
    "request": True,
    "priority": True,
    "carried": True,
    "connector": {"sealed_auth"},
    "destination": {"connector": {"sealed_auth"}},
}


def fingerprint(command: CommandBase) -> str:
    """The same for two commands that ask for the same thing."""
    content = command.model_dump(mode="json", exclude=_INCIDENTAL)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def job_of(job_id: str, record: Mapping[str, str], request: dict[str, Any] | None = None) -> Job:
    """The job a record tells of; `request` where it need not be read from the command."""
    if request is None:
        request = json.loads(record["command"]).get("request", {})
    result = _json(record, "result")
    return Job.model_validate(
        {
            "id": job_id,
            "kind": record["kind"],
            "state": record["state"],
            "stage": record.get("stage") or None,
            "progress": _number(record, "progress"),
            "attempt": int(record["attempt"]),
            "priority": record["priority"],
            "created_at": rfc3339(int(record["created_ms"])),
            "started_at": _instant(record, "started_ms"),
            "finished_at": _instant(record, "finished_ms"),
            "heartbeat_at": _instant(record, "heartbeat_ms"),
            "eta_seconds": _number(record, "eta_s"),
            "requested_by": record["requested_by"],
            "connector_id": record.get("connector") or None,
            "channel_id": record.get("channel") or None,
            "request": request,
            "result": result,
            "error": _error(record),
            "links": links(job_id) | _file_link(job_id, result),
        }
    )


def links(job_id: str) -> dict[str, str]:
    """Where a client goes from a job."""
    base = f"/v1/jobs/{job_id}"
    return {
        "self": base,
        "events": f"{base}/events",
        "cancel": f"{base}/cancel",
        "retry": f"{base}/retry",
    }


def _file_link(job_id: str, result: Any) -> dict[str, str]:
    """The file a job made, where it is read through the gateway."""
    file = result.get("file") if isinstance(result, dict) else None
    url = file.get("url") if isinstance(file, dict) else None
    ours = isinstance(url, str) and url.startswith(f"/v1/jobs/{job_id}/files/")
    return {"file": url} if ours and url else {}


def lease_of(queue: str, owner: str, answer: list[str]) -> Lease:
    """The lease a claim answered."""
    job_id, tenant, kind, fence, attempt, allowance, command, created, intent = answer
    return Lease(
        job_id=job_id,
        tenant_id=tenant,
        kind=kind,
        queue=queue,
        owner=owner,
        fence=int(fence),
        attempt=int(attempt),
        allowance=int(allowance),
        command=command,
        created_ms=int(created),
        intent=json.loads(intent) if intent else None,
    )


def _number(record: Mapping[str, str], name: str) -> float | None:
    return float(record[name]) if record.get(name) else None


def _instant(record: Mapping[str, str], name: str) -> str | None:
    return rfc3339(int(record[name])) if record.get(name) else None


def _json(record: Mapping[str, str], name: str) -> Any:
    return json.loads(record[name]) if record.get(name) else None


def _error(record: Mapping[str, str]) -> JobError | None:
    # While a job waits for another attempt its last error is history, not its outcome.
    failed = record["state"] == "failed" and record.get("error")
    return JobError.model_validate_json(record["error"]) if failed else None
