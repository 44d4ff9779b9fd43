"""A loopback HLS origin that behaves, and misbehaves exactly as told; it remembers every request.

    with Origin(asset) as origin:                              # VOD
        fetch(origin.url)                                      # the entry playlist
        origin.bytes_sent("main-3.ts"), origin.count("main.m3u8")

    clock = ManualClock(asset.epoch_ms)                        # or wall_clock_ms for real time
    with Origin(asset, live=Live(clock, window_s=20)) as origin:
        clock.advance(4)                                       # two more segments appear

    origin.fault("main-2.ts", Fault.status(503, times=2, retry_after_s=1))
    origin.fault("main-2.ts", Fault.stall(after_bytes=1000))   # also truncate, trickle, ...
    origin.put("evil.m3u8", b"...")                            # any further file
    origin.wait_for(lambda: origin.count("main-5.ts"))         # until a request came, or fail

Several presentations: `origin.mount("other", asset2, live=...)` answers its entry URL.
URI styles in playlists: "relative", "absolute", "root", "signed" (each URI carries a query
signature, without it 403), "redirect" (each media URI goes through a 302).
"""

from __future__ import annotations

import hmac
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hls_builder import HlsAsset, MediaPlaylist, MediaSegment

URI_STYLES = ("relative", "absolute", "root", "signed", "redirect")
_TYPES = {
    "m3u8": "application/vnd.apple.mpegurl",
    "ts": "video/mp2t",
    "m4s": "video/iso.segment",
    "mp4": "video/mp4",
    "aac": "audio/aac",
    "ac3": "audio/ac3",
    "ec3": "audio/eac3",
    "bin": "application/octet-stream",
}
_SECRET = b"only the origin knows"


class ManualClock:
    """Epoch milliseconds that move only when told."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def __call__(self) -> int:
        return self._now_ms

    def advance(self, seconds: float) -> None:
        """Let so much time pass."""
        self._now_ms += round(seconds * 1000)


def wall_clock_ms() -> int:
    """The machine's own clock."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Live:
    """A live edge: what has ended by the clock is published, what is older than the window goes."""

    clock: Callable[[], int]
    window_s: float = 120.0
    delay_s: float = 0.0  # between a segment's end and its appearance
    linger_s: float = 6.0  # a segment that left the playlist is still served so long
    end_list: bool = True  # EXT-X-ENDLIST once everything is published

    def shown(self, segments: tuple[MediaSegment, ...]) -> tuple[int, int]:
        """The half-open span of segments in the playlist now."""
        now = self.clock()
        last = sum(s.end_wall_ms <= now - self.delay_s * 1000 for s in segments)
        first = sum(s.end_wall_ms <= now - self.window_s * 1000 for s in segments)
        return min(first, last), last

    def served(self, segment: MediaSegment) -> bool:
        """Whether the segment's file is there now."""
        now = self.clock()
        out_ms = (self.window_s + self.linger_s) * 1000
        return now - out_ms < segment.end_wall_ms <= now - self.delay_s * 1000


@dataclass(frozen=True)
class Fault:
    """One way to misbehave; `times` counts down, None is for ever."""

    kind: str
    times: int | None = None
    status_code: int = 0
    retry_after_s: float | None = None
    after_bytes: int = 0
    honest_length: bool = True
    bytes_per_s: int = 0
    text: str = ""

    @staticmethod
    def status(code: int, *, times: int | None = None, retry_after_s: float | None = None) -> Fault:
        """Answer this status."""
        return Fault("status", times, status_code=code, retry_after_s=retry_after_s)

    @staticmethod
    def stall(after_bytes: int = 0, *, times: int | None = None) -> Fault:
        """Send so many bytes of the body, then nothing more (the connection stays open)."""
        return Fault("stall", times, after_bytes=after_bytes)

    @staticmethod
    def hang(*, times: int | None = None) -> Fault:
        """Accept the request and never answer."""
        return Fault("hang", times)

    @staticmethod
    def truncate(
        after_bytes: int, *, honest_length: bool = True, times: int | None = None
    ) -> Fault:
        """Cut the body; with an honest Content-Length of the cut body, or that of the whole."""
        return Fault("truncate", times, after_bytes=after_bytes, honest_length=honest_length)

    @staticmethod
    def trickle(bytes_per_s: int, *, times: int | None = None) -> Fault:
        """Send the body slowly."""
        return Fault("trickle", times, bytes_per_s=bytes_per_s)

    @staticmethod
    def content_type(text: str, *, times: int | None = None) -> Fault:
        """Send the right body under another content type."""
        return Fault("content_type", times, text=text)

    @staticmethod
    def body(text: str, *, times: int | None = None) -> Fault:
        """Send this instead, as if it were the file."""
        return Fault("body", times, text=text)

    @staticmethod
    def flip(after_bytes: int, *, times: int | None = None) -> Fault:
        """Turn over 16 bytes of the body at this place."""
        return Fault("flip", times, after_bytes=after_bytes)

    @staticmethod
    def infinite(*, times: int | None = None) -> Fault:
        """A body without length that never ends."""
        return Fault("infinite", times)

    @staticmethod
    def no_length(*, times: int | None = None) -> Fault:
        """The right body without Content-Length, ended by closing."""
        return Fault("no_length", times)

    @staticmethod
    def no_range(*, times: int | None = None) -> Fault:
        """Ignore Range and answer 200 with the whole."""
        return Fault("no_range", times)

    @staticmethod
    def redirect(target: str, *, code: int = 302, times: int | None = None) -> Fault:
        """Send the client elsewhere (a private address, another scheme, ...)."""
        return Fault("redirect", times, status_code=code, text=target)

    @staticmethod
    def redirect_loop(*, times: int | None = None) -> Fault:
        """Send the client round in circles."""
        return Fault("loop", times)

    @staticmethod
    def reset(after_bytes: int = 0, *, times: int | None = None) -> Fault:
        """Send so many bytes, then close the connection with a reset."""
        return Fault("reset", times, after_bytes=after_bytes)


