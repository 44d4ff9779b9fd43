"""`cuttingroom db`: the catalogue upgraded, checked and copied; tenants that were deleted."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from catalog import upkeep
from catalog.engine import migrate
from cli.catalogs import opened, url_of
from schemas.settings import Settings
from schemas.times import rfc3339


def upgrade(settings: Settings, console: Console) -> None:
    """Bring the tables to the newest form."""
    migrate(url_of(settings))
    health = upkeep.check(url_of(settings))
    console.print(f"the catalogue is at {health.revision}")


def check(settings: Settings, console: Console) -> bool:
    """Say how the catalogue is; whether it is well."""
    health = upkeep.check(url_of(settings))
    for one in health.wrong:
        console.print(one, markup=False, style="red")
    if not health.wrong:
        console.print(f"the catalogue is whole, at {health.revision}")
    return not health.wrong


def backup(settings: Settings, target: Path, console: Console) -> None:
    """Copy a SQLite catalogue while the service runs."""
    size = upkeep.backup(url_of(settings), target.absolute())
    console.print(f"{target}: {size:,} bytes, checked. Keep the key ring with it, elsewhere.")


def deletions(settings: Settings, console: Console) -> None:
    """What was removed with each deleted tenant, the newest first."""
    with opened(settings) as catalog, catalog.read() as tx:
        reports = tx.deletions.reports()
    for one in reports:
        rows = sum(one.rows.values())
        console.print(
            f"{one.tenant_id}  asked {rfc3339(one.requested_ms)}  done {rfc3339(one.finished_ms)}"
            f"  {rows} rows, {one.objects} objects ({one.object_bytes:,} bytes), "
            f"{one.redis_keys} Redis keys",
            markup=False,
        )
    if not reports:
        console.print("no tenant was deleted")
