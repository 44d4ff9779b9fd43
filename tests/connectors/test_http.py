"""The http connector: credentials in their places, names quoted, ranges read."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic import ValidationError

from connectors.http import Auth, Config, HttpFiles, connect
from schemas.settings import Settings
from tests.connectors.loopback import Loopback, Request, loopback, reply
from tests.connectors.peer import FILES, Peer, env_for

TOKEN = "a-bearer-token"


def _answer(ranges: bool, conn: Any, request: Request) -> None:
    if request.headers.get("authorization") != f"Bearer {TOKEN}":
        conn.sendall(reply(status="401 Unauthorized"))
        return
    data = FILES.get(unquote(request.target).removeprefix("/files/"))
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
    if data is None:
        conn.sendall(reply(status="404 Not Found"))
    elif not ranges or wanted is None:
        conn.sendall(reply(data))
    elif int(wanted[1]) >= len(data):
        told = f"bytes */{len(data)}"
        conn.sendall(reply(status="416 Range Not Satisfiable", Content_Range=told))
    else:
        part = data[int(wanted[1]) : int(wanted[2]) + 1]
        told = f"bytes {wanted[1]}-{int(wanted[1]) + len(part) - 1}/{len(data)}"
        conn.sendall(reply(part, "206 Partial Content", Content_Range=told))


@contextmanager
def _web_server(tmp_path: Path, *, ranges: bool) -> Iterator[Peer]:
    with loopback() as server:
        server.answers["*"] = partial(_answer, ranges)
        yield Peer(
            config={"baseUrl": server.url("/files/"), "checkPath": "top.txt"},
            auth={"token": TOKEN},
            bad_auth={"token": "another"},
        )


PEERS = {
    "a server with ranges": partial(_web_server, ranges=True),
    "a server without ranges": partial(_web_server, ranges=False),
}


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback() as running:
        running.answers["/base/x.mp4"] = reply(b"0123456789")
        yield running


def files(server: Loopback, **auth: str) -> HttpFiles:
    """A connector to the server."""
    config = Config(base_url=server.url("/base"))
    return connect(config, Auth.model_validate(auth), env_for(Settings()))


@pytest.mark.parametrize(
    ("auth", "header", "target"),
    [
        ({}, None, "/base/x.mp4"),
        ({"token": "t0k"}, "Bearer t0k", "/base/x.mp4"),
        (
            {"username": "ann", "password": "pw"},
            f"Basic {b64encode(b'ann:pw').decode()}",
            "/base/x.mp4",
        ),
        ({"query": "sig=a%2Fb&exp=1"}, None, "/base/x.mp4?sig=a%2Fb&exp=1"),
    ],
)
def test_credentials_go_where_they_belong(
    auth: dict[str, str], header: str | None, target: str, server: Loopback
) -> None:
    data = files(server, **auth).read_range("x.mp4", 2, 3)

    assert data == b"234"
    assert server.requests[0].headers.get("authorization") == header
    assert server.requests[0].target == target


def test_only_what_anybody_may_read_has_a_url(server: Loopback) -> None:
    public = files(server).url("x.mp4", 60)

    assert public is not None
    assert public.url == server.url("/base/x.mp4")
    assert files(server, query="sig=1").url("x.mp4", 60) is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/",
        "https://",
        "https://user:pw@a.example/",
        "https://a.example/?sig=s3cret",
        "https://a.example/#x",
        "//a.example/",
        "a.example",
    ],
)
def test_a_base_url_is_plain(url: str) -> None:
    with pytest.raises(ValidationError):
        Config(base_url=url)


@pytest.mark.parametrize(
    "auth",
    [
        {"username": "ann"},
        {"password": "pw"},
        {"token": "t", "query": "q=1"},
        {"token": "t", "username": "ann", "password": "pw"},
    ],
)
def test_there_is_one_way_to_say_who_asks(auth: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Auth.model_validate(auth)
