"""What connectors to playlists share: where a channel's playlist is, and its bytes.

Playlists are read above this package: here are only addresses, credentials and downloads.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.base import (
    AuthModel,
    Channel,
    ConfigModel,
    Control,
    OnBytes,
)
from schemas.errors import SourceNotFound
from schemas.media import ByteRange

if TYPE_CHECKING:
    from connectors.egress import Body, Downloaded, Egress

MAX_PLAYLIST_BYTES = 20 * 1024 * 1024
MAX_CHANNELS = 1000
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,4096}", re.ASCII)
# What frames a request, names its peer or selects bytes is the client's own business.
_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


class ChannelConfig(ConfigModel):
    """One channel and the address of its multivariant or media playlist."""

    id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    name: str = Field(default="", max_length=200)
    url: str
    language: str | None = Field(default=None, max_length=35)

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        return _checked_url(url)


class Config(ConfigModel):
    """One playlist (`url`: any channel id names it), or several named `channels`.

    `headers` go to the origin of those addresses only; secrets belong in `auth`.
    """

    url: str | None = None
    channels: tuple[ChannelConfig, ...] = Field(default=(), max_length=MAX_CHANNELS)
    headers: dict[str, str] = Field(default={}, max_length=32)

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        return None if url is None else _checked_url(url)

    @field_validator("headers")
    @classmethod
    def _are_sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            _check_header(name, value)
        return headers

    @model_validator(mode="after")
    def _names_something(self) -> Config:
        if (self.url is None) == (not self.channels):
            raise ValueError("give either url or channels")
        if len({channel.id for channel in self.channels}) != len(self.channels):
            raise ValueError("two channels have the same id")
        return self


class Auth(AuthModel):
    """At most one of: a bearer token, a header, a query parameter added to every address."""

    bearer: SecretStr | None = None
    header_name: str | None = None
    header_value: SecretStr | None = None
    query_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    query_value: SecretStr | None = None

    @model_validator(mode="after")
    def _is_one_way(self) -> Auth:
        if (self.header_name is None) != (self.header_value is None):
            raise ValueError("headerName and headerValue go together")
        if (self.query_name is None) != (self.query_value is None):
            raise ValueError("queryName and queryValue go together")
        if sum(way is not None for way in (self.bearer, self.header_name, self.query_name)) > 1:
            raise ValueError("give one of bearer, headerName, queryName")
        if self.header_name is not None and self.header_value is not None:
            _check_header(self.header_name, self.header_value.get_secret_value())
        if self.bearer is not None:
            _check_header("Authorization", self.bearer.get_secret_value())
        return self


def _checked_url(url: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,8192}", url, re.ASCII):
        raise ValueError("a URL has 1 to 8192 printable ASCII characters")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("a playlist is fetched from an http or https URL")
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials belong in auth, not in the URL")
    return url


def _check_header(name: str, value: str) -> None:
    if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise ValueError(f"{name[:64]!r} is not a header that can be set")
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError(f"the value of {name} has characters a header cannot carry")


class PlaylistOrigin:
    """Channels whose playlists lie at addresses that are known."""

    def __init__(self, config: Config, auth: Auth, egress: Egress) -> None:
        self._config, self._auth, self._egress = config, auth, egress
        self._own = {_origin(url) for url in self.urls()}

    def channels(self) -> tuple[Channel, ...]:
        """The channels of the config; a single `url` is the channel `main`."""
        if self._config.url is not None:
            return (Channel(id="main", name="main"),)
        return tuple(
            Channel(id=channel.id, name=channel.name or channel.id, language=channel.language)
            for channel in self._config.channels
        )

    def playlist_url(self, channel_id: str) -> str:
        """The address of a channel's playlist; where there is one `url`, every id names it."""
        if self._config.url is not None:
            return self._config.url
        for channel in self._config.channels:
            if channel.id == channel_id:
                return channel.url
        raise SourceNotFound(f"the connector has no channel {channel_id[:64]!r}")

    def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        byte_range: ByteRange | None = None,
        control: Control | None = None,
    ) -> Body:
        """A playlist, key or init section into memory."""
        body = self._egress.get_bytes(
            self._signed(url),
            max_bytes=max_bytes,
            headers=self._headers(url),
            byte_range=byte_range,
            control=control,
        )
        return body.model_copy(update={"url": self._unsigned(body.url)})

    def download(
        self,
        url: str,
        path: Path,
        *,
        max_bytes: int,
        byte_range: ByteRange | None = None,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> Downloaded:
        """A segment into a file."""
        done = self._egress.download(
            self._signed(url),
            path,
            max_bytes=max_bytes,
            headers=self._headers(url),
            byte_range=byte_range,
            on_bytes=on_bytes,
            control=control,
        )
        return done.model_copy(update={"url": self._unsigned(done.url)})

    def urls(self) -> list[str]:
        """The address of every channel's playlist."""
        named = [channel.url for channel in self._config.channels]
        return [self._config.url] if self._config.url is not None else named

    def _headers(self, url: str) -> dict[str, str]:
        # A playlist may name any host: only the operator's own origin gets what is set for it.
        if _origin(url) not in self._own:
            return {}
        headers = dict(self._config.headers)
        if self._auth.bearer is not None:
            headers["Authorization"] = f"Bearer {self._auth.bearer.get_secret_value()}"
        if self._auth.header_name is not None and self._auth.header_value is not None:
            headers[self._auth.header_name] = self._auth.header_value.get_secret_value()
        return headers

    def _signed(self, url: str) -> str:
        if self._auth.query_name is None or _origin(url) not in self._own:
            return url
        parts = urlsplit(url)
        kept = [part for part in parts.query.split("&") if part and part != self._token()]
        return urlunsplit(parts._replace(query="&".join([*kept, self._token()])))

    def _unsigned(self, url: str) -> str:
        """The address without our token: a redirect's target is stored and resolved against."""
        if self._auth.query_name is None:
            return url
        parts = urlsplit(url)
        kept = [part for part in parts.query.split("&") if part and part != self._token()]
        return urlunsplit(parts._replace(query="&".join(kept)))

    def _token(self) -> str:
        if self._auth.query_name is None or self._auth.query_value is None:
            return ""
        return urlencode({self._auth.query_name: self._auth.query_value.get_secret_value()})


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port
