"""A loopback server that answers exactly the bytes a test scripts, however rude."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """A request as it came: header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = bytes | Callable[[socket.socket, Request], None]


@dataclass
class Loopback:
    """The server; `answers` by path without the query, else by `*`."""

    port: int
    answers: dict[str, Script] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/") -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"


def reply(
    body: bytes = b"", status: str = "200 OK", length: int | None = None, **headers: str
) -> bytes:
    """A whole answer; `length` lies about the body where given."""
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    named.setdefault("Content-Length", str(len(body) if length is None else length))
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + body


@contextmanager
def loopback(address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """A running server that is gone afterwards."""
    with socket.create_server((address, 0)) as listener:
        server = Loopback(port=listener.getsockname()[1])
        listener.settimeout(0.05)
        accepting = threading.Thread(target=_accept, args=(listener, server, tls))
        accepting.start()
        try:
            yield server
        finally:
            server.ended.set()
            accepting.join()


def _accept(listener: socket.socket, server: Loopback, tls: ssl.SSLContext | None) -> None:
    threads = []
    while not server.ended.is_set():
        with suppress(TimeoutError):
            conn, _ = listener.accept()
            server.connections += 1
            threads.append(threading.Thread(target=_serve, args=(conn, server, tls)))
            threads[-1].start()
    for thread in threads:
        thread.join()


def _serve(plain: socket.socket, server: Loopback, tls: ssl.SSLContext | None) -> None:
    with plain, suppress(OSError), tls.wrap_socket(plain, True) if tls else plain as conn:
        while (request := _read_request(conn, server)) is not None:
            server.requests.append(request)
            conn.settimeout(30)
            path = request.target.partition("?")[0]
            script = server.answers.get(path, server.answers.get("*"))
            if callable(script):
                script(conn, request)
                return
            conn.sendall(script or reply(b"no such path", "404 Not Found"))


def _read_request(conn: socket.socket, server: Loopback) -> Request | None:
    conn.settimeout(0.05)
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(conn, server)
        if server.ended.is_set() or not data:
            return None
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += _receive(conn, server)
    return Request(method, target, headers, body)


def _receive(conn: socket.socket, server: Loopback) -> bytes:
    while not server.ended.is_set():
        with suppress(TimeoutError):
            return conn.recv(65536)
    return b""


def trickle(head: bytes, byte: bytes, server: Loopback) -> Callable[[socket.socket, Request], None]:
    """A script that sends a head, then one byte at a time for as long as anybody listens."""

    def script(conn: socket.socket, request: Request) -> None:
        conn.sendall(head)
        while not server.ended.wait(0.05):
            conn.sendall(byte)

    return script
