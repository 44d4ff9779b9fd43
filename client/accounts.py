"""Accounts: the tenant, its users, its API keys, and the record of what was done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from client.calls import Ask, Calls, address, queried
from client.errors import Unreadable
from client.values import UNSET, Given, Moment, Resource, Told, given, instant, present, read
from schemas.accounts import Role, Scope

_MAX_LINE_BYTES = 1024 * 1024


class ApiKey(Resource):
    """An API key; `secret` is there only where it was just made."""

    id: str
    name: str
    prefix: str
    enabled: bool
    scopes: tuple[str, ...]
    created_at: str
    last_used_at: str | None = None
    expires_at: str | None = None
    secret: str | None = Field(default=None, repr=False)


class User(Resource):
    """Somebody who logs in."""

    id: str
    email: str
    name: str
    role: str
    enabled: bool
    mfa_required: bool
    mfa_enrolled: bool
    password_is_temporary: bool
    created_at: str
    last_login_at: str | None = None


class TenantTold(Resource):
    """The tenant; with `deletion_at` it is about to be deleted."""

    id: str
    name: str
    mfa_required: bool
    created_at: str
    deletion_at: str | None = None


class NewTenant(TenantTold):
    """A new tenant, and its first user."""

    admin: User


class SsoSettings(Resource):
    """How the tenant's users sign on elsewhere."""

    enabled: bool
    protocol: str = "oidc"
    issuer: str
    client_id: str
    client_secret: str | None = Field(default=None, repr=False)
    group_claim: str
    roles: dict[str, str]
    default_role: str | None = None
    redirect_uri: str
    backchannel_logout_uri: str | None = None


class Entry(Told):
    """What somebody did."""

    id: str
    occurred_at: str
    subject: str
    action: str
    target: str | None = None
    detail: dict[str, Any] = {}
    address: str | None = None
    agent: str | None = None


class Keys:
    """The tenant's API keys."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Iterator[ApiKey]:
        """Every key."""
        return self._calls.pages(ApiKey, "listApiKeys")

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[Scope] | None = None,
        expires_at: Moment | None = None,
    ) -> ApiKey:
        """Make a key; the answer holds its secret, this once."""
        body = present(name=name, scopes=scopes, expires_at=instant(expires_at))
        return self._calls.value(ApiKey, "createApiKey", body=body)

    def update(
        self,
        key_id: str,
        *,
        name: str | Given = UNSET,
        enabled: bool | Given = UNSET,
        rotate: bool | Given = UNSET,
        grace_seconds: int | Given = UNSET,
        if_match: str | None = None,
    ) -> ApiKey:
        """Change a key; `rotate` gives it a new secret, the old one living through a grace."""
        body = given(name=name, enabled=enabled, rotate=rotate, grace_seconds=grace_seconds)
        at, said = {"id": key_id}, {"If-Match": if_match}
        return self._calls.value(ApiKey, "updateApiKey", at, body=body, headers=said)


class Users:
    """The tenant's users."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(self) -> Iterator[User]:
        """Every user."""
        return self._calls.pages(User, "listUsers")

    def create(
        self,
        email: str,
        name: str,
        *,
        role: Role | None = None,
        mfa_required: bool | None = None,
    ) -> User:
        """Invite somebody."""
        body = present(email=email, name=name, role=role, mfa_required=mfa_required)
        return self._calls.value(User, "createUser", body=body)

    def get(self, user_id: str) -> User:
        """One user."""
        return self._calls.value(User, "getUser", {"id": user_id})

    def update(
        self,
        user_id: str,
        *,
        email: str | Given = UNSET,
        name: str | Given = UNSET,
        role: Role | Given = UNSET,
        enabled: bool | Given = UNSET,
        mfa_required: bool | Given = UNSET,
        reset_mfa: bool | Given = UNSET,
        if_match: str | None = None,
    ) -> User:
        """Change a user."""
        body = given(
            email=email,
            name=name,
            role=role,
            enabled=enabled,
            mfa_required=mfa_required,
            reset_mfa=reset_mfa,
        )
        at, said = {"id": user_id}, {"If-Match": if_match}
        return self._calls.value(User, "updateUser", at, body=body, headers=said)

    def update_by_email(
        self,
        email: str,
        *,
        name: str | Given = UNSET,
        role: Role | Given = UNSET,
        enabled: bool | Given = UNSET,
        mfa_required: bool | Given = UNSET,
        reset_mfa: bool | Given = UNSET,
        if_match: str | None = None,
    ) -> User:
        """Change the user of an address."""
        body = given(
            name=name, role=role, enabled=enabled, mfa_required=mfa_required, reset_mfa=reset_mfa
        )
        at, said = {"email": email}, {"If-Match": if_match}
        return self._calls.value(User, "updateUserByEmail", at, body=body, headers=said)

    def delete(self, user_id: str, *, if_match: str | None = None) -> None:
        """Delete a user; never the last admin."""
        self._calls.reply("deleteUser", {"id": user_id}, headers={"If-Match": if_match})

    def delete_by_email(self, email: str, *, if_match: str | None = None) -> None:
        """Delete the user of an address."""
        self._calls.reply("deleteUserByEmail", {"email": email}, headers={"If-Match": if_match})


