"""A clip through the whole engine, in this process, from a loopback origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.addresses import stream_type
from cli.clip import Asked, make
from connectors.local import Folder
from connectors.sealing import new_key
from schemas.commands import ClipFromStream
from schemas.connectors import Destination
from schemas.jobs import FINAL, Job
from schemas.ledger import Lease
from schemas.settings import Settings
from schemas.times import TimeRange
from tests.builders import a_clip_command, a_connector_ref
from tests.origin import ManualClock
from workers import handlers
from workers.clip import WORK
from workers.lifecycle import run_job
from workers.local_ledger import LocalLedger
from workers.runtime import Runtime

LOOPBACK = ("127.0.0.0/8",)


def clip(
    url: str,
    start: float | str,
    end: float | str,
    output: Path,
    *,
    attempts: int = 1,
    **asked: Any,
) -> Job:
    """The finished job of a clip, written to `output`; times in epoch ms, or as typed."""
    settings = Settings(fetch_connections=4, allow_cidrs=LOOPBACK)
    wanted = {"url": url, "start": _typed(start), "end": _typed(end)}
    return make(
        Asked(output=output, **wanted, **asked), settings, Console(file=StringIO()), attempts
    )


def _typed(time: float | str) -> str:
    return time if isinstance(time, str) else str(round(time))


class _Waiting(LocalLedger):
    """A ledger in which waiting for media takes no time: the clock moves instead."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation.note, simulation.clock, allowance=simulation.attempts)
        self._simulation = simulation

    def waiting(self, lease: Lease, until_ms: int, *, release: bool) -> None:
        """The job waits, and the time comes."""
        super().waiting(lease, until_ms, release=release)
        self._simulation.pass_until(until_ms)


@dataclass
class Simulation:
    """The engine on a clock that moves only while a job waits for media.

    `at` has what happens in the world when a time comes; `states` what the job went through.
    """

    clock: ManualClock
    folder: Path
    at: dict[int, Callable[[], object]] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)
    waits: int = 0
    longest_ms: int = 300_000
    attempts: int = 1

    @property
    def output(self) -> Path:
        """Where the clip goes."""
        return self.folder / "out" / "clip.mp4"

    def clip(self, url: str, start_ms: int, end_ms: int, **asked: Any) -> Job:
        """The finished job of a clip, after all its waits."""
        self._give_up_ms = self.clock() + self.longest_ms
        self.output.parent.mkdir()
        runtime = self._runtime()
        job_id = runtime.ledger.submit(_command(url, start_ms, end_ms, asked)).id
        while (job := runtime.ledger.job(job_id)).state not in FINAL:
            self.pass_until(self.clock() + runtime.ledger.due_in_ms(job_id))
            run_job("clip", runtime)
        return job

    def note(self, job: Job) -> None:
        """Remember a change of the job's state."""
        if self.states[-1:] != [job.state]:
            self.states.append(job.state)

    def pass_until(self, at_ms: int) -> None:
        """Let the time come, and what happens by then happen."""
        assert at_ms < self._give_up_ms, "the job waits for ever"
        self.waits += 1
        self.clock.advance(max(0, at_ms - self.clock()) / 1000)
        for due in sorted(due for due in self.at if due <= self.clock()):
            self.at.pop(due)()

    def _runtime(self) -> _Simulated:
        settings = Settings(
            work_dir=str(self.folder / "work"), allow_cidrs=LOOPBACK, secret_keys=new_key()
        )
        made, world = handlers.build(settings)
        return _Simulated(
            ledger=_Waiting(self),
            works={"clip": WORK},
            handlers=made,
            world=replace(world, media_store=Folder(self.output.parent)),
            work_dir=self.folder / "work",
            owner="simulation",
            clock=self.clock,
        )


class _Simulated(Runtime):
    """A runtime whose ledger is known to be the local one."""

    ledger: LocalLedger


def _command(url: str, start_ms: int, end_ms: int, asked: dict[str, Any]) -> ClipFromStream:
    return a_clip_command(
        connector=a_connector_ref(type=stream_type(url), config={"url": url}),
        range=TimeRange(start_ms=start_ms, end_ms=end_ms),
        destination=Destination(key="clip.mp4"),
        **asked,
    )
