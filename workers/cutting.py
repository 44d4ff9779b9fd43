"""Carries out cut steps in a jailed child, and gathers the index a cut is planned from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import JsonValue

from media.jail import Jail
from media.workspace import check_room, metered, used_bytes
from schemas.cuts import CutReport, CutRequest, MediaIndex
from schemas.plans import Cut, Step
from workers.fetching import MAX_JOB_BYTES
from workers.run import Run
from workers.world import world_of

INDEX_LIMIT_S = 600.0
# Twenty times real time, and never less than a minute: past that something is stuck.
REAL_TIMES = 20
LEAST_LIMIT_S = 60.0


def index(request: CutRequest, run: Run) -> MediaIndex:
    """Facts about everything that was fetched, gathered in a jailed child."""
    found = world_of(run).media.call(
        "media.cut.tasks:index",
        request,
        jail=Jail(workspace=run.workspace),
        limit_s=INDEX_LIMIT_S,
        control=metered(run.workspace, run.check, MAX_JOB_BYTES),
    )
    return MediaIndex.model_validate(found)


def cut_all(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> list[object]:
    """Carry out cut steps one after the other; each answers its CutReport."""
    cuts = [step for step in steps if isinstance(step, Cut)]
    # A cut is about as large as what it is made of.
    check_room(run.workspace, used_bytes(run.workspace))
    return [
        _cut(step, run, lambda done, at=at: report((at + done) / len(cuts)))  # type: ignore[misc]
        for at, step in enumerate(cuts)
    ]


def _cut(step: Cut, run: Run, report: Callable[[float], None]) -> CutReport:
    length_s = step.plan.wanted.length_ms / 1000
    answer = world_of(run).media.call(
        "media.cut.tasks:carry_out",
        step.plan,
        jail=Jail(workspace=run.workspace),
        limit_s=max(LEAST_LIMIT_S, REAL_TIMES * length_s),
        on_progress=shares(report),
        control=metered(run.workspace, run.check, MAX_JOB_BYTES),
    )
    return CutReport.model_validate(answer)


def shares(report: Callable[[float], None]) -> Callable[[Mapping[str, JsonValue]], None]:
    """What passes a child's `done` of `total` on as a fraction."""

    def told(progress: Mapping[str, JsonValue]) -> None:
        done, total = progress.get("done"), progress.get("total")
        if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
            report(min(1.0, done / total))

    return told
