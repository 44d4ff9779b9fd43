"""A served gateway for tests of the client: the real application over HTTP, in this process."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from client import Client
from tests.chaos.processes import until
from tests.gateway_kit import Kit, a_kit


@dataclass
class Pauses:
    """A client's patience: what it would have waited, in no time."""

    waited: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)


@dataclass
class Served:
    """A gateway that is served, and what it holds."""

    kit: Kit
    url: str

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def client(self, url: str = "", **options: Any) -> Client:
        """A client with my tenant's key, which waits for nothing."""
        options.setdefault("pause", Pauses())
        if not {"api_key", "access_token"} & set(options):
            options["api_key"] = self.kit.mine.api_key
        return Client(url or self.url, **options)


@contextmanager
def served(folder: Path, **settings: Any) -> Iterator[Served]:
    """A gateway on a free port of loopback."""
    with (
        a_kit(folder, **settings) as kit,
        closing(socket.create_server(("127.0.0.1", 0))) as listening,
    ):
        config = uvicorn.Config(
            kit.app, log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until(lambda: server.started, "the gateway", 20)
        try:
            yield Served(kit, f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(20)


@dataclass
class Cutter:
    """A proxy of TCP that cuts connections once so many bytes have gone through one way.

    `heavy` goes for every connection that sends so much, as often as `cuts` says.
    """

    port: int
    up: list[int | None] = field(default_factory=list)
    down: list[int | None] = field(default_factory=list)
    heavy: int | None = None
    cuts: int = 0
    opened: int = 0

    @property
    def url(self) -> str:
        """Where a client finds it."""
        return f"http://127.0.0.1:{self.port}"

    def limits(self) -> tuple[int | None, int | None]:
        """How many bytes the next connection may send and be sent."""
        self.opened += 1
        up = self.up.pop(0) if self.up else self.heavy
        return (up, self.down.pop(0) if self.down else None)

    def cut(self) -> bool:
        """Whether a connection that has reached its limit ends there."""
        if self.heavy is None:
            return True
        wanted = self.cuts > 0
        self.cuts -= wanted
        return wanted


@contextmanager
def cutting(
    target: int,
    *,
    up: list[int | None] | None = None,
    down: list[int | None] | None = None,
    heavy: int | None = None,
    cuts: int = 0,
) -> Iterator[Cutter]:
    """A proxy in front of a port; each connection in turn has the limits listed."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        cutter = Cutter(listening.getsockname()[1], up or [], down or [], heavy, cuts)
        threading.Thread(target=_accepting, args=(listening, target, cutter), daemon=True).start()
        yield cutter


def _accepting(listening: socket.socket, target: int, cutter: Cutter) -> None:
    with suppress(OSError):
        while True:
            near, _ = listening.accept()
            far = socket.create_connection(("127.0.0.1", target))
            args = (near, far, cutter)
            threading.Thread(target=_carry, args=args, daemon=True).start()


def _carry(near: socket.socket, far: socket.socket, cutter: Cutter) -> None:
    """Both ways, until one side has had enough."""
    left, other = dict(zip((near, far), cutter.limits(), strict=True)), {near: far, far: near}
    with near, far, suppress(OSError):
        while True:
            for source in select.select([near, far], [], [])[0]:
                data, most = source.recv(64 * 1024), left[source]
                other[source].sendall(data[:most])
                over = most is not None and len(data) >= most
                if not data or (over and cutter.cut()):
                    return
                if over:
                    other[source].sendall(data[most:])
                left[source] = None if over or most is None else most - len(data)
