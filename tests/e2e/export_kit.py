"""An export through the whole engine, in this process, from loopback origins."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.export import Asked, make
from cli.inprocess import carried_out
from connectors.local import Folder
from connectors.sealing import new_key
from schemas.commands import ExportPart, ExportSegment
from schemas.connectors import Destination
from schemas.jobs import Job
from schemas.settings import Settings
from workers import handlers
from workers.export import WORK
from workers.local_ledger import LocalLedger
from workers.runtime import Runtime


def export(
    url: str, ranges: Sequence[tuple[float, float] | str], output: Path, **asked: Any
) -> Job:
    """The finished job of an export to `output`; times in epoch ms, or as typed."""
    typed = tuple(r if isinstance(r, str) else f"{round(r[0])}..{round(r[1])}" for r in ranges)
    settings = Settings(fetch_connections=4, allow_cidrs=("127.0.0.0/8",))
    wanted = Asked(url=url, ranges=typed, output=output, **asked)
    return make(wanted, settings, Console(file=StringIO()), attempts=1)


def carry_out(
    parts: Sequence[ExportPart],
    output: Path,
    *,
    secret_keys: str | None = None,
    folders: tuple[str, ...] = (),
    attempts: int = 1,
    **asked: Any,
) -> Job:
    """The finished job of an export of parts of any channels and files, to `output`.

    `secret_keys` open what is sealed in the parts' connectors; `folders` may be read.
    It may be begun `attempts` times.
    """
    values: dict[str, Any] = {
        "tenant_id": "t1",
        "requested_by": "user:u1",
        "connector": parts[0].connector,
        "channel_id": parts[0].channel_id,
        "parts": tuple(parts),
        "destination": Destination(key=output.name),
    }
    with tempfile.TemporaryDirectory() as work:
        Path(work).chmod(0o711)
        settings = Settings(
            fetch_connections=4,
            allow_cidrs=("127.0.0.0/8",),
            work_dir=work,
            data_dir=work,
            local_folders=folders,
            secret_keys=secret_keys or new_key(),
        )
        made, world = handlers.build(settings)
        world.media.start()
        runtime = Runtime(
            ledger=LocalLedger(),
            works={"export": WORK},
            handlers=made,
            world=replace(world, media_store=Folder(output.parent)),
            work_dir=Path(work),
            owner="test",
        )
        command = ExportSegment(**values | asked)
        return carried_out(command, runtime, Console(file=StringIO()), attempts)
