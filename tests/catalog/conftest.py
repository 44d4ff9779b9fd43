"""A fresh catalogue for each test: SQLite on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.engine import Catalog, catalog_url, migrate
from tests.fakes import FixedClock


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def catalog(tmp_path: Path, clock: FixedClock) -> Iterator[Catalog]:
    url = catalog_url(str(tmp_path))
    migrate(url)
    opened = Catalog(url, clock=clock)
    yield opened
    opened.close()
