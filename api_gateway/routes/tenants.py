"""The tenant: made, shown, changed, deleted after a grace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, logins
from api_gateway.answers import Answer, answer, conditional, keyed, once
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.logins import From
from api_gateway.mail import Letter
from api_gateway.params import IdempotencyKey, IfMatch, IfNoneMatch
from api_gateway.patches import Lasting
from api_gateway.policy import Email, Name
from api_gateway.problems import Problem
from api_gateway.routes.users import UserView, view
from api_gateway.routing import operation, router
from catalog import passwords
from catalog.engine import Transaction
from schemas.accounts import Tenant, User
from schemas.base import WireValue
from schemas.times import rfc3339
from store.keys import digest

tenants: APIRouter = router("tenants")
_DAY_MS = 24 * 3600_000


class AdminBody(WireValue):
    """The default user of a new tenant."""

    email: Email
    name: Name | None = None


class TenantBody(WireValue):
    """A tenant to make; `invitation` where the service asks for one."""

    name: Name
    admin: AdminBody
    invitation: str | None = Field(default=None, max_length=200)


class TenantPatch(WireValue):
    """What to change."""

    name: Lasting[Name] = None
    mfa_required: Lasting[StrictBool] = None


class TenantView(WireValue):
    """A tenant; `deletionAt` is set while it waits to be deleted."""

    id: str
    name: str
    mfa_required: bool
    created_at: str
    deletion_at: str | None


class NewTenantView(TenantView):
    """A new tenant with its default user, who is mailed a temporary password."""

    admin: UserView


@tenants.post(
    "/v1/tenants",
    operation_id="createTenant",
    summary="Sign up: make a tenant and its first admin",
    status_code=201,
    response_model=NewTenantView,
    **operation(
        None,
        *(400, 403, 409, 413, 415, 422),
        example={"name": "Harbour News", "admin": {"email": "admin@harbour.example"}},
        limited=True,
    ),
)
async def create_tenant(
    request: Request, deps: Deps, body: TenantBody, _: IdempotencyKey = None
) -> Response:
    """Open to all, to the invited or to nobody: the operator decides."""
    if deps.settings.signup == "off":
        raise Problem(403, "this service takes no sign-ups", code="signup_off")
    password = passwords.generate()
    hashed = await logins.hashing(deps, lambda: deps.passwords.hashed(password))
    done, fresh = await in_thread(_signed_up, request, deps, body, hashed)
    if fresh:
        letter = logins.temporary_password_letter(deps, body.admin.email, body.name, password)
        deps.behind(logins.send(deps, letter))
    return done.response


@tenants.get(
    "/v1/tenant",
    operation_id="getTenant",
    summary="The tenant of the credential",
    response_model=TenantView,
    **operation("read", meanwhile=("deleting",)),
)
async def get_tenant(
    request: Request, deps: Deps, caller: Caller, _: IfNoneMatch = None
) -> Response:
    """As it is now, under its ETag."""
    tenant = await deps.read(lambda tx: tx.tenants.get(caller.tenant_id))
    return conditional(request, _view(tenant), etag.of_version(tenant.version))


@tenants.patch(
    "/v1/tenant",
    operation_id="updateTenant",
    summary="Rename the tenant, or require a second factor of everybody",
    response_model=TenantView,
    **operation("admin", 400, 409, 412, 413, 415, 422, example={"name": "Harbour Newsroom"}),
)
async def update_tenant(
    deps: Deps, caller: Caller, body: TenantPatch, if_match: IfMatch = None
) -> Response:
    """Where a factor is required, who has none may do nothing but enrol one."""

    def change(tx: Transaction) -> Tenant:
        held = tx.tenants.get(caller.tenant_id)
        etag.check_match(if_match, etag.of_version(held.version))
        return tx.tenants.change(caller.tenant_id, name=body.name, mfa_required=body.mfa_required)

    tenant = await deps.write(change)
    return answer(_view(tenant), ETag=etag.of_version(tenant.version)).response


@tenants.delete(
    "/v1/tenant",
    operation_id="deleteTenant",
    summary="Delete the tenant with everything it has, after a grace",
    status_code=202,
    response_model=TenantView,
    **operation("admin", 409, 412, 422),
)
async def delete_tenant(
    deps: Deps,
    caller: Caller,
    name: Annotated[str, Query(max_length=255, description="the tenant's name, to be sure")],
    if_match: IfMatch = None,
) -> Response:
    """Until `deletionAt` nothing works but looking at the tenant and restoring it."""

    def mark(tx: Transaction) -> tuple[Tenant, tuple[User, ...]]:
        held = tx.tenants.get(caller.tenant_id)
        etag.check_match(if_match, etag.of_version(held.version))
        if name != held.name:
            detail = "`name` is not the tenant's name; nothing was done"
            raise Problem(409, detail, code="name_mismatch")
        due_ms = deps.clock() + deps.settings.tenant_grace_days * _DAY_MS
        admins = [u for u in tx.users.page(held.id, None, 500) if u.role == "admin"]
        return tx.tenants.mark(held.id, due_ms), tuple(admins)

    tenant, admins = await deps.write(mark)
    _forget_caches(deps)
    for admin in admins:
        deps.behind(logins.send(deps, _deletion_letter(deps, tenant, admin)))
    return answer(_view(tenant), 202, ETag=etag.of_version(tenant.version)).response


@tenants.post(
    "/v1/tenant/restore",
    operation_id="restoreTenant",
    summary="Take back the deletion of the tenant",
    response_model=TenantView,
    **operation("admin", 409, 415, 422, meanwhile=("deleting",)),
)
async def restore_tenant(
    request: Request, deps: Deps, caller: Caller, _: IdempotencyKey = None
) -> Response:
    """While its grace lasts."""

    def make(tx: Transaction) -> Answer:
        tenant = tx.tenants.mark(caller.tenant_id, None)
        return answer(_view(tenant), ETag=etag.of_version(tenant.version))

    restored = await once(request, deps, caller.tenant_id, make)
    _forget_caches(deps)
    return restored


def _signed_up(
    request: Request, gateway: Gateway, body: TenantBody, hashed: str
) -> tuple[Answer, bool]:
    # Many who never met may come from one address and count from 1: keys are apart by the name.
    with (
        keyed(request, gateway, f"signup {digest(body.name)}") as key,
        gateway.catalog.write() as tx,
    ):
        held = tx.tenants.find(body.name)
        first = key.before("" if held is None else held.id).first(tx)
        if first is not None:
            return first, False
        tenant, made = _made(request, gateway, tx, body, hashed)
        return key.before(tenant.id).keep(tx, made), True


def _made(
    request: Request, gateway: Gateway, tx: Transaction, body: TenantBody, hashed: str
) -> tuple[Tenant, Answer]:
    _check_invitation(gateway, tx.invitations.use, body)
    tenant = tx.tenants.create(body.name)
    user = tx.users.create(
        tenant.id,
        body.admin.email,
        body.admin.name or body.admin.email,
        "admin",
        hashed,
        temporary_until_ms=gateway.clock() + logins.TEMPORARY_MS,
    )
    logins.note(tx, tenant.id, user.id, "createTenant", From.of(request))
    shown = NewTenantView(**_view(tenant).model_dump(by_alias=False), admin=view(user))
    tag = etag.of_version(tenant.version)
    return tenant, answer(shown, 201, Location="/v1/tenant", ETag=tag)


def _check_invitation(gateway: Gateway, use: Callable[[str, str], bool], body: TenantBody) -> None:
    if gateway.settings.signup == "open":
        return
    if body.invitation is None or not use(body.invitation, body.admin.email):
        detail = "sign-up is by invitation; this one is unknown, used, expired or another's"
        raise Problem(403, detail, code="invitation_invalid")


def _deletion_letter(gateway: Gateway, tenant: Tenant, admin: User) -> Letter:
    when = rfc3339(tenant.deletion_due_ms or 0)
    return Letter(
        to=admin.email,
        subject=f"{tenant.name} will be deleted",
        text=(
            f"Somebody asked to delete {tenant.name} at {gateway.settings.public_url}, with "
            f"everything it has. It will be done at {when}. Until then an admin can log in and "
            "take it back.\n"
        ),
    )


def _forget_caches(gateway: Gateway) -> None:
    gateway.keys.clear()
    gateway.sessions.clear()


def _view(tenant: Tenant) -> TenantView:
    due_ms = tenant.deletion_due_ms
    return TenantView(
        id=tenant.id,
        name=tenant.name,
        mfa_required=tenant.mfa_required,
        created_at=rfc3339(tenant.created_ms),
        deletion_at=None if due_ms is None else rfc3339(due_ms),
    )
