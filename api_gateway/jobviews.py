"""Jobs as clients see them: the ledger's job, and for a clip its fileId in both spellings."""

from __future__ import annotations

import json

from starlette.responses import Response

from schemas.base import WireValue
from schemas.jobs import Job


class JobView(Job):
    """A job; a clip's also carries its canonical fileId and the spelling that was asked for."""

    file_id: str | None = None
    requested_file_id: str | None = None


class JobPage(WireValue):
    """Some jobs, newest first."""

    items: tuple[JobView, ...]
    next_cursor: str | None


def job_view(job: Job) -> JobView:
    """The job with the fileIds of its request beside it."""
    return JobView.model_construct(
        **dict(job),
        file_id=job.request.get("fileId"),
        requested_file_id=job.request.get("requestedFileId"),
    )


def job_json(job: Job) -> bytes:
    """The job as JSON, as `job_view` shows it: its own fields, then the two fileIds.

    Made without the view, which would be built field by field for each accepted job.
    """
    names = {name: job.request.get(name) for name in ("fileId", "requestedFileId")}
    return (job.model_dump_json(by_alias=True)[:-1] + "," + json.dumps(names)[1:]).encode()


def job_answer(job: Job, status: int = 202, **headers: str) -> Response:
    """The answer of who asked for a job; header names are spelled with underscores."""
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(
        job_json(job),
        status_code=status,
        media_type="application/json",
        headers={"Location": f"/v1/jobs/{job.id}", **spelled},
    )
