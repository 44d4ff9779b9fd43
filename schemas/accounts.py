"""Accounts as values: tenants, their users, their API keys, and who stands behind a request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Value

Scope = Literal["read", "jobs", "connectors", "admin"]
Role = Literal["viewer", "editor", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "jobs", "connectors", "admin")


class Tenant(Value):
    """A customer: everything else belongs to exactly one."""

    id: str
    name: str
    created_ms: int
    version: int = 1


class User(Value):
    """A person of a tenant; the password hash never leaves the catalogue."""

    id: str
    tenant_id: str
    email: str
    name: str
    role: Role
    enabled: bool = True
    created_ms: int
    version: int = 1


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


class Principal(Value):
    """Who makes a request, once the credential was believed."""

    tenant_id: str
    subject: str
    scopes: frozenset[Scope]
    key_id: str | None = None


class FirstCredentials(Value):
    """What the first start made, told once."""

    tenant_id: str
    tenant: str = Field(description="the tenant's name")
    email: str
    password: str = Field(repr=False)
    api_key: str = Field(repr=False)
