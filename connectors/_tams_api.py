"""A TAMS store's API over HTTP: pages, credentials, and what its refusals mean."""

from __future__ import annotations

import json
import re
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlencode, urljoin, urlsplit, urlunsplit

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator, model_validator

from connectors.base import AuthModel, ConnectorEnv, Control
from connectors.egress import Answer, Body, redacted, retry_after_s
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    CuttingRoomError,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    TooLarge,
)
from schemas.media import ByteRange

MAX_PAGE_BYTES = 16 * 1024 * 1024
MAX_TOKEN_BYTES = 64 * 1024
MAX_PAGES = 1000
PAGE_ITEMS = 500
TOKEN_EARLY_S, TOKEN_USUAL_S, TOKEN_LONGEST_S = 30, 300, 24 * 3600
_NEXT = re.compile(r'<([^<>]{1,8192})>\s*;[^,<]{0,200}?\brel="?next"?', re.IGNORECASE)
V = TypeVar("V", bound=BaseModel)


class Auth(AuthModel):
    """At most one of: a bearer token, a user with a password, a token in the URL, an OAuth client.

    The client fetches its tokens at `tokenUrl` by the client credentials grant.
    """

    bearer: SecretStr | None = None
    username: str | None = Field(default=None, max_length=255)
    password: SecretStr | None = None
    access_token: SecretStr | None = None
    client_id: str | None = Field(default=None, max_length=1024)
    client_secret: SecretStr | None = None
    token_url: str | None = Field(default=None, max_length=2048)
    scope: str | None = Field(default=None, pattern=r"^[\x21\x23-\x5b\x5d-\x7e ]{1,1024}$")

    @field_validator("token_url")
    @classmethod
    def _plain(cls, url: str | None) -> str | None:
        return None if url is None else checked_url(url)

    @model_validator(mode="after")
    def _is_one_way(self) -> Auth:
        if (self.username is None) != (self.password is None):
            raise ValueError("a user and a password go together")
        client = (self.client_id, self.client_secret, self.token_url)
        if len({part is None for part in client}) > 1:
            raise ValueError("clientId, clientSecret and tokenUrl go together")
        ways = (self.bearer, self.username, self.access_token, self.client_id)
        if sum(way is not None for way in ways) > 1:
            raise ValueError("give one of bearer, username, accessToken, clientId")
        if self.bearer is not None and not _is_token(self.bearer.get_secret_value()):
            raise ValueError("the bearer token has characters a header cannot carry")
        return self


