"""How each type of step is carried out, and the world the handlers need for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from schemas.plans import Step, WriteText
from schemas.settings import Settings
from workers.phases import Handlers
from workers.run import Run


def write_text(
    steps: tuple[Step, ...], run: Run, report: Callable[[float], None]
) -> Sequence[object]:
    """Write small text files into the workspace; answers their names."""
    written = [step for step in steps if isinstance(step, WriteText)]
    for done, step in enumerate(written, start=1):
        run.check()
        (run.workspace / step.name).write_text(step.text, encoding="utf-8")
        report(done / len(written))
    return tuple(step.name for step in written)


def build(_settings: Settings) -> tuple[Handlers, Any]:
    """The handlers by step type, and their world."""
    return {"write": write_text}, None
