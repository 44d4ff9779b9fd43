"""The client of one service: its resources, and who is asking."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from client import credentials
from client.accounts import Audit, Keys, Tenant, Users
from client.auth import Auth
from client.calls import Calls
from client.connectors import Connectors
from client.credentials import Credential, Tokens
from client.epg import Epg
from client.errors import ApiError
from client.jobs import Events, Jobs
from client.metadata import Metadata
from client.moments import Clips, Exports, Localize
from client.pictures import Renditions, Thumbnails
from client.projects import Projects
from client.reporter import Reporter
from client.service import Readiness, Version
from client.values import read
from client.webhooks import Webhooks
from schemas.errors import InvalidCommand

TIMEOUT_S = 30.0
RETRIES = 5


class Client:
    """A service at `url`, with an API key, with an access token, or after `login`.

    Every request that is refused for now (429, 503), or that nobody answered, is made again up to
    `retries` times; POSTs carry an idempotency key, so that nothing is done twice by that. A
    `Retry-After` is kept to, up to half a minute: a service that wants more patience raises.
    One client may be used by several threads.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        access_token: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        known = _credential(api_key, access_token)
        self._calls = Calls(url, known, timeout_s=timeout_s, retries=retries, pause=pause)
        self.auth = Auth(self._calls)
        self.keys = Keys(self._calls)
        self.users = Users(self._calls)
        self.tenant = Tenant(self._calls)
        self.audit = Audit(self._calls)
        self.connectors = Connectors(self._calls)
        self.metadata = Metadata(self._calls)
        self.clips = Clips(self._calls)
        self.exports = Exports(self._calls)
        self.localize = Localize(self._calls)
        self.renditions = Renditions(self._calls)
        self.projects = Projects(self._calls)
        self.webhooks = Webhooks(self._calls)
        self.events = Events(self._calls)
        self.jobs = Jobs(self._calls)
        self.epg = Epg(self._calls, self.jobs)
        self.thumbnails = Thumbnails(self._calls, self.jobs)
        self.reporter = Reporter(self._calls, self.jobs)

    @property
    def url(self) -> str:
        """The root of the service."""
        return self._calls.url

    def login(
        self,
        email: str,
        password: str,
        *,
        tenant: str | None = None,
        code: str | None = None,
        new_password: str | None = None,
    ) -> Self:
        """Go on as a user; the session renews itself.

        `code` is of a second factor, `new_password` replaces a temporary one; ChallengePending
        where one of them is asked for and missing.
        """
        told = self.auth.login(email, password, tenant=tenant, code=code, new_password=new_password)
        self.resume(told)
        return self

    def resume(self, tokens: Tokens) -> None:
        """Go on with a session's tokens, however they were come by."""
        self._calls.renew(tokens)

    def version(self) -> Version:
        """Which service this is."""
        return self._calls.value(Version, "getVersion")

    def health(self) -> bool:
        """Whether the process lives; Unreachable where nobody answers."""
        return self._calls.reply("getHealth", signed=False).status == 200

    def readiness(self) -> Readiness:
        """Whether the service can work, and what of it cannot."""
        try:
            return self._calls.value(Readiness, "getReadiness", signed=False, retries=0)
        except ApiError as error:
            if "ready" not in error.more:
                raise
            return read(Readiness, error.more)

    def metrics(self) -> str:
        """Its numbers, as Prometheus reads them."""
        said = {"Accept": "*/*"}
        return self._calls.reply("getMetrics", headers=said).data.decode(errors="replace")

    def close(self) -> None:
        """Let every connection go."""
        self._calls.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"


def _credential(api_key: str | None, access_token: str | None) -> Credential:
    if api_key is not None and access_token is not None:
        raise InvalidCommand("give an API key or an access token, not both")
    if api_key is not None:
        return credentials.of_key(api_key)
    return credentials.NOBODY if access_token is None else credentials.of_access(access_token)
