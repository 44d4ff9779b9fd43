"""The express lane: nothing about an answer tells which way it came."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from api_gateway.edge import Edge
from api_gateway.express import Express
from api_gateway.problems import Problem
from tests.gateway_kit import CANONICAL, FILE_ID, Kit, clip_path

_JSON = {"Content-Type": "application/json"}
# Means the same, and is not plain: the whole application answers it.
_THE_LONG_WAY = {"Content-Type": "application/json; charset=utf-8"}
_CHANGING = {"x-request-id", "ratelimit-remaining", "ratelimit-reset", "date"}
_FUTURE = "c/2022/02/04/range-1643999999-1644000009-clip-7"


def seen(answer: httpx.Response) -> tuple[int, Any, dict[str, str]]:
    """What a client sees, but for what differs between any two answers."""
    headers = {n: v for n, v in answer.headers.items() if n not in _CHANGING}
    return answer.status_code, answer.json(), headers


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 202),
        (b"", 202),
        (b"null", 202),
        (b'{"mode":"exact","metadata":{"title":"Tor \xc3\xbc"}}', 202),
        (b'{"onFuture":"reject"}', 202),
        (b'{"on_future":"reject"}', 422),
        (b'{"mode":"best"}', 422),
        (b'{"metadata":{"n":1}}', 422),
        (b'{"unknown":1}', 422),
        (b'{"mode":"exact","mode":"exact"}', 400),
        (b'{"mode":', 400),
        (b'{"mode":"\xff"}', 400),
        (b"[]", 422),
        (b"7", 422),
        (b'{"metadata":{"n":"' + b"x" * 70_000 + b'"}}', 422),
        (b"[" * 50 + b"]" * 50, 400),
    ],
)
def test_every_body_is_answered_the_same_either_way(kit: Kit, body: bytes, status: int) -> None:
    path = clip_path(kit.connector())

    short = kit.ask("POST", path, content=body, headers=_JSON)
    long = kit.ask("POST", path, content=body, headers=_THE_LONG_WAY)

    assert short.status_code == status, short.text
    assert seen(short) == seen(long)


@pytest.mark.parametrize(
    "file_id",
    [
        FILE_ID,
        CANONICAL,
        _FUTURE,
        "movie.mp4",
        "a/../" + FILE_ID,
        "c/2022/02/05/range-1-2-clip-7",
        "c/2022/02/04/range-1643957046-1643999999-clip-7",
        "c/2022/02/04/range-1643957046000-1643957106-clip-7",
        "ü \x1f\x00/2022/02/04/range-1643957046-1643957106-clip-7",
        "x" * 600,
    ],
)
def test_every_file_id_is_answered_the_same_either_way(kit: Kit, file_id: str) -> None:
    path = clip_path(kit.connector(), file_id)

    short = kit.ask("POST", path, content=b"{}", headers=_JSON)
    long = kit.ask("POST", path, content=b"{}", headers=_THE_LONG_WAY)

    assert seen(short) == seen(long)


@pytest.mark.parametrize("connector_id", ["con_nobody", "x" * 201, "a%00b", "%20", "a%2Fb"])
@pytest.mark.parametrize("key", ["mine", None, "cr_live_x"])
def test_every_stranger_is_answered_the_same_either_way(
    kit: Kit, connector_id: str, key: str | None
) -> None:
    path = clip_path(connector_id)

    short = kit.ask("POST", path, content=b"{}", headers=_JSON, key=key)
    long = kit.ask("POST", path, content=b"{}", headers=_THE_LONG_WAY, key=key)

    assert short.status_code >= 400
    assert seen(short) == seen(long)


@pytest.mark.parametrize("name", ["k", "k" * 255, "k" * 256, "", "a b", "ä"])
def test_every_idempotency_key_is_answered_the_same_either_way(kit: Kit, name: str) -> None:
    path, key = clip_path(kit.connector()), {"Idempotency-Key": name.encode()}

    short = kit.ask("POST", path, content=b"{}", headers={**_JSON, **key})
    long = kit.ask("POST", path, content=b"{}", headers={**_THE_LONG_WAY, **key})

    assert seen(short) == seen(long)


def test_one_idempotency_key_is_one_body_on_both_ways(kit: Kit) -> None:
    connector, key = kit.connector(), {"Idempotency-Key": "k"}
    other = "c/2022/02/04/range-1643957046-1643957106-clip-other"
    kit.ask("POST", clip_path(connector), content=b"{}", headers={**_JSON, **key})

    short = kit.ask("POST", clip_path(connector, other), content=b"{}", headers={**_JSON, **key})
    long = kit.ask(
        "POST", clip_path(connector, other), content=b"{}", headers={**_THE_LONG_WAY, **key}
    )

    assert (short.status_code, short.json()["code"]) == (409, "idempotency_conflict")
    assert seen(short) == seen(long)


def test_a_key_without_the_scope_is_refused_on_both_ways(kit: Kit) -> None:
    path, secret = clip_path(kit.connector()), kit.api_key("read")

    short = kit.ask("POST", path, content=b"{}", headers=_JSON, key=secret)
    long = kit.ask("POST", path, content=b"{}", headers=_THE_LONG_WAY, key=secret)

    assert short.status_code == 403
    assert seen(short) == seen(long)


@pytest.mark.parametrize("body", [b"{}", b'{"mode":"best"}'], ids=["accepted", "handed over"])
def test_a_request_is_counted_once_whichever_way_it_goes(kit: Kit, body: bytes) -> None:
    path = clip_path(kit.connector())

    left = [
        int(kit.ask("POST", path, content=body, headers=_JSON).headers["RateLimit-Remaining"])
        for _ in range(3)
    ]

    assert left == [left[0], left[0] - 1, left[0] - 2]


def test_both_ways_are_measured_as_one_route(kit: Kit) -> None:
    path = clip_path(kit.connector())

    for headers in (_JSON, _THE_LONG_WAY):
        kit.ask("POST", path, content=b"{}", headers=headers)

    wanted = 'method="POST",route="/v1/connectors/{id}/files/{fileId}/clip",status="202"} 2.0'
    assert wanted in kit.gateway.measures.text().decode()


@pytest.mark.parametrize(
    ("query", "body", "headers", "express"),
    [
        ("", b"{}", _JSON, True),
        ("", b"{}", {**_JSON, "Idempotency-Key": "k"}, True),
        ("", b"{}", _THE_LONG_WAY, False),
        ("", b"{}", {**_JSON, "Content-Encoding": "gzip"}, False),
        ("", b"{}", {**_JSON, "Idempotency-Key": "a b"}, False),
        ("?fileId=x", b"{}", _JSON, False),
        ("", b'{"mode":"best"}', _JSON, False),
        ("", b" " * 100_000, _JSON, False),
    ],
)
def test_only_what_is_plain_is_taken(
    kit: Kit, query: str, body: bytes, headers: dict[str, str], express: bool
) -> None:
    path = clip_path(kit.connector()) + query
    lane: Any = Edge(Express(long_way, kit.gateway, never_refused), kit.gateway.measures)
    kit.app = lane

    answer = kit.ask("POST", path, content=body, headers=headers)

    assert answer.status_code == (202 if express else 299)


async def long_way(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for the application."""
    await PlainTextResponse("the long way", 299)(scope, receive, send)


async def never_refused(request: Request, problem: Problem) -> Response:
    """No request here is refused by the lane itself."""
    raise AssertionError(problem)
