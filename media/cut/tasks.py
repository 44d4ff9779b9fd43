"""What a jailed child is asked by name: index what was fetched, or carry out a cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from media.cut.child import cut
from media.index import index_tracks
from schemas.cuts import CutPlan, CutReport, CutRequest, MediaIndex

Report = Callable[[Mapping[str, JsonValue]], None]


def index(argument: JsonValue, report: Report) -> MediaIndex:
    """The index of a CutRequest's tracks, which lie in the working directory."""
    request = CutRequest.model_validate(argument, strict=False)
    return index_tracks(request, Path.cwd(), _counted(report))


def carry_out(argument: JsonValue, report: Report) -> CutReport:
    """The report of a CutPlan carried out in the working directory."""
    plan = CutPlan.model_validate(argument, strict=False)
    return cut(plan, Path.cwd(), _counted(report))


def _counted(report: Report) -> Callable[[int, int], None]:
    return lambda done, total: report({"done": done, "total": total})
