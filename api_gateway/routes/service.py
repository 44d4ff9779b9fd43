"""Operations of the service itself: is it alive, is it ready, what does it measure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import Literal

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from api_gateway.deps import Deps, in_thread
from api_gateway.routing import operation, router
from schemas.base import WireValue
from schemas.errors import CuttingRoomError

service: APIRouter = router("service")
_CHECK_TIMEOUT_S = 5.0


class Alive(WireValue):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Check(WireValue):
    """Whether one thing the service needs answers, and what is wrong where it does not."""

    ok: bool
    detail: str = ""


class Readiness(WireValue):
    """Whether requests can be served; `unjailed` is true where the operator allowed media tools
    to run without a sandbox."""

    ready: bool
    checks: dict[str, Check]
    unjailed: bool


class Version(WireValue):
    """What is running."""

    name: Literal["cuttingroom"] = "cuttingroom"
    version: str
    api: Literal["v1"] = "v1"


@service.get(
    "/healthz",
    operation_id="getHealth",
    summary="Whether the process lives",
    response_model=Alive,
    **operation(None),
)
async def get_health() -> Response:
    """Asks nothing of anything else."""
    return JSONResponse({"status": "ok"})


@service.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Whether Redis, the catalogue and the media store answer",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Something does not answer"}},
)
async def get_readiness(deps: Deps) -> Response:
    """Names what does not answer."""
    asked: dict[str, Callable[[], None]] = {
        "redis": deps.store.ping,
        "catalogue": deps.catalog.ping,
        "mediaStore": deps.media_check,
    }
    found = await asyncio.gather(*(_checked(call) for call in asked.values()))
    checks = dict(zip(asked, found, strict=True))
    ready = all(check.ok for check in found)
    body = Readiness(ready=ready, checks=checks, unjailed=deps.settings.allow_unjailed)
    return Response(
        body.model_dump_json(),
        status_code=200 if ready else 503,
        media_type="application/json",
        headers={} if ready else {"Retry-After": "2"},
    )


@service.get(
    "/metrics",
    operation_id="getMetrics",
    summary="Measurements of this process, for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Exposition format"}},
)
async def get_metrics(deps: Deps) -> Response:
    """Requests, durations, open streams."""
    return Response(deps.measures.text(), media_type=deps.measures.content_type)


@service.get(
    "/v1/version",
    operation_id="getVersion",
    summary="What is running",
    response_model=Version,
    **operation(None),
)
async def get_version() -> Response:
    """The distribution's version."""
    body = Version(version=version("cuttingroom"))
    return Response(body.model_dump_json(), media_type="application/json")


async def _checked(call: Callable[[], None]) -> Check:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await in_thread(call)
    except CuttingRoomError as error:
        return Check(ok=False, detail=error.message)
    except TimeoutError:
        return Check(ok=False, detail=f"no answer within {_CHECK_TIMEOUT_S:.0f} s")
    return Check(ok=True)
