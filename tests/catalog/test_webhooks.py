"""The repository of webhooks, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.engine import Catalog
from catalog.webhooks import MAX_WEBHOOKS
from schemas.errors import Conflict, NotFound
from schemas.webhooks import Webhook
from tests.fakes import FixedClock


def a_tenant(catalog: Catalog, name: str = "mine") -> str:
    with catalog.write() as tx:
        return tx.tenants.create(name).id


def a_webhook(catalog: Catalog, tenant_id: str, **changes: Any) -> Webhook:
    with catalog.write() as tx:
        values: dict[str, Any] = {
            "id": tx.webhooks.new_id(),
            "tenant_id": tenant_id,
            "url": "https://hooks.example.com/" + "p" * 1900,
            "since": "0-0",
            "sealed_secret": "sealed",
            "created_ms": 1,
            "updated_ms": 1,
        }
        return tx.webhooks.create(Webhook.model_validate({**values, **changes}))


def test_a_webhook_is_read_as_it_was_made(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    everything = a_webhook(catalog, tenant)
    some = a_webhook(catalog, tenant, events=("clip.ready",), enabled=False)

    with catalog.read() as tx:
        found = [tx.webhooks.get(tenant, one.id) for one in (everything, some)]

    assert found == [everything, some]
    assert (everything.events, some.events) == (None, ("clip.ready",))


def test_webhooks_belong_to_their_tenant(catalog: Catalog) -> None:
    mine, theirs = a_tenant(catalog), a_tenant(catalog, "theirs")
    made = a_webhook(catalog, theirs)

    with catalog.write() as tx:
        assert tx.webhooks.page(mine, None, 10) == ()
        for call in (tx.webhooks.get, tx.webhooks.delete):
            with pytest.raises(NotFound):
                call(mine, made.id)


def test_pages_go_on_where_they_ended(catalog: Catalog, clock: FixedClock) -> None:
    tenant = a_tenant(catalog)
    made = []
    for _ in range(3):
        made.append(a_webhook(catalog, tenant))
        clock.advance(1)

    with catalog.read() as tx:
        first = tx.webhooks.page(tenant, None, 2)
        rest = tx.webhooks.page(tenant, first[-1].id, 2)

    assert [*first, *rest] == made


def test_a_change_is_made_from_what_was_read(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    held = a_webhook(catalog, tenant)

    with catalog.write() as tx:
        changed = tx.webhooks.change(held, held.model_copy(update={"description": "two"}))

    assert (changed.description, changed.version) == ("two", 2)
    with catalog.write() as tx, pytest.raises(Conflict):
        tx.webhooks.change(held, held)


def test_the_service_disables_only_what_it_has_read(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    held = a_webhook(catalog, tenant)

    with catalog.write() as tx:
        done = tx.webhooks.disable(held, "gone")
        again = tx.webhooks.disable(held, "failing")
        left = tx.webhooks.get(tenant, held.id)

    assert (done, again) == (True, False)
    assert (left.enabled, left.disabled_reason) == (False, "gone")


def test_a_tenant_has_only_so_many(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    for _ in range(MAX_WEBHOOKS):
        a_webhook(catalog, tenant)

    with pytest.raises(Conflict):
        a_webhook(catalog, tenant)


def test_a_tenants_webhooks_stand_together(catalog: Catalog) -> None:
    first, second = a_tenant(catalog), a_tenant(catalog, "theirs")
    for tenant in (first, second, first, second):
        a_webhook(catalog, tenant)

    with catalog.read() as tx:
        owners = [one.tenant_id for one in tx.webhooks.everyone()]

    assert owners in ([first] * 2 + [second] * 2, [second] * 2 + [first] * 2)
