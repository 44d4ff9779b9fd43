"""Everything rclone reads: its back ends, through the rclone the operator runs beside us.

`rclone rcd` listens on a unix socket; connectors are its remotes, held in its memory alone. What a
tenant sets goes there in the body of a request: never into a command line, a file or a log.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import socket
import threading
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator

from connectors._rclone_options import (
    NEVER,
    Provider,
    checked,
    forms,
    hosts_in,
    providers,
)
from connectors.base import (
    AuthModel,
    ConnectorEnv,
    Control,
    Entry,
    PacedConfig,
    Page,
    Query,
    TimedUrl,
    key_parts,
    paged,
)
from connectors.egress import Answer, Egress, Limits, OneSocket
from connectors.http import HttpReader
from schemas.connectors import Capability
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    CuttingRoomError,
    FieldInvalid,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
)
from schemas.localized import Validators
from schemas.media import ByteRange
from schemas.settings import Settings

TYPE = "rclone"
IDENTITY = ("backend", "parameters", "folder")
MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ENTRIES = 100_000
# rclone tries a system more than once before it says no.
LIMITS = Limits(header_timeout_s=90, idle_timeout_s=90, min_rate=0)
# What it only knows of itself comes at once, or not at all: a client waits for it.
QUICK = Limits(header_timeout_s=5, idle_timeout_s=5, total_timeout_s=10)
_RCLONE = "http://rclone"
_SAID = (
    (("unable to authenticate", "401", "403", "access denied", "accessdenied"), AccessDenied),
    (("permission denied", "invalidaccesskeyid", "signaturedoesnotmatch"), AccessDenied),
    (("login incorrect", "530 ", "empty token", "couldn't fetch token", "oauth"), AccessDenied),
    (("directory not found", "object not found", "not found", "404"), SourceNotFound),
    (("is a file not a directory", "not a directory"), SourceNotFound),
    (("429", "too many requests", "rate limit"), RateLimited),
)


class Config(PacedConfig):
    """A back end, its options, and the folder of it that files lie below."""

    backend: str = Field(pattern=r"^[a-z0-9 ]{1,40}$")
    parameters: dict[str, str | bool | int] = Field(default={}, max_length=64)
    folder: str = Field(default="", max_length=1024, description="with a bucket first, if any")
    public_links: bool = Field(
        default=False, description="make a public link where a file's URL is asked for"
    )

    @field_validator("backend")
    @classmethod
    def _reaches_outward(cls, name: str) -> str:
        if name in NEVER:
            raise ValueError(f"{name} reads this machine or wraps another back end")
        return name

    @field_validator("folder")
    @classmethod
    def _a_folder(cls, folder: str) -> str:
        plain = folder.strip("/")
        try:
            named = "/".join(key_parts(plain)) if plain else ""
        except FieldInvalid as error:
            raise ValueError(error.message) from None
        if "]" in named:
            # rclone itself ends the name of a remote there.
            raise ValueError("a folder's name may have no ]")
        return f"/{named}" if folder.startswith("/") else named


class Auth(AuthModel):
    """The back end's secret options, by their names."""

    secrets: dict[str, SecretStr] = Field(default={}, max_length=32)


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> RcloneFiles:
    """The files of one remote; rclone hears of it when they are first asked for."""
    return RcloneFiles(config, auth, env)


def describe(env: ConnectorEnv) -> Mapping[str, Any] | None:
    """The forms of the back ends the operator allows, as the running rclone has them."""
    if not env.settings.rclone_socket:
        return None
    try:
        return forms(_providers(env.settings))
    except CuttingRoomError:
        return None


def admit(config: Config, auth: Auth, env: ConnectorEnv) -> None:
    """Refuse a back end or an option that is not allowed here."""
    _options(config, auth, env.settings)


