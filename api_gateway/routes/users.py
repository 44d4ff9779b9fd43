"""The people of a tenant, by id and by mail address."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import StrictBool
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import etag, logins, paging
from api_gateway.answers import Answer, answer, conditional, once, page_of
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.params import DEFAULT, Cursor, Id, IdempotencyKey, IfMatch, IfNoneMatch, Limit
from api_gateway.patches import Lasting
from api_gateway.policy import Email, Name
from api_gateway.routing import operation, router
from catalog import passwords
from catalog.engine import Transaction
from schemas.accounts import Role, User
from schemas.base import WireValue
from schemas.times import rfc3339

users: APIRouter = router("users")
_KIND = "users"
_ERRORS = (400, 404, 409, 412, 413, 415, 422)
EmailPath = Annotated[str, Path(alias="email", max_length=254, description="a mail address")]


class UserBody(WireValue):
    """A user to make; a temporary password is mailed."""

    email: Email
    name: Name
    role: Role = "viewer"
    mfa_required: StrictBool = False


class UserPatch(WireValue):
    """What to change; `resetMfa` removes a second factor whose owner lost it."""

    email: Lasting[Email] = None
    name: Lasting[Name] = None
    role: Lasting[Role] = None
    enabled: Lasting[StrictBool] = None
    mfa_required: Lasting[StrictBool] = None
    reset_mfa: StrictBool = False


class UserView(WireValue):
    """A user."""

    id: str
    email: str
    name: str
    role: Role
    enabled: bool
    mfa_required: bool
    mfa_enrolled: bool
    password_is_temporary: bool
    created_at: str
    last_login_at: str | None


class UserPage(WireValue):
    """Some users."""

    items: tuple[UserView, ...]
    next_cursor: str | None


@users.get(
    "/v1/users",
    operation_id="listUsers",
    summary="The tenant's users",
    response_model=UserPage,
    **operation("admin", 422),
)
async def list_users(
    deps: Deps, caller: Caller, limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """In the order they were made."""
    after = paging.position(_KIND, cursor)
    found = await deps.read(lambda tx: tx.users.page(caller.tenant_id, after, limit + 1))
    return page_of(_KIND, found, limit, view)


@users.post(
    "/v1/users",
    operation_id="createUser",
    summary="Make a user; a temporary password is mailed",
    status_code=201,
    response_model=UserView,
    **operation(
        "admin",
        *(400, 409, 413, 415, 422),
        example={"email": "editor@example.com", "name": "Robin", "role": "editor"},
    ),
)
async def create_user(
    request: Request, deps: Deps, caller: Caller, body: UserBody, _: IdempotencyKey = None
) -> Response:
    """The password lives for seven days and has to be changed at the first log-in."""
    password = passwords.generate()
    hashed = await logins.hashing(deps, lambda: deps.passwords.hashed(password))
    made: list[tuple[User, str]] = []

    def make(tx: Transaction) -> Answer:
        until_ms = deps.clock() + logins.TEMPORARY_MS
        user = tx.users.create(
            caller.tenant_id,
            body.email,
            body.name,
            body.role,
            hashed,
            temporary_until_ms=until_ms,
            mfa_required=body.mfa_required,
        )
        made.append((user, tx.tenants.get(caller.tenant_id).name))
        return answer(
            view(user), 201, Location=f"/v1/users/{user.id}", ETag=etag.of_version(user.version)
        )

    done = await once(request, deps, caller.tenant_id, make)
    for user, tenant in made:
        letter = logins.temporary_password_letter(deps, user.email, tenant, password)
        deps.behind(logins.send(deps, letter))
    return done


@users.get(
    "/v1/users/{id}",
    operation_id="getUser",
    summary="One user",
    response_model=UserView,
    **operation("admin", 404),
)
async def get_user(
    request: Request, deps: Deps, caller: Caller, user_id: Id, _: IfNoneMatch = None
) -> Response:
    """As it is now, under its ETag."""
    user = await deps.read(lambda tx: tx.users.get(caller.tenant_id, user_id))
    return conditional(request, view(user), etag.of_version(user.version))


@users.patch(
    "/v1/users/{id}",
    operation_id="updateUser",
    summary="Change a user",
    response_model=UserView,
    **operation("admin", *_ERRORS, example={"name": "Robin R."}),
)
async def update_user(
    deps: Deps, caller: Caller, user_id: Id, body: UserPatch, if_match: IfMatch = None
) -> Response:
    """A user who is disabled is logged out; 409 `last_admin` where nobody could rule any more."""
    return await in_thread(_updated, deps, caller.tenant_id, user_id, None, body, if_match)


@users.delete(
    "/v1/users/{id}",
    operation_id="deleteUser",
    summary="Delete a user",
    status_code=204,
    response_class=Response,
    **operation("admin", 404, 409, 412),
)
async def delete_user(
    deps: Deps, caller: Caller, user_id: Id, if_match: IfMatch = None
) -> Response:
    """With every session; 409 `last_admin` where nobody could rule any more."""
    return await in_thread(_deleted, deps, caller.tenant_id, user_id, None, if_match)


@users.patch(
    "/v1/users/by-email/{email}",
    operation_id="updateUserByEmail",
    summary="Change the user with a mail address",
    response_model=UserView,
    **operation("admin", *_ERRORS, example={"name": "Robin R."}),
)
async def update_user_by_email(
    deps: Deps, caller: Caller, email: EmailPath, body: UserPatch, if_match: IfMatch = None
) -> Response:
    """As by id."""
    return await in_thread(_updated, deps, caller.tenant_id, None, email, body, if_match)


@users.delete(
    "/v1/users/by-email/{email}",
    operation_id="deleteUserByEmail",
    summary="Delete the user with a mail address",
    status_code=204,
    response_class=Response,
    **operation("admin", 404, 409, 412),
)
async def delete_user_by_email(
    deps: Deps, caller: Caller, email: EmailPath, if_match: IfMatch = None
) -> Response:
    """As by id."""
    return await in_thread(_deleted, deps, caller.tenant_id, None, email, if_match)


def view(user: User) -> UserView:
    """A user as clients see it."""
    return UserView(
        id=user.id,
        email=user.email,
        name=user.name,
        role=user.role,
        enabled=user.enabled,
        mfa_required=user.mfa_required,
        mfa_enrolled=user.mfa_enrolled,
        password_is_temporary=user.must_change_password,
        created_at=rfc3339(user.created_ms),
        last_login_at=None if user.last_login_ms is None else rfc3339(user.last_login_ms),
    )


def _updated(
    gateway: Gateway,
    tenant_id: str,
    user_id: str | None,
    email: str | None,
    patch: UserPatch,
    if_match: str | None,
) -> Response:
    with gateway.catalog.write() as tx:
        held = _held(tx, tenant_id, user_id, email)
        etag.check_match(if_match, etag.of_version(held.version))
        if patch.reset_mfa:
            tx.factors.remove(tenant_id, held.id)
        given = patch.model_dump(exclude={"reset_mfa"}, exclude_none=True, by_alias=False)
        user = tx.users.change(tenant_id, held.id, **given)
        moved = not user.enabled or user.email != held.email
        ended = tx.sessions.end_all(tenant_id, held.id) if moved else ()
    logins.forget_sessions(gateway, ended)
    return answer(view(user), ETag=etag.of_version(user.version)).response


def _deleted(
    gateway: Gateway,
    tenant_id: str,
    user_id: str | None,
    email: str | None,
    if_match: str | None,
) -> Response:
    with gateway.catalog.write() as tx:
        held = _held(tx, tenant_id, user_id, email)
        etag.check_match(if_match, etag.of_version(held.version))
        ended = tx.sessions.end_all(tenant_id, held.id)
        tx.users.delete(tenant_id, held.id)
    logins.forget_sessions(gateway, ended)
    return Response(status_code=204)


def _held(tx: Transaction, tenant_id: str, user_id: str | None, email: str | None) -> User:
    if user_id is not None:
        return tx.users.get(tenant_id, user_id)
    return tx.users.by_email(tenant_id, email or "")
