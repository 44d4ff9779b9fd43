"""Sign-on by OpenID Connect: set up by an admin, begun and ended in a browser."""

from __future__ import annotations

import hmac
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

import anyio.to_thread
from fastapi import APIRouter, Path, Query
from pydantic import Field, SecretStr, StrictBool, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from api_gateway import etag, logins
from api_gateway.answers import answer
from api_gateway.auth import address, spend
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.logins import From, TokensView
from api_gateway.oidc import LOGOUT_FRESH_S, Client, Departure, check_address
from api_gateway.params import IfMatch
from api_gateway.policy import Email
from api_gateway.problems import FieldProblem, Problem
from api_gateway.routing import operation, router
from api_gateway.signoff import ID_TOKEN_FIELD
from catalog.engine import Transaction
from catalog.sessions import SsoLink
from schemas.accounts import ROLES, Role, SsoConfig, SsoState, Tenant, User
from schemas.base import WireValue
from schemas.errors import AccessDenied, Conflict

sso: APIRouter = router("authentication")
COOKIE = "cuttingroom_sso"
_PATH = "/v1/auth/sso"
_MASK = "***"
_SECRET_FIELD = "client_secret"  # noqa: S105 - the name of a field
_VERIFIER_FIELD = "verifier"
_STATE_S = 600
_FORM_FIELDS = 20
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
TenantName = Annotated[str, Path(alias="tenant", max_length=255, description="name or id")]
TenantQuery = Annotated[str, Query(max_length=255, description="name or id")]
# RFC 6749 keeps all of them to ASCII; together they fit the longest request line there may be.
_ASCII = r"^[ -~]*$"
_Optional = Annotated[str | None, Query(max_length=2048, pattern=_ASCII)]
_Code = Annotated[str | None, Query(max_length=4096, pattern=_ASCII)]
_Words = Annotated[str | None, Query(max_length=1024)]
Group = Annotated[str, Field(min_length=1, max_length=255)]


