"""Deliveries of webhooks: planned from a tenant's events, claimed, retried, and their log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.errors import NotFound
from schemas.times import rfc3339
from schemas.webhooks import TEST_TYPE, Claim, Delivery, Message, Outcome, Webhook, is_delivery_id
from store import keys
from store.client import Store, translated

# What a keeper that died was sending is sent again after this; one that lives renews it.
LEASE_MS = 10_000
RENEW_S = 2.5
PLANNED_AT_ONCE = 200
MAX_PENDING = 5_000
# While so many wait, how far a job was then is of no use to anybody.
CROWD = 1_000
A_HOOK, A_TENANT = 4, 8
KEPT_MS = 7 * 24 * 3600 * 1000
_HOOKS_A_CALL = 64
_GREETING = "A test: this receiver is set up, and this is what its deliveries look like."


class Claimed(NamedTuple):
    """Claims, and which of them belong to webhooks that fail."""

    claims: tuple[Claim, ...]
    failing: frozenset[str]


class DeliveryPage(NamedTuple):
    """Some deliveries, the newest event first, and where to go on."""

    items: tuple[Delivery, ...]
    after: str | None


class Waiting(NamedTuple):
    """How many deliveries have not ended, and for how long the oldest has been waiting."""

    number: int
    oldest_age_ms: int


class Deliveries:
    """The deliveries of all tenants; every change is one script, safe among several keepers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def plan(self, hooks: Sequence[Webhook]) -> bool:
        """Deliveries of what happened since each webhook was last planned; whether more did.

        The webhooks of a tenant must stand together.
        """
        more = False
        for some in _batches(hooks):
            words = [w for h in some for w in (h.tenant_id, h.id, h.since, _types(h))]
            bounds = (PLANNED_AT_ONCE, MAX_PENDING, CROWD)
            more |= bool(self._store.run("hook_plan", *bounds, *words))
        return more

    def claim(self, free: int, failing_free: int, lease_ms: int = LEASE_MS) -> Claimed:
        """Up to `free` due deliveries, of webhooks that fail no more than their share."""
        rows = self._store.run("hook_claim", free, failing_free, A_HOOK, A_TENANT, lease_ms)
        claims = tuple(_claim(row) for row in rows)
        failing = frozenset(
            c.delivery_id for c, r in zip(claims, rows, strict=True) if r[-1] == "1"
        )
        return Claimed(claims, failing)

    def renew(self, claims: Iterable[Claim]) -> None:
        """Hold claims for another `LEASE_MS`."""
        words = [w for c in claims for w in (c.tenant_id, c.webhook_id, c.delivery_id, c.fence)]
        if words:
            self._store.run("hook_renew", LEASE_MS, *words)

    def delivered(self, claim: Claim, outcome: Outcome) -> None:
        """The receiver took it."""
        self._done(claim, "delivered", outcome)

    def failed(self, claim: Claim, outcome: Outcome) -> int | None:
        """It is given up; since when its webhook fails."""
        return self._done(claim, "failed", outcome)

    def retried(self, claim: Claim, outcome: Outcome, delay_ms: int, pause_ms: int) -> int | None:
        """Try again after a delay; `pause_ms` holds up the whole webhook. Since when it fails."""
        return self._done(claim, "retried", outcome, delay_ms, pause_ms)

    def interrupted(self, claim: Claim) -> None:
        """The keeper was told to stop: the try does not count."""
        self._done(claim, "interrupted", Outcome())

    def test(self, webhook: Webhook) -> Delivery:
        """Queue a greeting."""
        data = json.dumps({"webhookId": webhook.id, "message": _GREETING})
        delivery_id = self._store.run("hook_test", webhook.tenant_id, webhook.id, TEST_TYPE, data)
        return self.get(webhook.tenant_id, webhook.id, str(delivery_id))

    def again(self, tenant_id: str, webhook_id: str, delivery_id: str) -> Delivery:
        """Try a delivery of the webhook now, under the id it has; NotFound where there is none."""
        self.get(tenant_id, webhook_id, delivery_id)
        self._store.run("hook_again", tenant_id, webhook_id, delivery_id)
        return self.get(tenant_id, webhook_id, delivery_id)

    def get(self, tenant_id: str, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery, or NotFound."""
        found: tuple[Delivery, ...] = ()
        if is_delivery_id(delivery_id):
            found = self._read(tenant_id, webhook_id, [delivery_id])
        if not found:
            raise NotFound("no such delivery")
        return found[0]

    def page(self, tenant_id: str, webhook_id: str, after: str | None, limit: int) -> DeliveryPage:
        """Up to `limit` deliveries, the newest event first, after an id."""
        high = "+" if after is None else f"({after}"
        with translated():
            ids: Any = self._store.client.zrevrangebylex(
                f"{keys.webhook(tenant_id, webhook_id)}:log", high, "-", start=0, num=limit + 1
            )
        more = ids[limit - 1] if len(ids) > limit else None
        return DeliveryPage(self._read(tenant_id, webhook_id, ids[:limit]), more)

    def failing_since(self, tenant_id: str, webhook_ids: Sequence[str]) -> tuple[int | None, ...]:
        """Since when each webhook fails; None where its last delivery was taken."""
        with translated():
            pipeline = self._store.client.pipeline(transaction=False)
            for webhook_id in webhook_ids:
                pipeline.hget(keys.webhook(tenant_id, webhook_id), "failing_ms")
            found = pipeline.execute()
        return tuple(int(one) if one else None for one in found)

    def cancel(self, tenant_id: str, webhook_id: str, reason: str) -> int:
        """Give up every event that waits for a webhook; how many deliveries that were."""
        return int(self._store.run("hook_cancel", tenant_id, webhook_id, reason))

    def forget(self, tenant_id: str, webhook_id: str) -> int:
        """Drop everything of a webhook; how many deliveries that were."""
        return int(self._store.run("hook_forget", tenant_id, webhook_id))

    def known(self) -> frozenset[tuple[str, str]]:
        """Tenant and id of every webhook something is kept of."""
        with translated():
            found: Any = self._store.client.smembers(keys.WEBHOOKS)
        return frozenset((one.partition(" ")[0], one.partition(" ")[2]) for one in found)

    def tidy(self, hooks: Iterable[tuple[str, str]], keep_ms: int = KEPT_MS) -> int:
        """Drop from the logs what ended that long ago; how many deliveries that were."""
        words = [word for hook in hooks for word in hook]
        return int(self._store.run("hook_tidy", keep_ms, *words))

    def waiting(self) -> Waiting:
        """What waits, right across all tenants."""
        return Waiting(*(int(number) for number in self._store.run("hook_stats")))

    def _done(
        self, claim: Claim, verdict: str, outcome: Outcome, delay_ms: int = 0, pause_ms: int = 0
    ) -> int | None:
        failing = self._store.run(
            "hook_done",
            *(claim.tenant_id, claim.webhook_id, claim.delivery_id, claim.fence, verdict),
            *("" if outcome.code is None else outcome.code, outcome.duration_ms),
            *(outcome.reason or "", delay_ms, pause_ms),
        )
        return int(failing) if failing else None

    def _read(self, tenant_id: str, webhook_id: str, ids: Sequence[str]) -> tuple[Delivery, ...]:
        with translated():
            pipeline = self._store.client.pipeline(transaction=False)
            for delivery_id in ids:
                pipeline.hgetall(keys.webhook_delivery(tenant_id, webhook_id, delivery_id))
            records = pipeline.execute()
        return tuple(_delivery(i, r) for i, r in zip(ids, records, strict=True) if r.get("state"))


def _batches(hooks: Sequence[Webhook]) -> Iterable[list[Webhook]]:
    """Some webhooks at a time, a tenant's never apart."""
    batch: list[Webhook] = []
    for hook in hooks:
        if len(batch) >= _HOOKS_A_CALL and hook.tenant_id != batch[-1].tenant_id:
            yield batch
            batch = []
        batch.append(hook)
    if batch:
        yield batch


def _types(hook: Webhook) -> str:
    return "*" if hook.events is None else f",{','.join(hook.events)},"


def _claim(row: Sequence[str]) -> Claim:
    tenant, hook, delivery, fence, attempts, age, kind, event, *told = row
    type_, job, attempt, seq, at, data = told[:6]
    return Claim(
        tenant_id=tenant,
        webhook_id=hook,
        delivery_id=delivery,
        fence=int(fence),
        attempts=int(attempts),
        age_ms=int(age),
        kind="test" if kind == "test" else "event",
        message=Message.model_validate(
            {
                "id": event,
                "seq": int(seq),
                "type": type_,
                "tenant_id": tenant,
                "job_id": job or None,
                "attempt": int(attempt),
                "occurred_at": rfc3339(int(at)),
                "data": json.loads(data),
            }
        ),
    )


def _delivery(delivery_id: str, record: Mapping[str, str]) -> Delivery:
    numbers = {
        name: int(record[name]) if record.get(name) else None
        for name in ("last_ms", "next_ms", "finished_ms", "code", "duration_ms")
    }
    return Delivery.model_validate(
        {
            **numbers,
            "id": delivery_id,
            "state": record["state"],
            "kind": record["kind"],
            "event_id": record["event"],
            "event_type": record["type"],
            "job_id": record["job"] or None,
            "attempts": int(record["attempts"]),
            "created_ms": int(record["created_ms"]),
            "reason": record.get("reason") or None,
        }
    )
