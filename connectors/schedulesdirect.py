"""The `schedulesdirect` connector: guides of Schedules Direct's JSON service, API 20141201.

Written from its published documentation: a token for a SHA-1 of the password, the status, the
account's lineups, schedules by station and day where their MD5 has changed, then the programs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, field_validator

from connectors.base import AuthModel, ConfigModel, ConnectorEnv, Control, OnBytes
from connectors.egress import Answer, retry_after_s
from schemas.connectors import Capability
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    CuttingRoomError,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    TooLarge,
)
from schemas.guides import GuideDocument, GuideFile, GuideWanted

TYPE = "schedulesdirect"
IDENTITY = ("base_url", "lineups", "username")
BASE_URL = "https://json.schedulesdirect.org/20141201"
MAX_SMALL_BYTES = 1024 * 1024
MAX_BATCH_BYTES = 64 * 1024 * 1024
MAX_LINEUPS = 16
MAX_PROGRAMS = 50_000
# The service takes 5,000 at a time; smaller answers are kinder to our memory.
STATIONS_A_BATCH, PROGRAMS_A_BATCH = 500, 1_000
OFFLINE_S, BUSY_S, LOCKED_S = 3600.0, 60.0, 15 * 60.0
_OFFLINE, _TOKEN_EXPIRED = 3000, 4006
_LATER = {
    _OFFLINE: OFFLINE_S,
    4004: LOCKED_S,
    4009: 24 * OFFLINE_S,
    4010: 24 * OFFLINE_S,
    6001: BUSY_S,
    7100: BUSY_S,
    9999: OFFLINE_S,
}
_QUEUED = 6001
_DENIED = frozenset({4001, 4002, 4003, 4005, 4007, 4008})
_MISSING = frozenset({2100, 2101, 2102, 2103, 2104, 2105, 4102, 7000, 7030})
_MEANING = {
    3000: "the service is offline for maintenance",
    4001: "the account has expired",
    4002: "the password's hash was not taken",
    4003: "the user name or the password is not right",
    4004: "the account is locked after too many failed log-ins",
    4005: "the account is disabled",
    4007: "this application is not allowed to use the service",
    4008: "the account is not active yet",
    4009: "there were too many log-ins today",
    4010: "the account was used from too many addresses today",
    2100: "there is no such lineup in the account",
    4102: "the account has no lineups: add one at schedulesdirect.org",
}


class Config(ConfigModel):
    """Which lineups of the account; all of them where none is named."""

    username: str = Field(min_length=1, max_length=200)
    lineups: tuple[str, ...] = Field(default=(), max_length=MAX_LINEUPS)
    base_url: str = Field(default=BASE_URL, max_length=2048)

    @field_validator("base_url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("an http or https URL with a host is needed")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("a URL without credentials and query")
        return url.rstrip("/")


class Auth(AuthModel):
    """The account's password; only its SHA-1 leaves, as the service wants it."""

    password: SecretStr


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> SchedulesDirect:
    """The account; nobody has logged in yet."""
    return SchedulesDirect(config, auth, env)