class SsoBody(WireValue):
    """A tenant's provider; `roles` maps its groups, the highest role wins."""

    enabled: StrictBool = True
    issuer: str = Field(min_length=8, max_length=1000, pattern=r"^https?://[^\s\x00-\x1f\x7f]+$")
    client_id: str = Field(min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")
    client_secret: SecretStr | None = Field(default=None, max_length=1000)
    group_claim: str = Field(default="groups", min_length=1, max_length=100, pattern=r"^[!-~]+$")
    roles: dict[Group, Role] = Field(default={}, max_length=100)
    default_role: Role | None = None


class SsoSettingsView(WireValue):
    """How a tenant signs on; the secret shows as `***`."""

    enabled: bool
    protocol: Literal["oidc"] = "oidc"
    issuer: str
    client_id: str
    client_secret: str | None
    group_claim: str
    roles: dict[str, Role]
    default_role: Role | None
    redirect_uri: str
    backchannel_logout_uri: str


class SsoView(WireValue):
    """Whether and where a tenant signs on."""

    enabled: bool
    protocol: Literal["oidc"] | None = None
    issuer: str | None = None
    authorize_url: str | None = None


@sso.get(
    "/v1/auth/sso",
    operation_id="getSsoConfig",
    summary="Whether a tenant signs on elsewhere, and where to begin",
    response_model=SsoView,
    **operation(None, 422, limited=True),
)
async def get_sso_config(deps: Deps, tenant: TenantQuery) -> Response:
    """The same for a tenant without sign-on and for one that does not exist."""
    found = await in_thread(_found, deps, tenant)
    if found is None:
        return answer(SsoView(enabled=False)).response
    owner, config = found
    return answer(
        SsoView(
            enabled=True,
            protocol="oidc",
            issuer=config.issuer,
            authorize_url=f"{deps.settings.public_url}{_PATH}/{owner.id}/start",
        )
    ).response


@sso.get(
    "/v1/tenant/sso",
    operation_id="getTenantSso",
    summary="The tenant's provider of sign-on",
    response_model=SsoSettingsView,
    **operation("admin", 404),
)
async def get_tenant_sso(deps: Deps, caller: Caller) -> Response:
    """Its client secret is not shown."""
    config = await deps.read(lambda tx: tx.sso.config(caller.tenant_id))
    if config is None:
        raise Problem(404, "this tenant has no sign-on")
    return answer(_settings(deps, config), ETag=etag.of_version(config.version)).response


@sso.put(
    "/v1/tenant/sso",
    operation_id="setTenantSso",
    summary="Set up sign-on by OpenID Connect",
    response_model=SsoSettingsView,
    **operation(
        "admin",
        *(400, 412, 413, 415, 422),
        example={
            "issuer": "https://login.example.com",
            "clientId": "cuttingroom",
            "clientSecret": "as the provider gave it",
            "roles": {"newsroom-admins": "admin", "newsroom": "editor"},
            "defaultRole": "viewer",
        },
    ),
)
async def set_tenant_sso(
    deps: Deps, caller: Caller, body: SsoBody, if_match: IfMatch = None
) -> Response:
    """A secret left out or `***` is kept while the provider stays the same."""
    check_address(body.issuer)

    def keep(tx: Transaction) -> SsoConfig:
        held = tx.sso.config(caller.tenant_id)
        etag.check_match(if_match, etag.of_version(held.version if held else 0))
        return tx.sso.keep(caller.tenant_id, _config(deps, caller.tenant_id, body, held))

    config = await deps.write(keep)
    return answer(_settings(deps, config), ETag=etag.of_version(config.version)).response


@sso.delete(
    "/v1/tenant/sso",
    operation_id="deleteTenantSso",
    summary="Take sign-on away",
    status_code=204,
    response_class=Response,
    **operation("admin"),
)
async def delete_tenant_sso(deps: Deps, caller: Caller) -> Response:
    """Who only comes by sign-on cannot log in until it is set up again."""

    def remove(tx: Transaction) -> None:
        tx.sso.remove(caller.tenant_id)

    await deps.write(remove)
    return Response(status_code=204)


@sso.get(
    "/v1/auth/sso/{tenant}/start",
    operation_id="startSso",
    summary="Go to the tenant's provider; for browsers",
    status_code=302,
    response_class=Response,
    **operation(None, 404, 502, limited=True),
)
async def start_sso(deps: Deps, tenant: TenantName) -> Response:
    """A redirect, and a cookie that ties the way back to this browser."""
    going = await anyio.to_thread.run_sync(_departed, deps, tenant, limiter=deps.probes)
    leaving = RedirectResponse(going.url, status_code=302)
    leaving.set_cookie(
        COOKIE,
        going.state,
        max_age=_STATE_S,
        path=_PATH,
        secure=deps.settings.public_url.startswith("https:"),
        httponly=True,
        samesite="lax",
    )
    return leaving


@sso.get(
    "/v1/auth/sso/{tenant}/callback",
    operation_id="finishSso",
    summary="Come back from the provider; for browsers",
    response_model=TokensView,
    **operation(None, 400, 403, 404, 409, 422, 502, limited=True),
)
async def finish_sso(
    request: Request,
    deps: Deps,
    tenant: TenantName,
    state: Annotated[str, Query(min_length=1, max_length=200)],
    code: _Code = None,
    error: _Optional = None,
    error_description: _Words = None,
    error_uri: _Optional = None,
    iss: _Optional = None,
    session_state: _Optional = None,
    scope: _Optional = None,
) -> Response:
    """Tokens; a user is made at the first sign-on, with the role its groups give it."""
    del error_description, error_uri, session_state, scope
    if not hmac.compare_digest(request.cookies.get(COOKIE, "").encode(), state.encode()):
        raise Problem(400, "this sign-on was begun in another browser", code="state_invalid")
    if code is None or error is not None:
        raise Problem(403, "the provider refused the sign-on", code="sso_refused")
    started = await anyio.to_thread.run_sync(
        lambda: _arrived(deps, From.of(request), tenant, state, code, iss), limiter=deps.probes
    )
    done = answer(await in_thread(logins.tokens, deps, started)).response
    done.delete_cookie(COOKIE, path=_PATH)
    return done


@sso.post(
    "/v1/auth/sso/{tenant}/backchannel-logout",
    operation_id="backchannelLogout",
    summary="A session, or everything of a person, has ended at the provider; for providers",
    response_class=Response,
    **operation(
        None,
        *(400, 404, 413, 415, 429, 502, 503),
        form={"logout_token": "as OpenID Connect Back-Channel Logout 1.0 says"},
    ),
)
async def backchannel_logout(request: Request, deps: Deps, tenant: TenantName) -> Response:
    """What it names is logged out here too, within seconds everywhere."""
    spend(request, deps.addresses.take(address(request)))
    token = _logout_token(await request.body())
    ended = await anyio.to_thread.run_sync(
        lambda: _ended(deps, From.of(request), tenant, token), limiter=deps.probes
    )
    logins.forget_sessions(deps, ended)
    return Response(status_code=200, headers={"Cache-Control": "no-store"})


def _logout_token(body: bytes) -> str:
    try:
        found = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=_FORM_FIELDS)
    except ValueError:
        found = {}
    tokens = found.get("logout_token", [])
    if len(tokens) != 1:
        told = "the form holds one logout_token"
        lacking = [FieldProblem(pointer="/logout_token", message=told)]
        raise Problem(400, told, code="logout_token_invalid", found=lacking)
    return tokens[0]


