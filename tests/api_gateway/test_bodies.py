"""Bodies: spelled as the document says, told by pointers where not, and read in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from api_gateway import routing
from api_gateway.problems import Problem
from api_gateway.routing import StrictRequest
from tests.gateway_kit import HLS, Kit, a_kit


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with a_kit(tmp_path_factory.mktemp("gateway")) as made:
        yield made


def read(*messages: dict[str, Any]) -> Problem:
    """Why a body that comes so, and then no further, is not taken."""
    left = list(messages)

    async def receive() -> dict[str, Any]:
        if left:
            return left.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    scope = {"type": "http", "method": "POST", "headers": [], "state": {}}
    with pytest.raises(Problem) as refused:
        asyncio.run(StrictRequest(scope, receive).body())
    return refused.value


PART = {"type": "http.request", "body": b"{", "more_body": True}


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing, "BODY_S", 0.05)

    refused = read(PART)

    assert (refused.status, refused.code) == (408, "timed_out")
    assert refused.headers["Connection"] == "close"


def test_a_client_who_leaves_is_no_fault_of_ours() -> None:
    refused = read(PART, {"type": "http.disconnect"})

    assert (refused.status, refused.code) == (400, "malformed")


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/webhooks", {"url": "https://example.com/x", "enabled": "yes"}, "/enabled"),
        (
            "/v1/reporter/destinations",
            {"name": "d", "connectorId": "c", "pathTemplate": "{fileName}", "maxBytes": "5"},
            "/maxBytes",
        ),
        (
            "/v1/users",
            {"email": "a@example.com", "name": "a", "role": "viewer", "mfa_required": True},
            "/mfa_required",
        ),
        ("/v1/connectors", {**HLS, "name": 5}, "/name"),
        ("/v1/connectors", {**HLS, "config": {"url": "ftp://example.com/"}}, "/config/url"),
        ("/v1/connectors", {**HLS, "auth": {"nope": "x"}}, "/auth/nope"),
    ],
)
def test_what_is_spelled_otherwise_is_refused_where_it_stands(
    kit: Kit, path: str, body: dict[str, Any], pointer: str
) -> None:
    answer = kit.post(path, body)

    assert answer.status_code == 422, answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
    assert "Value error" not in answer.text


@pytest.mark.parametrize("start", ["1643957046", 1643957046])
def test_a_bare_number_is_told_where_it_goes(kit: Kit, start: object) -> None:
    path = f"/v1/connectors/{kit.connector(f'News {start!r}')}/channels/main/segments"
    asked = {"start": start, "end": "2022-02-04T06:45:06Z"}

    answer = kit.post(path, {"range": asked, "destination": {"path": "a.mp4"}})

    assert answer.status_code == 422
    assert "startMs/endMs" in answer.json()["errors"][0]["message"]
    assert answer.json()["errors"][0]["pointer"].startswith("/range")
