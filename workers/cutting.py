"""Carries out cut steps in a jailed child, and gathers the index a cut is planned from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait

from pydantic import JsonValue

from media.jail import Jail
from media.workspace import check_room, metered, used_bytes
from pipelines.clip import sizeless
from schemas.cuts import CutReport, CutRequest, MediaIndex
from schemas.errors import WorkerInterrupted
from schemas.plans import Cut, Step
from workers.fetching import MAX_JOB_BYTES
from workers.run import Run
from workers.world import world_of

INDEX_LIMIT_S = 600.0
TICK_S = 0.05
# Twenty times real time, and never less than a minute: past that something is stuck.
REAL_TIMES = 20
LEAST_LIMIT_S = 60.0


def index(request: CutRequest, run: Run) -> MediaIndex:
    """Facts about everything that was fetched, gathered in a jailed child."""
    early, run.ahead = run.ahead, None
    known = early(request) if early else None
    if known is not None:
        return known
    found = world_of(run).media.call(
        "media.cut.tasks:index",
        request,
        jail=Jail(workspace=run.workspace),
        limit_s=INDEX_LIMIT_S,
        control=metered(run.workspace, run.check, MAX_JOB_BYTES),
    )
    return MediaIndex.model_validate(found)


def index_ahead(request: CutRequest, run: Run) -> None:
    """Begin to index files that are still being fetched; `index` takes it over.

    Where the slot is busy enough, they are indexed when it is this job's turn.
    """
    if run.ahead is not None:
        return
    done = run.aside()
    if done is not None:
        early = _Early(request, run, done)
        run.at_end.callback(early.close)
        run.ahead = early.answer


class _Early:
    """An index that is gathered, in a thread and a child, while its segments arrive."""

    def __init__(self, request: CutRequest, run: Run, done: Callable[[], None]) -> None:
        self._request, self._run = request, run
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._found = self._pool.submit(self._gather)
        self._found.add_done_callback(lambda _found: done())

    def answer(self, request: CutRequest) -> MediaIndex | None:
        """The index, if all came as expected; where it failed the usual way tells why."""
        if sizeless(request) != sizeless(self._request):
            self.close()
            return None
        while not wait([self._found], timeout=TICK_S).done:
            self._run.check()
        return None if self._found.exception() else self._found.result()

    def close(self) -> None:
        """End it, whatever it has found."""
        self._over.set()
        self._pool.shutdown()

    def _gather(self) -> MediaIndex:
        run = self._run
        found = world_of(run).media.call(
            "media.cut.tasks:index_ahead",
            self._request,
            jail=Jail(workspace=run.workspace),
            limit_s=INDEX_LIMIT_S,
            control=self._control,
            stall_s=None,
        )
        return MediaIndex.model_validate(found)

    def _control(self) -> None:
        self._run.check()
        if self._over.is_set():
            raise WorkerInterrupted("the index is of no use any more")


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
