"""The `ftp` connector: files of an FTP server, in the clear or under TLS."""

from __future__ import annotations

import ftplib
import mimetypes
import re
import socket
import ssl
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator

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
    CorruptMedia,
    CuttingRoomError,
    FieldInvalid,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    Stalled,
    Unsupported,
)

TYPE = "ftp"
IDENTITY = ("host", "port", "username", "folder")
CONNECT_S = 5.0
ANSWER_S = 20.0
MAX_ENTRIES = 100_000
MAX_DEPTH = 32
MAX_LINES = 1000
CHUNK_BYTES = 256 * 1024
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}", re.ASCII)
_DENIED = re.compile(r"denied|permission|not allowed", re.IGNORECASE)
_UNKNOWN = frozenset({"500", "501", "502", "504"})


class Config(PacedConfig):
    """Which server, as whom, and which folder; a fileId is a path below it."""

    host: str = Field(max_length=253)
    port: int = Field(default=21, ge=1, le=65535)
    username: str = Field(default="anonymous", min_length=1, max_length=255)
    folder: str = Field(default="", max_length=1024, description="the log-in's own where absent")
    tls: Literal["none", "explicit", "implicit"] = Field(
        default="none", description="without it the password travels in the clear"
    )

    @field_validator("host")
    @classmethod
    def _a_host(cls, host: str) -> str:
        if not _HOST.fullmatch(host):
            raise ValueError("a host is a name or an address")
        return host

    @field_validator("username")
    @classmethod
    def _a_name(cls, name: str) -> str:
        if re.search(r"[\x00-\x1f\x7f]", name):
            raise ValueError("a user name has no control characters")
        return name

    @field_validator("folder")
    @classmethod
    def _a_folder(cls, folder: str) -> str:
        plain = folder.strip("/")
        try:
            named = "/".join(key_parts(plain)) if plain else ""
        except FieldInvalid as error:
            raise ValueError(error.message) from None
        return f"/{named}" if folder.startswith("/") else named


class Auth(AuthModel):
    """A password; an anonymous log-in needs none."""

    password: SecretStr | None = None


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> FtpFiles:
    """The server's files; nobody is contacted before the first use."""
    return FtpFiles(config, auth, env.egress.judge)


class _Judged(ftplib.FTP):
    """A control connection made through the judge, its data connections pinned to the same host."""

    def __init__(self, judge: Judge, config: Config) -> None:
        super().__init__(timeout=ANSWER_S, encoding="utf-8")
        self._judge, self._lines = judge, 0
        self.host, self.port = config.host, config.port

    def greet(self, *, at_once: bool) -> None:
        """Connect, and speak TLS from the first byte where that is wanted `at_once`."""
        plain = self._judge.connect(self.host, self.port, CONNECT_S)
        plain.settimeout(ANSWER_S)
        self.sock = self._wrapped(plain) if at_once else plain
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        return plain

    def getline(self) -> str:
        """A line of an answer, which may have so many and no more."""
        self._lines += 1
        if self._lines > MAX_LINES:
            raise ftplib.error_proto("an answer without end")
        return super().getline()

    def putcmd(self, line: str) -> None:
        """Send a command; its answer may begin to count its lines."""
        self._lines = 0
        super().putcmd(line)

    def makepasv(self) -> tuple[str, int]:
        """Where the data comes from: always the host of the control connection."""
        _, port = super().makepasv()
        host = str(self._peer()[0])
        self._judge.addresses(host, port)
        return host, port

    def _peer(self) -> tuple[Any, ...]:
        if self.sock is None:
            raise ftplib.error_proto("not connected")
        found: tuple[Any, ...] = self.sock.getpeername()
        return found


class _JudgedTls(_Judged, ftplib.FTP_TLS):
    """The same under TLS, for commands and data."""

    def __init__(self, judge: Judge, config: Config) -> None:
        super().__init__(judge, config)
        # ftplib's own would believe any certificate.
        self.context = ssl.create_default_context()

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        return self.context.wrap_socket(plain, server_hostname=self.host)