class Tenant:
    """The tenant of the credential."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def get(self) -> TenantTold:
        """The tenant."""
        return self._calls.value(TenantTold, "getTenant")

    def update(
        self,
        *,
        name: str | Given = UNSET,
        mfa_required: bool | Given = UNSET,
        if_match: str | None = None,
    ) -> TenantTold:
        """Change the tenant."""
        body, said = given(name=name, mfa_required=mfa_required), {"If-Match": if_match}
        return self._calls.value(TenantTold, "updateTenant", body=body, headers=said)

    def delete(self, name: str, *, if_match: str | None = None) -> TenantTold:
        """Delete the tenant and everything it has, after a while; its name must be said."""
        query, said = {"name": name}, {"If-Match": if_match}
        return self._calls.value(TenantTold, "deleteTenant", query=query, headers=said)

    def restore(self) -> TenantTold:
        """Keep a tenant that was about to be deleted."""
        return self._calls.value(TenantTold, "restoreTenant")

    def create(
        self,
        name: str,
        admin_email: str,
        *,
        admin_name: str | None = None,
        invitation: str | None = None,
    ) -> NewTenant:
        """Make another tenant, where the service lets anybody, or whoever is invited."""
        admin = present(email=admin_email, name=admin_name)
        body = present(name=name, admin=admin, invitation=invitation)
        return self._calls.value(NewTenant, "createTenant", body=body, signed=False)

    def sso(self) -> SsoSettings:
        """How the tenant's users sign on elsewhere."""
        return self._calls.value(SsoSettings, "getTenantSso")

    def set_sso(
        self,
        issuer: str,
        client_id: str,
        *,
        client_secret: str | None = None,
        enabled: bool | None = None,
        group_claim: str | None = None,
        roles: Mapping[str, Role] | None = None,
        default_role: Role | None = None,
        if_match: str | None = None,
    ) -> SsoSettings:
        """Let the tenant's users sign on elsewhere."""
        body = present(
            issuer=issuer,
            client_id=client_id,
            client_secret=client_secret,
            enabled=enabled,
            group_claim=group_claim,
            roles=roles,
            default_role=default_role,
        )
        said = {"If-Match": if_match}
        return self._calls.value(SsoSettings, "setTenantSso", body=body, headers=said)

    def remove_sso(self) -> None:
        """Let nobody sign on elsewhere any more."""
        self._calls.reply("deleteTenantSso")


class Audit:
    """The append-only record of what was done."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def list(
        self,
        *,
        subject: str | None = None,
        action: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Iterator[Entry]:
        """What was done, the newest first, page by page."""
        query = _wanted(subject, action, start, end)
        return self._calls.pages(Entry, "listAudit", query=query)

    def export(
        self,
        *,
        subject: str | None = None,
        action: str | None = None,
        start: Moment | None = None,
        end: Moment | None = None,
    ) -> Iterator[Entry]:
        """The same in one answer, read as it comes."""
        path = address("exportAudit") + queried(_wanted(subject, action, start, end))
        ask = Ask(method="GET", path=path, headers={"Accept": "application/x-ndjson"})
        with self._calls.stream(ask) as answer:
            for line in _lines(answer.chunks()):
                yield _entry(line)


def _wanted(
    subject: str | None, action: str | None, start: Moment | None, end: Moment | None
) -> dict[str, str | None]:
    return {"subject": subject, "action": action, "from": instant(start), "to": instant(end)}


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from filter(None, whole)
        if len(rest) > _MAX_LINE_BYTES:
            raise Unreadable(f"an entry is larger than {_MAX_LINE_BYTES} bytes")
    if rest:
        yield rest


def _entry(line: bytes) -> Entry:
    try:
        return read(Entry, json.loads(line))
    except (ValueError, RecursionError):
        raise Unreadable("an entry is no JSON") from None
