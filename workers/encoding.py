"""Carries out ffmpeg and probe steps: watched, stopped within moments, never believed unread."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from connectors.base import Reads, copy_to_file
from media.ffmpeg import Encoding, Ffmpeg, locate, run_ffmpeg
from media.jail import GIB, Jail
from media.pace import pace
from media.probe import probe
from media.turning import turn
from media.workspace import metered
from schemas.base import Value
from schemas.errors import CorruptMedia, SourceNotFound, UnsupportedMedia
from schemas.media import MediaInfo
from schemas.plans import Probe, RunFfmpeg, Step, Turn
from schemas.renditions import Pace
from workers.run import Run
from workers.world import World, world_of

# Twenty times real time for each encoder, and never less than two minutes.
REAL_TIMES = 20
LEAST_LIMIT_S = 120.0
# A slow encoder looks ahead for long before its first frame comes.
STALL_S = 120.0
MEMORY_BYTES = 16 * GIB
MAX_WORKSPACE_BYTES = 512 * GIB
# Each decodes both ends of a file in a child of its own.
PROBES_AT_ONCE = 2
PATH = "/usr/local/bin:/usr/bin:/bin"


class Examined(Value):
    """What a probe step found; `pace` is None for a file that was joined of parts."""

    name: str
    info: MediaInfo
    pace: Pace | None = None


def ffmpeg_of(world: World) -> Ffmpeg:
    """The machine's ffmpeg; refused with what to do where there is none."""
    found = locate(world.settings.ffmpeg, search_path=os.environ.get("PATH", PATH))
    if found is None:
        raise UnsupportedMedia("no ffmpeg 5.1 or newer: install ffmpeg or 'cuttingroom[ffmpeg]'")
    return found


def read_stored(run: Run, key: str, target: Path, report: Callable[[float], None]) -> None:
    """Bring a file of the media store into the workspace, whole or not at all."""
    store = world_of(run).media_store
    if not isinstance(store, Reads):
        raise SourceNotFound("the media store cannot be read")
    size, moved = max(1, store.stat(key).size or 0), 0

    def on_bytes(count: int) -> None:
        nonlocal moved
        moved += count
        report(moved / size)

    part = target.with_name(f"{target.name}.part")
    copy_to_file(store, key, part, on_bytes=on_bytes, control=run.check)
    part.replace(target)


def run_all(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> list[object]:
    """Run ffmpeg once for each step; each answers the end of what ffmpeg said."""
    runs = [step for step in steps if isinstance(step, RunFfmpeg)]
    total, done = sum(step.weight for step in runs), 0
    answers: list[object] = []
    for step in runs:
        answers.append(_run(step, run, _within(report, done, step.weight, total)))
        done += step.weight
    return answers


def _run(step: RunFfmpeg, run: Run, report: Callable[[float], None]) -> str:
    world = world_of(run)
    ffmpeg = ffmpeg_of(world)
    ffmpeg.require(encoders=step.encoders, filters=step.filters)
    finished = run_ffmpeg(
        world.media,
        ffmpeg,
        step.argv,
        jail=Jail(workspace=run.workspace, memory_bytes=MEMORY_BYTES, open_files=1024),
        duration_ms=step.duration_ms,
        on_progress=_told(report),
        control=metered(run.workspace, run.check, MAX_WORKSPACE_BYTES),
        stall_s=STALL_S,
        limit_s=max(LEAST_LIMIT_S, REAL_TIMES * step.load * step.duration_ms / 1000),
    )
    return finished.stderr


def turn_all(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> list[object]:
    """Write the rotation flag of each file; answers their names."""
    turns = [step for step in steps if isinstance(step, Turn)]
    for step in turns:
        run.check()
        turn(run.workspace / step.name, step.degrees, mirrored=step.mirrored)
    return [step.name for step in turns]


def probe_all(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> list[object]:
    """Probe each file with both its edges, and hold its length against what is expected."""
    probes = [step for step in steps if isinstance(step, Probe)]
    answers: list[object] = []
    with ThreadPoolExecutor(PROBES_AT_ONCE, thread_name_prefix="probe") as pool:
        for answer in pool.map(lambda step: _examined(step, run), probes):
            run.check()
            answers.append(answer)
            report(len(answers) / len(probes))
    return answers


def _examined(step: Probe, run: Run) -> Examined:
    path, server = run.workspace / step.name, world_of(run).media
    if step.parts:
        _join(path, [run.workspace / part for part in step.parts])
    jail = Jail(workspace=run.workspace)
    info = probe(server, path, jail=jail, edges=True, control=run.check)
    if step.parts:
        path.unlink()
        return Examined(name=step.name, info=info)
    found = Examined(
        name=step.name, info=info, pace=pace(server, path, jail=jail, control=run.check)
    )
    if step.expect_ms is not None:
        _hold_length(found, step.expect_ms, step.tolerance_ms)
    return found


def _hold_length(found: Examined, expect_ms: int, tolerance_ms: int) -> None:
    kinds = {stream.index: stream.kind for stream in found.info.streams}
    tracks = found.pace.tracks if found.pace else ()
    videos = [t.length_us for t in tracks if kinds.get(t.index) == "video"]
    length_ms = max(videos or [t.length_us for t in tracks], default=0) / 1000
    if abs(length_ms - expect_ms) > tolerance_ms:
        raise CorruptMedia(
            f"{found.name} lasts {length_ms:.0f} ms, not {expect_ms}: the source does not decode "
            "to its end"
        )


def _join(target: Path, parts: list[Path]) -> None:
    with target.open("wb") as out:
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, out)


def _told(report: Callable[[float], None]) -> Callable[[Encoding], None]:
    return lambda now: report(now.fraction or 0.0)


def _within(
    report: Callable[[float], None], done: int, share: int, total: int
) -> Callable[[float], None]:
    return lambda fraction: report((done + share * min(1.0, fraction)) / max(1, total))