def _ended(gateway: Gateway, origin: From, tenant: str, token: str) -> tuple[str, ...]:
    """The sessions a logout token ended; one that was shown before ends nothing."""
    owner, config = _known(gateway, tenant)
    try:
        provider = gateway.oidc.provider(config.issuer)
        told = gateway.oidc.logout(provider, config.client_id, token)
    except AccessDenied as error:
        raise Problem(400, error.message, code="logout_token_invalid") from None
    once = f"logout token\n{config.issuer}\n{config.client_id}\n{told.id}"
    with gateway.catalog.write() as tx:
        if tx.attempts.take(f"{owner.id}\n{once}", 1, 2 * LOGOUT_FRESH_S * 1000):
            raise Problem(400, "this logout token was used", code="logout_token_invalid")
        ended = tx.sessions.end_sso(owner.id, told.subject, told.session)
        tx.audit.add(
            owner.id,
            "provider",
            "backchannelLogout",
            target=told.subject,
            address=origin.address,
            agent=origin.agent,
            detail={"endedSessions": str(len(ended))},
        )
    return ended


def _found(gateway: Gateway, tenant: str) -> tuple[Tenant, SsoConfig] | None:
    with gateway.catalog.read() as tx:
        owner = None if "\0" in tenant else tx.tenants.find(tenant)
        config = tx.sso.config(owner.id) if owner else None
    if owner is None or config is None or not config.enabled:
        return None
    return owner, config


def _departed(gateway: Gateway, tenant: str) -> Departure:
    owner, config = _known(gateway, tenant)
    going = gateway.oidc.departure(
        gateway.oidc.provider(config.issuer), _client(gateway, owner.id, config)
    )
    sealed = gateway.sealer.seal(owner.id, config.issuer, _VERIFIER_FIELD, going.verifier)
    kept = SsoState(
        tenant_id=owner.id, nonce=going.nonce, sealed_verifier=sealed, issuer=config.issuer
    )
    with gateway.catalog.write() as tx:
        tx.sso.begin(owner.id, going.state, kept)
    return going


def _arrived(
    gateway: Gateway, origin: From, tenant: str, state: str, code: str, iss: str | None
) -> logins.Started:
    owner, config = _known(gateway, tenant)
    with gateway.catalog.write() as tx:
        kept = tx.sso.resume(owner.id, state)
    if kept is None or kept.issuer != config.issuer or iss not in {None, config.issuer}:
        raise Problem(400, "this sign-on is unknown, over, or was used", code="state_invalid")
    sealed = kept.sealed_verifier
    verifier = gateway.sealer.open(owner.id, config.issuer, _VERIFIER_FIELD, sealed)
    client, provider = _client(gateway, owner.id, config), gateway.oidc.provider(config.issuer)
    token = gateway.oidc.id_token(provider, client, code, verifier.get_secret_value())
    claims = gateway.oidc.claims(provider, client, token, kept.nonce)
    with gateway.catalog.write() as tx:
        user = _user(tx, config, claims)
        logins.note(tx, owner.id, user.id, "finishSso", origin)
        return _begun(gateway, tx, user, claims, token)


def _begun(
    gateway: Gateway, tx: Transaction, user: User, claims: dict[str, Any], token: str
) -> logins.Started:
    session_id = tx.sessions.new_id()
    sid = claims.get("sid")
    link = SsoLink(
        subject=str(claims["sub"]),
        session=str(sid)[:255] if sid is not None else None,
        sealed_id_token=gateway.sealer.seal(user.tenant_id, session_id, ID_TOKEN_FIELD, token),
    )
    return logins.start(gateway, tx, user.tenant_id, user.id, session_id, link)


