"""Real worker processes under a toy command, and faults to put them through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import StoreUnavailable
from schemas.jobs import Job
from store.jobs import Jobs
from tests.builders import a_clip_command

ROOT = Path(__file__).parent.parent.parent


def until(holds: Callable[[], bool], what: str, timeout_s: float = 30.0) -> float:
    """Wait for a condition; how long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < timeout_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.005)
    return time.monotonic() - began


class Crew:
    """One supervisor with its slots, and the folder their jobs leave traces in."""

    def __init__(self, url: str, folder: Path, slots: int) -> None:
        self.outputs = folder / "outputs"
        self.outputs.mkdir(parents=True, exist_ok=True)
        argv = [sys.executable, "-m", "tests.chaos.toy_worker"]
        argv += [url, str(folder / "data"), str(self.outputs), str(slots)]
        self.log = (folder / f"log-{time.monotonic_ns()}").open("wb")
        self.process = subprocess.Popen(argv, cwd=ROOT, stderr=self.log)

    def started(self, clip: str) -> list[int]:
        """The processes that began the clip, in order."""
        path = self.outputs / f"{clip}.started"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(line.split()[1]) for line in lines if len(line.split()) == 2]

    def done(self, clip: str) -> int:
        """How often the clip's effect happened."""
        path = self.outputs / f"{clip}.done"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def slots(self) -> list[int]:
        """The slots' processes."""
        pid = self.process.pid
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in text.split()]

    def stop(self) -> float:
        """SIGTERM to the supervisor; how long its end took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        return time.monotonic() - began

    def kill_all(self) -> None:
        """The machine is gone: supervisor and slots at once."""
        pids = [self.process.pid, *self.slots()]
        self.process.send_signal(signal.SIGSTOP)
        for pid in pids[1:]:
            kill(pid)
        self.process.kill()
        self.process.wait(10)


@contextmanager
def crew(url: str, folder: Path, slots: int = 1) -> Iterator[Crew]:
    """A running crew, stopped afterwards."""
    made = Crew(url, folder, slots)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.stop()
        made.log.close()


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may be gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def accept(jobs: Jobs, clip: str, steps: int, airs: Path | None = None) -> str:
    """Queue a toy job of so many tenths of a second, once that file is there; its id."""
    told = {"steps": str(steps)} | ({"airs": str(airs)} if airs else {})
    command = a_clip_command(clip_id=clip, metadata=told)
    return jobs.accept(command).job.id


def look(jobs: Jobs, job_id: str) -> Job:
    """The job as it is, as soon as Redis answers."""
    while True:
        with suppress(StoreUnavailable):
            return jobs.get("t1", job_id)
        time.sleep(0.02)


def ended(jobs: Jobs, job_id: str) -> bool:
    """Whether the job is over."""
    return look(jobs, job_id).state in {"succeeded", "failed", "cancelled"}
