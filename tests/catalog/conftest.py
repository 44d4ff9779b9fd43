"""A fresh catalogue for each test, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.engine import Catalog, catalog_url
from tests.empty_catalogue import migrated_sqlite
from tests.fakes import FixedClock
from tests.postgres_server import PostgresServer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test runs on both; one that looks at the database's files is about SQLite."""
    if "backend" in metafunc.fixturenames:
        about_files = "tmp_path" in inspect.signature(metafunc.function).parameters
        backends = ["sqlite"] if about_files else ["sqlite", "postgresql"]
        metafunc.parametrize("backend", backends, indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def empty_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The URL of a database without tables."""
    if backend == "sqlite":
        return catalog_url(str(tmp_path))
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.fresh()


@pytest.fixture
def sql_url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database with every table and nothing in it."""
    if backend == "sqlite":
        yield migrated_sqlite(tmp_path)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.migrated() as url:
        yield url


@pytest.fixture
def catalog(sql_url: str, clock: FixedClock) -> Iterator[Catalog]:
    opened = Catalog(sql_url, clock=clock)
    yield opened
    opened.close()