class Api:
    """The store's API: pages, credentials, and what its refusals mean."""

    def __init__(self, base: str, auth: Auth, env: ConnectorEnv) -> None:
        self._base, self._auth, self._env = base, auth, env
        self._own = _origin(base)
        self._lock = threading.Lock()
        self._token: tuple[SecretStr, int] | None = None

    def get_object(self, path: str, control: Control | None) -> dict[str, Any]:
        """The JSON object at a path."""
        found = _parsed(self.ask("GET", f"{self._base}{path}", None, control))
        if not isinstance(found, dict):
            raise CorruptMedia(f"the store answered {path.partition('?')[0]} with no object")
        return found

    def listed(
        self, path: str, query: Mapping[str, str], kind: type[V], most: int, control: Control | None
    ) -> Iterator[V]:
        """The items of a listing, page after page; TooLarge past `most`."""
        url: str | None = f"{self._base}{path}?{urlencode({'limit': str(PAGE_ITEMS), **query})}"
        seen: set[str] = set()
        count = 0
        while url is not None:
            if url in seen or len(seen) == MAX_PAGES:
                raise CorruptMedia(f"the store's pages of {path} have no end")
            seen.add(url)
            answer = self.ask("GET", url, None, control)
            for item in _items(answer, path):
                count += 1
                if count > most:
                    raise TooLarge(f"the store lists more than {most} at {path}")
                yield valid(kind, item)
            url = self._next(url, answer) if most > 1 else None

    def _next(self, url: str, answer: Answer) -> str | None:
        key = answer.headers.get("x-paging-nextkey")
        if key:
            parts = urlsplit(url)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            return urlunsplit(parts._replace(query=urlencode(query | {"page": key})))
        found = _NEXT.search(answer.headers.get("link", "")[:16384])
        if found is None:
            return None
        target = urljoin(url, found[1])
        if _origin(target) != self._own:
            raise AccessDenied("the store's next page is on another host")
        return _without(target, "access_token")

    def get_bytes(
        self, url: str, max_bytes: int, byte_range: ByteRange | None, control: Control | None
    ) -> Body:
        """Any resource a playlist names."""
        body = self._env.egress.get_bytes(
            self.signed(url),
            max_bytes=max_bytes,
            headers=self.headers(url, control),
            byte_range=byte_range,
            control=control,
        )
        return body.model_copy(update={"url": url})

    def ask(self, method: str, url: str, body: Any, control: Control | None) -> Answer:
        """The answer to a request of the API; a token that is refused is fetched once more."""
        answer = self._sent(method, url, body, control)
        if answer.status == 401 and self._auth.client_id is not None:
            self._token = None
            answer = self._sent(method, url, body, control)
        _raise_for_status(answer, url)
        return answer

    def _sent(self, method: str, url: str, body: Any, control: Control | None) -> Answer:
        headers = {"Accept": "application/json", **self.headers(url, control)}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._env.egress.request(
            method,
            self.signed(url),
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            max_bytes=MAX_PAGE_BYTES,
            max_redirects=3 if method == "GET" else 0,
            control=control,
        )

    def headers(self, url: str, control: Control | None) -> dict[str, str]:
        """What proves who asks, for the store's own origin alone."""
        if _origin(url) != self._own:
            return {}
        if self._auth.bearer is not None:
            return {"Authorization": f"Bearer {self._auth.bearer.get_secret_value()}"}
        if self._auth.username is not None and self._auth.password is not None:
            return _basic(self._auth.username, self._auth.password.get_secret_value())
        if self._auth.client_id is not None:
            return {"Authorization": f"Bearer {self._granted(control)}"}
        return {}

    def signed(self, url: str) -> str:
        """The address with the token that belongs into it."""
        if self._auth.access_token is None or _origin(url) != self._own:
            return url
        parts = urlsplit(url)
        token = urlencode({"access_token": self._auth.access_token.get_secret_value()})
        return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, token]))))

    def _granted(self, control: Control | None) -> str:
        """The client's token, a new one where the last has almost run out."""
        with self._lock:
            now_ms = self._env.clock()
            if self._token is None or self._token[1] <= now_ms:
                token, lasts_s = self._grant(control)
                until = now_ms + max(lasts_s - TOKEN_EARLY_S, 1) * 1000
                self._token = (SecretStr(token), until)
            return self._token[0].get_secret_value()

    def _grant(self, control: Control | None) -> tuple[str, int]:
        """A token and for how many seconds it is good: RFC 6749 4.4."""
        auth, secret = self._auth, self._auth.client_secret
        form = {"grant_type": "client_credentials"} | ({"scope": auth.scope} if auth.scope else {})
        pair = (quote(auth.client_id or "", safe=""), quote(_plain_text(secret), safe=""))
        answer = self._env.egress.request(
            "POST",
            auth.token_url or "",
            data=urlencode(form).encode(),
            headers={
                "Accept": "application/json",
                "Content-Type": "application/x-www-form-urlencoded",
                **_basic(*pair),
            },
            max_bytes=MAX_TOKEN_BYTES,
            control=control,
        )
        if answer.status in {400, 401, 403}:
            raise AccessDenied("the authorisation server refuses the client")
        _raise_for_status(answer, auth.token_url or "")
        found = _parsed(answer)
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not _is_token(token):
            raise SourceUnavailable("the authorisation server gave no token")
        lasts = found.get("expires_in")
        known = isinstance(lasts, int) and lasts > 0
        return token, min(lasts, TOKEN_LONGEST_S) if known else TOKEN_USUAL_S


def _plain_text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"}


def _is_token(text: str) -> bool:
    return re.fullmatch(r"[\x21-\x7e]{1,8192}", text, re.ASCII) is not None


def checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("an http or https URL with a host is needed")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("credentials and queries belong in auth, where they stay secret")
    if not re.fullmatch(r"[\x21\x23-\x7e]+", url, re.ASCII):
        raise ValueError("a URL has printable ASCII characters")
    return url.rstrip("/")


def _origin(url: str) -> tuple[str, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", "", 0
    return parts.scheme, (parts.hostname or "").lower(), port


def _without(url: str, name: str) -> str:
    parts = urlsplit(url)
    kept = [part for part in parts.query.split("&") if part and part.partition("=")[0] != name]
    return urlunsplit(parts._replace(query="&".join(kept)))


def _items(answer: Answer, path: str) -> list[Any]:
    found = _parsed(answer)
    if not isinstance(found, list):
        raise CorruptMedia(f"the store answered {path} with no list")
    return found


def _parsed(answer: Answer) -> Any:
    try:
        return json.loads(answer.data)
    except (ValueError, RecursionError):
        raise CorruptMedia("the store answered something that is not JSON") from None


def valid(kind: type[V], found: object) -> V:
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = "/".join(str(step) for step in first["loc"])
        raise CorruptMedia(f"the store's {kind.__name__} is not one: {where[:80]}") from None


def _raise_for_status(answer: Answer, url: str) -> None:
    if 200 <= answer.status < 300:
        return
    raise _refusal(answer, redacted(url))


def _refusal(answer: Answer, shown: str) -> CuttingRoomError:
    match answer.status:
        case 401 | 403:
            return AccessDenied(f"{shown} answered {answer.status}")
        case 400 | 404 | 410:
            return SourceNotFound(f"{shown} answered {answer.status}")
        case 429:
            wait_s = retry_after_s(answer.headers.get("retry-after"), 0.0)
            return RateLimited(f"{shown} answered 429", retry_after_s=wait_s)
    return SourceUnavailable(f"{shown} answered {answer.status}")
