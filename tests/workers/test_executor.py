"""Plans are carried out in order, neighbours of one type together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from schemas.errors import UnsupportedMedia, WorkerInterrupted
from schemas.plans import Fetch, Plan, RunFfmpeg, Step, WriteText
from tests.builders import a_clip_command
from workers.executor import execute, groups
from workers.local_ledger import LocalLedger
from workers.run import Run, Signal


def write(name: str) -> WriteText:
    return WriteText(name=name, text="x")


def fetch(name: str) -> Fetch:
    return Fetch(uri="http://127.0.0.1/x", name=name)


def a_run(tmp_path: Path, stop: threading.Event | None = None) -> Run:
    ledger = LocalLedger()
    ledger.submit(a_clip_command())
    lease = ledger.claim("clip", "w", "n")
    assert lease is not None
    return Run(lease, ledger, tmp_path, Signal(stop or threading.Event()), lambda: 0)


def names(steps: tuple[Step, ...], _run: Run, report: Callable[[float], None]) -> Sequence[object]:
    report(0.5)
    return tuple(getattr(step, "name", "ffmpeg") for step in steps)


def test_neighbours_of_one_type_go_together() -> None:
    plan = Plan(steps=(write("a"), fetch("b"), fetch("c"), write("d")))

    assert [len(group) for group in groups(plan)] == [1, 2, 1]


def test_every_step_answers_in_order_and_progress_follows_weight(tmp_path: Path) -> None:
    plan = Plan(steps=(write("a"), RunFfmpeg(argv=("-i",), duration_ms=1, weight=3)))
    told: list[float] = []

    answers = execute(plan, a_run(tmp_path), {"write": names, "ffmpeg": names}, told.append)

    assert answers == ("a", "ffmpeg")
    assert told == [0.125, 0.25, 0.625, 1.0]


def test_a_step_without_a_handler_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMedia):
        execute(Plan(steps=(write("a"),)), a_run(tmp_path), {}, lambda _: None)


def test_a_worker_told_to_stop_begins_no_step(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()

    with pytest.raises(WorkerInterrupted):
        execute(Plan(steps=(write("a"),)), a_run(tmp_path, stop), {"write": names}, lambda _: None)
