"""The embedded server is found, keeps what it was told, and is reached by nobody else."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
import redis

from cli import embedded
from cli.embedded import ServerBinary, configuration, examined, find_server, start_server
from schemas.errors import Conflict, StoreUnavailable, UnsupportedMedia


def a_server(folder: Path, name: str, banner: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{banner}'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("banner", "spelled"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", "Redis 7.0.15"),
        ("Valkey server v=8.1.8 sha=00000000:1 malloc=libc bits=64", "Valkey 8.1.8"),
    ],
)
def test_a_server_says_what_it_is(tmp_path: Path, banner: str, spelled: str) -> None:
    assert examined(a_server(tmp_path, "redis-server", banner), "path").spelled == spelled


def test_what_is_no_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMedia):
        examined(a_server(tmp_path, "redis-server", "hello"), "path")


def test_one_on_the_path_is_preferred_where_new_enough(tmp_path: Path) -> None:
    new = a_server(tmp_path, "redis-server", "Redis server v=6.2.0 sha=0")

    found = find_server(str(tmp_path))

    assert found is not None
    assert (found.path, found.origin) == (new, "path")


def test_an_old_one_on_the_path_is_passed_over(tmp_path: Path) -> None:
    a_server(tmp_path, "redis-server", "Redis server v=5.0.14 sha=0")

    found = find_server(str(tmp_path))

    assert found is None or found.origin == "package"


def test_the_configuration_keeps_everything_and_listens_on_loopback(tmp_path: Path) -> None:
    odd = tmp_path / 'a "b"'

    lines = configuration(odd, 7001, "pw", True, 1000).splitlines()

    assert {
        "bind 127.0.0.1",
        "port 7001",
        "protected-mode yes",
        "requirepass pw",
        "appendonly yes",
        "appendfsync always",
        "maxmemory-policy noeviction",
        "maxmemory 1000",
        f'dir "{tmp_path}/a \\"b\\""',
    } <= set(lines)


@pytest.fixture
def binary() -> ServerBinary:
    found = find_server()
    if found is None:
        pytest.skip("no Redis-compatible server on this machine")
    return found


@pytest.mark.redis
def test_what_was_written_is_there_after_a_kill_at_the_same_address(
    binary: ServerBinary, tmp_path: Path
) -> None:
    folder = tmp_path / "data dir" / "redis"
    first = start_server(folder, binary=binary, durable=True)
    client = redis.Redis.from_url(first.url)
    client.set("job", "queued")
    client.close()
    first.service.kill()
    first.service.wait(10)

    second = start_server(folder, binary=binary)
    client = redis.Redis.from_url(second.url)
    held, settings = client.get("job"), client.config_get("*")
    client.close()
    code = second.service.stop()

    assert (held, second.url, code) == (b"queued", first.url, 0)
    assert isinstance(settings, dict)
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"


@pytest.mark.redis
def test_the_password_is_in_private_files_and_not_on_the_command_line(
    binary: ServerBinary, tmp_path: Path
) -> None:
    running = start_server(tmp_path / "redis", binary=binary)
    command = Path(f"/proc/{running.service.pid}/cmdline").read_bytes()
    running.service.stop()

    password = (tmp_path / "redis" / "password").read_text().strip()
    assert len(password) >= 32
    assert password in running.url
    assert password.encode() not in command
    for name in ("password", "server.conf"):
        assert stat.S_IMODE((tmp_path / "redis" / name).stat().st_mode) == 0o600


@pytest.mark.redis
def test_nobody_comes_in_without_the_password(binary: ServerBinary, tmp_path: Path) -> None:
    running = start_server(tmp_path / "redis", binary=binary)
    port = int(running.url.rpartition(":")[2].partition("/")[0])

    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(b"PING\r\n")
        heard = client.recv(100)
    running.service.stop()

    assert heard.startswith(b"-NOAUTH")


@pytest.mark.redis
def test_a_second_server_on_the_folder_is_refused(
    binary: ServerBinary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "PREDECESSOR_S", 0.1)
    running = start_server(tmp_path / "redis", binary=binary)

    with pytest.raises(Conflict, match="another cuttingroom"):
        start_server(tmp_path / "redis", binary=binary)
    running.service.stop()


@pytest.mark.redis
def test_a_taken_port_is_given_up_for_another(binary: ServerBinary, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        folder = tmp_path / "redis"
        folder.mkdir()
        (folder / "port").write_text(str(taken.getsockname()[1]))

        running = start_server(folder, binary=binary)
        running.service.stop()

        assert str(taken.getsockname()[1]) not in running.url


def test_a_server_that_ends_at_once_says_why(tmp_path: Path) -> None:
    path = a_server(tmp_path / "bin", "redis-server", "Redis server v=7.0.15 sha=0")

    with pytest.raises(StoreUnavailable, match="ended at once"):
        start_server(tmp_path / "redis", binary=examined(path, "path"))
