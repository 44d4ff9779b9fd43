"""HTTP: the one module that knows requests; it sends, reads within bounds, and judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from client.errors import Unreachable, Unreadable

CHUNK_BYTES = 64 * 1024
_HTTP_1_1 = 11
USER_AGENT = "cuttingroom-client/1"


class Body(Protocol):
    """A body that is read as it is sent."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes more; none at the end."""
        ...


@dataclass(frozen=True, repr=False)
class Reply:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes = b""


class OpenReply:
    """An answer whose body is still coming."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = _headers(response)

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, piece by piece."""
        try:
            while piece := self._response.raw.read1(CHUNK_BYTES, decode_content=True):
                yield piece
        except (HTTPError, requests.RequestException, OSError) as error:
            raise _broken(self._response.url, error) from None

    def whole(self, max_bytes: int) -> Reply:
        """All of it, where it is no larger than that."""
        data = bytearray()
        for piece in self.chunks():
            data += piece
            if len(data) > max_bytes:
                raise Unreadable(f"the answer is larger than {max_bytes} bytes")
        return Reply(self.status, self.headers, bytes(data))


class Transport:
    """Connections to a service and to where it sends uploads; follows no redirect."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._sessions = {near: _session(near) for near in (True, False)}

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Body | None = None,
        max_bytes: int,
    ) -> Reply:
        """Ask, and read the whole answer."""
        with self.open(method, url, headers=headers, body=body) as answer:
            return answer.whole(max_bytes)

    @contextmanager
    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Body | None = None,
        read_timeout_s: float | None = None,
    ) -> Iterator[OpenReply]:
        """Ask; the answer is read by the caller."""
        try:
            response = self._sessions[_is_near(url)].request(
                method,
                url,
                headers=dict(headers),
                data=body,
                stream=True,
                allow_redirects=False,
                timeout=(self._timeout_s, read_timeout_s or self._timeout_s),
            )
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _broken(url, error) from None
        try:
            _check_head(response)
            yield OpenReply(response)
        finally:
            response.close()

    def close(self) -> None:
        """Let every connection go."""
        for session in self._sessions.values():
            session.close()


def _session(near: bool) -> requests.Session:
    session = requests.Session()
    session.headers["User-Agent"] = USER_AGENT
    # Our own machine is not reached through anybody's proxy.
    session.trust_env = not near
    # Without this requests would add what ~/.netrc holds for the host.
    session.auth = lambda request: request
    return session


def _is_near(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(response: requests.Response) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _check_head(response: requests.Response) -> None:
    """Refuse an answer that was cut off among its headers, which http.client takes for whole."""
    told = {"Content-Length", "Transfer-Encoding"} & set(map(str.title, response.headers))
    bare = response.status_code in {204, 304} or response.request.method == "HEAD"
    if not told and not bare and response.raw.version == _HTTP_1_1:
        raise _broken(response.url, EOFError())


def _broken(url: str, error: Exception) -> Unreachable:
    """Ours for a failed exchange; of the URL its host alone, as its query may be a credential."""
    parts = urlsplit(url)
    return Unreachable(f"no whole answer from {parts.hostname}: {type(error).__name__}")
