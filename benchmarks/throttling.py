"""A loopback web server that gives every connection the same bytes a second: `python -m
benchmarks.throttling FILE BYTES_PER_S` prints its port and serves until it is ended."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

PIECE_BYTES = 256 * 1024
_RANGE = re.compile(rb"\r\nrange: *bytes=(\d+)-(\d*)", re.IGNORECASE)


def main() -> None:
    """Serve one file under any name."""
    path, rate = Path(sys.argv[1]), int(sys.argv[2])
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=_serve, args=(conn, path, rate), daemon=True).start()


def _serve(conn: socket.socket, path: Path, rate: int) -> None:
    with conn, path.open("rb") as file, suppress(OSError):
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A connection's rate holds over its requests, as a shaped link's would.
        paced = _Pace(rate)
        while head := _head(conn):
            size = path.stat().st_size
            start, end = _span(head, size)
            partial = b"206 Partial Content" if _RANGE.search(head) else b"200 OK"
            told = f"Content-Range: bytes {start}-{end - 1}/{size}\r\n".encode()
            conn.sendall(
                b"HTTP/1.1 " + partial + b'\r\nETag: "one"\r\nAccept-Ranges: bytes\r\n'
                b"Last-Modified: Fri, 04 Feb 2022 06:44:06 GMT\r\n"
                + (told if partial.startswith(b"206") else b"")
                + f"Content-Length: {end - start}\r\n\r\n".encode()
            )
            if not head.startswith(b"HEAD"):
                _send(conn, file.fileno(), start, end, paced)


class _Pace:
    """So many bytes a second from now on."""

    def __init__(self, rate: int) -> None:
        self._rate, self._free_at = rate, time.monotonic()

    def wait(self, count: int) -> None:
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 0.02) + count / self._rate
        if self._free_at > now:
            time.sleep(self._free_at - now)


def _send(conn: socket.socket, fd: int, at: int, end: int, paced: _Pace) -> None:
    while at < end:
        sent = os.sendfile(conn.fileno(), fd, at, min(PIECE_BYTES, end - at))
        if sent == 0:
            return
        at += sent
        paced.wait(sent)


def _head(conn: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = conn.recv(65536)
        if not more:
            return b""
        data += more
    return data


def _span(head: bytes, size: int) -> tuple[int, int]:
    found = _RANGE.search(head)
    if found is None:
        return 0, size
    return int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)


if __name__ == "__main__":
    main()
