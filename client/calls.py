"""Calls of operations: credentials put on, POSTs made repeatable, refusals told, pages followed."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from pydantic import BaseModel

from client import credentials
from client.credentials import Credential, Tokens
from client.errors import ApiError, Unreachable, Unreadable
from client.operations import OPERATIONS
from client.retries import pause_s, refusal, wait_s
from client.transport import Body, OpenReply, Reply, Transport
from client.values import Told, read
from schemas.errors import InvalidCommand

MAX_ANSWER_BYTES = 32 * 1024 * 1024
PAGE: Final = 100
# What may have been done although nobody heard so is not done again; a POST carries its own key.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "POST"})
# Whoever stands between is not sent our credential; `startSso` alone answers with a 302.
_MOVED = frozenset({301, 307, 308})
M = TypeVar("M", bound=BaseModel)
Query = Mapping[str, Any]


class Page(Told):
    """Some items of a list, not looked into yet."""

    items: tuple[Any, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, kw_only=True, repr=False)
class Ask:
    """One request, below the root of the service."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    signed: bool = True


class Calls:
    """Every request of a client goes through here."""

    def __init__(
        self,
        url: str,
        credential: Credential,
        *,
        timeout_s: float,
        retries: int,
        pause: Callable[[float], None],
    ) -> None:
        self.url = _root(url)
        self.credential = credential
        self.timeout_s = timeout_s
        self.retries = retries
        self.pause = pause
        self.transport = Transport(timeout_s)
        self._renewing = threading.Lock()

    def value(
        self, model: type[M], operation_id: str, at: Query | None = None, **options: Any
    ) -> M:
        """The value an operation answers, under its ETag where it is told one."""
        reply = self.reply(operation_id, at, **options)
        found = read(model, decoded(reply))
        if "etag" in model.model_fields and "etag" in reply.headers:
            return found.model_copy(update={"etag": reply.headers["etag"]})
        return found

    def pages(
        self,
        model: type[M],
        operation_id: str,
        at: Query | None = None,
        *,
        query: Query | None = None,
        parameter: str = "cursor",
    ) -> Iterator[M]:
        """Every item of a list, asked for page by page as they are used up."""

        def ask(cursor: str | None) -> Reply:
            asked = {"limit": PAGE, **(query or {}), parameter: cursor}
            return self.reply(operation_id, at, query=asked)

        return pages_of(model, ask)

    def reply(
        self,
        operation_id: str,
        at: Query | None = None,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
        key: str | None = None,
        signed: bool = True,
        retries: int | None = None,
    ) -> Reply:
        """The answer of an operation that succeeded; `body` becomes JSON, a str a form."""
        operation = OPERATIONS[operation_id]
        said = {name: value for name, value in (headers or {}).items() if value is not None}
        if operation.method == "POST":
            said["Idempotency-Key"] = key or secrets.token_hex(16)
        data, kind = _encoded(body)
        ask = Ask(
            method=operation.method,
            path=address(operation_id, at) + queried(query),
            headers={"Accept": "application/json", **kind, **said},
            body=data,
            signed=signed,
        )
        return self._tried(ask, self.retries if retries is None else retries)

    @contextmanager
    def stream(self, ask: Ask, read_timeout_s: float | None = None) -> Iterator[OpenReply]:
        """An answer that succeeded, to be read as it comes; nothing is asked again."""
        known = self.credential
        try:
            with self._opened(ask, known, read_timeout_s) as answer:
                yield answer
        except ApiError as error:
            if not (error.status == 401 and self._renewed(known)):
                raise
            # Renewed: whoever reads streams comes again, as after any break.
            raise Unreachable("the access token had to be renewed first") from None

    def renew(self, tokens: Tokens) -> None:
        """Go on with these tokens."""
        self.credential = credentials.of_tokens(tokens)

    def _tried(self, ask: Ask, retries: int) -> Reply:
        """The answer of a request that succeeded, asked again where that helps."""
        for attempt in range(retries + 1):
            last = attempt == retries
            try:
                return self._once(ask)
            except ApiError as error:
                wait = wait_s(error, attempt)
                if last or wait is None:
                    raise
            except Unreachable:
                wait = pause_s(attempt)
                if last or ask.method not in _REPEATABLE:
                    raise
            self.pause(wait)
        raise AssertionError  # the last attempt answers or raises

    def _once(self, ask: Ask) -> Reply:
        known = self.credential
        try:
            return self._answer(ask, known)
        except ApiError as error:
            if error.status != 401 or not ask.signed or not self._renewed(known):
                raise
        return self._answer(ask, self.credential)

    def _answer(self, ask: Ask, credential: Credential) -> Reply:
        with self._opened(ask, credential) as answer:
            return answer.whole(MAX_ANSWER_BYTES)

    @contextmanager
    def _opened(
        self, ask: Ask, credential: Credential, read_timeout_s: float | None = None
    ) -> Iterator[OpenReply]:
        headers = {**ask.headers, **(credential.headers if ask.signed else {})}
        with self.transport.open(
            ask.method,
            self.url + ask.path,
            headers=headers,
            body=ask.body,
            read_timeout_s=read_timeout_s,
        ) as answer:
            if answer.status >= 400 or answer.status in _MOVED:
                raise refusal(answer.whole(MAX_ANSWER_BYTES), datetime.now(UTC))
            yield answer

    def _renewed(self, stale: Credential) -> bool:
        """Whether there is another credential than this one now."""
        with self._renewing:
            if self.credential is not stale:
                return True
            if stale.refresh_token is None:
                return False
            body = {"refreshToken": stale.refresh_token}
            reply = self.reply("refreshToken", body=body, signed=False)
            self.renew(read(Tokens, decoded(reply)))
            return True


def pages_of(model: type[M], ask: Callable[[str | None], Reply]) -> Iterator[M]:
    """Every item of the pages that `ask` answers, given the cursor of the one before."""
    cursor: str | None = None
    while True:
        page = read(Page, decoded(ask(cursor)))
        yield from (read(model, item) for item in page.items)
        if page.next_cursor is None:
            return
        if page.next_cursor == cursor:
            raise Unreadable("the list never ends: its next page is the same one again")
        cursor = page.next_cursor


def address(operation_id: str, at: Query | None = None) -> str:
    """The path of an operation, each id as one segment of it."""
    path = OPERATIONS[operation_id].path
    for name, value in (at or {}).items():
        text = str(value)
        if text in {"", ".", ".."}:
            raise InvalidCommand(f"{text!r} is no {name}")
        path = path.replace(f"{{{name}}}", quote(text, safe=""))
    return path


def decoded(reply: Reply) -> Any:
    """The JSON of an answer."""
    try:
        return json.loads(reply.data)
    except (ValueError, RecursionError):
        raise Unreadable("the answer is no JSON: is this the address of the service?") from None


def _encoded(body: Any) -> tuple[bytes | None, dict[str, str]]:
    if body is None:
        return None, {}
    if isinstance(body, str):
        return body.encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    return json.dumps(body, allow_nan=False).encode(), {"Content-Type": "application/json"}


def queried(query: Query | None) -> str:
    """Parameters as they follow a path; those that are None are left out."""
    words = {name: _word(value) for name, value in (query or {}).items() if value is not None}
    return f"?{urlencode(words)}" if words else ""


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _root(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidCommand("the address of a service begins with http:// or https://")
    if parts.username is not None or parts.query or parts.fragment:
        raise InvalidCommand("the address of a service holds no credentials and no parameters")
    return url.rstrip("/").removesuffix("/v1")
