"""`cuttingroom keys`: the key ring that secrets are sealed with, and the keys of access tokens."""

from __future__ import annotations

from rich.console import Console

from api_gateway.accesstokens import make_signing_key
from catalog import upkeep
from cli.catalogs import opened, ring_file, ring_of, sealer_of, url_of
from cli.stack import write_private
from connectors.sealing import Sealer, new_key
from schemas.errors import InvalidCommand
from schemas.settings import Settings


def new(console: Console) -> None:
    """Print a fresh key."""
    console.print(new_key().get_secret_value(), markup=False)


def rotate(settings: Settings, console: Console) -> None:
    """Put a fresh key in front of the ring; everything sealed before still opens."""
    _write(settings, f"{new_key().get_secret_value()},{_kept(settings)}")
    console.print("A new key stands first in the key ring. Now restart the service, then run")
    console.print("  cuttingroom keys reseal    and, when every job has ended,")
    console.print("  cuttingroom keys prune")


def reseal(settings: Settings, console: Console) -> None:
    """Seal every secret of the catalogue with the first key of the ring."""
    counts = upkeep.reseal(url_of(settings), sealer_of(settings).rotate)
    for name, count in counts.items():
        console.print(f"{name}: {count}")
    console.print(f"{sum(counts.values())} secrets are sealed with the first key")


def prune(settings: Settings, console: Console) -> None:
    """Drop every key but the first; refused while a secret needs another one."""
    first = _kept(settings).split(",")[0].strip()
    # Sealing anew with the first key alone opens every secret with it, or refuses.
    upkeep.reseal(url_of(settings), Sealer(first).rotate)
    _write(settings, first)
    console.print("The key ring holds one key now.")


def sign(settings: Settings, console: Console) -> None:
    """Have access tokens signed with a new key; the older ones are believed for an hour."""
    with opened(settings) as catalog, catalog.write() as tx:
        kid = make_signing_key(tx.signing_keys, sealer_of(settings))
    console.print(f"{kid} signs from now on; every gateway knows it within a minute")


def _kept(settings: Settings) -> str:
    if settings.secret_keys.get_secret_value():
        raise InvalidCommand(
            "the key ring is set in CUTTINGROOM_SECRET_KEYS: change it there, new key first "
            "(cuttingroom keys new makes one)"
        )
    return ring_of(settings)


def _write(settings: Settings, ring: str) -> None:
    write_private(ring_file(settings), ring)
