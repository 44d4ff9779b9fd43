"""A loopback web server of long files, with the faults a download meets; it counts everything."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

PIECE_BYTES = 16 * 1024


@dataclass
class Fault:
    """What goes wrong in so many answers; `after` bytes of the body have been sent by then."""

    kind: str  # "status", "drop", "short", "hold"
    times: int = 1
    after: int = 0
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FileOrigin:
    """Files by path; `ranges` off answers 200 to everything, `sized` off says no length."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    last_modified: str | None = "Fri, 04 Feb 2022 06:44:06 GMT"
    ranges: bool = True
    sized: bool = True
    most_connections: int = 1000
    refuse_all: int = 0
    faults: list[Fault] = field(default_factory=list)
    on_piece: Any = None  # called with (path, first byte of the piece)
    requests: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    busiest: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    busy: int = 0
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def taken(self) -> Fault | None:
        """The next fault, used up once."""
        with self.lock:
            if not self.faults:
                return None
            fault = self.faults[0]
            fault.times -= 1
            if fault.times <= 0:
                self.faults.pop(0)
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""

    def do_GET(self) -> None:
        origin: FileOrigin = self.server.origin  # type: ignore[attr-defined]
        path = unquote(self.path).partition("?")[0].lstrip("/")
        wanted = self.headers.get("Range", "")
        probing = wanted == "bytes=0-0"
        with origin.lock:
            origin.requests.append((path, wanted))
            origin.busy += 1
            origin.busiest = max(origin.busiest, origin.busy)
            refused = origin.busy > origin.most_connections
        try:
            self._answer(origin, path, wanted, probing, refused)
        except OSError:
            self.close_connection = True
        finally:
            with origin.lock:
                origin.busy -= 1

    def _answer(
        self, origin: FileOrigin, path: str, wanted: str, probing: bool, refused: bool
    ) -> None:
        data = origin.files.get(path)
        fault = None if probing else origin.taken()
        if origin.refuse_all:
            return self._plain(origin.refuse_all, {})
        if refused:
            return self._plain(503, {"Retry-After": "0"})
        if data is None:
            return self._plain(404, {})
        if fault and fault.kind == "status":
            return self._plain(fault.status, fault.headers)
        start, end, status = self._span(origin, path, data, wanted)
        if start >= len(data) and status == 206:
            return self._plain(416, {"Content-Range": f"bytes */{len(data)}"})
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        if origin.etags.get(path):
            self.send_header("ETag", origin.etags[path])
        if origin.last_modified:
            self.send_header("Last-Modified", origin.last_modified)
        if origin.sized or status == 206:
            self.send_header("Content-Length", str(end - start))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self._send(origin, path, data, start, end, fault)
        return None

    def _span(
        self, origin: FileOrigin, path: str, data: bytes, wanted: str
    ) -> tuple[int, int, int]:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
        condition = self.headers.get("If-Range")
        holds = condition in {None, origin.etags.get(path), origin.last_modified}
        if found is None or not origin.ranges or not holds:
            return 0, len(data), 200
        return int(found[1]), min(len(data), int(found[2]) + 1), 206

    def _send(
        self,
        origin: FileOrigin,
        path: str,
        data: bytes,
        start: int,
        end: int,
        fault: Fault | None,
    ) -> None:
        for at in range(start, end, PIECE_BYTES):
            if origin.on_piece is not None:
                origin.on_piece(path, at)
            if fault and at - start >= fault.after:
                if fault.kind == "hold":
                    origin.gate.wait(30)
                else:
                    self.close_connection = True
                    self.connection.shutdown(2)
                    return
            piece = data[at : min(end, at + PIECE_BYTES)]
            self.wfile.write(piece)
            with origin.lock:
                origin.sent += len(piece)

    def _plain(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed hang up: nothing to say."""


@contextmanager
def file_origin(**files: bytes) -> Iterator[FileOrigin]:
    """A running server, its files named `name` for `name=...`, each with an ETag."""
    server = _Server(("127.0.0.1", 0), _Handler)
    origin = FileOrigin(port=server.server_address[1], files=dict(files))
    origin.etags = {name: f'"{name}-1"' for name in files}
    server.origin = origin  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield origin
    finally:
        origin.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
