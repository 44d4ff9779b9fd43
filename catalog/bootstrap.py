"""The first start: a tenant, its admin, and an API key that may do everything."""

from __future__ import annotations

from collections.abc import Callable

from catalog import passwords
from catalog.engine import Catalog
from schemas.accounts import SCOPES, FirstCredentials


def bootstrap(
    catalog: Catalog,
    *,
    tenant: str,
    email: str,
    keep: Callable[[FirstCredentials], None],
) -> FirstCredentials | None:
    """Make the first tenant, or answer None where there is one already.

    `keep` is called before the commit: where it fails nothing was made, and where the process
    dies after it the next start makes new credentials and keeps those.
    """
    with catalog.write() as tx:
        if tx.tenants.any():
            return None
        password = passwords.generate()
        made = tx.tenants.create(tenant)
        tx.users.create(made.id, email, "Admin", "admin", passwords.hashed(password))
        _, secret = tx.api_keys.create(made.id, "first start", SCOPES)
        first = FirstCredentials(
            tenant_id=made.id, tenant=tenant, email=email, password=password, api_key=secret.secret
        )
        keep(first)
    return first
