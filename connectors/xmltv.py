"""The `xmltv` connector: a programme guide in a listed folder of this machine, or on the web."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from connectors import http, local
from connectors.base import ConfigModel, ConnectorEnv, Control, OnBytes, copy_to_file
from connectors.egress import Limits, redacted
from schemas.connectors import Capability
from schemas.errors import CorruptMedia, SourceUnavailable, TooLarge
from schemas.guides import GuideDocument, GuideFile, GuideWanted
from schemas.media import ByteRange

TYPE = "xmltv"
IDENTITY = ("url", "path")
MAX_BYTES = 256 * 1024 * 1024
NAME = "guide.xml"
HEAD_BYTES = 64
# The first bytes of XML in the encodings that guides come in, and of gzip.
_BEGINNINGS = (b"<", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b")
_LIMITS = Limits(total_timeout_s=300.0)


class Config(ConfigModel):
    """Where the guide is, plain or gzip, and what its times mean."""

    url: str | None = Field(default=None, max_length=8192, description="http or https")
    path: str | None = Field(
        default=None, max_length=1024, description="an absolute path, in a folder that is listed"
    )
    zone: str | None = Field(
        default=None, max_length=64, description="IANA zone of times that name no offset"
    )
    ignore_offsets: bool = Field(
        default=False, description="the offsets lie: all times are local times of `zone`"
    )
    country: str | None = Field(
        default=None, pattern=r"^[A-Za-z]{2}$", description="of stations whose id names none"
    )
    language: str | None = Field(
        default=None, pattern=r"^[A-Za-z]{2,3}$", description="preferred where texts have several"
    )

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("a guide is fetched from an http or https URL")
        if parts.username is not None or not re.fullmatch(r"[\x21-\x7e]+", url, re.ASCII):
            raise ValueError("a URL is printable ASCII; credentials belong in auth")
        return url

    @field_validator("path")
    @classmethod
    def _is_absolute(cls, path: str | None) -> str | None:
        if path is not None and (not path.startswith("/") or ".." in PurePosixPath(path).parts):
            raise ValueError("an absolute path without ..")
        return path

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str | None) -> str | None:
        try:
            return zone and ZoneInfo(zone).key
        except (KeyError, OSError, ValueError):
            raise ValueError("no IANA time zone of this name") from None

    @model_validator(mode="after")
    def _is_one_place(self) -> Config:
        if (self.url is None) == (self.path is None):
            raise ValueError("give either url or path")
        if self.ignore_offsets and self.zone is None:
            raise ValueError("ignoreOffsets needs the zone the times are in")
        return self


class Auth(http.Auth):
    """As for `http`: at most one of a bearer token, a user with a password, a signed query."""


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> XmltvGuide:
    """The guide; nothing is read yet."""
    return XmltvGuide(config, auth, env)


class XmltvGuide:
    """One XMLTV document."""

    def __init__(self, config: Config, auth: Auth, env: ConnectorEnv) -> None:
        self._config, self._auth, self._env = config, auth, env

    def check(self, capability: Capability | None = None) -> None:
        """The document is there, and begins like one."""
        head = self._head()
        if not head.lstrip().startswith(_BEGINNINGS):
            raise CorruptMedia("the guide does not begin like XML or gzip", code="guide_invalid")

    def guide(
        self,
        wanted: GuideWanted,
        folder: Path,
        *,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> GuideDocument:
        """The whole document: XMLTV knows no way to ask for a part."""
        target = folder / NAME
        if self._config.url is not None:
            self._env.egress.download(
                self._signed(self._config.url),
                target,
                max_bytes=MAX_BYTES,
                headers=self._auth.headers(),
                on_bytes=on_bytes,
                control=control,
                limits=_LIMITS,
            )
        else:
            self._copy(target, on_bytes, control)
        config = self._config
        return GuideDocument(
            format="xmltv",
            files=(GuideFile(name=NAME),),
            zone=config.zone,
            ignore_offsets=config.ignore_offsets,
            country=config.country,
            language=config.language,
        )

    def _copy(self, target: Path, on_bytes: OnBytes | None, control: Control | None) -> None:
        files, name = self._local()
        if (files.stat(name).size or 0) > MAX_BYTES:
            raise TooLarge(f"{name} is larger than {MAX_BYTES} bytes")
        copy_to_file(files, name, target, on_bytes=on_bytes, control=control)

    def _head(self) -> bytes:
        if self._config.url is None:
            files, name = self._local()
            return files.read_range(name, 0, HEAD_BYTES)
        body = self._env.egress.get_bytes(
            self._signed(self._config.url),
            max_bytes=HEAD_BYTES,
            headers=self._auth.headers(),
            byte_range=ByteRange(offset=0, length=HEAD_BYTES),
            allow_short=True,
        )
        if not body.data:
            raise SourceUnavailable(f"{redacted(self._config.url)} is empty")
        return body.data

    def _local(self) -> tuple[local.Folder, str]:
        path = PurePosixPath(self._config.path or "/")
        config = local.Config(folder=str(path.parent))
        return local.connect(config, local.Auth(), self._env), path.name

    def _signed(self, url: str) -> str:
        if self._auth.query is None:
            return url
        return f"{url}{'&' if '?' in url else '?'}{self._auth.query.get_secret_value()}"
