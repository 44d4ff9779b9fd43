"""API keys: made, listed, switched off, rotated; a secret is shown once and never again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, paging
from api_gateway.answers import Answer, answer, once, page_of
from api_gateway.deps import Caller, Deps
from api_gateway.params import DEFAULT, Cursor, Id, IdempotencyKey, IfMatch, Limit
from api_gateway.patches import Lasting
from api_gateway.problems import Problem, wrong
from api_gateway.routing import operation, router
from catalog.engine import Transaction
from schemas.accounts import SCOPES, ApiKey, Scope
from schemas.base import WireValue
from schemas.errors import FieldInvalid
from schemas.times import parse_rfc3339, rfc3339

api_keys: APIRouter = router("authentication")
_KIND = "api-keys"
_MAX_GRACE_S = 30 * 24 * 3600
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]


class ApiKeyBody(WireValue):
    """A key to make; it may only read where nothing else is said."""

    name: Name
    scopes: tuple[Scope, ...] = Field(default=("read",), min_length=1, max_length=len(SCOPES))
    expires_at: str | None = Field(default=None, max_length=40)


class ApiKeyPatch(WireValue):
    """What to change; `rotate` makes a new secret and lets the old one live for `graceSeconds`."""

    name: Lasting[Name] = None
    enabled: Lasting[StrictBool] = None
    rotate: StrictBool = False
    grace_seconds: int = Field(default=0, ge=0, le=_MAX_GRACE_S)


class ApiKeyView(WireValue):
    """A key, without its secret."""

    id: str
    name: str
    prefix: str
    enabled: bool
    scopes: tuple[Scope, ...]
    created_at: str
    last_used_at: str | None
    expires_at: str | None


class ApiKeySecretView(ApiKeyView):
    """A key with a secret that will not be shown again."""

    secret: str | None = None


class ApiKeyPage(WireValue):
    """Some keys."""

    items: tuple[ApiKeyView, ...]
    next_cursor: str | None


@api_keys.get(
    "/v1/api-keys",
    operation_id="listApiKeys",
    summary="The tenant's API keys",
    response_model=ApiKeyPage,
    **operation("admin", 422),
)
async def list_api_keys(
    deps: Deps, caller: Caller, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """In the order they were made, without their secrets."""
    after = paging.position(_KIND, cursor)
    found = await deps.read(lambda tx: tx.api_keys.page(caller.tenant_id, after, limit + 1))
    return page_of(_KIND, found, limit, _view)


@api_keys.post(
    "/v1/api-keys",
    operation_id="createApiKey",
    summary="Make an API key; its secret is shown this once",
    status_code=201,
    response_model=ApiKeySecretView,
    **operation(
        "admin", 400, 409, 413, 415, 422, example={"name": "newsroom", "scopes": ["read", "jobs"]}
    ),
)
async def create_api_key(
    request: Request, deps: Deps, caller: Caller, body: ApiKeyBody, _: IdempotencyKey = None
) -> Response:
    """The secret is stored hashed."""
    expires_ms = _expiry(body.expires_at, deps.clock())
    scopes = tuple(scope for scope in SCOPES if scope in body.scopes)

    def make(tx: Transaction) -> Answer:
        key, secret = tx.api_keys.create(caller.tenant_id, body.name, scopes, expires_ms)
        return answer(
            _view(key, secret.secret),
            201,
            Location=f"/v1/api-keys/{key.id}",
            ETag=etag.of_version(key.version),
        )

    return await once(request, deps, caller.tenant_id, make)


@api_keys.patch(
    "/v1/api-keys/{id}",
    operation_id="updateApiKey",
    summary="Rename, switch on or off, or rotate an API key",
    response_model=ApiKeySecretView,
    **operation(
        "admin", 400, 404, 409, 412, 413, 415, 422, example={"rotate": True, "graceSeconds": 3600}
    ),
)
async def update_api_key(
    deps: Deps, caller: Caller, key_id: Id, body: ApiKeyPatch, if_match: IfMatch = None
) -> Response:
    """A rotated key answers a new `secret`; the old one lives through the grace."""

    def change(tx: Transaction) -> tuple[ApiKey, str | None]:
        held = tx.api_keys.get(caller.tenant_id, key_id)
        etag.check_match(if_match, etag.of_version(held.version))
        return _changed(tx, held, body)

    key, secret = await deps.write(change)
    deps.keys.drop(key.prefix.rpartition("_")[2])
    return answer(_view(key, secret), ETag=etag.of_version(key.version)).response


def _changed(tx: Transaction, held: ApiKey, patch: ApiKeyPatch) -> tuple[ApiKey, str | None]:
    key, secret = held, None
    if patch.name is not None or patch.enabled is not None:
        key = tx.api_keys.change(held.tenant_id, held.id, name=patch.name, enabled=patch.enabled)
    if patch.rotate:
        key, made = tx.api_keys.rotate(held.tenant_id, held.id, patch.grace_seconds * 1000)
        secret = made.secret
    return key, secret


def _expiry(text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    try:
        expires_ms = parse_rfc3339(text)
    except FieldInvalid as error:
        raise _bad_expiry(error.message) from error
    if expires_ms <= now_ms:
        raise _bad_expiry(f"{text} has passed already")
    return expires_ms


def _bad_expiry(message: str) -> Problem:
    return wrong("/expiresAt", message, "invalid")


def _view(key: ApiKey, secret: str | None = None) -> ApiKeyView:
    values = {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "enabled": key.enabled,
        "scopes": key.scopes,
        "created_at": rfc3339(key.created_ms),
        "last_used_at": None if key.last_used_ms is None else rfc3339(key.last_used_ms),
        "expires_at": None if key.expires_ms is None else rfc3339(key.expires_ms),
    }
    if secret is None:
        return ApiKeyView.model_validate(values)
    return ApiKeySecretView.model_validate({**values, "secret": secret})
