"""Connectors are kept per tenant, named once, changed at the version they were read at."""

from __future__ import annotations

import pytest

from catalog.engine import Catalog
from schemas.connectors import Connector
from schemas.errors import Conflict, NotFound


def a_tenant(catalog: Catalog, name: str = "Acme") -> str:
    with catalog.write() as tx:
        return tx.tenants.create(name).id


def a_connector(catalog: Catalog, tenant: str, name: str = "news", kind: str = "hls") -> Connector:
    with catalog.write() as tx:
        return tx.connectors.create(
            tenant,
            tx.connectors.new_id(),
            kind=kind,
            name=name,
            config={"url": "https://example.com/live.m3u8"},
            sealed_auth="sealed",
            fingerprint="f" * 64,
        )


def test_pages_follow_the_order_of_making(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    made = [a_connector(catalog, tenant, f"c{n}").id for n in range(5)]

    with catalog.read() as tx:
        first = tx.connectors.page(tenant, None, 3)
        rest = tx.connectors.page(tenant, first[-1].id, 3)

    assert sorted(made) == [c.id for c in (*first, *rest)]


def test_pages_can_be_narrowed_to_types(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    a_connector(catalog, tenant, "a", "hls")
    wanted = a_connector(catalog, tenant, "b", "s3")

    with catalog.read() as tx:
        found = tx.connectors.page(tenant, None, 10, types=frozenset({"s3"}))

    assert [c.id for c in found] == [wanted.id]


def test_another_tenants_connector_is_unknown(catalog: Catalog) -> None:
    mine, theirs = a_tenant(catalog, "mine"), a_tenant(catalog, "theirs")
    other = a_connector(catalog, theirs)

    with catalog.write() as tx:
        with pytest.raises(NotFound):
            tx.connectors.get(mine, other.id)
        with pytest.raises(NotFound):
            tx.connectors.delete(mine, other.id)
        with pytest.raises(NotFound):
            tx.connectors.change(mine, other)
        assert tx.connectors.page(mine, None, 10) == ()


def test_a_name_is_free_again_after_deletion(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    old = a_connector(catalog, tenant)

    with pytest.raises(Conflict):
        a_connector(catalog, tenant)
    with catalog.write() as tx:
        tx.connectors.delete(tenant, old.id)

    assert a_connector(catalog, tenant).fingerprint == old.fingerprint


def test_a_stale_change_is_refused(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    read = a_connector(catalog, tenant)
    with catalog.write() as tx:
        changed = tx.connectors.change(tenant, read.model_copy(update={"name": "sport"}))

    with pytest.raises(Conflict) as refused, catalog.write() as tx:
        tx.connectors.change(tenant, read.model_copy(update={"name": "late"}))

    assert refused.value.error_code == "stale"
    assert (changed.name, changed.version) == ("sport", 2)