class RcloneFiles:
    """Files of one remote, below its folder."""

    def __init__(self, config: Config, auth: Auth, env: ConnectorEnv) -> None:
        self._config, self._auth, self._env = config, auth, env
        self._lock = threading.Lock()
        self._remote: str | None = None

    def check(self, capability: Capability | None = None) -> None:
        """The remote answers, and its folder can be listed."""
        self._ask("operations/list", remote="", opt={"noModTime": True, "noMimeType": True})

    def query(self, query: Query) -> Page:
        """One folder's entries; with a text, everything below it."""
        base = "/".join(key_parts(query.path)) if query.path else ""
        found = self._ask("operations/list", remote=base, opt={"recurse": query.text is not None})
        listed = found.get("list") or []
        if not isinstance(listed, list):
            raise CorruptMedia("rclone answered no list")
        if len(listed) > MAX_ENTRIES:
            raise FieldInvalid(
                f"more than {MAX_ENTRIES} entries: name a folder further down", code="too_many"
            )
        return paged((e for e in map(_entry, listed) if e is not None), query)

    def stat(self, file_id: str) -> Entry:
        """Size, type and time of a file."""
        remote = "/".join(key_parts(file_id))
        found = _entry(self._ask("operations/stat", remote=remote).get("item"))
        if found is None or found.kind != "file":
            raise SourceNotFound(f"{file_id} is not there, or no file")
        return found

    def read_range(self, file_id: str, offset: int, length: int) -> bytes:
        """These bytes of a file."""
        wanted = ByteRange(offset=offset, length=length)
        try:
            return self._local.get_bytes(
                self._address(file_id),
                max_bytes=max(length, 1),
                byte_range=wanted,
                allow_short=True,
            ).data
        except SourceNotFound:
            # Past the end of a file some back ends answer as if there were none.
            size = self.stat(file_id).size
            if size is not None and offset >= size:
                return b""
            raise SourceNotFound(f"{file_id} is not there, or no file") from None

    def reader(self, file_id: str, expected: Validators, control: Control) -> HttpReader:
        """A further connection to the file, for long stretches of it."""
        return HttpReader(self._local, self._address(file_id), {}, control)

    def url(self, file_id: str, ttl_s: int) -> TimedUrl | None:
        """A public link, where the config allows one to be made and the back end makes them."""
        if not self._config.public_links:
            return None
        remote = "/".join(key_parts(file_id))
        try:
            found = self._ask("operations/publiclink", remote=remote, expire=f"{ttl_s}s")
        except SourceUnavailable:
            return None
        link = found.get("url")
        known = isinstance(link, str) and link.startswith("https://")
        return TimedUrl(url=str(link), expires_ms=None) if known else None

    @property
    def _local(self) -> Egress:
        return _client(_socket_of(self._env.settings))

    def _address(self, file_id: str) -> str:
        """Where rclone serves a file of the remote."""
        names = "/".join(quote(name, safe="") for name in key_parts(file_id))
        return f"{_RCLONE}/{quote(f'[{self._fs()}]', safe='')}/{names}"

    def _ask(self, call: str, **said: Any) -> dict[str, Any]:
        """An answer about the remote; where rclone has forgotten it, it is told once more."""
        settings = self._env.settings
        try:
            return _asked(settings, call, {"fs": self._fs(), **said})
        except _Forgotten:
            self._remote = None
            return _asked(settings, call, {"fs": self._fs(), **said})

    def _fs(self) -> str:
        with self._lock:
            if self._remote is None:
                self._remote = self._made()
            return f"{self._remote}:{self._config.folder}"

    def _made(self) -> str:
        """Tell rclone of the remote; its name is a digest of all that is said of it."""
        config, settings = self._config, self._env.settings
        found, values = _options(config, self._auth, settings)
        self._judge(found, values)
        words = json.dumps([config.backend, values], sort_keys=True)
        name = f"cr{hashlib.sha256(words.encode()).hexdigest()[:40]}"
        _asked(
            settings,
            "config/create",
            {
                "name": name,
                "type": config.backend,
                "parameters": values,
                "opt": {"obscure": True, "nonInteractive": True},
            },
        )
        return name

    def _judge(self, provider: Provider, values: Mapping[str, str]) -> None:
        for host, port in hosts_in(provider, values):
            try:
                self._env.egress.judge.addresses(host, port)
            except (socket.gaierror, UnicodeError):
                raise SourceUnavailable("a host of the remote has no address") from None


