"""Carries out a plan: neighbouring steps of one type go to that type's handler together."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from schemas.errors import UnsupportedMedia
from schemas.plans import Plan, Step
from workers.phases import Handlers
from workers.run import Run


def groups(plan: Plan) -> tuple[tuple[Step, ...], ...]:
    """The plan's steps, neighbours of one type together."""
    return tuple(tuple(same) for _, same in groupby(plan.steps, key=lambda step: step.step))


def weight(steps: tuple[Step, ...]) -> int:
    """How much of a plan the steps are."""
    return sum(max(1, getattr(step, "weight", 1)) for step in steps)


def execute(
    plan: Plan, run: Run, handlers: Handlers, report: Callable[[float], None]
) -> tuple[object, ...]:
    """Do every step in order; the answers of all steps."""
    outcomes: list[object] = []
    total, done = weight(plan.steps), 0
    for group in groups(plan):
        run.check()
        share = weight(group)
        handler = handlers.get(group[0].step)
        if handler is None:
            raise UnsupportedMedia(f"this worker has no way to {group[0].step}")
        outcomes.extend(handler(group, run, _within(report, done, share, total)))
        done += share
        report(done / total)
    return tuple(outcomes)


def _within(
    report: Callable[[float], None], done: int, share: int, total: int
) -> Callable[[float], None]:
    return lambda fraction: report((done + share * min(1.0, max(0.0, fraction))) / total)
