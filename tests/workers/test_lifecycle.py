"""One job from claim to end, over the ledger in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from schemas.commands import ClipFromStream
from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    NotYetAvailable,
    SourceUnavailable,
    StoreUnavailable,
)
from schemas.jobs import Job, JobError
from schemas.ledger import Lease
from schemas.plans import Plan, Step, WriteText
from tests.builders import a_clip_command
from tests.fakes import FixedClock
from workers.lifecycle import run_job
from workers.local_ledger import LocalLedger
from workers.patience import PatientLedger
from workers.phases import Phase, Work
from workers.run import Run
from workers.runtime import Runtime, epoch_ms
from workers.turn import Turn

Gather = Callable[[ClipFromStream, int, Run], int]


def count_up(_command: ClipFromStream, facts: int, _run: Run) -> int:
    return facts + 1


def one_file(_command: ClipFromStream, facts: int) -> Plan:
    return Plan(steps=(WriteText(name=f"{facts}.txt", text="x"),))


def answers_names(
    steps: tuple[Step, ...], _run: Run, report: Callable[[float], None]
) -> Sequence[object]:
    report(1.0)
    return tuple(step.name for step in steps if isinstance(step, WriteText))


@dataclass
class Stage:
    """A runtime on a ledger in memory, and everything that was seen of its one job."""

    tmp: Path
    gather: Gather = count_up
    handler: Any = answers_names
    phases: int = 2
    clock: Callable[[], int] = epoch_ms
    seen: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = LocalLedger(self.seen.append, self.clock)
        self.job_id = self.ledger.submit(a_clip_command()).id
        phases = tuple(
            Phase(name=f"p{n}", stage="cutting", weight=1, gather=self.gather, plan=one_file)
            for n in range(self.phases)
        )
        work = Work(
            command=ClipFromStream,
            begin=lambda _command: 0,
            phases=phases,
            result=lambda _command, facts, run: {"facts": facts, "first": run.outcomes("p0")},
        )
        self.runtime = Runtime(
            ledger=self.ledger,
            works={"clip": work},
            handlers={"write": self.handler},
            work_dir=self.tmp / "work",
            owner="w1",
            clock=self.clock,
            jitter=lambda: 0.0,
        )

    @property
    def job(self) -> Job:
        """The job as it is now."""
        return self.ledger.job(self.job_id)

    def folders(self) -> list[Path]:
        """The workspaces on disk."""
        return [path for path in (self.tmp / "work").glob("*") if path.is_dir()]


def raises(error: Exception) -> Gather:
    def gather(_command: ClipFromStream, _facts: int, _run: Run) -> int:
        raise error

    return gather


def test_phases_run_in_order_and_make_the_result(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    assert run_job("clip", stage.runtime)

    assert stage.job.state == "succeeded"
    assert stage.job.result == {"facts": 2, "first": ("1.txt",)}
    assert stage.folders() == []


def test_progress_is_unknown_first_and_never_falls(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    run_job("clip", stage.runtime)

    told = [job.progress for job in stage.seen if job.state == "running"]
    known = [p for p in told if p is not None]
    assert told[0] is None
    assert known == sorted(known)


def test_an_empty_queue_is_no_job(tmp_path: Path) -> None:
    stage = Stage(tmp_path)

    assert not run_job("other", stage.runtime)


def test_a_permanent_error_fails_the_job_where_it_happened(tmp_path: Path) -> None:
    stage = Stage(tmp_path, gather=raises(AccessDenied("the origin said 403")))

    run_job("clip", stage.runtime)

    assert stage.job.state == "failed"
    assert stage.job.error is not None
    assert (stage.job.error.code, stage.job.error.stage) == ("access_denied", "cutting")
    assert stage.folders() == []


def test_a_retryable_error_comes_again_with_what_was_fetched(tmp_path: Path) -> None:
    stage = Stage(tmp_path, gather=raises(SourceUnavailable("503")))

    run_job("clip", stage.runtime)

    assert (stage.job.state, stage.job.attempt) == ("queued", 1)
    assert stage.ledger.due_in_ms(stage.job_id) > 0
    assert len(stage.folders()) == 1


def test_an_unexpected_error_tells_a_client_nothing_of_its_inside(tmp_path: Path) -> None:
    clock = FixedClock()
    stage = Stage(tmp_path, gather=raises(KeyError("s3cret")), clock=clock)

    for _ in range(2):
        run_job("clip", stage.runtime)
        clock.advance(60_000)

    assert stage.job.state == "failed"
    assert stage.job.error is not None
    assert stage.job.error.code == "internal"
    assert "s3cret" not in stage.job.error.message


def test_a_fault_in_a_child_is_in_the_log_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = CuttingRoomError("IndexError in the child")
    fault.add_note('in the child:\nFile "spans.py", line 7')
    stage = Stage(tmp_path, gather=raises(fault))

    run_job("clip", stage.runtime)

    said = capsys.readouterr()
    assert 'File "spans.py", line 7' in said.out + said.err


def test_media_far_away_gives_the_lease_back(tmp_path: Path) -> None:
    clock = FixedClock()
    far = NotYetAvailable("later", retry_at_ms=clock.now_ms + 60_000)
    stage = Stage(tmp_path, gather=raises(far), clock=clock)

    run_job("clip", stage.runtime)

    assert (stage.job.state, stage.job.attempt) == ("waiting", 0)
    assert 55_000 < stage.ledger.due_in_ms(stage.job_id) <= 60_000
    assert len(stage.folders()) == 1


def test_media_nearly_there_is_waited_for_in_place(tmp_path: Path) -> None:
    refused = iter((True, True, False, False))

    def gather(_command: ClipFromStream, facts: int, run: Run) -> int:
        if next(refused):
            raise NotYetAvailable("soon", retry_at_ms=run.clock() + 20)
        return facts + 1

    stage = Stage(tmp_path, gather=gather)

    run_job("clip", stage.runtime)

    states = [job.state for job in stage.seen]
    assert states[-1] == "succeeded"
    assert states.index("running") < states.index("waiting") < states.index("succeeded")
    assert stage.job.attempt == 1


def test_a_growing_phase_is_gone_through_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, phases=1)
    grown = Phase(
        name="p0",
        stage="fetching",
        weight=1,
        gather=count_up,
        plan=one_file,
        more=lambda _command, facts: epoch_ms() + 5 if facts < 3 else None,
    )
    work = Work(
        command=ClipFromStream,
        begin=lambda _command: 0,
        phases=(grown,),
        result=lambda _command, _facts, run: {"files": run.outcomes("p0")},
    )
    stage.runtime.works = {"clip": work}

    run_job("clip", stage.runtime)

    assert stage.job.result == {"files": ("1.txt", "2.txt", "3.txt")}


@pytest.mark.parametrize("beside", [True, False])
def test_a_job_that_waited_has_its_turn_again_for_all_but_what_goes_beside(
    tmp_path: Path, beside: bool
) -> None:
    turn, had = Turn(1), list[tuple[str, bool]]()
    stint = turn.begin()

    def gather(_command: ClipFromStream, facts: int, run: Run) -> int:
        had.append((run.stage or "", turn.holder is stint))
        if facts == 0 and len(had) == 1:
            raise NotYetAvailable("soon", retry_at_ms=run.clock() + 5)
        return facts + 1

    def more(_command: ClipFromStream, facts: int) -> int | None:
        return epoch_ms() + 5 if facts < 2 else None

    stage = Stage(tmp_path)
    phases = (
        Phase("p0", "fetching", 1, gather, one_file, more, beside=beside),
        Phase("p1", "cutting", 1, gather, one_file),
    )
    work = Work(ClipFromStream, lambda _command: 0, phases, lambda *_: {})
    stage.runtime.works = {"clip": work}

    run_job("clip", stage.runtime, stint)

    assert stage.job.state == "succeeded"
    assert had == [
        ("fetching", True),
        ("fetching", True),
        ("fetching", not beside),
        ("cutting", True),
    ]


def test_with_no_place_left_to_wait_in_the_lease_is_given_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, gather=raises(NotYetAvailable("soon", retry_at_ms=epoch_ms() + 5)))
    turn = Turn(0)

    run_job("clip", stage.runtime, turn.begin())

    assert (stage.job.state, stage.job.attempt) == ("waiting", 0)
    assert len(stage.folders()) == 1


def test_a_cancelled_job_stops_while_it_works(tmp_path: Path) -> None:
    def gather(_command: ClipFromStream, facts: int, run: Run) -> int:
        stage.ledger.cancel(stage.job_id)
        run.wait_until(run.clock() + 30_000)
        return facts

    stage = Stage(tmp_path, gather=gather)

    run_job("clip", stage.runtime)

    assert stage.job.state == "cancelled"
    assert stage.folders() == []


def test_an_interrupted_worker_puts_the_job_back_uncounted(tmp_path: Path) -> None:
    def gather(_command: ClipFromStream, facts: int, run: Run) -> int:
        stage.runtime.stop.set()
        run.check()
        return facts

    stage = Stage(tmp_path, gather=gather)

    run_job("clip", stage.runtime)

    assert (stage.job.state, stage.job.attempt) == ("queued", 0)
    assert not run_job("clip", stage.runtime)


def test_a_lost_lease_leaves_everything_alone(tmp_path: Path) -> None:
    taken: list[Lease | None] = []

    def gather(_command: ClipFromStream, facts: int, run: Run) -> int:
        if not taken:
            error = JobError(code="worker_lost", message="gone", retryable=True)
            stage.ledger.retry(run.lease, error, 0, counted=True)
            taken.append(stage.ledger.claim("clip", "w2", "other"))
        run.wait_until(run.clock() + 30_000)
        return facts

    stage = Stage(tmp_path, gather=gather)

    run_job("clip", stage.runtime)

    assert taken[0] is not None
    assert stage.ledger.renew(taken[0]) == "held"
    assert (stage.job.state, stage.job.attempt) == ("running", 2)


def test_a_command_of_another_version_fails_cleanly(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.runtime.works = {}

    run_job("clip", stage.runtime)

    assert stage.job.error is not None
    assert stage.job.error.code == "invalid_command"


class Flaky(LocalLedger):
    """A ledger that is away for its first answers to `finish`."""

    def __init__(self, away: int) -> None:
        super().__init__()
        self.away = away

    def finish(self, lease: Lease, result: dict[str, Any]) -> None:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        super().finish(lease, result)


def test_an_end_outlasts_a_ledger_that_is_away(tmp_path: Path) -> None:
    flaky = Flaky(away=2)
    job = flaky.submit(a_clip_command())
    stage = Stage(tmp_path)
    stage.runtime.ledger = PatientLedger(flaky, threading.Event(), patience_s=30)

    run_job("clip", stage.runtime)

    assert flaky.job(job.id).state == "succeeded"


class Gone(LocalLedger):
    """A ledger that stays away once a job is claimed."""

    def finish(self, lease: Lease, result: dict[str, Any]) -> None:
        raise StoreUnavailable("away")

    def retry(self, lease: Lease, error: JobError, delay_ms: int, *, counted: bool) -> None:
        raise StoreUnavailable("away")


def test_patience_ends(tmp_path: Path) -> None:
    flaky = Gone()
    job = flaky.submit(a_clip_command())
    stage = Stage(tmp_path)
    stage.runtime.ledger = PatientLedger(flaky, threading.Event(), patience_s=0.05)

    run_job("clip", stage.runtime)

    assert flaky.job(job.id).state == "running"  # its lease lapses now
    assert stage.runtime.current == {}
