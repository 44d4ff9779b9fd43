"""Which job makes, or has made, a resource."""

from __future__ import annotations

from store import keys
from store.client import Store, translated


def job_making(store: Store, tenant_id: str, dedup_key: str) -> str | None:
    """The id of the living or succeeded job of a dedup key."""
    name = f"{keys.PREFIX}dedup:{tenant_id}:{keys.digest(dedup_key)}"
    with translated():
        found = store.client.get(name)
    return found if isinstance(found, str) else None
