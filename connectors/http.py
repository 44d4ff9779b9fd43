"""The `http` connector: files below a base URL, read in ranges."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.base import (
    READ_BYTES,
    AuthModel,
    ConnectorEnv,
    Control,
    Entry,
    PacedConfig,
    TimedUrl,
    key_parts,
)
from connectors.egress import Body, Egress, Limits, Stream, modified_ms
from schemas.connectors import Capability
from schemas.localized import Validators
from schemas.media import ByteRange

TYPE = "http"
IDENTITY = ("base_url",)
# A whole file may take a day, as long as it keeps coming.
LONG = Limits(idle_timeout_s=30, total_timeout_s=24 * 3600)


class Config(PacedConfig):
    """Where the files are; a fileId is a path below `base_url`."""

    base_url: str = Field(max_length=2048, description="http or https, without a query")
    check_path: str | None = Field(
        default=None, max_length=1024, description="a small file that auth-check may read"
    )

    @field_validator("base_url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an http or https URL with a host is needed")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("credentials and queries belong in auth, where they stay secret")
        return url.rstrip("/")


class Auth(AuthModel):
    """At most one of a bearer token, a user with a password, and a signed query."""

    token: SecretStr | None = None
    username: str | None = None
    password: SecretStr | None = None
    query: SecretStr | None = Field(default=None, description="added to every URL, without the ?")

    @model_validator(mode="after")
    def _one_way(self) -> Auth:
        if (self.username is None) != (self.password is None):
            raise ValueError("a user and a password go together")
        if sum(way is not None for way in (self.token, self.username, self.query)) > 1:
            raise ValueError("give one of token, username with password, query")
        return self

    def headers(self) -> dict[str, str]:
        """The headers that prove who asks."""
        if self.token:
            return {"Authorization": f"Bearer {self.token.get_secret_value()}"}
        if self.username is not None and self.password:
            pair = f"{self.username}:{self.password.get_secret_value()}"
            return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
        return {}


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> HttpFiles:
    """The files of one web server."""
    return HttpFiles(config, auth, env.egress)


class HttpFiles:
    """Files of a web server that answers ranges, or ignores them."""

    def __init__(self, config: Config, auth: Auth, egress: Egress) -> None:
        self._config, self._auth, self._egress = config, auth, egress

    def check(self, capability: Capability | None = None) -> None:
        """The server lets us read the check path, or the base URL itself."""
        self._get(self._config.check_path or "", 0, 1)

    def stat(self, file_id: str) -> Entry:
        """The file as its first byte's answer describes it: signed URLs permit GET alone."""
        first = self._get(file_id, 0, 1)
        return Entry(
            file_id=file_id,
            name=key_parts(file_id)[-1],
            size=first.total_size,
            modified_ms=modified_ms(first.last_modified),
            content_type=first.content_type,
            etag=first.etag,
        )

    def read_range(self, file_id: str, offset: int, length: int) -> bytes:
        """These bytes of the file."""
        return self._get(file_id, offset, length).data

    def reader(self, file_id: str, expected: Validators, control: Control) -> HttpReader:
        """A further connection, asking for the expected version alone."""
        headers = {**self._auth.headers(), **_only_if(expected)}
        return HttpReader(self._egress, self._address(file_id), headers, control)

    def url(self, file_id: str, ttl_s: int) -> TimedUrl | None:
        """The file's own URL, where anybody may read it."""
        return TimedUrl(url=self._address(file_id)) if self._auth == Auth() else None

    def _get(self, path: str, offset: int, length: int) -> Body:
        return self._egress.get_bytes(
            self._address(path),
            max_bytes=max(length, READ_BYTES),
            headers=self._auth.headers(),
            byte_range=ByteRange(offset=offset, length=length),
            allow_short=True,
        )

    def _address(self, path: str) -> str:
        names = key_parts(path) if path else ("",)
        url = "/".join((self._config.base_url, *(quote(name, safe="") for name in names)))
        return f"{url}?{self._auth.query.get_secret_value()}" if self._auth.query else url


class WebFile(HttpFiles):
    """The one file behind a URL, whatever it is called there."""

    def __init__(self, url: str, auth: Auth, egress: Egress) -> None:
        super().__init__(Config(base_url="http://unused"), auth, egress)
        self._url = url

    def _address(self, path: str) -> str:
        return self._url


class HttpReader:
    """One file of a web server; every thread has a kept-alive connection of its own."""

    def __init__(self, egress: Egress, url: str, headers: dict[str, str], control: Control) -> None:
        self._egress, self._url, self._headers, self._control = egress, url, headers, control

    @contextmanager
    def open(self, offset: int, length: int | None) -> Iterator[Stream]:
        """The bytes, or the whole file where the server ignores ranges or has another version."""
        span = None if length is None else ByteRange(offset=offset, length=length)
        with self._egress.stream(
            self._url, headers=self._headers, byte_range=span, control=self._control, limits=LONG
        ) as body:
            yield body

    def close(self) -> None:
        """Nothing: the connection belongs to the thread."""


def _only_if(expected: Validators) -> dict[str, str]:
    """If-Range takes a strong ETag or a date (RFC 9110 13.1.5)."""
    if expected.strong_etag:
        return {"If-Range": expected.strong_etag}
    if expected.etag is None and expected.modified_ms is not None:
        return {"If-Range": formatdate(expected.modified_ms / 1000, usegmt=True)}
    return {}
