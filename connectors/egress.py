"""The one HTTP client: every address judged as it is connected to, every answer bounded.

Connectors, webhooks, guides and sign-on all leave through here, because what they fetch is named
by tenants and by playlists from anywhere. `judged_pools` lends the same judge to an SDK that
brings its own client.
"""

from __future__ import annotations

import contextvars
import errno
import http.client
import io
import itertools
import logging
import os
import re
import socket
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError

from connectors.addresses import AddressPolicy
from connectors.base import Control, OnBytes
from schemas.base import Value
from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    DiskFull,
    RateLimited,
    SourceChanged,
    SourceNotFound,
    SourceUnavailable,
    Stalled,
    TooLarge,
)
from schemas.localized import Validators
from schemas.media import ByteRange

SCHEMES = frozenset({"http", "https"})
MAX_REDIRECTS = 5
MAX_ADDRESSES = 6
MAX_URL_CHARS = 8192
CHUNK_BYTES = 64 * 1024
MAX_LINE_BYTES = 65537
TICK_S = 0.25
SEND_TIMEOUT_S = 60.0
FRAMING_SLACK_BYTES = 1024 * 1024
USER_AGENT = "cuttingroom/1"
# Anything else a caller sends may be a credential, so another origin never sees it.
_ANY_ORIGIN = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "range",
        "user-agent",
    }
)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_EMPTY_RANGE = re.compile(r"bytes \*/(\d{1,19})", re.ASCII)

Resolver = Callable[[str, int], list[tuple[Any, ...]]]


class Limits(Value):
    """What one request may cost. Sizes in bytes, `min_rate` in bytes a second."""

    connect_timeout_s: float = 5.0
    idle_timeout_s: float = 15.0
    header_timeout_s: float = 20.0
    total_timeout_s: float = 600.0
    min_rate: int = 2048
    rate_window_s: float = 10.0
    header_bytes: int = 64 * 1024


class Body(Value):
    """A small resource in memory; `url` is where redirects ended and may be a secret."""

    data: bytes
    url: str
    status: int = 200
    etag: str | None = None
    last_modified: str | None = None
    date: str | None = None
    content_type: str | None = None
    total_size: int | None = None


class Downloaded(Value):
    """A resource that was written to a file; `size` is what was written."""

    size: int
    url: str
    etag: str | None = None
    last_modified: str | None = None
    date: str | None = None
    content_type: str | None = None
    total_size: int | None = None


class Answer(Value):
    """Any answer to `request`, whatever its status; header names in lower case."""

    status: int
    headers: dict[str, str]
    data: bytes
    url: str


