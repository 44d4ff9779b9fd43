"""Renditions through the whole engine, in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.render import Asked, command, make, recipes_of, running
from media.ffmpeg import locate
from media.jail import Jail, hand_over
from media.pace import pace
from media.probe import probe
from media.process import shared
from schemas.jobs import Job
from schemas.media import MediaInfo
from schemas.renditions import Pace
from schemas.settings import Settings
from workers.lifecycle import run_job
from workers.local_ledger import LocalLedger

FAST = {"codec": "h264", "speed": "fast"}
SOUND = {"codec": "aac", "bitrate": 48_000, "channels": 1}


def render(
    source: Path,
    recipes: list[dict[str, Any]],
    output: Path,
    *,
    cancel_in: str = "",
    watch: Callable[[Job], None] | None = None,
) -> Job:
    """The finished job of some recipes, its files at `output`; cancelled in a stage, if named."""
    written = output.parent / f"{output.name}.recipes.json"
    written.write_text(json.dumps(recipes), encoding="utf-8")
    asked = Asked(source=source, recipe=(str(written),), output=output)
    if not cancel_in and watch is None:
        return make(asked, Settings(), Console(file=StringIO()), 1)
    return _watched(asked, cancel_in, watch)


def _watched(asked: Asked, cancel_in: str, watch: Callable[[Job], None] | None) -> Job:
    def told(job: Job) -> None:
        if watch is not None:
            watch(job)
        if job.stage == cancel_in and job.progress:
            ledger.cancel(job.id)

    ledger = LocalLedger(told, allowance=1)
    with running(asked, Settings()) as runtime:
        runtime.ledger = ledger
        job_id = ledger.submit(command(asked, recipes_of(asked.recipe))).id
        run_job("rendition", runtime)
        return ledger.job(job_id)


def a_recipe(**changes: Any) -> dict[str, Any]:
    """A small and fast recipe."""
    return {"name": "small", "video": {**FAST, "height": 48}, "audio": SOUND, **changes}


def read_back(path: Path, workspace: Path) -> tuple[MediaInfo, Pace]:
    """What a file holds, both its ends decoded."""
    workspace.mkdir(exist_ok=True)
    hand_over(workspace)
    jail = Jail(workspace=workspace)
    server = shared()
    return (
        probe(server, path, jail=jail, edges=True),
        pace(server, path, jail=jail),
    )


def lacks(filter_name: str) -> bool:
    """Whether the machine's ffmpeg has no such filter."""
    found = locate(None, search_path=os.environ.get("PATH", ""))
    return found is None or filter_name not in found.filters
