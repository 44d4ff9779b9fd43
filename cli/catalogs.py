"""The catalogue a command works on: where the settings say, else in the data folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalog.engine import Catalog, catalog_url
from connectors.sealing import Sealer
from schemas.errors import InvalidCommand
from schemas.settings import Settings

KEYRING = "keyring"


def url_of(settings: Settings) -> str:
    """Where the catalogue lies."""
    if settings.catalog_url is not None:
        return settings.catalog_url.get_secret_value()
    return catalog_url(settings.data_dir)


@contextmanager
def opened(settings: Settings) -> Iterator[Catalog]:
    """The catalogue, closed afterwards."""
    catalog = Catalog(url_of(settings), clock=now_ms)
    try:
        yield catalog
    finally:
        catalog.close()


def ring_of(settings: Settings) -> str:
    """The key ring: of the environment where it is set there, else of the data folder."""
    given = settings.secret_keys.get_secret_value()
    kept = ring_file(settings)
    if given:
        return given
    if not kept.exists():
        raise InvalidCommand(f"no key ring: neither CUTTINGROOM_SECRET_KEYS nor {kept}")
    return kept.read_text(encoding="utf-8").strip()


def ring_file(settings: Settings) -> Path:
    """Where `up` keeps the key ring."""
    return Path(settings.data_dir) / KEYRING


def sealer_of(settings: Settings) -> Sealer:
    """What opens and seals secrets."""
    return Sealer(ring_of(settings))


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000
