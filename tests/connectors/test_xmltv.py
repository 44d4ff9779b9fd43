"""The xmltv connector: a guide from a listed folder or the web, brought as it lies there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors import xmltv
from connectors.xmltv import Auth, Config, connect
from schemas.errors import (
    AccessDenied,
    Cancelled,
    CorruptMedia,
    CuttingRoomError,
    SourceNotFound,
    SourceUnavailable,
    TooLarge,
)
from schemas.guides import GuideDocument, GuideFile, GuideWanted
from schemas.settings import Settings
from schemas.times import TimeRange
from tests.connectors.loopback import loopback, reply
from tests.connectors.peer import Peer, env_for
from tests.guides import BBC, document, zipped

WANTED = GuideWanted(range=TimeRange(start_ms=0, end_ms=1))
GUIDE = document(BBC)


@contextmanager
def _on_the_web(tmp_path: Path) -> Iterator[Peer]:
    def answer(conn: Any, request: Any) -> None:
        good = request.headers.get("authorization") == "Bearer t0ken"
        conn.sendall(reply(GUIDE) if good else reply(status="401 No"))

    with loopback() as server:
        server.answers["/guide.xml"] = answer
        yield Peer(
            config={"url": server.url("/guide.xml")},
            auth={"token": "t0ken"},
            bad_auth={"token": "other"},
        )


PEERS = {"a guide on the web": _on_the_web}


def brought(
    tmp_path: Path, config: Config, auth: Auth | None = None, **asked: Any
) -> GuideDocument:
    settings = Settings(local_folders=(str(tmp_path / "listed"),))
    folder = tmp_path / "work"
    folder.mkdir()
    return connect(config, auth or Auth(), env_for(settings)).guide(WANTED, folder, **asked)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    folder = tmp_path / "listed"
    folder.mkdir()
    (folder / "guide.xml").write_bytes(GUIDE)
    return folder


def test_a_file_of_a_listed_folder_is_brought(tmp_path: Path, listed: Path) -> None:
    moved: list[int] = []

    found = brought(tmp_path, Config(path=str(listed / "guide.xml")), on_bytes=moved.append)

    assert found == GuideDocument(format="xmltv", files=(GuideFile(name="guide.xml"),))
    assert (tmp_path / "work/guide.xml").read_bytes() == GUIDE
    assert sum(moved) == len(GUIDE)


def test_a_listed_file_passes_the_check(tmp_path: Path, listed: Path) -> None:
    env = env_for(Settings(local_folders=(str(listed),)))

    connect(Config(path=str(listed / "guide.xml")), Auth(), env).check("epg")

    (listed / "guide.xml").write_bytes(b"PK\x03\x04")
    with pytest.raises(CorruptMedia):
        connect(Config(path=str(listed / "guide.xml")), Auth(), env).check()


def test_a_zipped_guide_is_brought_as_it_is(tmp_path: Path) -> None:
    with loopback() as server:
        server.answers["/g.xml.gz"] = reply(zipped(GUIDE))

        brought(tmp_path, Config(url=server.url("/g.xml.gz"), zone="Europe/London"))

    assert (tmp_path / "work/guide.xml").read_bytes() == zipped(GUIDE)


def test_a_signed_query_is_added(tmp_path: Path) -> None:
    with loopback() as server:
        server.answers["/g"] = reply(GUIDE)

        brought(
            tmp_path, Config(url=server.url("/g?days=7")), Auth.model_validate({"query": "k=s"})
        )

        assert server.requests[0].target == "/g?days=7&k=s"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(status="404 Gone"), SourceNotFound),
        (reply(status="403 No"), AccessDenied),
        (reply(status="500 Oh"), SourceUnavailable),
        (reply(b"x", length=xmltv.MAX_BYTES + 1), TooLarge),
    ],
    ids=["gone", "denied", "broken", "too large"],
)
def test_what_goes_wrong_says_so(
    tmp_path: Path, answer: bytes, error: type[CuttingRoomError]
) -> None:
    with loopback() as server:
        server.answers["*"] = answer
        with pytest.raises(error) as raised:
            brought(tmp_path, Config(url=server.url("/folder/guide.xml?key=secret")))

    assert "secret" not in raised.value.message


def test_fetching_can_be_stopped(tmp_path: Path, listed: Path) -> None:
    def stop() -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        brought(tmp_path, Config(path=str(listed / "guide.xml")), control=stop)


def test_a_folder_nobody_listed_is_denied(tmp_path: Path) -> None:
    with pytest.raises(AccessDenied):
        brought(tmp_path, Config(path="/etc/hostname"))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"url": "http://a.example/g", "path": "/g"},
        {"url": "file:///etc/passwd"},
        {"url": "http://u:p@a.example/g"},
        {"path": "guide.xml"},
        {"path": "/listed/../guide.xml"},
        {"url": "http://a.example/g", "zone": "Europe/Nowhere"},
        {"url": "http://a.example/g", "zone": "../../etc/passwd"},
        {"url": "http://a.example/g", "ignoreOffsets": True},
        {"url": "http://a.example/g", "country": "Germany"},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(config)
