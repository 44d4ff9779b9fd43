"""A fresh catalogue for each test: SQLite on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalog.engine import Catalog, catalog_url, migrate
from tests.fakes_time import SteppedClock


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock(1_700_000_000_000)


@pytest.fixture
def catalog(tmp_path: Path, clock: SteppedClock) -> Iterator[Catalog]:
    url = catalog_url(str(tmp_path))
    migrate(url)
    opened = Catalog(url, clock=clock)
    yield opened
    opened.close()
