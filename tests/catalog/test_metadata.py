"""Views and records of metadata: kept per tenant and source, in time order, found by value."""

from __future__ import annotations

from typing import Any

import pytest

from catalog import metadata as module
from catalog.engine import Catalog
from catalog.metadata import Place, Position, Wanted
from schemas.errors import Conflict, NotFound
from schemas.metadata import KeptRecord, MetadataField, OwnView
from tests.fakes import FixedClock

SOURCE = "f" * 64
FIELDS = (MetadataField(name="slug", required=True), MetadataField(name="kind", enum=("a", "b")))


def a_tenant(catalog: Catalog, name: str = "Acme") -> str:
    with catalog.write() as tx:
        return tx.tenants.create(name).id


def a_view(catalog: Catalog, tenant: str, name: str = "Shots") -> OwnView:
    with catalog.write() as tx:
        return tx.metadata.create_view(tenant, name, timed=True, fields=FIELDS)


def add(
    catalog: Catalog,
    tenant: str,
    file_id: str,
    view: str = "news-clip",
    span: tuple[int | None, int | None] = (None, None),
    source: str = SOURCE,
    **values: Any,
) -> KeptRecord:
    with catalog.write() as tx:
        return tx.metadata.add(Place(tenant, source), file_id, view, values, *span)


def test_views_are_kept_named_once_and_changed_at_their_version(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    made = a_view(catalog, tenant)

    with pytest.raises(Conflict) as taken:
        a_view(catalog, tenant)
    with catalog.write() as tx:
        changed = tx.metadata.change_view(made, "Takes", FIELDS[:1])
    with pytest.raises(Conflict) as stale, catalog.write() as tx:
        tx.metadata.change_view(made, "Late", FIELDS)

    assert (taken.value.error_code, stale.value.error_code) == ("name_taken", "stale")
    with catalog.read() as tx:
        assert tx.metadata.view(tenant, made.id) == changed
        assert tx.metadata.views(tenant) == (changed,)
        assert (changed.name, changed.fields, changed.version) == ("Takes", FIELDS[:1], 2)


def test_a_view_with_records_stays(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    view = a_view(catalog, tenant)
    record = add(catalog, tenant, "a.mp4", view.id, slug="s")

    with pytest.raises(Conflict) as used, catalog.write() as tx:
        tx.metadata.delete_view(tenant, view.id)
    with catalog.write() as tx:
        tx.metadata.delete(tenant, record.id)
        tx.metadata.delete_view(tenant, view.id)

    assert used.value.error_code == "view_in_use"
    with catalog.read() as tx:
        assert tx.metadata.views(tenant) == ()


def test_records_come_in_time_order_page_by_page(catalog: Catalog) -> None:
    tenant, place = a_tenant(catalog), None
    starts = [5000, 0, 70, 5000]
    made = [add(catalog, tenant, "a.mp4", "log", (s, s + 10), slug=str(s)) for s in starts]
    whole = add(catalog, tenant, "a.mp4", slug="whole")
    add(catalog, tenant, "b.mp4", slug="other file")
    place = Place(tenant, SOURCE)

    with catalog.read() as tx:
        listed = tx.metadata.of_file(place, "a.mp4")
        pages, after = list[KeptRecord](), None
        while found := tx.metadata.of_file(place, "a.mp4", after=after, limit=2):
            pages += found
            after = module.position(found[-1])
        logged = tx.metadata.of_file(place, "a.mp4", view="log", after=Position(70, made[2].id))

    same = sorted([made[0], made[3]], key=lambda record: record.id)
    assert listed == (whole, made[1], made[2], *same)
    assert pages == list(listed)
    assert logged == tuple(same)


def test_what_touches_a_stretch_is_found(catalog: Catalog) -> None:
    tenant, place = a_tenant(catalog), None
    place = Place(tenant, SOURCE)
    spans = [(0, 100), (100, 200), (150, None), (200, None), (90, 101)]
    made = [add(catalog, tenant, "ch1", "log", span, slug=str(span)) for span in spans]
    add(catalog, tenant, "ch1", slug="whole")

    with catalog.read() as tx:
        found = tx.metadata.within(place, "ch1", 100, 200, 10)
        whole = tx.metadata.whole(place, "ch1", 10)

    assert found == (made[4], made[1], made[2])
    assert [record.values["slug"] for record in whole] == ["whole"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), ["a", "b", "c"]),
        (Wanted(view="sport-log"), ["c"]),
        (Wanted(field="slug", value="FIRE in Wien"), ["a"]),
        (Wanted(value="fire in wien"), ["a"]),
        (Wanted(text="WIEN"), ["a", "b", "c"]),
        (Wanted(text="100%_"), ["b"]),
        (Wanted(field="priority", value="3.0"), ["a"]),
        (Wanted(field="priority", value="3"), ["a"]),
        (Wanted(field="live", value="true"), ["b"]),
        (Wanted(field="slug", value="true"), []),
        (Wanted(view="news-clip", field="team", value="Wien"), []),
        (Wanted(value="STRASSE"), ["c"]),
    ],
)
def test_records_are_found_by_value(catalog: Catalog, wanted: Wanted, found: list[str]) -> None:
    tenant = a_tenant(catalog)
    add(catalog, tenant, "a", slug="Fire in Wien", priority=3)
    add(catalog, tenant, "b", slug="100%_wien", live=True)
    add(catalog, tenant, "c", "sport-log", (1, 2), team="Wienna", street="straße")
    add(catalog, tenant, "d", source="e" * 64, slug="Fire in Wien")

    with catalog.read() as tx:
        records = tx.metadata.search(Place(tenant, SOURCE), wanted, None, 10)

    assert sorted(record.file_id for record in records) == found


