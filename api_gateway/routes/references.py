"""Stretches of channels kept at their own store, which refers to media it has already."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from api_gateway.answers import Answer, answer, once_outside
from api_gateway.deps import Caller, Deps, Gateway
from api_gateway.params import Id, IdempotencyKey
from api_gateway.problems import Problem, about, wrong
from api_gateway.routes.connectors import known_connector
from api_gateway.routes.epg import ChannelId
from api_gateway.routing import operation, router
from connectors.base import Refers
from schemas.base import WireValue
from schemas.connectors import Connector
from schemas.errors import AccessDenied, RetryableError, Unsupported
from schemas.times import RangeBody, TimeRange, rfc3339

references: APIRouter = router("connectors")
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class ReferenceBody(WireValue):
    """Which stretch to keep, and what to call it."""

    range: RangeBody
    name: Name


class ReferenceView(WireValue):
    """A channel of the same connector, made of a stretch of another; `objects` it refers to."""

    channel_id: str
    name: str
    start: str
    end: str
    start_ms: int
    end_ms: int
    objects: int
    links: dict[str, str]


@references.post(
    "/v1/connectors/{id}/channels/{channelId}/references",
    operation_id="createReference",
    summary="Keep a stretch of a channel at its own store, by reference to media it has",
    status_code=201,
    response_model=ReferenceView,
    **operation(
        "jobs",
        *(400, 404, 409, 410, 413, 415, 422, 425, 501, 502),
        example={
            "range": {"start": "2022-02-04T06:44:06Z", "end": "2022-02-04T06:45:06Z"},
            "name": "The first goal",
        },
    ),
)
async def create_reference(
    request: Request,
    deps: Deps,
    caller: Caller,
    connector_id: Id,
    channel_id: ChannelId,
    body: ReferenceBody,
    _: IdempotencyKey = None,
) -> Response:
    """No job: nothing is fetched or copied. Asked for again, it answers the same channel."""
    connector = await known_connector(deps, caller.tenant_id, connector_id)
    deps.registry.require(connector.type, "live")
    span = _resolved(body.range)
    if span.length_ms > deps.settings.max_clip_ms:
        told = f"the range is {span.length_ms} ms long; at most {deps.settings.max_clip_ms} ms"
        raise wrong("/range", told, "too_long")
    return await once_outside(
        request, deps, caller.tenant_id, lambda: _made(deps, connector, channel_id, span, body.name)
    )


def _resolved(body: RangeBody) -> TimeRange:
    with about("/range"):
        return body.resolved()


def _made(
    deps: Gateway, connector: Connector, channel_id: str, span: TimeRange, name: str
) -> Answer:
    opened = deps.registry.open(connector.ref, deps.sealer, deps.env)
    if not isinstance(opened, Refers):
        raise Unsupported(f"{connector.type} connectors keep nothing by reference")
    try:
        made = opened.refer(channel_id, span, name)
    except (RetryableError, AccessDenied) as error:
        raise Problem(502, error.message, code="upstream") from None
    view = ReferenceView(
        **made.model_dump(by_alias=False),
        start=rfc3339(made.start_ms),
        end=rfc3339(made.end_ms),
        links={"segments": f"/v1/connectors/{connector.id}/channels/{made.channel_id}/segments"},
    )
    return answer(view, 201)
