"""A clip through the whole engine, in this process, from a loopback origin."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.clip import Asked, make
from schemas.jobs import Job
from schemas.settings import Settings


def clip(
    url: str, start_ms: float, end_ms: float, output: Path, *, attempts: int = 1, **asked: Any
) -> Job:
    """The finished job of a clip of `[start_ms, end_ms)`, written to `output`."""
    settings = Settings(fetch_connections=4, allow_cidrs=("127.0.0.0/8",))
    wanted = {"url": url, "start": str(round(start_ms)), "end": str(round(end_ms))}
    return make(
        Asked(output=output, **wanted, **asked), settings, Console(file=StringIO()), attempts
    )
