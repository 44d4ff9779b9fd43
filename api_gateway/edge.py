"""The outermost layer: raw paths, request ids, safe headers, measuring, and the last resort."""

from __future__ import annotations

import secrets
import time
from typing import Any

import structlog
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_gateway import problems, rawpath
from api_gateway.measures import Measures
from api_gateway.problems import Problem

_SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_DEFAULT_CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE = (b"cache-control", b"no-store")
_MAX_ID = 64
_log = structlog.get_logger("gateway")


class Edge:
    """Stands between the server and the application."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; whatever happens inside, the client gets an answer of ours."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answered = _Answered(send, _request_id(scope))
        started = time.perf_counter()
        scope["instance"] = scope["path"]
        try:
            scope["path"] = rawpath.rewritten(scope)
            await self._app(scope, receive, answered)
        except Problem as problem:
            await self._refuse(problem, scope, receive, answered)
        except Exception as error:  # noqa: BLE001 - the last resort: no trace reaches a client
            _log.error(
                "request failed",
                error=type(error).__name__,
                request=answered.request_id.decode(),
                method=scope["method"],
                route=_route(scope),
                exc_info=error,
            )
            await self._refuse(problems.unexpected(), scope, receive, answered)
        finally:
            seconds = time.perf_counter() - started
            self._measures.request(scope["method"], _route(scope), answered.status, seconds)

    async def _refuse(
        self, problem: Problem, scope: Scope, receive: Receive, answered: _Answered
    ) -> None:
        if not answered.started:
            await problems.response(problem, scope["instance"])(scope, receive, answered)


class _Answered:
    """The way out: adds our headers, and knows what was sent."""

    def __init__(self, send: Send, request_id: bytes) -> None:
        self._send, self.request_id = send, request_id
        self.started, self.status = False, 500

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            message["headers"] = self._with_ours(message.get("headers", []))
        await self._send(message)

    def _with_ours(self, headers: Any) -> list[tuple[bytes, bytes]]:
        given = list(headers)
        names = {name for name, _ in given}
        defaults = (h for h in (_DEFAULT_CSP, _NO_STORE) if h[0] not in names)
        return [*given, *_SAFE, *defaults, (b"x-request-id", self.request_id)]


def instance(request: Request) -> str:
    """The path a client asked for, as it was decoded by the server."""
    path: str = request.scope.get("instance", request.scope["path"])
    return path


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and 0 < len(value) <= _MAX_ID and value.isalnum():
            return bytes(value)
    return secrets.token_hex(8).encode()


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", None) or "unknown"
