"""Renditions through the whole engine, in this process."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.render import Asked, make
from media.ffmpeg import locate
from media.jail import Jail, hand_over
from media.pace import pace
from media.probe import probe
from media.process import shared
from schemas.jobs import Job
from schemas.media import MediaInfo
from schemas.renditions import Pace
from schemas.settings import Settings

FAST = {"codec": "h264", "speed": "fast"}
SOUND = {"codec": "aac", "bitrate": 48_000, "channels": 1}


def render(source: Path, recipes: list[dict[str, Any]], output: Path) -> Job:
    """The finished job of some recipes, its files at `output`."""
    written = output.parent / f"{output.name}.recipes.json"
    written.write_text(json.dumps(recipes), encoding="utf-8")
    asked = Asked(source=source, recipe=(str(written),), output=output)
    return make(asked, Settings(), Console(file=StringIO()), 1)


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
    found = locate(None, search_path="/usr/local/bin:/usr/bin:/bin")
    return found is None or filter_name not in found.filters
