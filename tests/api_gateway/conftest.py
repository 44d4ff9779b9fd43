"""A fresh gateway for each test; where rows matter, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.gateway_kit import Kit, a_kit
from tests.postgres_server import PostgresServer

ON_BOTH = frozenset(
    {
        *("test_api_keys", "test_audit", "test_auth", "test_connectors", "test_metadata"),
        *("test_mfa", "test_projects", "test_recovery", "test_reporter", "test_tenants"),
        *("test_users", "test_webhooks"),
    }
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The modules that are about what the catalogue keeps run on both of its databases."""
    name = metafunc.module.__name__.rpartition(".")[2]
    if name in ON_BOTH and "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def kit(tmp_path: Path, backend: str, request: pytest.FixtureRequest) -> Iterator[Kit]:
    with ExitStack() as held:
        url = None
        if backend == "postgresql":
            server: PostgresServer = request.getfixturevalue("postgres")
            url = held.enter_context(server.migrated())
        yield held.enter_context(a_kit(tmp_path, sql_url=url))
