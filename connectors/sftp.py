"""The `sftp` connector: files of an SSH server whose host key is known."""

from __future__ import annotations

import binascii
import io
import logging
import mimetypes
import re
import socket
import stat
import weakref
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import paramiko
from pydantic import Field, SecretStr, field_validator, model_validator

from connectors.base import (
    AuthModel,
    ConnectorEnv,
    Entry,
    PacedConfig,
    Page,
    Query,
    TimedUrl,
    key_parts,
    paged,
)
from connectors.egress import Judge
from schemas.connectors import Capability
from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    FieldInvalid,
    SourceNotFound,
    SourceUnavailable,
    Stalled,
)

T = TypeVar("T")
TYPE = "sftp"
IDENTITY = ("host", "port", "username", "folder")
CONNECT_S = 5.0
ANSWER_S = 20.0
MAX_ENTRIES = 100_000
MAX_DEPTH = 32
BLOCK_BYTES = 32 * 1024
WINDOW_BYTES = 16 * 1024 * 1024
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}", re.ASCII)
_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) ([A-Za-z0-9+/=]{40,2000})"
)
# It would log a failed log-in with a trace, and hosts with every connection.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class Config(PacedConfig):
    """Which server, as whom, and which folder; a fileId is a path below it."""

    host: str = Field(max_length=253)
    port: int = Field(default=22, ge=1, le=65535)
    username: str = Field(min_length=1, max_length=255)
    folder: str = Field(default="", max_length=1024, description="the log-in's own where absent")
    host_key: str = Field(
        max_length=8192, description="as in known_hosts, `ssh-ed25519 AAAA…`; one key a line"
    )

    @field_validator("host")
    @classmethod
    def _a_host(cls, host: str) -> str:
        if not _HOST.fullmatch(host):
            raise ValueError("a host is a name or an address")
        return host

    @field_validator("folder")
    @classmethod
    def _a_folder(cls, folder: str) -> str:
        plain = folder.strip("/")
        try:
            named = "/".join(key_parts(plain)) if plain else ""
        except FieldInvalid as error:
            raise ValueError(error.message) from None
        return f"/{named}" if folder.startswith("/") else named

    @field_validator("host_key")
    @classmethod
    def _known_keys(cls, text: str) -> str:
        known = _known(text)
        if not known:
            raise ValueError("a host key is a type and base64, as ssh-keyscan prints them")
        return "\n".join(f"{kind} {key}" for kind, key in known)


class Auth(AuthModel):
    """A password, or a private key in OpenSSH or PEM form."""

    password: SecretStr | None = None
    private_key: SecretStr | None = None
    passphrase: SecretStr | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Auth:
        if (self.password is None) == (self.private_key is None):
            raise ValueError("give either password or privateKey")
        if self.passphrase is not None and self.private_key is None:
            raise ValueError("a passphrase belongs to a privateKey")
        return self


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> SftpFiles:
    """The server's files; nobody is contacted before the first use."""
    return SftpFiles(config, auth, env.egress.judge)


