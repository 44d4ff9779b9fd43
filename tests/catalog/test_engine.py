"""The catalogue opens, migrates, isolates and says so when it is away."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from catalog.engine import MIGRATIONS, Catalog, catalog_url, make_engine, migrate
from catalog.models import Base
from schemas.errors import Conflict, FieldInvalid, NotFound, StoreUnavailable
from tests.fakes import FixedClock


def test_migrations_make_exactly_the_tables_of_the_models(empty_url: str) -> None:
    migrate(empty_url)

    engine = make_engine(empty_url)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    assert differences == []


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    url = catalog_url(str(tmp_path))
    migrate(url)

    migrate(url)

    newest = max(script.name[:4] for script in (MIGRATIONS / "versions").glob("0*.py"))
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as raw:
        assert raw.execute("select version_num from alembic_version").fetchall() == [(newest,)]
    raw.close()


def test_writers_take_turns(catalog: Catalog) -> None:
    def make(number: int) -> str:
        with catalog.write() as tx:
            return tx.tenants.create(f"tenant {number}").id

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(make, range(40)))

    assert len(set(made)) == 40


def test_a_failed_transaction_leaves_nothing(catalog: Catalog) -> None:
    with catalog.write() as tx:
        tx.tenants.create("one")

    def make_two_and_one_again() -> None:
        with catalog.write() as tx:
            tx.tenants.create("two")
            tx.tenants.create("one")

    with pytest.raises(Conflict):
        make_two_and_one_again()

    with catalog.write() as tx:
        assert tx.tenants.create("two").name == "two"


def test_foreign_keys_hold(catalog: Catalog) -> None:
    with pytest.raises(Conflict), catalog.write() as tx:
        tx.users.create("ten_unknown", "a@example.com", "A", "admin", None)


def test_a_catalogue_without_tables_is_away(tmp_path: Path, clock: FixedClock) -> None:
    catalog = Catalog(catalog_url(str(tmp_path)), clock=clock)

    with pytest.raises(StoreUnavailable):
        catalog.ping()
    catalog.close()


def test_a_text_the_database_will_not_be_asked_for_is_refused(
    catalog: Catalog, backend: str
) -> None:
    refused = FieldInvalid if backend == "postgresql" else NotFound

    with pytest.raises(refused), catalog.read() as tx:
        tx.connectors.get("ten_none", "con_\0")


def test_an_error_tells_no_value(sql_url: str) -> None:
    engine = make_engine(sql_url)
    asked = text("SELECT 1 FROM nowhere WHERE name = :name")

    with engine.connect() as connection, pytest.raises(DBAPIError) as failed:
        connection.execute(asked, {"name": "s3cr3t"})

    engine.dispose()
    assert "nowhere" in str(failed.value)
    assert "s3cr3t" not in str(failed.value)