class SchedulesDirect:
    """One account of the service."""

    def __init__(self, config: Config, auth: Auth, env: ConnectorEnv) -> None:
        self._config, self._auth, self._env = config, auth, env
        self._token: SecretStr | None = None

    def check(self, capability: Capability | None = None) -> None:
        """The account logs in, and the service is up."""
        self._log_in(None)
        self._require_online(None)

    def guide(
        self,
        wanted: GuideWanted,
        folder: Path,
        *,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> GuideDocument:
        """Lineups, then what has changed of the wanted stations' days, then their programs."""
        bringing = _Bringing(folder, on_bytes)
        self._log_in(control)
        self._require_online(control)
        for name in self._lineups(control):
            answer = self._ask("GET", f"/lineups/{quote(name, safe='')}", None, control)
            bringing.keep("lineup", answer)
        validators = self._schedules(wanted, bringing, control)
        return GuideDocument(
            format="schedulesdirect", files=tuple(bringing.files), validators=validators
        )

    def _schedules(
        self, wanted: GuideWanted, bringing: _Bringing, control: Control | None
    ) -> dict[str, str]:
        days = _days(wanted)
        validators: dict[str, str] = {}
        programs: dict[str, None] = {}
        shown: dict[str, frozenset[str]] = {}
        for stations in _batches(wanted.stations, STATIONS_A_BATCH):
            asked = [{"stationID": one, "date": days} for one in stations]
            current = _md5s(_parsed(self._ask("POST", "/schedules/md5", asked, control)))
            validators |= current
            changed = _changed(current, wanted.known)
            if not changed:
                continue
            answer = self._ask("POST", "/schedules", changed, control)
            schedules = _listed(_parsed(answer))
            _drop_unready(schedules, validators)
            programs |= dict.fromkeys(_program_ids(schedules))
            shown |= _shown(schedules)
            bringing.keep("schedules", answer)
        if len(programs) > MAX_PROGRAMS:
            raise TooLarge(f"more than {MAX_PROGRAMS} programs: map fewer stations")
        queued: set[str] = set()
        for batch in _batches(tuple(programs), PROGRAMS_A_BATCH):
            answer = self._ask("POST", "/programs", list(batch), control)
            queued |= _queued(_listed(_parsed(answer)))
            bringing.keep("programs", answer)
        return {n: md5 for n, md5 in validators.items() if not queued & shown.get(n, frozenset())}

    def _lineups(self, control: Control | None) -> tuple[str, ...]:
        if self._config.lineups:
            return self._config.lineups
        found = _parsed(self._ask("GET", "/lineups", None, control))
        entries = _listed(found.get("lineups") if isinstance(found, dict) else None)
        names = [str(e["lineup"]) for e in entries if e.get("lineup") and not e.get("isDeleted")]
        if not names:
            raise SourceNotFound(f"Schedules Direct: {_MEANING[4102]}")
        return tuple(names[:MAX_LINEUPS])

    def _log_in(self, control: Control | None) -> None:
        password = self._auth.password.get_secret_value().encode()
        hashed = hashlib.sha1(password, usedforsecurity=False).hexdigest()
        body = {"username": self._config.username, "password": hashed}
        self._token = None
        answer = _parsed(self._ask("POST", "/token", body, control))
        token = answer.get("token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token.isalnum() or len(token) > 256:
            raise SourceUnavailable("Schedules Direct gave no token")
        self._token = SecretStr(token)

    def _require_online(self, control: Control | None) -> None:
        status = _parsed(self._ask("GET", "/status", None, control))
        states = _listed(status.get("systemStatus") if isinstance(status, dict) else None)
        if states and str(states[0].get("status", "")).lower() != "online":
            _refuse(_OFFLINE)

    def _ask(self, method: str, path: str, body: Any, control: Control | None) -> bytes:
        """The answer's bytes; a token that has expired is renewed once."""
        answer = self._sent(method, path, body, control)
        code = _code(answer)
        if code == _TOKEN_EXPIRED and self._token is not None:
            self._log_in(control)
            answer = self._sent(method, path, body, control)
            code = _code(answer)
        if code:
            _refuse(code)
        _raise_for_status(answer)
        return answer.data

    def _sent(self, method: str, path: str, body: Any, control: Control | None) -> Answer:
        # The service refuses who does not take compressed answers (code 1002).
        headers = {"Accept": "application/json", "Accept-Encoding": "deflate,gzip"}
        if self._token is not None:
            headers["token"] = self._token.get_secret_value()
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._env.egress.request(
            method,
            self._config.base_url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            max_bytes=MAX_SMALL_BYTES if path in {"/token", "/status"} else MAX_BATCH_BYTES,
            control=control,
        )


class _Bringing:
    """The files that have been brought."""

    def __init__(self, folder: Path, on_bytes: OnBytes | None) -> None:
        self._folder, self._on_bytes = folder, on_bytes
        self.files: list[GuideFile] = []

    def keep(self, role: Any, data: bytes) -> None:
        """One answer, as a file of its own."""
        file = GuideFile(name=f"{role}-{len(self.files):04d}.json", role=role)
        (self._folder / file.name).write_bytes(data)
        self.files.append(file)
        if self._on_bytes:
            self._on_bytes(len(data))


def _days(wanted: GuideWanted) -> list[str]:
    first = datetime.fromtimestamp(wanted.range.start_ms / 1000, UTC)
    count = -(-wanted.range.length_ms // (24 * 3600 * 1000))
    return [(first + timedelta(days=n)).strftime("%Y-%m-%d") for n in range(min(count, 30))]


def _md5s(answer: Any) -> dict[str, str]:
    """By `station/day`, the MD5 of each schedule that is ready."""
    found: dict[str, str] = {}
    for station, days in (answer if isinstance(answer, dict) else {}).items():
        for day, entry in (days if isinstance(days, dict) else {}).items():
            if isinstance(entry, dict) and not entry.get("code") and entry.get("md5"):
                found[f"{station}/{day}"] = str(entry["md5"])[:64]
    return found


def _changed(current: dict[str, str], known: dict[str, str]) -> list[dict[str, Any]]:
    days: dict[str, list[str]] = {}
    for name, md5 in current.items():
        if known.get(name) != md5:
            station, _, day = name.partition("/")
            days.setdefault(station, []).append(day)
    return [{"stationID": station, "date": dates} for station, dates in days.items()]


def _drop_unready(schedules: Sequence[dict[str, Any]], validators: dict[str, str]) -> None:
    """Forget the MD5 of what is still being made, so that the next refresh asks again."""
    for one in schedules:
        if one.get("code"):
            for name in [n for n in validators if n.startswith(f"{one.get('stationID')}/")]:
                del validators[name]


def _shown(schedules: Sequence[dict[str, Any]]) -> dict[str, frozenset[str]]:
    """By `station/day`, the programs of each schedule that came."""
    found: dict[str, frozenset[str]] = {}
    for one in schedules:
        told = one.get("metadata")
        day = told.get("startDate") if isinstance(told, dict) else None
        found[f"{one.get('stationID')}/{day}"] = frozenset(_program_ids([one]))
    return found


def _queued(programs: Sequence[dict[str, Any]]) -> set[str]:
    """The programs the service is still preparing: it tells so in their places."""
    return {str(one.get("programID")) for one in programs if one.get("code") == _QUEUED}


def _program_ids(schedules: Sequence[dict[str, Any]]) -> Iterator[str]:
    for one in schedules:
        for entry in _listed(one.get("programs")):
            program_id = entry.get("programID")
            if isinstance(program_id, str) and program_id.isalnum() and len(program_id) <= 32:
                yield program_id


def _batches(items: tuple[str, ...], size: int) -> Iterator[tuple[str, ...]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _code(answer: Answer) -> int:
    """The service's own code, which it gives whatever the HTTP status; 0 is success."""
    if answer.data[:1] != b"{" or len(answer.data) > MAX_SMALL_BYTES:
        return 0
    with suppress(ValueError, RecursionError):
        code = json.loads(answer.data).get("code", 0)
        return code if isinstance(code, int) else 0
    return 0


def _refuse(code: int) -> NoReturn:
    raise _error(code)


def _error(code: int) -> CuttingRoomError:
    text = f"Schedules Direct: {_MEANING.get(code, 'the request was refused')} (code {code})"
    if code in _LATER:
        return RateLimited(text, retry_after_s=_LATER[code])
    if code in _DENIED:
        return AccessDenied(text)
    return SourceNotFound(text) if code in _MISSING else SourceUnavailable(text)


def _raise_for_status(answer: Answer) -> None:
    if answer.status == 200:
        return
    text = f"Schedules Direct answered {answer.status}"
    if answer.status in {401, 403}:
        raise AccessDenied(text)
    if answer.status == 404:
        raise SourceNotFound(text)
    if answer.status == 429:
        wait_s = retry_after_s(answer.headers.get("retry-after"), 0.0)
        raise RateLimited(text, retry_after_s=wait_s or BUSY_S)
    raise SourceUnavailable(text)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise CorruptMedia(
            "Schedules Direct answered what is not JSON", code="guide_invalid"
        ) from None


def _listed(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
