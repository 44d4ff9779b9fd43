"""A fresh catalogue for each test."""

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
def sql_url(tmp_path: Path) -> str:
    return catalog_url(str(tmp_path))


@pytest.fixture
def catalog(sql_url: str, clock: FixedClock) -> Iterator[Catalog]:
    migrate(sql_url)
    opened = Catalog(sql_url, clock=clock)
    yield opened
    opened.close()
