"""The ftp connector: a real server's files, and servers that point elsewhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import ValidationError

from connectors.base import Query
from connectors.egress import Egress, Limits
from connectors.ftp import Auth, Config, FtpFiles, connect
from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    RateLimited,
    SourceUnavailable,
    Unsupported,
)
from schemas.settings import Settings
from tests.connectors.peer import FILES, Peer, env_for
from tests.connectors.rclone import PASSWORD, USER, rclone_serving


@contextmanager
def _ftp_server(tmp_path: Path) -> Iterator[Peer]:
    # Each suite run has its own small range, so that two runs do not meet.
    with rclone_serving("ftp", tmp_path, "--user", USER, "--pass", PASSWORD) as port:
        yield Peer(
            config={"host": "127.0.0.1", "port": port, "username": USER},
            auth={"password": PASSWORD},
            bad_auth={"password": "another"},
        )


PEERS = {"a plain server": _ftp_server}


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with _ftp_server(tmp_path_factory.mktemp("ftp")) as running:
        yield running


def files(peer: Peer, **changes: object) -> FtpFiles:
    config = Config.model_validate({**peer.config, **changes})
    return connect(config, Auth.model_validate(peer.auth), env_for(Settings()))


def test_a_folder_is_the_root_of_its_files(peer: Peer) -> None:
    below = files(peer, folder="clips")

    assert below.read_range("second.mp4", 2, 3) == FILES["clips/second.mp4"][2:5]
    assert below.stat("second.mp4").modified_ms is not None
    below.close()


def test_one_connection_answers_again_after_part_of_a_file(peer: Peer) -> None:
    source = files(peer)

    parts = [source.read_range("clips/first.mp4", at, 10) for at in (0, 5000, 10)]

    assert parts == [FILES["clips/first.mp4"][at : at + 10] for at in (0, 5000, 10)]
    source.close()


Script = Callable[[str], bytes | None]


@contextmanager
def scripted(answer: Script, greeting: bytes = b"220 hello\r\n") -> Iterator[int]:
    """A server that answers each command line as told; None ends the connection."""

    def serve() -> None:
        with suppress(OSError):
            conn, _ = listener.accept()
            conn.settimeout(10)
            with conn, conn.makefile("rb") as lines:
                conn.sendall(greeting)
                for line in lines:
                    told = answer(line.decode().strip())
                    if told is None:
                        return
                    conn.sendall(told)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def polite(line: str) -> bytes:
    """What any server answers before files are asked for."""
    verb = line.partition(" ")[0]
    facts = b"250-x\r\n type=file;size=100; x\r\n250 end\r\n"
    known = {"USER": b"331 and?\r\n", "PASS": b"230 in\r\n", "MLST": facts, "SIZE": b"213 100\r\n"}
    return known.get(verb, b"200 yes\r\n")


def asked(port: int) -> FtpFiles:
    config = Config(host="127.0.0.1", port=port)
    limits = Limits(connect_timeout_s=1)
    egress = Egress(allow_cidrs=("127.0.0.1/32",), limits=limits)
    return connect(config, Auth(), env_for(Settings(), egress))


def test_data_comes_from_the_servers_own_host_whatever_it_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as data:
        data_port = data.getsockname()[1]
        ports = f"{data_port // 256},{data_port % 256}"

        def elsewhere(line: str) -> bytes:
            if line.startswith(("PASV", "EPSV")):
                return f"227 here (10,0,0,5,{ports})\r\n".encode()
            return b"150 now\r\n226 all sent\r\n" if line.startswith("RETR") else polite(line)

        def send() -> None:
            conn, _ = data.accept()
            with conn:
                conn.sendall(b"from the right host")

        thread = threading.Thread(target=send)
        thread.start()
        with scripted(elsewhere) as port:
            source = asked(port)
            # The stated length never comes whole, but what came was not from 10.0.0.5.
            with pytest.raises(CuttingRoomError) as raised:
                source.read_range("x.mp4", 0, 100)
            source.close()
        thread.join()

    assert "19 bytes of 100" in raised.value.message


@pytest.mark.parametrize(
    ("greeting", "answer", "error"),
    [
        (b"421 too many\r\n", polite, RateLimited),
        (b"hello there\r\n", polite, SourceUnavailable),
        (b"220 hi\r\n", lambda _line: None, SourceUnavailable),
        (b"220 hi\r\n", lambda _line: b"530 no\r\n", AccessDenied),
        (b"220-" + b"x" * 20_000 + b"\r\n", polite, SourceUnavailable),
        (b"220-hi\r\n" + b"220-more\r\n" * 5000, polite, SourceUnavailable),
    ],
    ids=["full", "no FTP", "hangs up", "refuses", "a long line", "an endless answer"],
)
def test_rude_servers_are_told_apart(
    greeting: bytes, answer: Script, error: type[CuttingRoomError]
) -> None:
    with scripted(answer, greeting) as port:
        source = asked(port)
        with pytest.raises(error):
            source.stat("x.mp4")
        source.close()


def test_a_server_without_mlst_still_says_size_and_time() -> None:
    def old(line: str) -> bytes:
        if line.startswith("MLST"):
            return b"500 what?\r\n"
        return b"213 20220204064406\r\n" if line.startswith("MDTM") else polite(line)

    with scripted(old) as port:
        source = asked(port)
        entry = source.stat("x.mp4")
        source.close()

    assert (entry.size, entry.modified_ms) == (100, 1_643_957_046_000)


def test_a_server_without_mlsd_is_said_not_to_list() -> None:
    with socket.create_server(("127.0.0.1", 0)) as data:
        number = data.getsockname()[1]
        passive = f"227 ok (127,0,0,1,{number // 256},{number % 256})\r\n".encode()

        def old(line: str) -> bytes:
            if line.startswith("PASV"):
                return passive
            return b"502 no\r\n" if line.startswith("MLSD") else polite(line)

        with scripted(old) as port:
            source = asked(port)
            with pytest.raises(Unsupported):
                source.query(Query())
            source.close()


@pytest.mark.parametrize(
    "changes",
    [{"host": "a\r\nb"}, {"username": "a\r\nDELE x"}, {"folder": "a/../b"}, {"tls": "maybe"}],
)
def test_a_config_that_could_say_more_than_it_means_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"host": "h", **changes})
