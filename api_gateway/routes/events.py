"""Events: every change as it happens (Server-Sent Events), or page by page."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from api_gateway.auth import still_allowed
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.params import Digits, Id
from api_gateway.problems import Problem, about
from api_gateway.routing import operation, router
from schemas.base import WireValue
from schemas.errors import NotFound, StoreUnavailable
from schemas.events import Event
from schemas.jobs import FINAL
from store.events import BEGINNING, MAX_FOLLOWERS, MAX_PAGE, position

events: APIRouter = router("events")
MAX_STREAMS = 200
_SSE = "text/event-stream"
_RETRY_MS = 2000
_FINAL_EVENTS = frozenset(f"job.{state}" for state in FINAL)

After = Annotated[
    str | None, Query(max_length=64, description="the id of the last event that is known already")
]
PageSize = Annotated[
    int | None, Query(ge=1, le=MAX_PAGE, description="at most so many events"), Digits
]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        max_length=64,
        description="replay what followed this event, as far as it is kept: the last 1,000 events "
        "of a job, the last 10,000 of a tenant",
    ),
]


class EventPage(WireValue):
    """Some events, oldest first; `nextCursor` goes in `after`, and is null once all were told."""

    items: tuple[Event, ...]
    next_cursor: str | None


@events.get(
    "/v1/jobs/{id}/events",
    operation_id="listJobEvents",
    summary="What happens to a job: replayed from its beginning, then live",
    response_model=EventPage,
    **operation("read", 404, 422),
)
async def list_job_events(
    request: Request,
    deps: Deps,
    caller: Caller,
    job_id: Id,
    after: After = None,
    limit: PageSize = None,
    last_event_id: LastEventId = None,
) -> Response:
    """A stream ends with the job; asked again then, it answers 204 so that browsers stop."""
    job = await in_thread(deps.jobs.get, caller.tenant_id, job_id)
    if _wants_page(request, after, limit):
        return await _page(deps, caller.tenant_id, after, limit, job_id)
    start = _start(after, last_event_id) or BEGINNING
    told = await in_thread(deps.events.after, caller.tenant_id, start, 1, job_id)
    if job.state in FINAL and not told:
        return Response(status_code=204)
    return _stream(request, deps, caller.tenant_id, start, job_id)


@events.get(
    "/v1/events",
    operation_id="listEvents",
    summary="What happens to all of the tenant's jobs: from now on, or from a known event",
    response_model=EventPage,
    **operation("read", 422),
)
async def list_events(
    request: Request,
    deps: Deps,
    caller: Caller,
    after: After = None,
    limit: PageSize = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Without an id a stream tells what comes now, a page begins with the oldest that is kept."""
    if _wants_page(request, after, limit):
        return await _page(deps, caller.tenant_id, after, limit, None)
    start = _start(after, last_event_id)
    if start is None:
        start = await in_thread(deps.events.latest, caller.tenant_id)
    return _stream(request, deps, caller.tenant_id, start, None)


def _start(after: str | None, last_event_id: str | None) -> str | None:
    """Behind which event a stream begins, where a client names one."""
    with about("#header/Last-Event-ID" if last_event_id else "#query/after"):
        known = last_event_id or after
        return position(known) if known else None


def _wants_page(request: Request, after: str | None, limit: int | None) -> bool:
    accepted = request.headers.get("accept", "")
    if _SSE in accepted:
        return False
    return "application/json" in accepted or after is not None or limit is not None


async def _page(
    deps: Gateway, tenant_id: str, after: str | None, limit: int | None, job_id: str | None
) -> Response:
    size = limit or 100
    with about("#query/after"):
        found = await in_thread(deps.events.after, tenant_id, after, size, job_id)
    more = found[-1].id if len(found) == size else None
    body = EventPage(items=found, next_cursor=more).model_dump_json(by_alias=True)
    return Response(body, media_type="application/json")


def _stream(
    request: Request, deps: Gateway, tenant_id: str, start: str, job_id: str | None
) -> Response:
    if deps.streams[tenant_id] >= MAX_STREAMS:
        raise Problem(
            429, f"{MAX_STREAMS} event streams are open already", headers={"Retry-After": "5"}
        )
    if deps.streams.total() >= MAX_FOLLOWERS:
        raise Problem(
            503,
            f"all {MAX_FOLLOWERS} event streams of this process are in use",
            code="too_many_streams",
            headers={"Retry-After": "5"},
        )
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _lines(request, deps, tenant_id, start, job_id), media_type=_SSE, headers=headers
    )


async def _lines(
    request: Request, deps: Gateway, tenant_id: str, start: str, job_id: str | None
) -> AsyncIterator[bytes]:
    """The stream's text; nothing is buffered here, so a slow reader holds up only itself."""
    async with _counted(deps, tenant_id):
        yield f"retry: {_RETRY_MS}\n\n".encode()
        ended, judged = False, time.monotonic()
        try:
            async for event in deps.feed.follow(
                tenant_id,
                start,
                job_id=job_id,
                heartbeat_s=deps.heartbeat_s,
                over=lambda: deps.closing,
            ):
                if time.monotonic() - judged >= deps.heartbeat_s:
                    judged = time.monotonic()
                    if not await _goes_on(request, deps, tenant_id, event, job_id):
                        return
                yield _line(event)
                ended = _ended(event, ended)
                if ended and job_id is not None and event is not None:
                    told = await in_thread(deps.events.after, tenant_id, event.id, 1, job_id)
                    if not told:
                        return
        except (StoreUnavailable, NotFound):
            # The client comes again with the last id it saw, and finds out there.
            return


async def _goes_on(
    request: Request, deps: Gateway, tenant_id: str, event: Event | None, job_id: str | None
) -> bool:
    """Whether the client may still be told, and there is anything left to tell."""
    if not await still_allowed(request, deps, "read"):
        return False
    if job_id is None or event is not None:
        return True
    job = await in_thread(deps.jobs.get, tenant_id, job_id)
    return job.state not in FINAL


@asynccontextmanager
async def _counted(deps: Gateway, tenant_id: str) -> AsyncIterator[None]:
    deps.streams[tenant_id] += 1
    deps.measures.stream_opened()
    try:
        yield
    finally:
        deps.measures.stream_closed()
        deps.streams[tenant_id] -= 1
        if not deps.streams[tenant_id]:
            del deps.streams[tenant_id]


def _line(event: Event | None) -> bytes:
    if event is None:
        return b": still here\n\n"
    data = event.model_dump_json(by_alias=True)
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n".encode()


def _ended(event: Event | None, before: bool) -> bool:
    """Whether the job has ended by now; one that is retried begins again."""
    if event is None or not event.type.startswith("job."):
        return before
    return event.type in _FINAL_EVENTS
