"""`cuttingroom users`: people let in from the machine itself, when nobody else can."""

from __future__ import annotations

from rich.console import Console

from catalog.engine import Transaction
from catalog.passwords import Passwords, generate
from cli.catalogs import now_ms, opened
from schemas.accounts import Role, Tenant
from schemas.errors import NotFound
from schemas.settings import Settings

TEMPORARY_MS = 7 * 24 * 3600_000
_PAGE = 500


def show_list(settings: Settings, tenant: str, console: Console) -> None:
    """Every user of a tenant, one a line."""
    with opened(settings) as catalog, catalog.read() as tx:
        owner, after = _tenant(tx, tenant), None
        while found := tx.users.page(owner.id, after, _PAGE):
            for user in found:
                state = "enabled" if user.enabled else "disabled"
                factor = "mfa" if user.mfa_enrolled else "-"
                console.print(
                    f"{user.id}  {user.email}  {user.role}  {state}  {factor}", markup=False
                )
            after = found[-1].id


def create(settings: Settings, tenant: str, email: str, role: Role, console: Console) -> None:
    """Make a user and print a temporary password."""
    password = generate()
    with opened(settings) as catalog, catalog.write() as tx:
        owner = _tenant(tx, tenant)
        until_ms = now_ms() + TEMPORARY_MS
        user = tx.users.create(
            owner.id, email, email, role, _hashed(settings, password), temporary_until_ms=until_ms
        )
        tx.audit.add(owner.id, "service", "createUser", target=user.id)
    console.print(f"{user.email}: temporary password {password}", markup=False)


def reset(settings: Settings, tenant: str, email: str, console: Console, *, mfa: bool) -> None:
    """Give a user a temporary password, and take a lost second factor away where asked."""
    password = generate()
    with opened(settings) as catalog, catalog.write() as tx:
        owner = _tenant(tx, tenant)
        user = tx.users.by_email(owner.id, email)
        until_ms = now_ms() + TEMPORARY_MS
        hashed = _hashed(settings, password)
        tx.users.set_password(owner.id, user.id, hashed, until_ms=until_ms)
        tx.users.change(owner.id, user.id, enabled=True)
        tx.attempts.clear(f"login:{user.email}")
        if mfa:
            tx.factors.remove(owner.id, user.id)
        tx.sessions.end_all(owner.id, user.id)
        tx.audit.add(owner.id, "service", "resetUser", target=user.id)
    console.print(f"{user.email}: temporary password {password}", markup=False)


def invite(settings: Settings, email: str | None, days: int, console: Console) -> None:
    """Print an invitation to sign up with one tenant."""
    with opened(settings) as catalog, catalog.write() as tx:
        code = tx.invitations.make(email, days * 24 * 3600_000)
    console.print(code, markup=False)


def _tenant(tx: Transaction, tenant: str) -> Tenant:
    found = tx.tenants.find(tenant)
    if found is None:
        raise NotFound(f"no tenant {tenant!r}")
    return found


def _hashed(settings: Settings, password: str) -> str:
    return Passwords(settings.password_memory_kib, settings.password_rounds).hashed(password)
