"""Jobs: what was asked for, how far it is, what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import paging
from api_gateway.answers import Answer, conditional, once_outside, page
from api_gateway.deps import Caller, Deps, in_thread
from api_gateway.jobviews import JobPage, JobView, job_json, job_view
from api_gateway.params import DEFAULT, Cursor, Id, IdempotencyKey, IfNoneMatch, Limit, instant
from api_gateway.problems import about
from api_gateway.routing import operation, router
from schemas.jobs import Job, Kind, State
from store.listing import JobFilter

jobs: APIRouter = router("jobs")
_KIND = "jobs"
_LARGEST_PAGE = 200
Text = Annotated[str | None, Query(max_length=512)]
Instant = Annotated[str | None, Query(max_length=40, description="RFC 3339 with an offset")]


@jobs.get(
    "/v1/jobs",
    operation_id="listJobs",
    summary="The tenant's jobs, newest first",
    response_model=JobPage,
    **operation("read", 422),
)
async def list_jobs(
    deps: Deps,
    caller: Caller,
    state: Annotated[State | None, Query()] = None,
    kind: Annotated[Kind | None, Query()] = None,
    connector_id: Annotated[str | None, Query(alias="connectorId", max_length=200)] = None,
    channel_id: Annotated[str | None, Query(alias="channelId", max_length=512)] = None,
    from_: Annotated[str | None, Query(alias="from", max_length=40)] = None,
    to: Instant = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Filtered by what is given; `from` is in, `to` is out, both by time of acceptance."""
    wanted = JobFilter(
        state=state,
        kind=kind,
        connector_id=connector_id,
        channel_id=channel_id,
        from_ms=instant("from", from_),
        to_ms=instant("to", to),
    )
    after = paging.position(_KIND, cursor)
    with about("#query/cursor"):
        listed = await in_thread(
            deps.jobs.list, caller.tenant_id, wanted, limit=min(limit, _LARGEST_PAGE), cursor=after
        )
    more = paging.cursor(_KIND, listed.next_cursor) if listed.next_cursor else None
    return page((job_view(job) for job in listed.items), more)


@jobs.get(
    "/v1/jobs/{id}",
    operation_id="getJob",
    summary="One job",
    response_model=JobView,
    **operation("read", 404),
)
async def get_job(
    request: Request, deps: Deps, caller: Caller, job_id: Id, _: IfNoneMatch = None
) -> Response:
    """As it is now; polling with If-None-Match costs nothing while nothing changes."""
    return conditional(request, job_json(await in_thread(deps.jobs.get, caller.tenant_id, job_id)))


@jobs.post(
    "/v1/jobs/{id}/cancel",
    operation_id="cancelJob",
    summary="Stop a job",
    response_model=JobView,
    status_code=202,
    **operation("jobs", 404, 409),
)
async def cancel_job(
    request: Request, deps: Deps, caller: Caller, job_id: Id, _: IdempotencyKey = None
) -> Response:
    """At once where nobody works on it yet, else within two seconds."""
    return await once_outside(
        request, deps, caller.tenant_id, _acted(deps.jobs.cancel, caller.tenant_id, job_id)
    )


@jobs.post(
    "/v1/jobs/{id}/retry",
    operation_id="retryJob",
    summary="Queue a failed job once more",
    response_model=JobView,
    status_code=202,
    **operation("jobs", 404, 409),
)
async def retry_job(
    request: Request, deps: Deps, caller: Caller, job_id: Id, _: IdempotencyKey = None
) -> Response:
    """With a full set of attempts; the job keeps its id."""
    return await once_outside(
        request, deps, caller.tenant_id, _acted(deps.jobs.again, caller.tenant_id, job_id)
    )


def _acted(act: Callable[[str, str], Job], tenant_id: str, job_id: str) -> Callable[[], Answer]:
    def call() -> Answer:
        body = job_json(act(tenant_id, job_id)).decode()
        return Answer(status=202, body=body, headers={"Location": f"/v1/jobs/{job_id}"})

    return call
