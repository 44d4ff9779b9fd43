"""A worker process with a toy pipeline: each attempt writes what it did into a folder.

The command's metadata say how: `steps` of 100 ms each, then one line appended to `<clip>.done`;
where they name a file that `airs`, the clip waits for it like for media, before its first step.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from schemas.commands import ClipFromStream
from schemas.plans import Plan, Step, WriteText
from schemas.settings import Settings
from workers.main import Parts, serve
from workers.phases import Phase, Work
from workers.run import Run
from workers.runtime import epoch_ms

STEP_S = 0.1
LOOK_AGAIN_MS = 20


def _gather(_command: ClipFromStream, facts: int, _run: Run) -> int:
    return facts


def _nothing(_command: ClipFromStream, _steps: int) -> Plan:
    return Plan(steps=())


def _look_again_ms(command: ClipFromStream, _steps: int) -> int | None:
    airs = command.metadata.get("airs")
    return None if airs is None or Path(airs).exists() else epoch_ms() + LOOK_AGAIN_MS


def _plan(command: ClipFromStream, steps: int) -> Plan:
    named = (WriteText(name=f"{n}.txt", text=command.clip_id) for n in range(steps))
    return Plan(steps=tuple(named))


def _slowly(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> Sequence[object]:
    outputs: Path = run.world
    clip = ClipFromStream.model_validate_json(run.lease.command).clip_id
    _append(outputs / f"{clip}.started", f"{run.lease.fence} {os.getpid()}")
    for done, _ in enumerate(steps, start=1):
        run.wait_until(run.clock() + int(STEP_S * 1000))
        report(done / len(steps))
    return ()


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def _result(command: ClipFromStream, _facts: int, run: Run) -> dict[str, Any]:
    run.hold()
    outputs: Path = run.world
    _append(outputs / f"{command.clip_id}.done", str(run.lease.fence))
    return {"by": run.lease.fence}


WORK = Work(
    command=ClipFromStream,
    begin=lambda command: int(command.metadata.get("steps", "5")),
    phases=(
        Phase("wait", "fetching", 1, _gather, _nothing, _look_again_ms, beside=True),
        Phase("toil", "cutting", 1, _gather, _plan),
    ),
    result=_result,
)


def main() -> None:
    """Serve the clip queue: `toy_worker.py REDIS_URL DATA_DIR OUTPUTS SLOTS`."""
    url, data_dir, outputs, slots = sys.argv[1:]
    settings = Settings.model_validate({"redis_url": url, "data_dir": data_dir})
    parts = Parts({"clip": WORK}, {"write": _slowly}, Path(outputs))
    serve(settings, {"clip": int(slots)}, lambda: parts)


if __name__ == "__main__":
    main()
