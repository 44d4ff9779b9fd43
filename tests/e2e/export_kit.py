"""An export through the whole engine, in this process, from loopback origins."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.export import Asked, make
from schemas.jobs import Job
from schemas.settings import Settings


def export(
    url: str, ranges: Sequence[tuple[float, float] | str], output: Path, **asked: Any
) -> Job:
    """The finished job of an export to `output`; times in epoch ms, or as typed."""
    typed = tuple(r if isinstance(r, str) else f"{round(r[0])}..{round(r[1])}" for r in ranges)
    settings = Settings(fetch_connections=4, allow_cidrs=("127.0.0.0/8",))
    wanted = Asked(url=url, ranges=typed, output=output, **asked)
    return make(wanted, settings, Console(file=StringIO()), attempts=1)
