"""A DASH connector knows addresses and credentials as the HLS one does, and says what it speaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connectors.base import ConnectorEnv, presentation_of
from connectors.dash import Auth, Config, DashConnector, connect
from connectors.egress import Egress
from connectors.registry import Registry
from schemas.errors import AccessDenied, CorruptMedia, SourceNotFound
from schemas.settings import Settings
from tests.connectors.loopback import Loopback, Request, loopback, reply
from tests.connectors.peer import Peer
from tests.fakes import FixedClock

MANIFEST = b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>'


def _guarded(conn: Any, request: Request) -> None:
    known = request.headers.get("x-key") == "a-key"
    conn.sendall(reply(MANIFEST) if known else reply(status="403 Forbidden"))


@contextmanager
def _origin_peer(tmp_path: Path) -> Iterator[Peer]:
    with loopback() as server:
        server.answers["/live.mpd"] = _guarded
        yield Peer(
            config={"channels": [{"id": "one", "url": server.url("/live.mpd")}]},
            auth={"headerName": "X-Key", "headerValue": "a-key"},
            bad_auth={"headerName": "X-Key", "headerValue": "another"},
            channel="one",
        )


PEERS = {"an origin with a key": _origin_peer}


@pytest.fixture
def origin() -> Iterator[Loopback]:
    with loopback() as server:
        yield server


@pytest.fixture
def env() -> Iterator[ConnectorEnv]:
    egress = Egress(allow_cidrs=("127.0.0.0/8",))
    yield ConnectorEnv(egress=egress, settings=Settings(), clock=FixedClock())
    egress.close()


def connected(env: ConnectorEnv, url: str, auth: dict[str, Any] | None = None) -> DashConnector:
    return connect(Config(url=url), Auth.model_validate(auth or {}), env)


def test_the_registry_finds_it_with_its_capabilities() -> None:
    assert Registry.discover().get("dash").capabilities == {"live"}


def test_its_playlists_are_manifests(env: ConnectorEnv) -> None:
    connector = connected(env, "https://o.test/live.mpd")

    assert presentation_of(connector, connector.playlist_url("any")) == "dash"


@pytest.mark.parametrize(
    "body",
    [
        MANIFEST,
        b"\xef\xbb\xbf" + MANIFEST,
        MANIFEST.decode().encode("utf-16"),
        b'<d:MPD xmlns:d="urn:mpeg:dash:schema:mpd:2011"/>',
    ],
    ids=["plain", "byte order mark", "UTF-16", "prefixed"],
)
def test_a_manifest_passes_the_check(body: bytes, origin: Loopback, env: ConnectorEnv) -> None:
    origin.answers["/live.mpd"] = reply(body)

    connected(env, origin.url("/live.mpd")).check()


@pytest.mark.parametrize("body", [b"#EXTM3U\n", b"<html></html>", b"", b"<SmoothStreamingMedia/>"])
def test_anything_else_does_not(body: bytes, origin: Loopback, env: ConnectorEnv) -> None:
    origin.answers["/live.mpd"] = reply(body)

    with pytest.raises(CorruptMedia, match="not a DASH manifest"):
        connected(env, origin.url("/live.mpd")).check()


def test_a_missing_or_closed_manifest_says_which(origin: Loopback, env: ConnectorEnv) -> None:
    origin.answers["/closed.mpd"] = reply(status="403 Forbidden")
    origin.answers["/gone.mpd"] = reply(status="404 Not Found")

    with pytest.raises(AccessDenied):
        connected(env, origin.url("/closed.mpd")).check()
    with pytest.raises(SourceNotFound):
        connected(env, origin.url("/gone.mpd")).check()


def test_a_token_goes_to_the_origin_and_to_nobody_a_manifest_names(
    origin: Loopback, env: ConnectorEnv
) -> None:
    auth = {"queryName": "token", "queryValue": "s3cret"}
    with loopback() as elsewhere:
        elsewhere.answers["/a.m4s"] = reply(b"data")
        origin.answers["/live.mpd"] = reply(MANIFEST)
        connector = connected(env, origin.url("/live.mpd"), auth)

        body = connector.fetch(origin.url("/live.mpd"), max_bytes=1000)
        connector.fetch(elsewhere.url("/a.m4s"), max_bytes=1000)

        assert origin.requests[-1].target == "/live.mpd?token=s3cret"
        assert "s3cret" not in body.url
        assert [request.target for request in elsewhere.requests] == ["/a.m4s"]
