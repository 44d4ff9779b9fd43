"""What every way of logging in shares: judging passwords, sessions, letters, the audit log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal, NamedTuple, TypeVar

import anyio
import anyio.to_thread
import structlog
from starlette.requests import Request

from api_gateway.auth import address
from api_gateway.deps import Gateway, in_thread
from api_gateway.mail import Letter
from api_gateway.problems import Problem
from catalog.accounts import normal_email
from catalog.engine import Transaction
from catalog.sessions import SsoLink
from schemas.accounts import Candidate, Session
from schemas.base import WireValue

MAX_TENANTS = 8
TEMPORARY_MS = 7 * 24 * 3600_000
_DAY_MS = 24 * 3600_000
_MAX_WAITING = 32
T = TypeVar("T")
_log = structlog.get_logger("logins")


class TokensView(WireValue):
    """A session's tokens; `expiresIn` is of the access token, in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int
    mfa_enrolment_required: bool = False


class Started(NamedTuple):
    """A session that has begun, and its refresh token."""

    session: Session
    refresh_token: str


class From(NamedTuple):
    """Where a request comes from, for the audit log."""

    address: str
    agent: str | None

    @classmethod
    def of(cls, request: Request) -> From:
        """Of a request."""
        return cls(address(request), request.headers.get("user-agent"))


@asynccontextmanager
async def floor(gateway: Gateway) -> AsyncIterator[None]:
    """A refusal inside is not answered before the floor: how long it took tells nothing."""
    started = time.monotonic()
    try:
        yield
    except Problem:
        left_s = gateway.settings.answer_floor_ms / 1000 - (time.monotonic() - started)
        if left_s > 0:
            await anyio.sleep(left_s)
        raise


async def hashing(gateway: Gateway, call: Callable[[], T]) -> T:
    """The answer of a call that hashes passwords; 503 where too many wait already."""
    if gateway.hashing.statistics().tasks_waiting >= _MAX_WAITING:
        raise Problem(
            503, "too many log-ins at once; try again", code="busy", headers={"Retry-After": "2"}
        )
    return await anyio.to_thread.run_sync(call, limiter=gateway.hashing)


async def admit(gateway: Gateway, name: str) -> None:
    """Count an attempt; 429 `locked` after too many, alike for known and unknown names."""
    given = gateway.settings

    def take() -> int:
        with gateway.catalog.write() as tx:
            return tx.attempts.take(name, given.lock_after, given.lock_s * 1000)

    wait_ms = await in_thread(take)
    if wait_ms > 0:
        raise Problem(
            429,
            "too many wrong attempts; wait, or recover the password by mail",
            code="locked",
            headers={"Retry-After": str(max(1, -(-wait_ms // 1000)))},
        )


def login_name(email: str) -> str:
    """The name wrong passwords of an address are counted under."""
    return f"login:{normal_email(email)}"


async def matching(
    gateway: Gateway, email: str, password: str, tenant: str | None
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Whom an address may mean, and of those whose password this is."""

    def read() -> tuple[Candidate, ...]:
        with gateway.catalog.read() as tx:
            return tx.users.candidates(email, tenant, MAX_TENANTS)

    found = await in_thread(read)

    def judge() -> tuple[Candidate, ...]:
        if not found:
            gateway.passwords.matches(None, password)
        return tuple(c for c in found if gateway.passwords.matches(c.password_hash, password))

    return found, await hashing(gateway, judge)


def start(
    gateway: Gateway,
    tx: Transaction,
    tenant_id: str,
    user_id: str,
    session_id: str | None = None,
    sso: SsoLink | None = None,
) -> Started:
    """A new session."""
    lives_ms = gateway.settings.session_days * _DAY_MS
    tx.users.logged_in(tenant_id, user_id)
    return Started(*tx.sessions.start(tenant_id, user_id, lives_ms, session_id, sso))


def tokens(gateway: Gateway, started: Started) -> TokensView:
    """The tokens of a session; blocking."""
    with gateway.catalog.read() as tx:
        check = tx.sessions.check(started.session.id)
    if check is None:
        raise Problem(401, "the session has ended")
    return TokensView(
        access_token=gateway.tokens.issue(started.session, check.role),
        refresh_token=started.refresh_token,
        expires_in=gateway.tokens.lives_s,
        mfa_enrolment_required=check.enrolling,
    )


def note(
    tx: Transaction, tenant_id: str, user_id: str, action: str, origin: From, **detail: str
) -> None:
    """Write into the audit log what a user did before he had a credential."""
    tx.audit.add(
        tenant_id,
        f"user:{user_id}",
        action,
        address=origin.address,
        agent=origin.agent,
        detail=detail,
    )


def forget_sessions(gateway: Gateway, ended: tuple[str, ...]) -> None:
    """Have this process look again at sessions that ended; others do within seconds."""
    for session_id in ended:
        gateway.sessions.drop(session_id)


async def send(gateway: Gateway, letter: Letter) -> None:
    """Send a letter behind the answer; what keeps it from being sent is for the operator."""
    try:
        await in_thread(gateway.mailer.send, letter)
    except OSError as error:
        _log.error("a letter was not written", error=type(error).__name__)


def temporary_password_letter(gateway: Gateway, email: str, tenant: str, password: str) -> Letter:
    """How a new user learns of it."""
    return Letter(
        to=email,
        subject="Your account at cuttingroom",
        text=(
            f"You have an account for {tenant} at {gateway.settings.public_url}.\n\n"
            f"Temporary password: {password}\n\n"
            "It works once, for seven days; you will choose your own when you log in.\n"
        ),
    )
