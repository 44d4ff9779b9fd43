"""Destinations are a tenant's own, named once, and changed from the version that was read."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.engine import Catalog
from schemas.errors import Conflict, NotFound
from schemas.uploads import ReporterDestination
from tests.fakes import FixedClock


def a_tenant(catalog: Catalog, name: str = "Acme") -> str:
    with catalog.write() as tx:
        return tx.tenants.create(name).id


def made(catalog: Catalog, tenant_id: str, name: str = "Phones", **more: Any) -> Any:
    given: dict[str, Any] = {
        "name": name,
        "connector_id": "con_1",
        "path_template": "{date}/{fileName}",
        "max_bytes": 5 * 2**40,
        "allowed_types": ("video/*",),
    }
    with catalog.write() as tx:
        return tx.destinations.create(tenant_id, **given | more)


def test_a_destination_reads_back_as_it_was_made(catalog: Catalog, clock: FixedClock) -> None:
    tenant_id = a_tenant(catalog)

    one = made(catalog, tenant_id)
    clock.advance(1)
    bare = made(catalog, tenant_id, "Bare", connector_id=None, max_bytes=None, allowed_types=None)

    with catalog.read() as tx:
        assert tx.destinations.get(tenant_id, one.id) == one
        assert tx.destinations.get(tenant_id, bare.id) == bare
        assert tx.destinations.page(tenant_id, None, 1) == (one,)
        assert tx.destinations.page(tenant_id, one.id, 9) == (bare,)
    assert (one.max_bytes, one.allowed_types) == (5 * 2**40, ("video/*",))
    assert (bare.connector_id, bare.allowed_types) == (None, None)


def test_a_name_is_one_destinations_of_a_tenant(catalog: Catalog) -> None:
    tenant_id, other = a_tenant(catalog), a_tenant(catalog, "Other")
    made(catalog, tenant_id)

    with pytest.raises(Conflict):
        made(catalog, tenant_id)

    assert made(catalog, other).name == "Phones"


def test_a_change_made_from_another_version_is_refused(catalog: Catalog, clock: FixedClock) -> None:
    one: ReporterDestination = made(catalog, a_tenant(catalog))
    clock.advance(5)
    with catalog.write() as tx:
        changed = tx.destinations.change(one.model_copy(update={"allowed_types": None}))

    with pytest.raises(Conflict, match="changed meanwhile"), catalog.write() as tx:
        tx.destinations.change(one)

    assert (changed.version, changed.allowed_types) == (2, None)
    assert changed.updated_ms == one.updated_ms + 5


def test_another_tenants_is_none(catalog: Catalog) -> None:
    one, other = made(catalog, a_tenant(catalog)), a_tenant(catalog, "Other")

    for act in ("get", "delete"):
        with pytest.raises(NotFound), catalog.write() as tx:
            getattr(tx.destinations, act)(other, one.id)

    with catalog.write() as tx:
        tx.destinations.delete(one.tenant_id, one.id)
    with pytest.raises(NotFound), catalog.read() as tx:
        tx.destinations.get(one.tenant_id, one.id)
