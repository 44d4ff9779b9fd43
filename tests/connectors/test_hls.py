"""An HLS connector knows addresses and credentials, and keeps them to its own origin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.base import Channel, ConnectorEnv
from connectors.egress import Egress
from connectors.hls import Auth, Config, HlsConnector, connect
from connectors.registry import Registry
from schemas.errors import AccessDenied, CorruptMedia, SourceNotFound, SourceUnavailable, TooLarge
from schemas.media import ByteRange
from schemas.settings import Settings
from tests.connectors.loopback import Loopback, Request, loopback, reply
from tests.connectors.peer import Peer
from tests.fakes import FixedClock

PLAYLIST = b"#EXTM3U\n#EXTINF:4,\na.ts\n"


def _guarded(conn: Any, request: Request) -> None:
    known = request.headers.get("authorization") == "Bearer a-token"
    conn.sendall(reply(PLAYLIST) if known else reply(status="403 Forbidden"))


@contextmanager
def _origin_peer(tmp_path: Path) -> Iterator[Peer]:
    with loopback() as server:
        server.answers["/live.m3u8"] = _guarded
        yield Peer(
            config={"channels": [{"id": "one", "url": server.url("/live.m3u8")}]},
            auth={"bearer": "a-token"},
            bad_auth={"bearer": "another"},
            channel="one",
        )


PEERS = {"an origin with a token": _origin_peer}


@pytest.fixture
def origin() -> Iterator[Loopback]:
    with loopback() as server:
        server.answers["/live.m3u8"] = reply(PLAYLIST)
        server.answers["/a.ts"] = reply(b"0123456789")
        yield server


@pytest.fixture
def env() -> Iterator[ConnectorEnv]:
    egress = Egress(allow_cidrs=("127.0.0.0/8",))
    yield ConnectorEnv(egress=egress, settings=Settings(), clock=FixedClock())
    egress.close()


def connected(env: ConnectorEnv, url: str, auth: dict[str, Any] | None = None) -> HlsConnector:
    return connect(Config(url=url), Auth.model_validate(auth or {}), env)


def test_the_registry_finds_it_with_its_capabilities() -> None:
    found = Registry.discover().get("hls")

    assert found.capabilities == {"live"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "either url or channels"),
        ({"url": "https://o.test/a", "channels": [{"id": "a", "url": "https://o.test/a"}]}, "eith"),
        ({"url": "ftp://o.test/a.m3u8"}, "http or https"),
        ({"url": "file:///etc/passwd"}, "http or https"),
        ({"url": "https://"}, "http or https"),
        ({"url": "https://user:pw@o.test/a"}, "belong in auth"),
        ({"url": "https://o.test/a b"}, "printable"),
        ({"url": "https://o.test/a\r\nX: y"}, "printable"),
        ({"url": "https://o.test/" + "a" * 9000}, "8192"),
        ({"channels": [{"id": "../a", "url": "https://o.test/a"}]}, "pattern"),
        ({"channels": [{"id": "a", "url": "https://o.test/a"}] * 2}, "same id"),
        ({"url": "https://o.test/a", "headers": {"Host": "evil.test"}}, "cannot|can be set"),
        ({"url": "https://o.test/a", "headers": {"X": "a\r\nY: b"}}, "characters"),
        ({"url": "https://o.test/a", "token": "x"}, "[Ee]xtra"),
    ],
)
def test_a_config_that_cannot_work_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Config.model_validate(config)


@pytest.mark.parametrize(
    "auth",
    [
        {"bearer": "a", "queryName": "t", "queryValue": "b"},
        {"headerName": "X-Key"},
        {"queryValue": "b"},
        {"headerName": "Host", "headerValue": "evil"},
        {"headerName": "X", "headerValue": "a\nb"},
        {"bearer": "a\r\nX: y"},
        {"queryName": "a&b", "queryValue": "c"},
    ],
)
def test_credentials_go_one_way_and_cannot_smuggle(auth: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Auth.model_validate(auth)


def test_secrets_are_never_shown() -> None:
    auth = Auth.model_validate({"headerName": "X-Key", "headerValue": "s3cret"})

    assert "s3cret" not in repr(auth) + auth.model_dump_json()


def test_channels_are_those_of_the_config(env: ConnectorEnv) -> None:
    config = Config.model_validate(
        {
            "channels": [
                {"id": "one", "name": "One", "url": "https://o.test/1.m3u8", "language": "de"},
                {"id": "two", "url": "https://p.test/2.m3u8"},
            ]
        }
    )
    connector = connect(config, Auth(), env)

    assert connector.channels() == (
        Channel(id="one", name="One", language="de"),
        Channel(id="two", name="two"),
    )
    assert connector.playlist_url("two") == "https://p.test/2.m3u8"
    with pytest.raises(SourceNotFound, match="three"):
        connector.playlist_url("three")


def test_a_single_address_serves_whatever_the_channel_is_called(env: ConnectorEnv) -> None:
    connector = connected(env, "https://o.test/live.m3u8")

    assert connector.playlist_url("761f422bb93edb7c") == "https://o.test/live.m3u8"
    assert [channel.id for channel in connector.channels()] == ["main"]


@pytest.mark.parametrize(
    ("auth", "header", "target"),
    [
        ({}, None, "/live.m3u8?a=1"),
        ({"bearer": "tok"}, ("authorization", "Bearer tok"), "/live.m3u8?a=1"),
        (
            {"headerName": "X-Key", "headerValue": "k"},
            ("x-key", "k"),
            "/live.m3u8?a=1",
        ),
        ({"queryName": "t", "queryValue": "a b&c"}, None, "/live.m3u8?a=1&t=a+b%26c"),
    ],
    ids=["none", "bearer", "header", "query"],
)
def test_credentials_go_to_the_origin_of_the_config(
    origin: Loopback,
    env: ConnectorEnv,
    auth: dict[str, str],
    header: tuple[str, str] | None,
    target: str,
) -> None:
    connector = connected(env, origin.url("/live.m3u8?a=1"), auth)

    body = connector.fetch(origin.url("/live.m3u8?a=1"), max_bytes=1000)

    assert body.data == PLAYLIST
    assert body.url == origin.url("/live.m3u8?a=1")
    assert origin.requests[0].target == target
    if header:
        assert origin.requests[0].headers[header[0]] == header[1]
    else:
        assert "authorization" not in origin.requests[0].headers


@pytest.mark.parametrize(
    "auth", [{"bearer": "tok"}, {"queryName": "t", "queryValue": "tok"}], ids=["bearer", "query"]
)
def test_credentials_never_go_to_a_host_a_playlist_names(
    origin: Loopback, env: ConnectorEnv, auth: dict[str, str], tmp_path: Path
) -> None:
    with loopback() as other:
        other.answers["/a.ts"] = reply(b"x")
        config = Config.model_validate(
            {"url": origin.url("/live.m3u8"), "headers": {"X-Client": "tok"}}
        )
        connector = connect(config, Auth.model_validate(auth), env)

        connector.download(other.url("/a.ts"), tmp_path / "a", max_bytes=10)

        (request,) = other.requests
        assert "tok" not in str(request)


def test_a_segment_or_a_part_of_it_comes_into_a_file(
    origin: Loopback, env: ConnectorEnv, tmp_path: Path
) -> None:
    connector, moved = connected(env, origin.url("/live.m3u8")), list[int]()

    done = connector.download(
        origin.url("/a.ts"),
        tmp_path / "a",
        max_bytes=100,
        byte_range=ByteRange(offset=2, length=3),
        on_bytes=moved.append,
    )

    assert (tmp_path / "a").read_bytes() == b"234"
    assert (done.size, sum(moved)) == (3, 3)


def test_check_is_content_with_a_playlist(origin: Loopback, env: ConnectorEnv) -> None:
    connected(env, origin.url("/live.m3u8")).check()

    assert [request.target for request in origin.requests] == ["/live.m3u8"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"<html>"), CorruptMedia),
        (reply(b"", "401 Unauthorized"), AccessDenied),
        (reply(b"", "403 Forbidden"), AccessDenied),
        (reply(b"", "404 Not Found"), SourceNotFound),
        (reply(b"", "503 Service Unavailable"), SourceUnavailable),
        (reply(b"#EXTM3U\n" + b"#" * (21 << 20)), TooLarge),
    ],
    ids=["a web page", "401", "403", "404", "503", "too large"],
)
def test_check_says_what_is_wrong(
    origin: Loopback, env: ConnectorEnv, answer: bytes, error: type[Exception]
) -> None:
    origin.answers["/live.m3u8"] = answer

    with pytest.raises(error):
        connected(env, origin.url("/live.m3u8")).check()


def test_an_origin_on_the_inside_is_refused(origin: Loopback) -> None:
    egress = Egress()
    env = ConnectorEnv(egress=egress, settings=Settings(), clock=FixedClock())

    with pytest.raises(AccessDenied):
        connected(env, origin.url("/live.m3u8")).check()

    egress.close()
    assert origin.connections == 0
