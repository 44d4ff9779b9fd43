"""Credential -> Principal: API keys now; a bearer token is refused in the same words."""

from __future__ import annotations

import asyncio
import hmac

from starlette.requests import Request

from api_gateway.deps import Gateway, in_thread
from api_gateway.problems import Problem
from api_gateway.ratelimit import Allowance
from catalog import keys
from catalog.accounts import LAST_USED_STEP_MS
from catalog.engine import Catalog
from schemas.accounts import ApiKey, KeyCheck, Principal, Scope
from schemas.errors import StoreUnavailable

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="cuttingroom", ApiKey'}


async def authenticate(request: Request, gateway: Gateway, scope: Scope) -> Principal:
    """Who asks, allowed to do this; 401, 403 or 429 where not."""
    key = await _believed(request, gateway)
    if key is None:
        _spend_address(request, gateway)
        raise _unauthenticated(request)
    _spend(request, gateway.credentials.take(key.id))
    if scope not in key.scopes:
        raise Problem(403, f"this needs the scope {scope!r}; the key has {', '.join(key.scopes)}")
    _note_use(gateway, key)
    return Principal(
        tenant_id=key.tenant_id,
        subject=f"key:{key.id}",
        scopes=frozenset(key.scopes),
        key_id=key.id,
    )


async def _believed(request: Request, gateway: Gateway) -> ApiKey | None:
    secret = request.headers.get("x-api-key", "")
    public_id = keys.public_id(secret)
    if public_id is None:
        return None
    check = await _check(gateway, public_id)
    if check is None or not _matches(check, secret, gateway.clock()):
        return None
    return check.key


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
    task = asyncio.get_running_loop().create_task(_write_use(gateway, key))
    gateway.background.add(task)
    task.add_done_callback(gateway.background.discard)


async def _write_use(gateway: Gateway, key: ApiKey) -> None:
    def write() -> None:
        with gateway.catalog.write() as tx:
            tx.api_keys.used(key.tenant_id, key.id)

    try:
        await in_thread(write)
    except StoreUnavailable:
        # The next minute's first request notes it; no answer waits for this.
        return


def _spend_address(request: Request, gateway: Gateway) -> None:
    """Refusals are counted by address; whoever has a credential is not held back by them."""
    address = request.client.host if request.client else "unknown"
    _spend(request, gateway.addresses.take(address))


def _spend(request: Request, allowance: Allowance) -> None:
    request.state.rate = allowance.headers
    if not allowance.allowed:
        raise Problem(
            429,
            f"more than {allowance.limit} requests a minute; wait {allowance.reset_s} s",
            headers=allowance.headers,
        )


def _unauthenticated(request: Request) -> Problem:
    if request.headers.get("authorization"):
        detail = "this bearer token is not valid here; send an API key as X-Api-Key"
    elif request.headers.get("x-api-key"):
        detail = "this API key is unknown, disabled, expired or mistyped"
    else:
        detail = "send an API key as X-Api-Key"
    return Problem(401, detail, headers=_CHALLENGE)