def redacted(url: str) -> str:
    """What may be said of a URL: scheme, host and last name; never userinfo, query or token.

    >>> redacted("https://user:pw@cdn.example/token=abc/live/seg1.ts?sig=xyz")
    'https://cdn.example/…/seg1.ts'
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "(an unreadable URL)"
    name = parts.path.rpartition("/")[2]
    shown = name if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) else ""
    folder = "/…/" if parts.path.count("/") > 1 else "/"
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{folder}{shown}"


class Budget:
    """The time and bytes one request has left, asked at every wake-up of its socket."""

    def __init__(
        self,
        limits: Limits,
        *,
        max_bytes: int | None = None,
        control: Control | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._control, self._clock = limits, control, clock
        self._max_raw = None if max_bytes is None else 2 * max_bytes + FRAMING_SLACK_BYTES
        self.restart()

    def restart(self) -> None:
        """Begin again for another request under the same budget (a redirect, an SDK's retry)."""
        now = self._clock()
        self._began = self._heard = self._window_began = now
        self._raw = self._window_bytes = 0
        self._in_headers = True

    def headers_done(self) -> None:
        """The body begins: from here on a rate is owed."""
        self._in_headers = False
        self._window_began, self._window_bytes = self._clock(), 0

    def check(self) -> None:
        """Raise where the caller wants to stop or the peer is too slow."""
        if self._control:
            self._control()
        now, limits = self._clock(), self._limits
        if self._in_headers and now - self._began > limits.header_timeout_s:
            raise SourceUnavailable(f"no answer within {limits.header_timeout_s:g} s")
        if now - self._heard > limits.idle_timeout_s:
            self._fail_idle()
        if now - self._began > limits.total_timeout_s:
            raise Stalled(f"not finished after {limits.total_timeout_s:g} s")
        self._check_rate(now)

    def _fail_idle(self) -> None:
        text = f"nothing came for {self._limits.idle_timeout_s:g} s"
        raise SourceUnavailable(text) if self._in_headers else Stalled(text)

    def _check_rate(self, now: float) -> None:
        window_s = now - self._window_began
        if self._in_headers or window_s < self._limits.rate_window_s:
            return
        if self._window_bytes < self._limits.min_rate * window_s:
            raise Stalled(
                f"{self._window_bytes} bytes came in {window_s:.0f} s, "
                f"under {self._limits.min_rate} a second"
            )
        self._window_began, self._window_bytes = now, 0

    def received(self, count: int) -> None:
        """Count bytes off the wire, framing included."""
        self._heard = self._clock()
        self._raw += count
        self._window_bytes += count
        if self._in_headers and self._raw > self._limits.header_bytes + CHUNK_BYTES:
            raise TooLarge(f"the answer's headers exceed {self._limits.header_bytes} bytes")
        if self._max_raw is not None and self._raw > self._max_raw:
            raise TooLarge(f"more than {self._max_raw} bytes came off the wire")


_BUDGET: contextvars.ContextVar[Budget | None] = contextvars.ContextVar("budget", default=None)


@contextmanager
def spending(budget: Budget) -> Iterator[Budget]:
    """Within this block every judged connection of this thread is held to the budget."""
    token = _BUDGET.set(budget)
    try:
        yield budget
    finally:
        _BUDGET.reset(token)


@contextmanager
def held_to(limits: Limits) -> Iterator[None]:
    """Within this block these limits hold, where the caller has set no budget of its own."""
    if _BUDGET.get() is not None:
        yield
        return
    with spending(Budget(limits)):
        yield


class _Meter(io.RawIOBase):
    """A socket as a raw stream that wakes up often and asks the budget each time."""

    def __init__(self, sock: socket.socket, inner: io.RawIOBase, budget: Budget) -> None:
        self._sock, self._inner, self._budget = sock, inner, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            self._budget.check()
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                continue
            self._budget.received(count)
            return count

    def close(self) -> None:
        self._inner.close()
        super().close()


class _ShortReads(io.BufferedReader):
    """A buffered stream whose reads end somewhere: a chunk's header may name no size, or -1."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            raise http.client.HTTPException("a read without a length")
        return super().read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        asked = MAX_LINE_BYTES if size is None or size < 0 else min(size, MAX_LINE_BYTES)
        return super().readline(asked)


class _MeteredResponse(http.client.HTTPResponse):
    """An HTTP response whose every byte, headers included, is read through a meter."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        sock.settimeout(TICK_S)
        self._budget = _BUDGET.get() or Budget(Limits())
        self._budget.restart()
        raw = _Meter(sock, self.fp.detach(), self._budget)
        self.fp = _ShortReads(raw, CHUNK_BYTES)

    def begin(self) -> None:
        super().begin()
        self._budget.headers_done()


class Judge:
    """Resolves a name, judges every address it has, and connects to a judged one."""

    def __init__(self, policy: AddressPolicy, resolve: Resolver | None = None) -> None:
        self._policy = policy
        self._resolve = resolve or _resolve

    def addresses(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """What the name stands for; `AccessDenied` where any of it is out of bounds."""
        found = self._resolve(host, port)[:MAX_ADDRESSES]
        if not all(self._policy.allows(str(sockaddr[0])) for *_, sockaddr in found):
            # The same words whether or not anything listens there.
            raise AccessDenied(f"{host} is not at an address this service may connect to")
        return found

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A socket connected to one of the judged addresses, tried in order."""
        failure: OSError = OSError(errno.EHOSTUNREACH, "no address")
        for family, kind, protocol, _, sockaddr in self.addresses(host, port):
            try:
                return _connected(family, kind, protocol, sockaddr, timeout_s)
            except OSError as error:
                failure = error
        raise failure


class OneSocket(Judge):
    """Connects to one local socket of the operator's own, whatever host is named."""

    def __init__(self, path: str) -> None:
        super().__init__(AddressPolicy(()))
        self._path = path

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connection to the socket."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        return sock


def _resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def _connected(
    family: int, kind: int, protocol: int, sockaddr: tuple[Any, ...], timeout_s: float
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


class JudgedConnection:
    """Mixed in before a urllib3 connection: connects through the judge, reads through a meter."""

    judge: Judge
    connect_timeout_s: float = Limits().connect_timeout_s
    response_class = _MeteredResponse
    sock: socket.socket | None
    port: int
    _dns_host: str

    def _new_conn(self) -> socket.socket:
        me: Any = self
        try:
            return self.judge.connect(self._dns_host, self.port, self.connect_timeout_s)
        except socket.gaierror as error:
            raise NameResolutionError(self._dns_host, me, error) from error
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(me, "no connection") from error

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            # A kept-alive socket still ticks from its last answer: too short for sending.
            self.sock.settimeout(SEND_TIMEOUT_S)
        super().putrequest(*args, **kwargs)  # type: ignore[misc]


def judged_pools(
    judge: Judge,
    bases: Mapping[str, tuple[type[Any], type[Any]]],
    connect_timeout_s: float = Limits().connect_timeout_s,
) -> dict[str, type[Any]]:
    """urllib3 pool classes by scheme, made from (pool, connection) bases, that pass the judge."""
    traits = {"judge": judge, "connect_timeout_s": connect_timeout_s}
    return {
        scheme: type(
            f"Judged{pool.__name__}",
            (pool,),
            {"ConnectionCls": type(f"Judged{conn.__name__}", (JudgedConnection, conn), traits)},
        )
        for scheme, (pool, conn) in bases.items()
    }


_URLLIB3_BASES: Mapping[str, tuple[type[Any], type[Any]]] = {
    "http": (urllib3.HTTPConnectionPool, HTTPConnection),
    "https": (urllib3.HTTPSConnectionPool, HTTPSConnection),
}


class _JudgedAdapter(HTTPAdapter):
    """A requests adapter whose pools pass the judge; it never retries and knows no proxy."""

    def __init__(self, pools: dict[str, type[Any]]) -> None:
        self._pools = pools
        super().__init__(max_retries=0, pool_connections=16, pool_maxsize=4)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        raise AccessDenied("proxies are not used")


@dataclass(frozen=True)
class _Wanted:
    """One resource as a caller asked for it."""

    url: str
    max_bytes: int
    headers: Mapping[str, str] | None
    byte_range: ByteRange | None
    control: Control | None
    limits: Limits | None
    on_bytes: OnBytes | None
    allow_short: bool = False


class RawBody:
    """An answer's body as it comes off its socket, also where an SDK sent the request."""

    def __init__(self, raw: Any, url: str) -> None:
        # urllib3's own readinto would copy every byte once more.
        self._raw, self._body, self._url = raw, raw._fp, url

    def readinto(self, buffer: memoryview, /) -> int:
        """Some bytes, 0 at the end; a connection whose answer is over is kept for the next."""
        try:
            with _translated(self._url):
                count = int(self._body.readinto(buffer))
        except OSError:
            raise SourceUnavailable(f"{redacted(self._url)}: the answer broke off") from None
        if self._body.isclosed():
            self._raw.release_conn()
        return count


class Stream(RawBody):
    """The body of an answer of ours; never decoded, so never larger than what came."""

    def __init__(self, reply: requests.Response, url: str, wanted: ByteRange | None) -> None:
        super().__init__(reply.raw, url)
        encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            raise SourceUnavailable(f"{redacted(url)} answered in an encoding nobody asked for")
        self.partial = reply.status_code == 206
        told = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
        if self.partial and not (wanted and told and int(told[1]) == wanted.offset):
            raise SourceUnavailable(f"{redacted(url)} answered another range than was asked for")
        self.validators = Validators(
            size=_total_size(reply),
            etag=reply.headers.get("ETag"),
            modified_ms=modified_ms(reply.headers.get("Last-Modified")),
        )


class Egress:
    """The client. Safe to share between threads: each has its own kept-alive connections."""

    def __init__(
        self,
        *,
        allow_cidrs: Iterable[str] = (),
        ca_file: str | None = None,
        resolve: Resolver | None = None,
        limits: Limits | None = None,
        judge: Judge | None = None,
    ) -> None:
        quiet_libraries()
        self.judge = judge or Judge(AddressPolicy(allow_cidrs), resolve)
        self.limits = limits or Limits()
        self._verify: bool | str = ca_file or True
        self._pools = judged_pools(self.judge, _URLLIB3_BASES, self.limits.connect_timeout_s)
        self._local = threading.local()
        self._lock = threading.Lock()
        # Weakly: a thread that ends takes its connections with it.
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()

    def get_bytes(
        self,
        url: str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        byte_range: ByteRange | None = None,
        control: Control | None = None,
        limits: Limits | None = None,
        allow_short: bool = False,
    ) -> Body:
        """A resource in memory, redirects followed; `TooLarge` past `max_bytes`.

        A range that reaches past the end is an error, unless `allow_short`.
        """
        wanted = _Wanted(url, max_bytes, headers, byte_range, control, limits, None, allow_short)
        out = io.BytesIO()
        done = self._fetch(wanted, out)
        return Body(data=out.getvalue(), **done.model_dump(exclude={"size"}))

    def download(
        self,
        url: str,
        path: Path | str,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        byte_range: ByteRange | None = None,
        expected_bytes: int | None = None,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
        limits: Limits | None = None,
    ) -> Downloaded:
        """A resource into a new file; nothing is left of it where this raises."""
        target = Path(path)
        wanted = _Wanted(url, max_bytes, headers, byte_range, control, limits, on_bytes)
        try:
            with target.open("wb") as out:
                done = self._fetch(wanted, out)
            _expect(done.size, expected_bytes, url)
        except OSError as error:
            target.unlink(missing_ok=True)
            raise DiskFull(f"{target.name} could not be written: {error.strerror}") from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return done

    @contextmanager
    def stream(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        byte_range: ByteRange | None = None,
        control: Control | None = None,
        limits: Limits | None = None,
    ) -> Iterator[Stream]:
        """An answer read piece by piece into the caller's own memory, whole or from a range.

        A 200 to a range is not an error here: `Stream.partial` tells.
        """
        budget = Budget(limits or self.limits, control=control)
        asked = {**(headers or {}), "Accept-Encoding": "identity", **_range_headers(byte_range)}
        with _translated(url), spending(budget):
            reply, final = self._follow("GET", url, asked, None, MAX_REDIRECTS)
        with closing(reply):
            if reply.status_code in {412, 416}:
                raise SourceChanged(f"{redacted(final)} is not what it was: {reply.status_code}")
            _raise_for_status(reply, final)
            yield Stream(reply, final, byte_range)

    def request(
        self,
        method: str,
        url: str,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 64 * 1024,
        max_redirects: int = 0,
        control: Control | None = None,
        limits: Limits | None = None,
    ) -> Answer:
        """Any request and its answer, whatever the status; redirects are not followed unasked."""
        budget = Budget(limits or self.limits, max_bytes=max_bytes, control=control)
        out = io.BytesIO()
        with _translated(url), spending(budget):
            reply, final = self._follow(method, url, dict(headers or {}), data, max_redirects)
            with closing(reply):
                _copy(_decoded(reply), out, max_bytes, None, final)
        return Answer(
            status=reply.status_code,
            headers={name.lower(): value for name, value in reply.headers.items()},
            data=out.getvalue(),
            url=final,
        )

    def post_only(
        self,
        url: str,
        data: bytes,
        headers: Mapping[str, str],
        *,
        control: Control | None = None,
    ) -> tuple[int, dict[str, str]]:
        """POST, of whose answer only status and headers matter: its body is never read.

        Redirects are not followed. Header names come in lower case.
        """
        budget = Budget(self.limits, max_bytes=0, control=control)
        with _translated(url), spending(budget):
            reply, _ = self._follow("POST", url, dict(headers), data, 0)
            with closing(reply):
                return reply.status_code, {k.lower(): v for k, v in reply.headers.items()}

    def close(self) -> None:
        """Close every kept-alive connection of every thread."""
        with self._lock:
            sessions = list(self._sessions)
            self._sessions.clear()
        for session in sessions:
            session.close()
        self._local = threading.local()

    def _fetch(self, wanted: _Wanted, out: BinaryIO) -> Downloaded:
        span, headers = wanted.byte_range, dict(wanted.headers or {})
        if span and span.length > wanted.max_bytes:
            raise TooLarge(f"{span.length} bytes wanted, {wanted.max_bytes} allowed")
        budget = Budget(
            wanted.limits or self.limits, max_bytes=wanted.max_bytes, control=wanted.control
        )
        with _translated(wanted.url), spending(budget):
            headers.update(_range_headers(span))
            reply, final = self._follow("GET", wanted.url, headers, None, MAX_REDIRECTS)
            with closing(reply):
                if wanted.allow_short and reply.status_code == 416:
                    return _downloaded(reply, final, 0)
                _raise_for_status(reply, final)
                if span is None and (_total_size(reply) or 0) > wanted.max_bytes:
                    raise TooLarge(f"{redacted(final)} is larger than {wanted.max_bytes} bytes")
                size = _copy(_selected(reply, span), out, wanted.max_bytes, wanted.on_bytes, final)
        if span and not (wanted.allow_short and size == _left_of(span, _total_size(reply))):
            _expect(size, span.length, final)
        return _downloaded(reply, final, size)

    def _follow(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
        max_redirects: int,
    ) -> tuple[requests.Response, str]:
        for _ in range(max_redirects + 1):
            reply = self._send(method, url, headers, data)
            target = _redirect_target(reply, url)
            if target is None or max_redirects == 0:
                return reply, url
            reply.close()
            if _origin(target) != _origin(url):
                headers = {k: v for k, v in headers.items() if k.lower() in _ANY_ORIGIN}
            if reply.status_code == 303 or (reply.status_code in {301, 302} and method == "POST"):
                method, data = "GET", None
            url = target
        raise SourceUnavailable(f"{redacted(url)} redirects more than {max_redirects} times")

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None
    ) -> requests.Response:
        _check_url(url)
        defaults = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip"}
        request = requests.Request(method, url, headers={**defaults, **headers}, data=data)
        session = self._session()
        prepared = session.prepare_request(request)
        try:
            return self._sent(session, prepared)
        except requests.ConnectionError as error:
            if method not in {"GET", "HEAD"} or not _closed_on_us(error):
                raise
            # Most likely a kept-alive connection that the server was just closing.
            return self._sent(session, prepared)

    def _sent(
        self, session: requests.Session, prepared: requests.PreparedRequest
    ) -> requests.Response:
        return session.send(
            prepared,
            stream=True,
            allow_redirects=False,
            verify=self._verify,
            timeout=(self.limits.connect_timeout_s, self.limits.idle_timeout_s),
        )

    def _session(self) -> requests.Session:
        session: requests.Session | None
        # A forked child must not write into its parent's connections.
        owner, session = getattr(self._local, "session", (0, None))
        if session is None or owner != os.getpid():
            session = _new_session(self._pools)
            self._local.session = (os.getpid(), session)
            with self._lock:
                self._sessions.add(session)
        return session


def quiet_libraries() -> None:
    """Keep libraries from logging whole URLs and headers, which they do when debugging."""
    for name in ("urllib3", "requests", "botocore", "boto3", "s3transfer"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


class _Session(requests.Session):
    """A session that leaves redirects alone: requests would read their bodies whole to look."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _new_session(pools: dict[str, type[Any]]) -> requests.Session:
    session = _Session()
    session.trust_env = False
    session.headers.clear()
    session.adapters.clear()
    for scheme in SCHEMES:
        session.mount(f"{scheme}://", _JudgedAdapter(pools))
    session.cookies.set_policy(_NO_COOKIES)
    return session


class _NoCookies(DefaultCookiePolicy):
    """One tenant's cookies must not travel with another's request."""

    def set_ok(self, cookie: Any, request: Any) -> bool:
        return False


_NO_COOKIES = _NoCookies()


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise SourceNotFound("the URL cannot be read") from None
    if parts.scheme.lower() not in SCHEMES:
        raise AccessDenied(f"{parts.scheme[:20] or 'no'} scheme: only http and https are fetched")
    if not parts.hostname or len(url) > MAX_URL_CHARS or re.search(r"[\x00-\x20\x7f\\]", url):
        raise SourceNotFound("the URL names no host, is too long, or holds control characters")
    if "%" in parts.hostname:
        raise AccessDenied("a host with a zone or an escape is not fetched")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or (443 if scheme == "https" else 80)


def _redirect_target(reply: requests.Response, url: str) -> str | None:
    location = reply.headers.get("Location")
    if reply.status_code not in _REDIRECTS or not location:
        return None
    try:
        # Header bytes arrive as latin-1; a raw UTF-8 path is what was meant.
        target = urljoin(url, location.encode("latin-1").decode("utf-8", "replace"))
        return requests.utils.requote_uri(target.partition("#")[0])
    except (ValueError, requests.RequestException):
        reply.close()
        raise SourceUnavailable(f"{redacted(url)} redirects to no readable URL") from None


def _range_headers(byte_range: ByteRange | None) -> dict[str, str]:
    if byte_range is None:
        return {}
    last = byte_range.offset + byte_range.length - 1
    return {"Range": f"bytes={byte_range.offset}-{last}", "Accept-Encoding": "identity"}


def _raise_for_status(reply: requests.Response, url: str) -> None:
    shown, status = redacted(url), reply.status_code
    if status in {401, 403}:
        raise AccessDenied(f"{shown} answered {status}")
    if status in {404, 410, 416}:
        raise SourceNotFound(f"{shown} answered {status}")
    if status == 429:
        wait_s = retry_after_s(reply.headers.get("Retry-After"), time.time())
        raise RateLimited(f"{shown} answered 429", retry_after_s=wait_s)
    if status not in {200, 203, 206}:
        raise SourceUnavailable(f"{shown} answered {status}")


def modified_ms(text: str | None) -> int | None:
    """The instant a Last-Modified header names, None where it names none.

    >>> modified_ms("Fri, 04 Feb 2022 06:44:06 GMT"), modified_ms("yesterday")
    (1643957046000, None)
    """
    try:
        return int(parsedate_to_datetime(text or "").timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None


def retry_after_s(text: str | None, now_s: float, most_s: float = 3600.0) -> float | None:
    """The seconds a Retry-After header asks for, an hour at most unless told otherwise; None
    where it says nothing.

    >>> retry_after_s("120", 0.0), retry_after_s("soon", 0.0)
    (120.0, None)
    """
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), most_s)
    try:
        return min(max(parsedate_to_datetime(text).timestamp() - now_s, 0.0), most_s)
    except (ValueError, TypeError, OverflowError):
        return None


def _selected(reply: requests.Response, wanted: ByteRange | None) -> Iterator[bytes]:
    """The wanted bytes of a body, also where the server ignored the range it was asked for."""
    if wanted is None:
        return _decoded(reply)
    if reply.status_code != 206:
        return _sliced(_decoded(reply), wanted.offset, wanted.length)
    match = _CONTENT_RANGE.fullmatch(reply.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != wanted.offset:
        raise SourceUnavailable(f"{redacted(reply.url)} answered another range than was asked for")
    return _sliced(_decoded(reply), 0, wanted.length)


def _sliced(chunks: Iterator[bytes], skip: int, length: int) -> Iterator[bytes]:
    for chunk in chunks:
        kept = chunk[skip : skip + length]
        skip -= min(skip, len(chunk))
        length -= len(kept)
        if kept:
            yield kept
        if length == 0:
            return


def _decoded(reply: requests.Response) -> Iterator[bytes]:
    raw = reply.raw.stream(CHUNK_BYTES, decode_content=False)
    encoding = reply.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in {"identity", ""}:
        return iter(raw)
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return _inflated(raw, bare=encoding == "deflate")
    raise SourceUnavailable(f"{redacted(reply.url)} answered in an encoding nobody asked for")


def _inflated(chunks: Iterable[bytes], *, bare: bool) -> Iterator[bytes]:
    # Inflating at most a chunk at a time lets the caller's cap stop a bomb before it is in memory.
    first, rest = b"", iter(chunks)
    while len(first) < 2 and (more := next(rest, b"")):
        first += more
    inflate = zlib.decompressobj(wbits=_window_bits(first) if bare else 31)
    for chunk in itertools.chain([first], rest):
        pending = chunk
        while pending and not inflate.eof:
            yield inflate.decompress(pending, CHUNK_BYTES)
            pending = inflate.unconsumed_tail
    while not inflate.eof:
        last = inflate.decompress(inflate.unconsumed_tail, CHUNK_BYTES)
        if not last:
            raise SourceUnavailable("the compressed answer ended early")
        yield last


def _window_bits(first: bytes) -> int:
    """How deflated bytes begin: as zlib or, where a server takes the word literally, bare."""
    is_zlib = first[:1] == b"\x78" and int.from_bytes(first[:2], "big") % 31 == 0
    return 15 if is_zlib else -15


def _copy(
    chunks: Iterator[bytes], out: BinaryIO, max_bytes: int, on_bytes: OnBytes | None, url: str
) -> int:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise TooLarge(f"{redacted(url)} is larger than {max_bytes} bytes")
        out.write(chunk)
        if on_bytes:
            on_bytes(len(chunk))
    return size


def _expect(size: int, wanted: int | None, url: str) -> None:
    if wanted is not None and size != wanted:
        raise SourceUnavailable(f"{redacted(url)} is truncated: {size} bytes of {wanted} came")


def _downloaded(reply: requests.Response, url: str, size: int) -> Downloaded:
    return Downloaded(
        size=size,
        url=url,
        etag=reply.headers.get("ETag"),
        last_modified=reply.headers.get("Last-Modified"),
        date=reply.headers.get("Date"),
        content_type=reply.headers.get("Content-Type"),
        total_size=_total_size(reply),
    )


def _left_of(span: ByteRange, total: int | None) -> int | None:
    """How much of a range lies within a resource of this size."""
    return None if total is None else max(0, min(span.length, total - span.offset))


def _total_size(reply: requests.Response) -> int | None:
    """How large the whole resource is, where the answer says so."""
    told = reply.headers.get("Content-Range", "").strip()
    if reply.status_code in {206, 416}:
        match = _CONTENT_RANGE.fullmatch(told) or _EMPTY_RANGE.fullmatch(told)
        total = match[match.re.groups] if match else "*"
        return None if total == "*" else int(total)
    length = reply.headers.get("Content-Length", "")
    plain = reply.headers.get("Content-Encoding", "identity").lower() == "identity"
    return int(length[:19]) if plain and length.isascii() and length.isdigit() else None


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Our error for whatever a request raises; the original may spell the URL and is dropped."""
    try:
        yield
    except (requests.RequestException, HTTPError, http.client.HTTPException) as error:
        inner = ours_within(error)
        raise inner or translate(error, url) from None
    except zlib.error:
        raise SourceUnavailable(f"{redacted(url)} answered with broken compression") from None


def translate(error: Exception, url: str) -> CuttingRoomError:
    """Our error for a failed HTTP request."""
    shown = redacted(url)
    match error:
        case requests.exceptions.SSLError():
            return SourceUnavailable(f"{shown}: the server's certificate was not accepted")
        case requests.Timeout() | urllib3.exceptions.TimeoutError():
            return SourceUnavailable(f"{shown} did not answer in time")
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return SourceNotFound(f"{shown} is not a URL that can be fetched")
        case requests.exceptions.InvalidHeader():
            return AccessDenied(f"{shown}: a header of ours cannot be sent")
        case requests.ConnectionError() if "IncompleteRead" not in str(error):
            return SourceUnavailable(f"{shown} could not be reached")
    return SourceUnavailable(f"{shown}: the answer broke off")


def _closed_on_us(error: requests.ConnectionError) -> bool:
    """Whether the peer hung up before it answered anything."""
    inner = error.args[0] if error.args else None
    reasons = getattr(inner, "args", ())
    return isinstance(inner, urllib3.exceptions.ProtocolError) and any(
        isinstance(reason, ConnectionError) for reason in reasons
    )


def ours_within(error: BaseException) -> CuttingRoomError | None:
    """The error of ours a library has wrapped in its own, if there is one."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None or isinstance(seen, CuttingRoomError):
            return seen
        # botocore keeps what it wraps under `kwargs` instead of chaining it.
        wrapped = getattr(seen, "kwargs", {}).get("error")
        seen = wrapped or seen.__cause__ or seen.__context__
    return None