class SftpFiles:
    """Files of one server, over one connection that ends with this object."""

    def __init__(self, config: Config, auth: Auth, judge: Judge) -> None:
        self._config, self._auth, self._judge = config, auth, judge
        self._open: paramiko.SFTPClient | None = None
        self._end: weakref.finalize[..., SftpFiles] | None = None

    def check(self, capability: Capability | None = None) -> None:
        """The log-in works and the folder is there."""
        with self._asking("the folder") as sftp:
            if not stat.S_ISDIR(sftp.stat(self._path(())).st_mode or stat.S_IFDIR):
                raise SourceNotFound("the folder is not one")

    def query(self, query: Query) -> Page:
        """One folder's entries; with a text, everything below it."""
        base = key_parts(query.path) if query.path else ()
        with self._asking(query.path or "the folder") as sftp:
            return paged(_bounded(self._entries(sftp, base, deep=query.text is not None)), query)

    def stat(self, file_id: str) -> Entry:
        """Size and time of a file."""
        parts = key_parts(file_id)
        with self._asking(file_id) as sftp:
            return _entry(parts, _a_file(sftp.stat(self._path(parts)), file_id))

    def read_range(self, file_id: str, offset: int, length: int) -> bytes:
        """These bytes of a file, asked for all at once and not one after the other."""
        path = self._path(key_parts(file_id))
        with self._asking(file_id) as sftp, sftp.open(path, "rb") as file:
            size = _a_file(file.stat(), file_id).st_size or 0
            end = min(offset + length, size)
            if offset >= end:
                return b""
            blocks = [(at, min(BLOCK_BYTES, end - at)) for at in range(offset, end, BLOCK_BYTES)]
            return b"".join(file.readv(blocks))

    def url(self, file_id: str, ttl_s: int) -> TimedUrl | None:
        """None: browsers do not speak SFTP."""
        return None

    def close(self) -> None:
        """End the connection; the next use makes another."""
        if self._end is not None:
            self._end()
        self._open = self._end = None

    def _path(self, parts: tuple[str, ...]) -> str:
        return "/".join(filter(None, [self._config.folder, *parts])) or "."

    def _entries(
        self, sftp: paramiko.SFTPClient, base: tuple[str, ...], *, deep: bool
    ) -> Iterator[Entry]:
        # Read whole first: paramiko asks ahead, and its answers would cross with those below.
        for found in list(_bounded(sftp.listdir_iter(self._path(base)))):
            mode = found.st_mode or 0
            if not _speakable(found.filename):
                continue
            parts = (*base, found.filename)
            if stat.S_ISDIR(mode):
                yield Entry(file_id="/".join(parts), name=found.filename, kind="folder")
                if deep and len(parts) < MAX_DEPTH:
                    yield from self._entries(sftp, parts, deep=True)
            elif stat.S_ISREG(mode):
                yield _entry(parts, found)

    @contextmanager
    def _asking(self, name: str) -> Iterator[paramiko.SFTPClient]:
        try:
            yield self._session()
        except (paramiko.SSHException, EOFError, OSError) as error:
            if not _is_answer(error):
                self.close()
            raise _translated(error, name) from None

    def _session(self) -> paramiko.SFTPClient:
        if self._open is None:
            transport = self._connected()
            self._end = weakref.finalize(self, transport.close)
            opened = paramiko.SFTPClient.from_transport(transport, window_size=WINDOW_BYTES)
            if opened is None:
                raise SourceUnavailable("the server offers no SFTP")
            channel = opened.get_channel()
            if channel is not None:
                channel.settimeout(ANSWER_S)
            self._open = opened
        return self._open

    def _connected(self) -> paramiko.Transport:
        known = _known(self._config.host_key)
        sock = self._judge.connect(self._config.host, self._config.port, CONNECT_S)
        transport = paramiko.Transport(sock)
        try:
            transport.banner_timeout = transport.auth_timeout = ANSWER_S
            wanted = {kind for kind, _ in known}
            options = transport.get_security_options()
            options.key_types = [k for k in options.key_types if _family(k) in wanted]
            transport.start_client(timeout=ANSWER_S)
            shown = transport.get_remote_server_key()
            if (shown.get_name(), shown.get_base64()) not in known:
                raise AccessDenied("the server's host key is not the known one")
            self._log_in(transport)
        except BaseException:
            transport.close()
            raise
        return transport

    def _log_in(self, transport: paramiko.Transport) -> None:
        if self._auth.password is not None:
            secret = self._auth.password.get_secret_value()
            transport.auth_password(self._config.username, secret, fallback=True)
        else:
            transport.auth_publickey(self._config.username, _private_key(self._auth))


def _known(text: str) -> list[tuple[str, str]]:
    """The host keys in some lines of known_hosts or ssh-keyscan."""
    found = [_KEY.search(line) for line in text.splitlines() if not line.startswith("#")]
    return [(m[1], m[2]) for m in found if m and _decodes(m[2])]


def _decodes(text: str) -> bool:
    try:
        return bool(b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return False


def _family(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


def _private_key(auth: Auth) -> paramiko.PKey:
    text = auth.private_key.get_secret_value() if auth.private_key else ""
    secret = auth.passphrase.get_secret_value() if auth.passphrase else None
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text), password=secret)
        except paramiko.PasswordRequiredException:
            raise AccessDenied("the private key needs its passphrase") from None
        except (paramiko.SSHException, ValueError, IndexError, UnicodeError):
            continue
    raise AccessDenied("the private key cannot be read: is it whole, and its passphrase right?")


def _a_file(found: paramiko.SFTPAttributes, name: str) -> paramiko.SFTPAttributes:
    if not stat.S_ISREG(found.st_mode or stat.S_IFREG):
        raise SourceNotFound(f"{name} is not a plain file")
    return found


def _entry(parts: tuple[str, ...], found: paramiko.SFTPAttributes) -> Entry:
    return Entry(
        file_id="/".join(parts),
        name=parts[-1],
        size=found.st_size,
        modified_ms=None if found.st_mtime is None else int(found.st_mtime) * 1000,
        content_type=mimetypes.guess_type(parts[-1])[0],
    )


def _speakable(name: str) -> bool:
    try:
        return len(key_parts(name)) == 1
    except FieldInvalid:
        return False


def _bounded(entries: Iterator[T]) -> Iterator[T]:
    for count, entry in enumerate(entries):
        if count == MAX_ENTRIES:
            raise FieldInvalid(
                f"more than {MAX_ENTRIES} entries: name a folder further down", code="too_many"
            )
        yield entry


def _is_answer(error: BaseException) -> bool:
    """Whether the server said no, rather than nothing."""
    return isinstance(error, OSError) and not isinstance(
        error, TimeoutError | ConnectionError | socket.gaierror
    )


def _translated(error: BaseException, name: str) -> CuttingRoomError:
    """Our error for one of paramiko's; its words may hold addresses and are dropped."""
    match error:
        case paramiko.AuthenticationException():
            return AccessDenied("the server refuses the log-in")
        case paramiko.IncompatiblePeer():
            return AccessDenied("the server shows no host key of a known type")
        case PermissionError():
            return AccessDenied(f"{name} may not be read")
        case FileNotFoundError() | NotADirectoryError() | IsADirectoryError():
            return SourceNotFound(f"{name} is not there")
        case TimeoutError():
            return Stalled("the server did not answer in time")
        case OSError() if error.errno is None:
            return SourceNotFound(f"{name} is not there, or not a plain file")
    return SourceUnavailable("the server could not be reached, or hung up")
