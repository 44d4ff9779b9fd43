"""A catalogue on SQLite with every table and nothing in it: migrated once, then copied."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from catalog.engine import catalog_url, migrate


def migrated_sqlite(folder: Path) -> str:
    """The URL of a new catalogue in a folder, with every table and nothing in it."""
    url = catalog_url(str(folder))
    Path(url.removeprefix("sqlite:///")).write_bytes(_empty_catalogue())
    return url


@cache
def _empty_catalogue() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        url = catalog_url(folder)
        migrate(url)
        return Path(url.removeprefix("sqlite:///")).read_bytes()
