"""Everything Redis keeps of a tenant, removed when the tenant is."""

from __future__ import annotations

from store import keys
from store.client import Store, translated
from store.webhooks import Deliveries

_BATCH = 500
_UNFINISHED = ("running", "waiting", "queued")


def unfinished(store: Store, tenant_id: str) -> tuple[str, ...]:
    """The ids of a tenant's jobs that have not ended."""
    with translated():
        found = [store.client.zrange(keys.jobs(tenant_id, s), 0, -1) for s in _UNFINISHED]
    return tuple(str(job_id) for ids in found for job_id in ids)


def forget_tenant(store: Store, tenant_id: str) -> int:
    """Remove every key of a tenant, its ended jobs included; how many there were."""
    deliveries = Deliveries(store)
    own = [webhook_id for owner, webhook_id in deliveries.known() if owner == tenant_id]
    removed = sum(deliveries.forget(tenant_id, webhook_id) for webhook_id in own)
    with translated():
        ids = [str(i) for i in store.client.zrange(keys.jobs(tenant_id), 0, -1)]
        names = [name for i in ids for name in (keys.job(i), keys.job_events(i))]
        # An id holds nothing that a pattern could take for a wild card.
        found = store.client.scan_iter(match=f"{keys.PREFIX}*{tenant_id}*", count=_BATCH)
        names.extend(str(name) for name in found)
        for at in range(0, len(names), _BATCH):
            removed += int(store.client.unlink(*names[at : at + _BATCH]))
        if ids:
            store.client.zrem(f"{keys.PREFIX}finished", *ids)
        store.client.srem(keys.TENANTS, tenant_id)
    return removed
