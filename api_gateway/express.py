"""The express lane: a plain request for a clip goes straight to its operation.

Only what is plain in every way is taken; for all else, and for what turns out to be wrong, the
whole application answers, from the same credential and the same body. So a refusal has one place
where it is made, and the lane has nothing of its own but a shorter way to the same function.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api_gateway import problems
from api_gateway.auth import authenticate
from api_gateway.deps import Gateway
from api_gateway.problems import Problem
from api_gateway.routes.clips import CLIP_PATH, ClipBody, clip_from_stream
from api_gateway.routing import StrictRequest
from schemas.errors import CuttingRoomError

_PLACE = re.compile(r"/v1/connectors/([^/\0]{1,200})/files/([^/]+)/clip")
_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_MAX_LENGTH_DIGITS = 5
_JSON = b"application/json"

Refused = Callable[[Request, Problem], Awaitable[Response]]


class _Route(NamedTuple):
    """What a measure is filed under."""

    path: str


class _Plain(NamedTuple):
    """What a plain request says of itself."""

    connector_id: str
    file_id: str
    idempotency_key: str | None


class Express:
    """Stands between the edge and the application."""

    def __init__(self, app: ASGIApp, gateway: Gateway, refused: Refused) -> None:
        self._app, self._gateway, self._refused = app, gateway, refused
        self._route = _Route(CLIP_PATH)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a plain request; hand over any other."""
        plain = _plain(scope)
        answer = None if plain is None else await self._answer(plain, scope, receive)
        if answer is None:
            await self._app(scope, receive, send)
        else:
            await answer(scope, receive, send)

    async def _answer(self, plain: _Plain, scope: Scope, receive: Receive) -> Response | None:
        request = StrictRequest(scope, receive)
        try:
            answer = await self._accepted(plain, request)
        except Problem as problem:
            answer = await self._refused(request, problem)
        except CuttingRoomError as error:
            answer = await self._refused(request, problems.of_error(error, "#path/fileId"))
        if answer is not None:
            scope["route"] = self._route
        return answer

    async def _accepted(self, plain: _Plain, request: StrictRequest) -> Response | None:
        """The answer, or None where the body is not what the operation takes."""
        caller = await authenticate(request, self._gateway, "jobs")
        request.state.principal = caller
        try:
            body = None
            if raw := await request.body():
                await request.json()  # refused here where it is no JSON of ours
                body = ClipBody.model_validate_json(raw, strict=True, by_alias=True, by_name=False)
        except ValidationError:
            return None
        answer = await clip_from_stream(
            request,
            self._gateway,
            caller,
            plain.connector_id,
            plain.file_id,
            body=body,
            idempotency_key=plain.idempotency_key,
        )
        answer.headers.update(request.state.rate)
        return answer


def _plain(scope: Scope) -> _Plain | None:
    """What a request asks for, where nothing about it is unusual."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"]:
        return None
    place = _PLACE.fullmatch(scope["path"])
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if place is None or scope.get("root_path") or len(headers) != len(scope["headers"]):
        return None
    length, key = headers.get(b"content-length", b""), headers.get(b"idempotency-key")
    if (
        headers.get(b"content-type") != _JSON
        or not 0 < len(length) <= _MAX_LENGTH_DIGITS
        or b"content-encoding" in headers
        or (key is not None and not _KEY.fullmatch(key))
    ):
        return None
    return _Plain(place[1], place[2], None if key is None else key.decode("ascii"))
