"""What a jailed child is asked by name: index what is or will be there, or carry out a cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from media.cut.child import cut
from media.index import index_tracks
from schemas.cuts import CutPlan, CutReport, CutRequest, MediaIndex

Report = Callable[[Mapping[str, JsonValue]], None]
LOOK_S = 0.004


def index(argument: JsonValue, report: Report) -> MediaIndex:
    """The index of a CutRequest's tracks, which lie in the working directory."""
    request = CutRequest.model_validate(argument, strict=False)
    return index_tracks(request, Path.cwd(), _counted(report))


def index_ahead(argument: JsonValue, report: Report) -> MediaIndex:
    """The same of files that are still being fetched: each is waited for."""
    request = CutRequest.model_validate(argument, strict=False)
    return index_tracks(request, Path.cwd(), _counted(report), read=_read_when_there)


def _read_when_there(path: Path) -> bytes:
    """A file's bytes, as soon as it has its name; who asked ends the wait."""
    while True:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            time.sleep(LOOK_S)


def carry_out(argument: JsonValue, report: Report) -> CutReport:
    """The report of a CutPlan carried out in the working directory."""
    plan = CutPlan.model_validate(argument, strict=False)
    return cut(plan, Path.cwd(), _counted(report))


def _counted(report: Report) -> Callable[[int, int], None]:
    return lambda done, total: report({"done": done, "total": total})
