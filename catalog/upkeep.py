"""The catalogue's upkeep: is it whole, a copy of it while it runs, its secrets sealed anew."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Table, select, update
from sqlalchemy.engine import make_url

from catalog.engine import MIGRATIONS, make_engine, translated
from catalog.models import Base
from schemas.base import Value
from schemas.errors import InvalidCommand

_PAGES = 256
_SEALED = "sealed"


class Health(Value):
    """How the catalogue is; it is well where nothing is wrong."""

    revision: str | None
    newest: str | None
    wrong: tuple[str, ...]


def check(url: str) -> Health:
    """Whether the tables are of the newest form and what they hold is whole."""
    engine = make_engine(url)
    try:
        with translated(), engine.connect() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
            wrong = list(_damage(connection.exec_driver_sql, connection.dialect.name))
    finally:
        engine.dispose()
    newest = _newest()
    if revision != newest:
        wrong.append(f"the tables are at {revision or 'nothing'}, not at {newest}: run db upgrade")
    return Health(revision=revision, newest=newest, wrong=tuple(wrong))


def backup(url: str, target: Path) -> int:
    """Copy a SQLite catalogue, whole and consistent, while others write; the copy's bytes."""
    address = make_url(url)
    if address.get_backend_name() != "sqlite" or not address.database:
        raise InvalidCommand("this copies SQLite; PostgreSQL has pg_dump and its own archive")
    if target.exists():
        raise InvalidCommand(f"{target} exists; a backup never replaces anything")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    source_uri = f"{Path(address.database).absolute().as_uri()}?mode=ro"
    with (
        closing(sqlite3.connect(source_uri, uri=True)) as source,
        closing(sqlite3.connect(part)) as copy,
    ):
        source.backup(copy, pages=_PAGES, sleep=0.01)
        answer = copy.execute("PRAGMA integrity_check").fetchone()[0]
        if answer != "ok":
            raise InvalidCommand(f"the copy is not whole: {answer}")
        # A copy in WAL mode would be three files.
        copy.execute("PRAGMA journal_mode=DELETE")
    with part.open("rb") as whole:
        os.fsync(whole.fileno())
    part.replace(target)
    return target.stat().st_size


def reseal(url: str, seal: Callable[[str], str]) -> dict[str, int]:
    """Replace every sealed text by what `seal` makes of it, whole or not at all; how many by
    table and column. Every column whose name begins with `sealed` is one."""
    engine = make_engine(url)
    try:
        with translated(), engine.begin() as connection:
            counts: dict[str, int] = {}
            for table, column in sealed_columns():
                keys, sealed = list(table.primary_key), table.c[column]
                rows = connection.execute(select(*keys, sealed).where(sealed.is_not(None))).all()
                for *identity, text in rows:
                    which = [key == value for key, value in zip(keys, identity, strict=True)]
                    connection.execute(update(table).where(*which).values({column: seal(text)}))
                counts[f"{table.name}.{column}"] = len(rows)
            return {name: count for name, count in counts.items() if count}
    finally:
        engine.dispose()


def sealed_columns() -> tuple[tuple[Table, str], ...]:
    """Every column that holds sealed texts."""
    return tuple(
        (table, column.name)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.name.startswith(_SEALED)
    )


def _damage(ask: Callable[[str], Any], dialect: str) -> tuple[str, ...]:
    if dialect != "sqlite":
        return ()
    broken = [str(row[0]) for row in ask("PRAGMA integrity_check") if row[0] != "ok"]
    orphans = [
        f"a row of {row[0]} belongs to a row of {row[2]} that does not exist"
        for row in ask("PRAGMA foreign_key_check")
    ]
    return (*broken, *orphans)


def _newest() -> str | None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config).get_current_head()