def _options(config: Config, auth: Auth, settings: Settings) -> tuple[Provider, dict[str, str]]:
    """The back end, and its options as rclone takes them."""
    found = _providers(settings).get(config.backend)
    if found is None:
        raise FieldInvalid(
            f"the operator has not listed back end {config.backend!r}, or this rclone has none",
            code="connector_config_invalid",
        )
    secrets = {name: value.get_secret_value() for name, value in auth.secrets.items()}
    return found, checked(found, config.parameters, secrets)


class _Forgotten(SourceUnavailable):
    """rclone was started anew and knows the remote no longer."""


def _socket_of(settings: Settings) -> str:
    if not settings.rclone_socket:
        raise FieldInvalid(
            "rclone does not run here: the operator installs it (pip install "
            "'cuttingroom[rclone]') and lists back ends in CUTTINGROOM_RCLONE_BACKENDS",
            code="connector_config_invalid",
        )
    return settings.rclone_socket


@cache
def _client(path: str) -> Egress:
    return Egress(judge=OneSocket(path), limits=LIMITS)


_KNOWN: dict[str, Any] = {}


def _providers(settings: Settings) -> dict[str, Provider]:
    """What the operator allows of what this rclone can do; rclone is asked once."""
    path = _socket_of(settings)
    if path not in _KNOWN:
        _KNOWN[path] = _asked(settings, "config/providers", {}, QUICK)
    return providers(_KNOWN[path], settings.rclone_backends)


def _asked(
    settings: Settings, call: str, body: Mapping[str, Any], limits: Limits = LIMITS
) -> dict[str, Any]:
    answer = _client(_socket_of(settings)).request(
        "POST",
        f"{_RCLONE}/{call}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        max_bytes=MAX_ANSWER_BYTES,
        limits=limits,
    )
    found = _parsed(answer)
    if answer.status != 200:
        raise _refusal(str(found.get("error", "")))
    return found


def _parsed(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CorruptMedia("rclone answered something that is no JSON object")
    return found


def _refusal(said: str) -> CuttingRoomError:
    """Our error for rclone's; its words may hold hosts and keys and are dropped."""
    text = said.lower()
    if "didn't find section" in text:
        return _Forgotten("rclone does not know the remote")
    for words, kind in _SAID:
        if any(word in text for word in words):
            return kind(f"the back end answered: {_MEANING[kind]}")
    return SourceUnavailable("the back end could not be reached, or did not answer as one")


_MEANING: dict[type[CuttingRoomError], str] = {
    AccessDenied: "the credentials are refused",
    SourceNotFound: "there is no such folder or file",
    RateLimited: "it asks for fewer requests",
}


def _entry(told: Any) -> Entry | None:
    """An entry of a listing; None for what cannot be one, or has no name we can speak."""
    if not isinstance(told, dict):
        return None
    path, size = told.get("Path"), told.get("Size")
    if not isinstance(path, str):
        return None
    try:
        parts = key_parts(path)
    except FieldInvalid:
        return None
    if told.get("IsDir"):
        return Entry(file_id=path, name=parts[-1], kind="folder")
    return Entry(
        file_id=path,
        name=parts[-1],
        size=size if isinstance(size, int) and size >= 0 else None,
        modified_ms=_moment(told.get("ModTime")),
        content_type=mimetypes.guess_type(parts[-1])[0],
    )


def _moment(text: object) -> int | None:
    try:
        return int(datetime.fromisoformat(str(text)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
