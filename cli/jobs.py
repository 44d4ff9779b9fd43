"""`cuttingroom jobs`: the jobs of a running service, as people want to see them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from cli.show import progress_bar, shown
from cli.stack import Credentials
from client import Client, Job
from schemas.errors import NotFound, TimedOut
from schemas.jobs import State

WATCH_S = 24 * 3600
LISTED = 200
ID_WIDTH = 30


def client_of(data: Path) -> Client:
    """A client with the credentials that `cuttingroom up` wrote into the data folder."""
    path = data / "credentials.json"
    if not path.exists():
        raise NotFound(f"no credentials in {data}: is this the --data of a `cuttingroom up`?")
    found = Credentials.model_validate_json(path.read_text(encoding="utf-8"))
    return Client(found.url, api_key=found.api_key)


def show_list(data: Path, state: State | None, console: Console, *, as_json: bool) -> None:
    """The newest jobs, one a line."""
    with client_of(data) as client:
        found = client.jobs.list(state=state)
        if as_json:
            for job in found:
                console.print_json(job.model_dump_json(by_alias=True), indent=None)
        else:
            show_table(islice(found, LISTED), console)


def show_table(found: Iterable[Job], console: Console) -> None:
    """Some jobs, one a line as far as there is room."""
    # Without its end an id is of no use: the rest is broken before it.
    names = ("kind", "state", "stage", "progress", "attempt", "created", "error")
    table = Table(
        Column("id", no_wrap=True, min_width=ID_WIDTH),
        *(Column(name, overflow="fold") for name in names),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for job in found:
        table.add_row(
            job.id,
            job.kind,
            job.state,
            job.stage or "",
            "" if job.progress is None else f"{job.progress:.0%}",
            str(job.attempt),
            job.created_at,
            job.error.code if job.error else "",
        )
    console.print(table)


def show(data: Path, job_id: str, console: Console) -> None:
    """One job, whole, as JSON."""
    with client_of(data) as client:
        console.print_json(client.jobs.get(job_id).model_dump_json(by_alias=True))


def watch(data: Path, job_id: str, console: Console) -> bool:
    """Follow a job on a progress bar until it ends, and say how; whether it succeeded."""
    with client_of(data) as client:
        job = follow(client, job_id, console, WATCH_S)
    _say(job, console)
    if job.error is not None:
        console.print(f"{job.error.code}: {job.error.message}", markup=False)
    return job.state == "succeeded"


def cancel(data: Path, job_id: str, console: Console) -> None:
    """Ask a job to stop and say what it is now."""
    with client_of(data) as client:
        _say(client.jobs.cancel(job_id), console)


def retry(data: Path, job_id: str, console: Console) -> None:
    """Try a failed job again and say what it is now."""
    with client_of(data) as client:
        _say(client.jobs.retry(job_id), console)


def follow(client: Client, job_id: str, console: Console, within_s: float) -> Job:
    """Show a job's progress until it is final or the time is up; the job as it stands then."""
    job = client.jobs.get(job_id)
    with progress_bar(console) as bar, suppress(TimedOut):
        task = bar.add_task("queued", total=1.0, eta="")
        for job in client.jobs.changes(job_id, timeout_s=within_s):
            shown(bar, task, job)
    return job


def _say(job: Job, console: Console) -> None:
    console.print(f"{job.id} is {job.state}")