def _user(tx: Transaction, config: SsoConfig, claims: dict[str, Any]) -> User:
    """Who signs on: known by subject, else by a verified address, else made now."""
    subject, role = str(claims["sub"]), _role(config, claims)
    if len(subject) > 255:
        raise Problem(403, "the provider's subject is too long", code="sso_refused")
    user_id = tx.sso.user_of(config.tenant_id, config.issuer, subject)
    if user_id is None:
        user_id = _linked(tx, config, claims, role)
        tx.sso.link(config.tenant_id, config.issuer, subject, user_id)
    user = tx.users.get(config.tenant_id, user_id)
    if not user.enabled:
        raise Problem(403, "this user is disabled", code="user_disabled")
    return _promoted(tx, user, role)


def _linked(tx: Transaction, config: SsoConfig, claims: dict[str, Any], role: Role) -> str:
    email = _email(claims)
    known = tx.users.candidates(email, config.tenant_id, 1)
    if known and claims.get("email_verified") is not True:
        detail = "a user has this address, and the provider does not vouch for it"
        raise Problem(403, detail, code="email_unverified")
    if known:
        return known[0].user.id
    name = "".join(c for c in str(claims.get("name") or email) if c.isprintable())[:200]
    return tx.users.create(config.tenant_id, email, name or email, role, None).id


def _promoted(tx: Transaction, user: User, role: Role) -> User:
    if user.role == role:
        return user
    try:
        return tx.users.change(user.tenant_id, user.id, role=role)
    except Conflict:
        # The last admin stays one, whatever the provider says: somebody has to let others in.
        return user


def _role(config: SsoConfig, claims: dict[str, Any]) -> Role:
    given = claims.get(config.group_claim)
    groups = {str(g) for g in given} if isinstance(given, list) else {str(given)}
    found = [role for group, role in config.roles.items() if group in groups]
    role = max(found, key=ROLES.index, default=config.default_role)
    if role is None:
        raise Problem(403, "no group of yours has a role here", code="sso_no_role")
    return role


def _email(claims: dict[str, Any]) -> str:
    try:
        return _EMAIL.validate_python(claims.get("email"))
    except ValidationError as error:
        detail = "the provider names no usable mail address"
        raise Problem(403, detail, code="sso_no_email") from error


def _known(gateway: Gateway, tenant: str) -> tuple[Tenant, SsoConfig]:
    found = _found(gateway, tenant)
    if found is None:
        raise Problem(404, "no such sign-on")
    return found


def _client(gateway: Gateway, tenant_id: str, config: SsoConfig) -> Client:
    secret = None
    if config.sealed_secret is not None:
        opened = gateway.sealer.open(tenant_id, config.issuer, _SECRET_FIELD, config.sealed_secret)
        secret = opened.get_secret_value()
    return Client(config.client_id, secret, _redirect_uri(gateway, tenant_id))


def _redirect_uri(gateway: Gateway, tenant_id: str) -> str:
    return f"{gateway.settings.public_url}{_PATH}/{tenant_id}/callback"


def _config(gateway: Gateway, tenant_id: str, body: SsoBody, held: SsoConfig | None) -> SsoConfig:
    given = body.client_secret.get_secret_value() if body.client_secret else None
    # A kept secret is sealed for its issuer: nobody has it sent to a server of his own.
    same = held is not None and held.issuer == body.issuer
    sealed = held.sealed_secret if held is not None and same else None
    if given not in {None, _MASK}:
        sealed = gateway.sealer.seal(tenant_id, body.issuer, _SECRET_FIELD, given or "")
    return SsoConfig(
        tenant_id=tenant_id,
        enabled=body.enabled,
        issuer=body.issuer,
        client_id=body.client_id,
        sealed_secret=sealed,
        group_claim=body.group_claim,
        roles=body.roles,
        default_role=body.default_role,
    )


def _settings(gateway: Gateway, config: SsoConfig) -> SsoSettingsView:
    base = f"{gateway.settings.public_url}{_PATH}/{config.tenant_id}"
    return SsoSettingsView(
        enabled=config.enabled,
        issuer=config.issuer,
        client_id=config.client_id,
        client_secret=None if config.sealed_secret is None else _MASK,
        group_claim=config.group_claim,
        roles=config.roles,
        default_role=config.default_role,
        redirect_uri=_redirect_uri(gateway, config.tenant_id),
        backchannel_logout_uri=f"{base}/backchannel-logout",
    )