def test_files_have_all_that_is_wanted(catalog: Catalog) -> None:
    tenant = a_tenant(catalog)
    add(catalog, tenant, "b", slug="one")
    add(catalog, tenant, "b", "sport-log", (1, 2), team="red")
    add(catalog, tenant, "a", slug="one")
    add(catalog, tenant, "c", slug="one")
    place, one = Place(tenant, SOURCE), Wanted(field="slug", value="one")

    with catalog.read() as tx:
        assert tx.metadata.files(place, [one], None, 2) == ("a", "b")
        assert tx.metadata.files(place, [one], "b", 2) == ("c",)
        assert tx.metadata.files(place, [one, Wanted(field="team", value="red")], None, 9) == ("b",)


def test_a_change_is_found_by_its_new_values(catalog: Catalog, clock: FixedClock) -> None:
    tenant = a_tenant(catalog)
    made = add(catalog, tenant, "a", slug="old", kind="a")
    clock.advance(5)

    with catalog.write() as tx:
        changed = tx.metadata.change(made, {"slug": "new"}, 3, None)
    with pytest.raises(Conflict), catalog.write() as tx:
        tx.metadata.change(made, {"slug": "late"}, None, None)

    with catalog.read() as tx:
        assert tx.metadata.get(tenant, made.id) == changed
        assert tx.metadata.search(Place(tenant, SOURCE), Wanted(value="old"), None, 9) == ()
        assert tx.metadata.search(Place(tenant, SOURCE), Wanted(value="new"), None, 9) == (changed,)
    assert (changed.version, changed.start_ms, changed.updated_ms) == (2, 3, clock())


def test_a_files_records_are_bounded(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS_A_FILE", 2)
    tenant = a_tenant(catalog)
    for _ in range(2):
        add(catalog, tenant, "a", slug="s")

    with pytest.raises(Conflict) as refused:
        add(catalog, tenant, "a", slug="s")

    assert refused.value.error_code == "too_many_records"


def test_another_tenants_metadata_are_unknown(catalog: Catalog) -> None:
    mine, theirs = a_tenant(catalog, "mine"), a_tenant(catalog, "theirs")
    view, record = a_view(catalog, theirs), add(catalog, theirs, "a", slug="s")

    with catalog.write() as tx:
        for use in (
            lambda: tx.metadata.view(mine, view.id),
            lambda: tx.metadata.delete_view(mine, view.id),
            lambda: tx.metadata.get(mine, record.id),
            lambda: tx.metadata.delete(mine, record.id),
        ):
            with pytest.raises(NotFound):
                use()
        assert not tx.metadata.has_any(Place(mine, SOURCE))
        assert tx.metadata.of_file(Place(mine, SOURCE), "a") == ()
        assert tx.metadata.search(Place(mine, SOURCE), Wanted(), None, 9) == ()
        assert tx.metadata.files(Place(mine, SOURCE), [Wanted()], None, 9) == ()
        assert tx.metadata.has_any(Place(theirs, SOURCE))


def test_a_purged_tenant_leaves_no_metadata(catalog: Catalog, clock: FixedClock) -> None:
    tenant = a_tenant(catalog)
    add(catalog, tenant, "a", slug="s")
    a_view(catalog, tenant)
    with catalog.write() as tx:
        tx.tenants.mark(tenant, 0)
    clock.advance(1)

    with catalog.write() as tx:
        purged = tx.deletions.purge(tenant)

    assert purged is not None
    assert purged[1]["metadata_records"] == purged[1]["metadata_values"] == 1
    assert purged[1]["metadata_views"] == 1
