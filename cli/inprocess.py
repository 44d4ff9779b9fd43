"""One job in this process, with no server: followed to its end, its progress shown."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from cli.show import progress_bar, shown
from schemas.commands import CommandBase
from schemas.errors import CuttingRoomError, PermanentError
from schemas.jobs import FINAL, Job
from workers.lifecycle import run_job
from workers.local_ledger import LocalLedger
from workers.runtime import Runtime


class JobFailed(PermanentError):
    """The job failed; the message is the job's own."""


def carried_out(command: CommandBase, runtime: Runtime, err: Console, attempts: int) -> Job:
    """The job of a command once it ended, whatever became of it; Ctrl-C cancels it."""
    with progress_bar(err) as bar:
        task = bar.add_task("starting", total=1.0, eta="")
        runtime.ledger = ledger = LocalLedger(lambda job: shown(bar, task, job), allowance=attempts)
        with _interruptible(ledger) as watched:
            return _followed(command, ledger, runtime, watched)


def failure(job: Job, what: str) -> CuttingRoomError:
    """Why a job failed, as an error to raise."""
    if job.error is None:
        return JobFailed(f"{what} failed without saying why")
    return JobFailed(job.error.message, code=job.error.code)


def _followed(
    command: CommandBase, ledger: LocalLedger, runtime: Runtime, watched: list[str]
) -> Job:
    job_id = ledger.submit(command).id
    watched.append(job_id)
    while ledger.job(job_id).state not in FINAL:
        threading.Event().wait(min(ledger.due_in_ms(job_id), 200) / 1000)
        run_job(command.queue, runtime)
    return ledger.job(job_id)


@contextmanager
def _interruptible(ledger: LocalLedger) -> Iterator[list[str]]:
    """Ctrl-C cancels the job instead of tearing it."""
    watched: list[str] = []

    def on_signal(*_: object) -> None:
        for job_id in watched:
            ledger.cancel(job_id)

    before = {n: signal.signal(n, on_signal) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield watched
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
