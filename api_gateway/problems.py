"""RFC 9457 problems: the one form in which anything refused is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from pydantic import Field
from starlette.responses import Response

from schemas import errors
from schemas.base import WireValue

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_S = 2
_STATUS: tuple[tuple[type[errors.CuttingRoomError], int], ...] = (
    (errors.InvalidCommand, 422),
    (errors.NotFound, 404),
    (errors.SourceNotFound, 404),
    (errors.Conflict, 409),
    (errors.Unsupported, 501),
    (errors.OutsideWindow, 410),
    (errors.InFuture, 425),
    (errors.TooLarge, 413),
    (errors.UnderWay, 409),
    (errors.QueueFull, 429),
    (errors.RateLimited, 429),
    (errors.StoreUnavailable, 503),
    (errors.SourceUnavailable, 502),
    (errors.DestinationUnavailable, 502),
    (errors.Stalled, 504),
    (errors.TimedOut, 504),
    (errors.PermanentError, 422),
    (errors.RetryableError, 503),
)
_BY_CODE = {"stale": 412}
# What can be wrong with a fileId and the range it spells.
_OF_FILE_ID = frozenset(
    {
        "file_id_invalid",
        "timestamp_unit",
        "mixed_units",
        "range_invalid",
        "date_mismatch",
        "too_long",
        "too_far_ahead",
    }
)
_CODES = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    410: "gone",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "rate_limited",
    501: "not_supported",
}
_RETRYABLE = frozenset({408, 423, 425, 429, 502, 503, 504})
_UNDER_WAY = errors.UnderWay.code
# As RFC 9110 names them, whatever Python's release calls them; 460 is the tus protocol's own.
_PHRASES = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
    460: "Checksum Mismatch",
}


class FieldProblem(WireValue):
    """One thing wrong in a request: where (a JSON pointer, or `#query/name`) and what."""

    pointer: str
    message: str


class TenantChoice(WireValue):
    """A tenant a log-in may mean."""

    id: str
    name: str


class ProblemBody(WireValue):
    """An RFC 9457 problem; `code` is stable, `retryable` says whether the same request may work."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    errors: tuple[FieldProblem, ...] = ()
    held: dict[str, int] | None = Field(
        default=None, description="with `out_of_window`: what is still served, startMs and endMs"
    )
    tenants: tuple[TenantChoice, ...] | None = Field(
        default=None, description="with `tenant_required`: the tenants to choose from"
    )


class Problem(Exception):
    """A request refused by the gateway itself."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        found: Sequence[FieldProblem] = (),
        headers: dict[str, str] | None = None,
        held: dict[str, int] | None = None,
        tenants: tuple[TenantChoice, ...] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code or _CODES.get(status, "internal")
        self.found = tuple(found)
        self.headers = headers or {}
        self.held = held
        self.tenants = tenants


def wrong(pointer: str, message: str, code: str) -> Problem:
    """The 422 for one thing wrong in a request."""
    found = [FieldProblem(pointer=pointer, message=message)]
    return Problem(422, message, code=code, found=found)


@contextmanager
def about(pointer: str, code: str | None = None) -> Iterator[None]:
    """Whatever field is found invalid inside, or by this code, is what the pointer leads to."""
    try:
        yield
    except errors.FieldInvalid as error:
        if code not in {None, error.error_code}:
            raise
        raise wrong(pointer, error.message, error.error_code) from None


def of_error(error: errors.CuttingRoomError, file_id: str | None = None) -> Problem:
    """The problem an error of ours is answered as; `file_id` leads to the request's fileId."""
    if file_id is not None and error.error_code in _OF_FILE_ID:
        return wrong(file_id, error.message, error.error_code)
    status = _BY_CODE.get(error.error_code) or _status(error)
    later = status in {429, 503} or error.error_code == _UNDER_WAY
    headers = {"Retry-After": str(_retry_after_s(error))} if later else {}
    return Problem(
        status,
        error.message,
        code=error.error_code,
        found=_found(error),
        headers=headers,
        held=_held(error),
    )


def unexpected() -> Problem:
    """What a client learns of a fault of ours: nothing but that there was one."""
    return Problem(500, "something went wrong on our side; it has been logged", code="internal")


def of_validation(found: Sequence[Any]) -> Problem:
    """The problem for what pydantic or FastAPI found wrong."""
    listed = [
        FieldProblem(pointer=_pointer(one["loc"]), message=_said(one["msg"]))
        for one in list(found)[:50]
    ]
    missing_body = any(tuple(one["loc"]) == ("body",) for one in found)
    detail = "; ".join(f"{one.pointer}: {one.message}" for one in listed[:3])
    if missing_body and len(listed) == 1:
        detail = f"the body: {listed[0].message}"
    return Problem(422, detail, code="invalid", found=listed)


def phrase(status: int) -> str:
    """The name of a status."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def response(problem: Problem, instance: str) -> Response:
    """The answer for a problem."""
    body = ProblemBody(
        type=f"urn:cuttingroom:problem:{problem.code}",
        title=phrase(problem.status),
        status=problem.status,
        detail=problem.detail[:2000],
        instance=instance[:1024],
        code=problem.code,
        retryable=problem.status in _RETRYABLE or problem.code == _UNDER_WAY,
        errors=problem.found,
        held=problem.held,
        tenants=problem.tenants,
    )
    exclude = {name for name in ("held", "tenants") if getattr(problem, name) is None}
    text = json.dumps(body.model_dump(mode="json", exclude=exclude), ensure_ascii=True)
    return Response(
        text, status_code=problem.status, media_type=MEDIA_TYPE, headers=problem.headers
    )


def _status(error: errors.CuttingRoomError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _retry_after_s(error: errors.CuttingRoomError) -> int:
    if isinstance(error, errors.RateLimited) and error.retry_after_s is not None:
        return max(1, round(error.retry_after_s))
    return _RETRY_AFTER_S


def _found(error: errors.CuttingRoomError) -> tuple[FieldProblem, ...]:
    """A connector's config and auth are judged by its type, which names the field by its path."""
    if error.error_code != "connector_config_invalid":
        return ()
    place, _, message = error.message.partition(": ")
    return (FieldProblem(pointer=f"/{place}", message=message),)


def _held(error: errors.CuttingRoomError) -> dict[str, int] | None:
    if isinstance(error, errors.OutsideWindow) and error.held is not None:
        return {"startMs": error.held[0], "endMs": error.held[1]}
    return None


def _said(message: object) -> str:
    """What a rule of ours says, without the words pydantic puts before it."""
    return str(message).removeprefix("Value error, ")[:300]


def _pointer(loc: Sequence[str | int]) -> str:
    place, *rest = loc
    escaped = [str(part).replace("~", "~0").replace("/", "~1") for part in rest]
    if place == "body":
        return "/" + "/".join(escaped) if escaped else ""
    return "#" + "/".join([str(place), *escaped])
