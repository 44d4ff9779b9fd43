"""Credential -> Principal: an API key or an access token, refused in the same words."""

from __future__ import annotations

import hmac
from collections.abc import Set
from typing import Literal

from starlette.requests import Request

from api_gateway.accesstokens import Claims
from api_gateway.deps import Gateway, in_thread
from api_gateway.problems import Problem
from api_gateway.ratelimit import Allowance
from catalog import keys
from catalog.accounts import LAST_USED_STEP_MS
from catalog.engine import Catalog
from schemas.accounts import ROLE_SCOPES, ApiKey, KeyCheck, Principal, Scope, SessionCheck
from schemas.errors import StoreUnavailable

# What an operation asks for: a scope, or that the caller is a user who has logged in.
Need = Scope | Literal["session"]
# What a caller may be in the middle of, and still use an operation that says so.
Meanwhile = Literal["enrolling", "deleting"]
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cuttingroom", ApiKey'}


async def authenticate(
    request: Request, gateway: Gateway, need: Need, meanwhile: Set[str] = frozenset()
) -> Principal:
    """Who asks, allowed to do this; 401, 403 or 429 where not."""
    principal = await believed(request, gateway)
    if principal is None:
        spend(request, gateway.addresses.take(address(request)))
        raise unauthenticated(request)
    spend(request, gateway.credentials.take(principal.key_id or principal.subject))
    _allow(principal, need, meanwhile)
    return principal


async def believed(request: Request, gateway: Gateway) -> Principal | None:
    """Whose credential a request carries; None where it carries none that is good."""
    token = bearer(request)
    if token is not None:
        check = await _session(gateway, token)
        return None if check is None else _of_session(check[1])
    key = await _key(request, gateway)
    if key is None:
        return None
    _note_use(gateway, key.key)
    return _of_key(key)


async def still_allowed(request: Request, gateway: Gateway, need: Need) -> bool:
    """Whether the credential of an answer that is still being sent is good for it by now."""
    principal = await believed(request, gateway)
    if principal is None:
        return False
    try:
        _allow(principal, need, frozenset())
    except Problem:
        return False
    return True


async def judged(gateway: Gateway, token: str) -> tuple[Claims, SessionCheck] | None:
    """What an access token says, and of its session; None where either is no good."""
    return await _session(gateway, token)


def bearer(request: Request) -> str | None:
    """The token of an Authorization header; an empty one where it has another form."""
    given = request.headers.get("authorization")
    if given is None:
        return None
    scheme, _, token = given.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def address(request: Request) -> str:
    """Where a request comes from: the peer, or what a trusted proxy says of it."""
    return request.client.host if request.client else "unknown"


def spend(request: Request, allowance: Allowance) -> None:
    """Refuse with 429 where nothing is left; the answer says what is."""
    request.state.rate = allowance.headers
    if not allowance.allowed:
        raise Problem(
            429,
            f"more than {allowance.limit} requests a minute; wait {allowance.reset_s} s",
            headers=allowance.headers,
        )


def unauthenticated(request: Request) -> Problem:
    """The refusal of a request without a good credential."""
    if request.headers.get("authorization"):
        detail = "this access token is invalid, expired, or its session has ended"
    elif request.headers.get("x-api-key"):
        detail = "this API key is unknown, disabled, expired or mistyped"
    else:
        detail = "send an API key as X-Api-Key, or an access token as Authorization: Bearer"
    return Problem(401, detail, headers=_CHALLENGE)


def _allow(principal: Principal, need: Need, meanwhile: Set[str]) -> None:
    if principal.deleting and "deleting" not in meanwhile:
        raise Problem(
            403,
            "this tenant is about to be deleted; restore it first",
            code="tenant_deleting",
        )
    if principal.enrolling and "enrolling" not in meanwhile:
        raise Problem(
            403,
            "a second factor is required here; enrol one first",
            code="mfa_enrolment_required",
        )
    if need == "session":
        if principal.session_id is None:
            raise Problem(403, "this is for users who have logged in, not for API keys")
    elif need not in principal.scopes:
        has = ", ".join(sorted(principal.scopes))
        raise Problem(403, f"this needs the scope {need!r}; the credential has {has}")


def _of_key(check: KeyCheck) -> Principal:
    return Principal(
        tenant_id=check.key.tenant_id,
        subject=f"key:{check.key.id}",
        scopes=frozenset(check.key.scopes),
        key_id=check.key.id,
        deleting=check.deleting,
    )


def _of_session(check: SessionCheck) -> Principal:
    return Principal(
        tenant_id=check.session.tenant_id,
        subject=f"user:{check.session.user_id}",
        scopes=ROLE_SCOPES[check.role],
        user_id=check.session.user_id,
        session_id=check.session.id,
        enrolling=check.enrolling,
        deleting=check.deleting,
    )


async def _session(gateway: Gateway, token: str) -> tuple[Claims, SessionCheck] | None:
    if gateway.tokens.knows(token):
        claims = gateway.tokens.judge(token)
    else:
        claims = await in_thread(gateway.tokens.judge, token)
    if claims is None:
        return None
    cached = gateway.sessions.get(claims.session_id)
    if cached is None:
        found = await in_thread(_look_up_session, gateway.catalog, claims.session_id)
        cached = (gateway.sessions.put(found, claims.session_id),)
    check = cached[0]
    if check is None or check.session.user_id != claims.user_id:
        return None
    return claims, check


def _look_up_session(catalog: Catalog, session_id: str) -> SessionCheck | None:
    with catalog.read() as tx:
        return tx.sessions.check(session_id)


async def _key(request: Request, gateway: Gateway) -> KeyCheck | None:
    secret = request.headers.get("x-api-key", "")
    public_id = keys.public_id(secret)
    if public_id is None:
        return None
    check = await _check(gateway, public_id)
    if check is None or not _matches(check, secret, gateway.clock()):
        return None
    return check


async def _check(gateway: Gateway, public_id: str) -> KeyCheck | None:
    cached = gateway.keys.get(public_id)
    if cached is not None:
        return cached[0]
    return gateway.keys.put(await in_thread(_look_up, gateway.catalog, public_id), public_id)


def _look_up(catalog: Catalog, public_id: str) -> KeyCheck | None:
    with catalog.read() as tx:
        return tx.api_keys.check(public_id)


def _matches(check: KeyCheck, secret: str, now_ms: int) -> bool:
    presented = keys.digest(secret)
    expires_ms = check.key.expires_ms
    if not check.key.enabled or (expires_ms is not None and expires_ms <= now_ms):
        return False
    fits = [
        hmac.compare_digest(presented, stored)
        for stored, dies_ms in check.hashes
        if dies_ms is None or dies_ms > now_ms
    ]
    return any(fits)


def _note_use(gateway: Gateway, key: ApiKey) -> None:
    """Have the use written at most once a minute, behind the answer."""
    seen = gateway.uses.get(key.id)
    if seen is not None:
        return
    gateway.uses.put(gateway.clock(), key.id)
    if key.last_used_ms is not None and key.last_used_ms > gateway.clock() - LAST_USED_STEP_MS:
        return
    gateway.behind(_write_use(gateway, key))


async def _write_use(gateway: Gateway, key: ApiKey) -> None:
    def write() -> None:
        with gateway.catalog.write() as tx:
            tx.api_keys.used(key.tenant_id, key.id)

    try:
        await in_thread(write)
    except StoreUnavailable:
        # The next minute's first request notes it; no answer waits for this.
        return
