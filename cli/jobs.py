"""`cuttingroom jobs`: the jobs of a running service, as people want to see them."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cli.api import Api
from cli.show import progress_bar, shown
from cli.stack import Credentials
from connectors.egress import Egress
from schemas.errors import NotFound
from schemas.jobs import Job
from schemas.settings import Settings

WATCH_S = 24 * 3600
LOOPBACK = ("127.0.0.0/8", "::1/128")


def api_of(settings: Settings, data: Path) -> Api:
    """A client with the credentials that `cuttingroom up` wrote into the data folder."""
    path = data / "credentials.json"
    if not path.exists():
        raise NotFound(f"no credentials in {data}: is this the --data of a `cuttingroom up`?")
    found = Credentials.model_validate_json(path.read_text(encoding="utf-8"))
    egress = Egress(allow_cidrs=(*LOOPBACK, *settings.allow_cidrs))
    return Api(found.url, found.api_key, egress)


def show_list(
    settings: Settings, data: Path, state: str | None, console: Console, *, as_json: bool
) -> None:
    """The newest jobs, one a line."""
    query = f"&state={state}" if state else ""
    found = api_of(settings, data).jobs(query)
    if as_json:
        for job in found:
            console.print_json(job.model_dump_json(by_alias=True), indent=None)
        return
    table = Table("id", "kind", "state", "stage", "progress", "attempt", "created", "error")
    for job, _ in zip(found, range(200), strict=False):
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


def show(settings: Settings, data: Path, job_id: str, console: Console) -> None:
    """One job, whole, as JSON."""
    console.print_json(api_of(settings, data).job(job_id).model_dump_json(by_alias=True))


def watch(settings: Settings, data: Path, job_id: str, console: Console) -> bool:
    """Follow a job on a progress bar until it ends; whether it succeeded."""
    return follow(api_of(settings, data), job_id, console, WATCH_S).state == "succeeded"


def act(settings: Settings, data: Path, job_id: str, verb: str, console: Console) -> None:
    """Cancel or retry a job and say what it is now."""
    answer = api_of(settings, data).post(f"/v1/jobs/{job_id}/{verb}")
    console.print(f"{answer['id']} is {answer['state']}")


def follow(api: Api, job_id: str, console: Console, within_s: float) -> Job:
    """Show a job's progress until it is final or the time is up; the job as it stands then."""
    with progress_bar(console) as bar:
        task = bar.add_task("queued", total=1.0, eta="")
        for job in api.follow(job_id, time.monotonic() + within_s):
            shown(bar, task, job)
    return job
