"""What tests of several packages share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.postgres_server import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for everything a process tests; started where a test asks for it."""
    with postgres_server() as server:
        yield server


def pytest_collection_finish() -> None:
    """What collecting made stays to the end: looking through it for garbage finds none."""
    gc.collect()
    gc.freeze()
