"""Accounts as values: tenants, their users, their API keys, and who stands behind a request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Value

Scope = Literal["read", "jobs", "connectors", "admin"]
Role = Literal["viewer", "editor", "admin"]
ChallengeKind = Literal["mfa", "newPassword"]
SCOPES: tuple[Scope, ...] = ("read", "jobs", "connectors", "admin")
ROLES: tuple[Role, ...] = ("viewer", "editor", "admin")
ROLE_SCOPES: dict[Role, frozenset[Scope]] = {
    "viewer": frozenset({"read"}),
    "editor": frozenset({"read", "jobs", "connectors"}),
    "admin": frozenset(SCOPES),
}


class Tenant(Value):
    """A customer: everything else belongs to exactly one."""

    id: str
    name: str
    created_ms: int
    mfa_required: bool = False
    deletion_due_ms: int | None = Field(
        default=None, description="when everything of it is deleted, where that was asked for"
    )
    version: int = 1


class User(Value):
    """A person of a tenant; password hash and TOTP secret never leave the catalogue."""

    id: str
    tenant_id: str
    email: str
    name: str
    role: Role
    enabled: bool = True
    mfa_required: bool = False
    mfa_enrolled: bool = False
    must_change_password: bool = False
    created_ms: int
    last_login_ms: int | None = None
    version: int = 1


class Candidate(Value):
    """A user a log-in may mean, with what judges the password."""

    user: User
    tenant: Tenant
    password_hash: str | None = Field(default=None, repr=False)
    temporary_until_ms: int | None = None


class Session(Value):
    """One log-in of a user: every token that descends from it belongs to its family."""

    id: str
    tenant_id: str
    user_id: str
    created_ms: int
    expires_ms: int


class SessionCheck(Value):
    """What is needed to judge an access token without asking the catalogue again."""

    session: Session
    role: Role
    enrolling: bool = Field(default=False, description="a second factor is required and missing")
    deleting: bool = Field(default=False, description="the tenant is about to be deleted")


class TotpState(Value):
    """A user's second factor as it is kept: sealed secrets and the last step that was used."""

    sealed: str | None = Field(default=None, repr=False)
    sealed_pending: str | None = Field(default=None, repr=False)
    last_step: int | None = None


class Challenge(Value):
    """A question a log-in has to answer before it gets tokens."""

    tenant_id: str
    user_id: str
    kind: ChallengeKind
    tries_left: int
    expired: bool = False


class SigningKey(Value):
    """A key that access tokens are signed with; the private half is sealed."""

    kid: str
    sealed: str = Field(repr=False)
    public: dict[str, str]
    created_ms: int
    retired_ms: int | None = None


class AuditEntry(Value):
    """Who did what, when and from where; `subject` is `user:…`, `key:…` or `service`."""

    id: str
    tenant_id: str
    occurred_ms: int
    subject: str
    action: str
    target: str | None = None
    address: str | None = None
    agent: str | None = None
    detail: dict[str, str] = {}


class SsoConfig(Value):
    """How a tenant's users sign on elsewhere; the client's secret is sealed."""

    tenant_id: str
    enabled: bool
    issuer: str
    client_id: str
    sealed_secret: str | None = Field(default=None, repr=False)
    group_claim: str = "groups"
    roles: dict[str, Role] = Field(default={}, description="group -> role; the highest wins")
    default_role: Role | None = Field(
        default=None, description="the role where no group matches; refused where absent"
    )
    version: int = 1


class SsoState(Value):
    """A sign-on under way, between leaving for the provider and coming back."""

    tenant_id: str
    nonce: str = Field(repr=False)
    sealed_verifier: str = Field(repr=False)
    issuer: str


class DeletionReport(Value):
    """What the deletion of a tenant removed, counted by table, by object and by Redis key."""

    tenant_id: str
    requested_ms: int
    finished_ms: int
    rows: dict[str, int]
    objects: int
    object_bytes: int
    redis_keys: int


class ApiKey(Value):
    """An API key as its tenant sees it; `prefix` is the public part of the secret."""

    id: str
    tenant_id: str
    name: str
    prefix: str
    scopes: tuple[Scope, ...]
    enabled: bool
    created_ms: int
    last_used_ms: int | None = None
    expires_ms: int | None = None
    version: int = 1


class KeyCheck(Value):
    """What is needed to judge a presented API key without asking the catalogue again.

    `hashes` pairs each accepted SHA-256 (hex) with the epoch milliseconds it dies at, or None.
    """

    key: ApiKey
    hashes: tuple[tuple[str, int | None], ...]
    deleting: bool = Field(default=False, description="the tenant is about to be deleted")


class Principal(Value):
    """Who makes a request, once the credential was believed."""

    tenant_id: str
    subject: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    enrolling: bool = False
    deleting: bool = False


class FirstCredentials(Value):
    """What the first start made, told once."""

    tenant_id: str
    tenant: str = Field(description="the tenant's name")
    email: str
    password: str = Field(repr=False)
    api_key: str = Field(repr=False)