@dataclass(frozen=True)
class Request:
    """One request as it was answered."""

    path: str  # without mount prefix and query
    mount: str
    method: str
    status: int
    sent: int  # body bytes
    range: str | None
    headers: dict[str, str] = field(repr=False)
    at_s: float = 0.0


@dataclass
class _Mount:
    asset: HlsAsset
    live: Live | None
    style: str
    extra: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class Origin:
    """A threaded HTTP server on 127.0.0.1, serving while its context is entered."""

    def __init__(
        self,
        asset: HlsAsset | None = None,
        *,
        live: Live | None = None,
        style: str = "relative",
        key_header: tuple[str, str] | None = None,
        require_header: tuple[str, str] | None = None,
    ) -> None:
        self._mounts: dict[str, _Mount] = {}
        self._lock = threading.Condition()
        self._requests: list[Request] = []
        self._begun: list[str] = []
        self.closing = threading.Event()
        self.key_header, self.require_header = key_header, require_header
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self.url = self.mount("live", asset, live=live, style=style) if asset else ""

    def __enter__(self) -> Origin:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def base(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    def mount(
        self, name: str, asset: HlsAsset, *, live: Live | None = None, style: str = "relative"
    ) -> str:
        """Serve a presentation below /name/; answers its entry URL."""
        assert style in URI_STYLES
        self._mounts[name] = _Mount(asset, live, style)
        return self.url_of(asset.entry, name)

    def url_of(self, path: str, mount: str = "live") -> str:
        """The URL of a file, signed where the mount's style asks for it."""
        query = f"?{signature(f'/{mount}/{path}')}" if self._signed(mount) else ""
        return f"{self.base}/{mount}/{path}{query}"

    def _signed(self, mount: str) -> bool:
        return mount in self._mounts and self._mounts[mount].style == "signed"

    def put(self, path: str, data: bytes, mount: str = "live") -> str:
        """Serve these bytes at a path, over whatever stood there; answers the URL."""
        self._mounts.setdefault(mount, _Mount(_EMPTY, None, "relative")).extra[path] = data
        return self.url_of(path, mount)

    def fault(self, path: str, fault: Fault, mount: str = "live") -> None:
        """Misbehave on a path from now on; faults of one path are used up in order."""
        with self._lock:
            self._mounts[mount].faults.setdefault(path, []).append(fault)

    def mend(self, path: str, mount: str = "live") -> None:
        """Forget the faults of a path."""
        with self._lock:
            self._mounts[mount].faults.pop(path, None)

    # -- what was asked -----------------------------------------------------------------

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request answered so far."""
        with self._lock:
            return tuple(self._requests)

    def paths(self) -> list[str]:
        """The paths asked for, in order."""
        return [r.path for r in self.requests]

    def count(self, path: str) -> int:
        """How often a path was asked for."""
        return sum(r.path == path for r in self.requests)

    def asked(self, path: str) -> int:
        """How often a path was asked for, requests still being answered included."""
        with self._lock:
            return self._begun.count(path)

    def bytes_sent(self, path: str | None = None) -> int:
        """Body bytes sent, of one path or of all media (playlists and keys left out)."""
        media = (".ts", ".m4s", ".mp4", ".aac", ".ac3", ".ec3")
        return sum(
            r.sent for r in self.requests if (r.path == path if path else r.path.endswith(media))
        )

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        """Wait until a condition on the requests holds; fails after the timeout."""
        with self._lock:
            assert self._lock.wait_for(condition, timeout_s), f"only saw {self.paths()[-8:]}"

    def begin(self, path: str) -> None:
        """Note that a request came in (called by the handler)."""
        with self._lock:
            self._begun.append(path)
            self._lock.notify_all()

    def record(self, request: Request) -> None:
        """Note a finished request (called by the handler)."""
        with self._lock:
            self._requests.append(request)
            self._lock.notify_all()

    # -- what is there ------------------------------------------------------------------

    def take_fault(self, mount: str, path: str) -> Fault | None:
        """The fault to commit now, used up by one."""
        with self._lock:
            queue = self._mounts[mount].faults.get(path, []) if mount in self._mounts else []
            if not queue:
                return None
            first = queue[0]
            if first.times is not None:
                queue[0] = replace(first, times=first.times - 1)
                if first.times <= 1:
                    queue.pop(0)
            return first

    def content(self, mount: str, path: str) -> bytes | None:
        """The bytes of a file as it is now, or None."""
        place = self._mounts.get(mount)
        if place is None:
            return None
        if path in place.extra:
            return place.extra[path]
        if path in place.asset.playlists:
            return self._playlist(place, mount, place.asset.playlists[path], path).encode()
        if path in place.asset.masters:
            return self._master(place, mount, place.asset.masters[path]).encode()
        return place.asset.files.get(path) if self._published(place, path) else None

    def _published(self, place: _Mount, path: str) -> bool:
        if place.live is None:
            return True
        for playlist_name, playlist in place.asset.playlists.items():
            folder = playlist_name.rpartition("/")[0]
            for segment in playlist.segments:
                name = f"{folder}/{segment.name}" if folder else segment.name
                if name == path and segment.byte_range is None:
                    return place.live.served(segment)
        return True

    def _playlist(self, place: _Mount, mount: str, playlist: MediaPlaylist, path: str) -> str:
        first, last, ended = 0, len(playlist.segments), True
        if place.live is not None:
            first, last = place.live.shown(playlist.segments)
            ended = place.live.end_list and last == len(playlist.segments)
            playlist = replace(playlist, kind="")
        folder = path.rpartition("/")[0]
        return playlist.text(
            first, last, ended=ended, uri=lambda name: self._uri(place, mount, folder, name)
        )

    def _master(self, place: _Mount, mount: str, text: str) -> str:
        def renamed(match: re.Match[str]) -> str:
            return self._uri(place, mount, "", match[0])

        return re.sub(r"[^\s\",=]+\.m3u8", renamed, text)

    def _uri(self, place: _Mount, mount: str, folder: str, name: str) -> str:
        path = f"/{mount}/{folder}/{name}" if folder else f"/{mount}/{name}"
        match place.style:
            case "absolute":
                return f"{self.base}{path}"
            case "root":
                return path
            case "signed":
                return f"{name}?{signature(path)}"
            case "redirect" if not name.endswith(".m3u8"):
                return f"/go{path}"
        return name


_EMPTY = HlsAsset({}, {}, "main.m3u8", 0, (), ())


def signature(path: str) -> str:
    """The query that opens a path under the signed style."""
    return f"sig={hmac.new(_SECRET, path.encode(), sha256).hexdigest()[:20]}&expires=9999999999"


def _handler(origin: Origin) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        pass

    Handler.origin = origin
    return Handler


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection; the origin knows what to say."""

    origin: Origin
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self.sent, self.status = 0, 0
        parts = urlsplit(self.path)
        mount, _, name = unquote(parts.path).lstrip("/").partition("/")
        self.origin.begin(name)
        try:
            self._serve(mount, name, parse_qs(parts.query), with_body)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        finally:
            headers = {k.lower(): v for k, v in self.headers.items()}
            self.origin.record(
                Request(
                    name,
                    mount,
                    self.command,
                    self.status,
                    self.sent,
                    self.headers.get("Range"),
                    headers,
                    time.monotonic(),
                )
            )

    def _serve(self, mount: str, name: str, query: dict[str, list[str]], with_body: bool) -> None:
        if mount == "go":
            self._redirect(f"/{name}", 302)
            return
        refusal = self._refusal(mount, name, query)
        fault = self.origin.take_fault(mount, name)
        data = self.origin.content(mount, name)
        if refusal:
            self._plain(refusal)
        elif fault:
            self._misbehave(fault, data or b"", name)
        elif data is None:
            self._plain(404)
        else:
            self._file(data, name, with_body)

    def _refusal(self, mount: str, name: str, query: dict[str, list[str]]) -> int:
        origin = self.origin
        if (
            origin.require_header
            and self.headers.get(origin.require_header[0]) != (origin.require_header[1])
        ):
            return 401
        wants_key = origin.key_header and name.endswith(".bin")
        if wants_key and origin.key_header:
            header, value = origin.key_header
            if self.headers.get(header) != value:
                return 403
        if origin._signed(mount) and f"sig={query.get('sig', [''])[0]}&" not in (
            signature(f"/{mount}/{name}")
        ):
            return 403
        return 0

    # -- honest answers -----------------------------------------------------------------

    def _start(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()

    def _plain(self, status: int, extra: dict[str, str] | None = None) -> None:
        body = f"{status}\n".encode()
        headers = {"Content-Type": "text/plain", "Content-Length": str(len(body))}
        self._start(status, headers | (extra or {}))
        self._send(body if self.command != "HEAD" else b"")

    def _redirect(self, target: str, code: int) -> None:
        self._plain(code, {"Location": target})

    def _file(self, data: bytes, name: str, with_body: bool, *, ranges: bool = True) -> None:
        tag = f'"{sha256(data).hexdigest()[:16]}"'
        headers = {"Content-Type": self._type(name), "ETag": tag, "Accept-Ranges": "bytes"}
        if self.headers.get("If-None-Match") == tag:
            self._start(304, {"ETag": tag})
            return
        span = self._span(len(data), tag) if ranges else None
        if span == (0, 0):
            self._plain(416, {"Content-Range": f"bytes */{len(data)}"})
            return
        begin, end = span or (0, len(data))
        if span:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        headers["Content-Length"] = str(end - begin)
        self._start(206 if span else 200, headers)
        self._send(data[begin:end] if with_body else b"")

    def _span(self, size: int, tag: str) -> tuple[int, int] | None:
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
        if match is None or self.headers.get("If-Range", tag) != tag or not any(match.groups()):
            return None
        if not match[1]:
            return max(size - int(match[2]), 0), size
        begin = int(match[1])
        end = min(int(match[2]) + 1 if match[2] else size, size)
        return (begin, end) if begin < end else (0, 0)

    def _type(self, name: str) -> str:
        return _TYPES.get(name.rpartition(".")[2], "application/octet-stream")

    def _send(self, data: bytes) -> None:
        for at in range(0, len(data), 65536):
            part = data[at : at + 65536]
            self.wfile.write(part)
            self.sent += len(part)

    # -- misbehaviour -------------------------------------------------------------------

    def _misbehave(self, fault: Fault, data: bytes, name: str) -> None:
        match fault.kind:
            case "status":
                after = fault.retry_after_s
                extra = {} if after is None else {"Retry-After": f"{after:g}"}
                self._plain(fault.status_code, extra)
            case "redirect":
                self._redirect(fault.text, fault.status_code)
            case "loop":
                self._redirect(f"{self.path.partition('?')[0]}?turn={time.monotonic_ns()}", 302)
            case "content_type":
                self._whole(data, fault.text)
            case "body":
                self._whole(fault.text.encode(), self._type(name))
            case "flip":
                at = fault.after_bytes
                turned = bytes(b ^ 0xFF for b in data[at : at + 16])
                self._file(data[:at] + turned + data[at + 16 :], name, True)
            case "no_range":
                self._file(data, name, True, ranges=False)
            case _:
                self._break(fault, data, name)

    def _whole(self, data: bytes, kind: str) -> None:
        self._start(200, {"Content-Type": kind, "Content-Length": str(len(data))})
        self._send(data)

    def _break(self, fault: Fault, data: bytes, name: str) -> None:
        """The faults after which this connection is of no more use."""
        self.close_connection = True
        headers = {"Content-Type": self._type(name), "Connection": "close"}
        cut = data[: fault.after_bytes]
        match fault.kind:
            case "hang":
                self._wait()
            case "stall":
                self._start(200, headers | {"Content-Length": str(len(data))})
                self._send(cut)
                self._wait()
            case "truncate":
                size = len(cut) if fault.honest_length else len(data)
                self._start(200, headers | {"Content-Length": str(size)})
                self._send(cut)
            case "trickle":
                self._start(200, headers | {"Content-Length": str(len(data))})
                self._trickle(data, fault.bytes_per_s)
            case "no_length":
                self._start(200, headers)
                self._send(data)
            case "infinite":
                self._start(200, headers)
                while not self.origin.closing.is_set():
                    self._send(b"\x47" + bytes(65535))
            case "reset":
                self._start(200, headers | {"Content-Length": str(len(data))})
                self._send(cut)
                # Linger of zero makes close() send RST instead of FIN.
                linger = (1).to_bytes(4, "little") + bytes(4)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _wait(self) -> None:
        """Until the origin closes or the client gives up."""
        self.connection.settimeout(0.05)
        while not self.origin.closing.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue

    def _trickle(self, data: bytes, bytes_per_s: int) -> None:
        step = max(bytes_per_s // 10, 1)
        for at in range(0, len(data), step):
            self._send(data[at : at + step])
            if self.origin.closing.wait(0.1):
                return
