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
    url: str,
    start: float | str,
    end: float | str,
    output: Path,
    *,
    attempts: int = 1,
    **asked: Any,
) -> Job:
    """The finished job of a clip, written to `output`; times in epoch ms, or as typed."""
    settings = Settings(fetch_connections=4, allow_cidrs=("127.0.0.0/8",))
    wanted = {"url": url, "start": _typed(start), "end": _typed(end)}
    return make(
        Asked(output=output, **wanted, **asked), settings, Console(file=StringIO()), attempts
    )


def _typed(time: float | str) -> str:
    return time if isinstance(time, str) else str(round(time))
