"""Projects as they are kept: who wrote, who sees them, and in which order they are listed."""

from __future__ import annotations

import pytest

from catalog.engine import Catalog
from catalog.projects import position
from schemas.errors import Conflict, NotFound
from schemas.projects import Project, ProjectFilter
from tests.fakes import FixedClock

KEY, ANNA, BEN = "key:k1", "user:anna", "user:ben"


def make(catalog: Catalog, tenant: str, writer: str = KEY, **changes: str) -> Project:
    values = {"title": "Cut", "status": "draft", "document": "{}"} | changes
    with catalog.write() as tx:
        return tx.projects.create(tenant, writer, **values)


def a_tenant(catalog: Catalog, name: str = "one") -> str:
    with catalog.write() as tx:
        return tx.tenants.create(name).id


def titles(catalog: Catalog, tenant: str, **wanted: object) -> list[str]:
    with catalog.read() as tx:
        found = tx.projects.page(tenant, ProjectFilter.model_validate(wanted), None, 50)
    return [one.title for one in found]


def test_whoever_writes_is_the_last_and_stays_among_all_who_did(
    catalog: Catalog, clock: FixedClock
) -> None:
    made = make(catalog, a_tenant(catalog))
    for writer in (ANNA, KEY, BEN):
        clock.advance(1000)
        with catalog.write() as tx:
            made = tx.projects.change(made, writer, status="approved")

    assert made.created_by == KEY
    assert made.edited_by == BEN
    assert made.contributed_by == (KEY, ANNA, BEN)
    assert made.version == 4
    assert made.updated_ms == made.created_ms + 3000


def test_a_change_from_an_old_reading_is_refused(catalog: Catalog) -> None:
    old = make(catalog, a_tenant(catalog))
    with catalog.write() as tx:
        tx.projects.change(old, ANNA, title="Other")

    with pytest.raises(Conflict) as refused, catalog.write() as tx:
        tx.projects.change(old, BEN, document="[]")

    assert refused.value.error_code == "stale"
    with catalog.read() as tx:
        held = tx.projects.get(old.tenant_id, old.id)
        assert (held.title, held.contributed_by) == ("Other", (KEY, ANNA))
        assert tx.projects.document(old.tenant_id, old.id) == "{}"


def test_another_tenant_sees_and_deletes_nothing(catalog: Catalog) -> None:
    mine, theirs = a_tenant(catalog), a_tenant(catalog, "two")
    made = make(catalog, mine)

    for act in ("get", "document", "delete"):
        with pytest.raises(NotFound), catalog.write() as tx:
            getattr(tx.projects, act)(theirs, made.id)

    assert titles(catalog, theirs) == []
    assert titles(catalog, mine) == ["Cut"]


def test_a_list_shows_what_its_filter_says(catalog: Catalog, clock: FixedClock) -> None:
    tenant = a_tenant(catalog)
    first = make(catalog, tenant, title="Straße 100%")
    clock.advance(1000)
    second = make(catalog, tenant, ANNA, title="Morning news", status="approved")
    with catalog.write() as tx:
        tx.projects.change(first, BEN, title="STRASSE 100%")

    assert titles(catalog, tenant, title="strasse") == ["STRASSE 100%"]
    assert titles(catalog, tenant, title="100%") == ["STRASSE 100%"]
    assert titles(catalog, tenant, title="_") == []
    assert titles(catalog, tenant, edited_by=KEY) == []
    assert titles(catalog, tenant, contributed_by=KEY) == ["STRASSE 100%"]
    assert titles(catalog, tenant, status="approved") == ["Morning news"]
    now = second.updated_ms
    assert titles(catalog, tenant, updated_to_ms=now) == []
    assert len(titles(catalog, tenant, updated_from_ms=now)) == 2


@pytest.mark.parametrize("sort", ["title", "-title", "createdAt", "-createdAt", "-updatedAt"])
def test_pages_show_every_project_once_in_order(
    catalog: Catalog, clock: FixedClock, sort: str
) -> None:
    tenant = a_tenant(catalog)
    for number in range(7):
        make(catalog, tenant, title=f"{'abc'[number % 3]}")
        clock.advance(number % 2)
    wanted = ProjectFilter.model_validate({"sort": sort})
    found: list[Project] = []
    while True:
        after = position(found[-1], wanted) if found else None
        with catalog.read() as tx:
            page = tx.projects.page(tenant, wanted, after, 2)
        found += page
        if len(page) < 2:
            break

    assert len({one.id for one in found}) == 7
    places = [position(one, wanted) for one in found]
    assert places == sorted(places, reverse=sort.startswith("-"))


def test_a_deleted_project_leaves_nothing(catalog: Catalog) -> None:
    made = make(catalog, a_tenant(catalog))

    with catalog.write() as tx:
        tx.projects.delete(made.tenant_id, made.id)

    assert titles(catalog, made.tenant_id) == []
    with pytest.raises(NotFound), catalog.read() as tx:
        tx.projects.document(made.tenant_id, made.id)
