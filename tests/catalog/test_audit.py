"""The audit log is added to and read; the database refuses everything else."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from catalog.audit import AuditFilter
from catalog.engine import Catalog, make_engine
from tests.fakes import FixedClock


def test_entries_come_newest_first_and_filtered(catalog: Catalog, clock: FixedClock) -> None:
    with catalog.write() as tx:
        tenant, other = tx.tenants.create("Acme").id, tx.tenants.create("Other").id
    for number in range(4):
        with catalog.write() as tx:
            tx.audit.add(tenant, f"user:{number % 2}", "createUser", target=f"u\0{number}")
            tx.audit.add(other, "user:0", "createUser")
        clock.advance(1000)

    with catalog.read() as tx:
        every = tx.audit.page(tenant, None, 10, AuditFilter())
        rest = tx.audit.page(tenant, every[1].id, 10, AuditFilter())
        one = tx.audit.page(tenant, None, 10, AuditFilter(subject="user:1"))
        late = tx.audit.page(tenant, None, 10, AuditFilter(from_ms=clock() - 1000))

    assert [e.target for e in every] == ["u\ufffd3", "u\ufffd2", "u\ufffd1", "u\ufffd0"]
    assert [e.id for e in rest] == [e.id for e in every[2:]]
    assert {e.subject for e in one} == {"user:1"}
    assert [e.id for e in late] == [every[0].id]


@pytest.mark.parametrize(
    "statement", ["UPDATE audit SET action = 'nothing'", "DELETE FROM audit"], ids=["set", "drop"]
)
def test_an_entry_cannot_be_changed(catalog: Catalog, sql_url: str, statement: str) -> None:
    with catalog.write() as tx:
        tenant = tx.tenants.create("Acme").id
        tx.audit.add(tenant, "user:1", "createUser")
    engine = make_engine(sql_url)

    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as raw:
        raw.execute(text(statement))

    engine.dispose()
    with catalog.read() as tx:
        assert len(tx.audit.page(tenant, None, 10, AuditFilter())) == 1


def test_deleting_a_tenant_deletes_its_entries_and_nobody_elses(catalog: Catalog) -> None:
    with catalog.write() as tx:
        tenant, other = tx.tenants.create("Acme").id, tx.tenants.create("Other").id
        tx.users.create(tenant, "a@example.com", "A", "admin", None)
        for one in (tenant, other):
            tx.audit.add(one, "user:1", "createUser")

    with catalog.write() as tx:
        early = tx.deletions.purge(tenant)
        tx.tenants.mark(tenant, 0)
        done = tx.deletions.purge(tenant)
        again = tx.deletions.purge(tenant)

    with catalog.read() as tx:
        assert tx.audit.page(tenant, None, 10, AuditFilter()) == ()
        assert len(tx.audit.page(other, None, 10, AuditFilter())) == 1
    assert (early, again) == (None, None)
    assert done is not None
    assert done[1] == {"users": 1, "audit": 1}
