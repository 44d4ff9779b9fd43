"""What tests of several packages share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from tests.distribution import Groups, in_groups
from tests.postgres_server import PostgresServer, postgres_server

if TYPE_CHECKING:
    from tests.e2e.service import Service

# Tracebacks as Python writes them: the pretty ones show every local value, for seconds.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is run together lies together, and what takes long comes first."""
    items[:] = in_groups(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Groups | None:
    """`--dist loadscope` hands out the groups of tests/distribution.py."""
    return Groups(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for everything a process tests; started where a test asks for it."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def whole_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One running service for all tests that can share one; it may read one folder of films."""
    # Imported by whoever uses it: the whole product comes with it.
    from tests.e2e.service import service

    folder = tmp_path_factory.mktemp("whole-service")
    films, data = folder / "films", folder / "data"
    for made_here in (films, data):
        made_here.mkdir()
    films.chmod(0o777)
    changes = {"local_folders": (str(films),), "signup": "open", "login_rate_per_minute": 600}
    with service(data, **changes) as made:
        yield made


def pytest_collection_finish() -> None:
    """What collecting made stays to the end: looking through it for garbage finds none."""
    gc.collect()
    gc.freeze()
