"""The application: routes, refusals and the document that describes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from api_gateway import openapi, problems
from api_gateway.deps import Gateway
from api_gateway.edge import Edge, instance
from api_gateway.express import Express
from api_gateway.problems import Problem
from api_gateway.purge import purge_forever
from api_gateway.routes.api_keys import api_keys
from api_gateway.routes.audit import audit
from api_gateway.routes.auth import auth
from api_gateway.routes.clips import clips
from api_gateway.routes.connectors import connectors
from api_gateway.routes.docs import docs
from api_gateway.routes.epg import epg
from api_gateway.routes.events import events
from api_gateway.routes.exports import exports
from api_gateway.routes.job_files import job_files
from api_gateway.routes.jobs import jobs
from api_gateway.routes.localize import localize
from api_gateway.routes.metadata import metadata
from api_gateway.routes.mfa import mfa
from api_gateway.routes.projects import projects
from api_gateway.routes.query import query
from api_gateway.routes.references import references
from api_gateway.routes.renders import renders
from api_gateway.routes.renditions import renditions
from api_gateway.routes.reporter import reporter
from api_gateway.routes.service import service
from api_gateway.routes.sources import sources
from api_gateway.routes.sso import sso
from api_gateway.routes.tenants import tenants
from api_gateway.routes.thumbnails import thumbnails
from api_gateway.routes.tus import tus
from api_gateway.routes.users import users
from api_gateway.routes.webhooks import webhooks
from schemas.errors import CuttingRoomError

ROUTERS = (
    connectors,
    query,
    sources,
    metadata,
    localize,
    thumbnails,
    clips,
    exports,
    references,
    epg,
    renditions,
    reporter,
    tus,
    projects,
    renders,
    jobs,
    job_files,
    events,
    webhooks,
    auth,
    mfa,
    sso,
    api_keys,
    tenants,
    users,
    audit,
    service,
    docs,
)
Handler = Callable[[Request, Any], Coroutine[Any, Any, Response]]


def create_app(gateway: Gateway) -> FastAPI:
    """The application, answering with what the gateway holds."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        purging = asyncio.create_task(purge_forever(gateway))
        yield
        purging.cancel()
        await gateway.close()

    app = FastAPI(
        title="cuttingroom",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers=_HANDLERS,
    )
    app.state.gateway = gateway
    for one in ROUTERS:
        app.include_router(one)
    app.add_middleware(Express, gateway=gateway, refused=_on_problem)
    app.add_middleware(Edge, measures=gateway.measures)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]  # FastAPI's own way
    return app


async def _on_problem(request: Request, problem: Problem) -> Response:
    answer = problems.response(problem, instance(request))
    rate = getattr(request.state, "rate", None)
    if rate is not None:
        answer.headers.update(rate)
    return answer


async def _on_error(request: Request, error: CuttingRoomError) -> Response:
    return await _on_problem(request, problems.of_error(error, _file_id(request)))


def _file_id(request: Request) -> str | None:
    """Where a request names its fileId; a query parameter stands in for the path's."""
    if "fileId" not in request.path_params:
        return None
    return "#query/fileId" if "fileId" in request.query_params else "#path/fileId"


async def _on_invalid(request: Request, error: RequestValidationError) -> Response:
    return await _on_problem(request, problems.of_validation(error.errors()))


async def _on_http(request: Request, error: HTTPException) -> Response:
    detail = {
        404: "there is no such path",
        405: f"{request.method} is not one of this path's methods",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    return await _on_problem(request, Problem(error.status_code, detail, headers=headers))


def _methods(request: Request) -> list[str]:
    """Every method of a path: each of its routes knows its own alone."""
    found: set[str] = set()
    for route in (route for one in ROUTERS for route in one.routes):
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


_HANDLERS: dict[Any, Handler] = {
    Problem: _on_problem,
    CuttingRoomError: _on_error,
    RequestValidationError: _on_invalid,
    HTTPException: _on_http,
}