class FtpFiles:
    """Files of one server, over one control connection that ends with this object."""

    def __init__(self, config: Config, auth: Auth, judge: Judge) -> None:
        self._config, self._auth, self._judge = config, auth, judge
        self._open: _Judged | None = None
        self._end: weakref.finalize[..., FtpFiles] | None = None
        self._data: socket.socket | None = None

    def check(self, capability: Capability | None = None) -> None:
        """The log-in works and the folder may be listed."""
        with self._asking("the folder") as ftp:
            next(self._listed(ftp, ()), None)

    def query(self, query: Query) -> Page:
        """One folder's entries; with a text, everything below it."""
        base = key_parts(query.path) if query.path else ()
        with self._asking(query.path or "the folder") as ftp:
            return paged(_bounded(self._entries(ftp, base, deep=query.text is not None)), query)

    def stat(self, file_id: str) -> Entry:
        """Size and time of a file."""
        parts = key_parts(file_id)
        with self._asking(file_id) as ftp:
            return _entry(parts, self._facts(ftp, self._path(parts), file_id))

    def read_range(self, file_id: str, offset: int, length: int) -> bytes:
        """These bytes of a file, over a data connection of their own."""
        path = self._path(key_parts(file_id))
        with self._asking(file_id) as ftp:
            size = int(self._facts(ftp, path, file_id).get("size", "0"))
            wanted = min(length, size - offset)
            if wanted <= 0:
                return b""
            data = self._received(ftp, path, offset, wanted)
        if len(data) < wanted:
            self.close()
            raise SourceUnavailable(f"{file_id} ended early: {len(data)} bytes of {wanted} came")
        return data

    def url(self, file_id: str, ttl_s: int) -> TimedUrl | None:
        """None: browsers do not speak FTP any more."""
        return None

    def close(self) -> None:
        """End the connection, also under another thread's hands; the next use makes another."""
        with suppress(OSError, AttributeError):
            # A closed socket would let its reader wait on.
            self._data.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        if self._end is not None:
            self._end()
        self._open = self._end = None

    def _received(self, ftp: _Judged, path: str, offset: int, wanted: int) -> bytes:
        data = bytearray()
        with closing(ftp.transfercmd(f"RETR {path}", rest=offset or None)) as source:
            self._data = source
            try:
                while len(data) < wanted:
                    chunk = source.recv(min(CHUNK_BYTES, wanted - len(data)))
                    if not chunk:
                        break
                    data += chunk
            finally:
                self._data = None
        # The server says that it has sent all, or that we have hung up on it.
        with suppress(ftplib.error_temp, ftplib.error_perm):
            ftp.getresp()
        return bytes(data)

    def _path(self, parts: tuple[str, ...]) -> str:
        return "/".join(filter(None, [self._config.folder, *parts]))

    def _facts(self, ftp: _Judged, path: str, name: str) -> dict[str, str]:
        try:
            facts = _mlst(ftp.sendcmd(f"MLST {path}"))
        except ftplib.error_perm as error:
            if str(error)[:3] not in _UNKNOWN:
                raise
            facts = _asked_for(ftp, path)
        if facts.get("type", "file").lower() != "file":
            raise SourceNotFound(f"{name} is not a plain file")
        return facts

    def _entries(self, ftp: _Judged, base: tuple[str, ...], *, deep: bool) -> Iterator[Entry]:
        # Listed whole first: a second listing cannot begin while one is being read.
        for name, facts in list(self._listed(ftp, base)):
            kind, parts = facts.get("type", "").lower(), (*base, name)
            if kind == "dir":
                yield Entry(file_id="/".join(parts), name=name, kind="folder")
                if deep and len(parts) < MAX_DEPTH:
                    yield from self._entries(ftp, parts, deep=True)
            elif kind == "file":
                yield _entry(parts, facts)

    def _listed(self, ftp: _Judged, base: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
        try:
            lines: list[str] = []
            ftp.retrlines(f"MLSD {self._path(base)}".rstrip(), _collect(lines))
        except ftplib.error_perm as error:
            if str(error)[:3] in _UNKNOWN:
                raise Unsupported("the server has no MLSD: it can be read, not listed") from None
            raise
        for line in lines:
            facts, _, name = line.partition(" ")
            if _speakable(name):
                yield name, _parsed(facts)

    @contextmanager
    def _asking(self, name: str) -> Iterator[_Judged]:
        try:
            yield self._session()
        except ftplib.error_perm as error:
            raise _refusal(str(error), name) from None
        except (ftplib.Error, EOFError, OSError) as error:
            self.close()
            raise _translated(error) from None

    def _session(self) -> _Judged:
        if self._open is None:
            ftp = self._logged_in()
            self._end = weakref.finalize(self, ftp.close)
            self._open = ftp
        return self._open

    def _logged_in(self) -> _Judged:
        config, secret = self._config, self._auth.password
        kind = _Judged if config.tls == "none" else _JudgedTls
        ftp = kind(self._judge, config)
        try:
            ftp.greet(at_once=config.tls == "implicit")
            if isinstance(ftp, _JudgedTls) and config.tls == "explicit":
                ftp.auth()
            _log_in(ftp, config.username, secret.get_secret_value() if secret else "guest@")
            if isinstance(ftp, _JudgedTls):
                ftp.prot_p()
            ftp.voidcmd("TYPE I")
            with suppress(ftplib.error_perm):
                ftp.sendcmd("OPTS UTF8 ON")
        except BaseException:
            ftp.close()
            raise
        return ftp


def _log_in(ftp: ftplib.FTP, user: str, password: str) -> None:
    # ftplib's own log-in would turn an explicit TLS on where it is on already.
    answer = ftp.sendcmd(f"USER {user}")
    if answer.startswith("3"):
        answer = ftp.sendcmd(f"PASS {password}")
    if not answer.startswith("2"):
        raise ftplib.error_perm("530 the log-in asks for more than a password")


def _mlst(answer: str) -> dict[str, str]:
    lines = answer.splitlines()
    if len(lines) < 2:
        raise CorruptMedia("the server's answer to MLST makes no sense")
    return _parsed(lines[1].lstrip().partition(" ")[0])


def _parsed(facts: str) -> dict[str, str]:
    pairs = (fact.partition("=") for fact in facts.split(";") if "=" in fact)
    return {name.lower(): value for name, _, value in pairs}


def _asked_for(ftp: _Judged, path: str) -> dict[str, str]:
    """The same facts from a server that has no MLST."""
    facts = {"size": ftp.sendcmd(f"SIZE {path}")[3:].strip()}
    with suppress(ftplib.error_perm):
        facts["modify"] = ftp.sendcmd(f"MDTM {path}")[3:].strip()
    return facts


def _entry(parts: tuple[str, ...], facts: dict[str, str]) -> Entry:
    size = facts.get("size", "")
    return Entry(
        file_id="/".join(parts),
        name=parts[-1],
        size=int(size) if size.isascii() and size.isdigit() else None,
        modified_ms=_instant(facts.get("modify", "")),
        content_type=mimetypes.guess_type(parts[-1])[0],
    )


def _instant(text: str) -> int | None:
    try:
        told = datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(told.timestamp()) * 1000


def _speakable(name: str) -> bool:
    try:
        return len(key_parts(name)) == 1
    except FieldInvalid:
        return False


def _collect(lines: list[str]) -> Any:
    def keep(line: str) -> None:
        if len(lines) > MAX_ENTRIES:
            raise _too_many()
        lines.append(line)

    return keep


def _bounded(entries: Iterator[Entry]) -> Iterator[Entry]:
    for count, entry in enumerate(entries):
        if count == MAX_ENTRIES:
            raise _too_many()
        yield entry


def _too_many() -> FieldInvalid:
    return FieldInvalid(
        f"more than {MAX_ENTRIES} entries: name a folder further down", code="too_many"
    )


def _refusal(answer: str, name: str) -> CuttingRoomError:
    """Our error for a permanent refusal; the server's words may hold paths and are dropped."""
    if answer[:3] in {"530", "532", "331", "332"}:
        return AccessDenied("the server refuses the log-in")
    if answer[:3] in {"550", "551", "553"} and _DENIED.search(answer):
        return AccessDenied(f"{name} may not be read")
    if answer[:3] in {"550", "551", "553", "501"}:
        return SourceNotFound(f"{name} is not there, or not a plain file")
    return SourceUnavailable(f"the server answered {answer[:3]}")


def _translated(error: BaseException) -> CuttingRoomError:
    match error:
        case ftplib.error_temp() if str(error).startswith("421"):
            return RateLimited("the server takes no more connections now")
        case ssl.SSLCertVerificationError():
            return AccessDenied("the server's certificate was not accepted")
        case TimeoutError():
            return Stalled("the server did not answer in time")
    return SourceUnavailable("the server could not be reached, or hung up")
