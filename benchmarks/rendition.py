"""A ladder of four in one run against four ffmpeg runs: `python -m benchmarks.rendition`."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from media.ffmpeg import Ffmpeg, locate
from pipelines import ffargs
from pipelines.recipes import RECIPES
from pipelines.rendition import RenditionFacts, Source, design
from schemas.commands import CreateRenditions
from schemas.connectors import ConnectorRef, Destination
from schemas.media import MediaInfo, StreamInfo
from schemas.profiles import Profile
from schemas.renditions import Pace, TrackPace

RESULTS = Path(__file__).parent / "results" / "rendition.json"
SECONDS, GOP, ROUNDS = 6, 50, 3
GLOBALS = ("-nostdin", "-v", "error", "-y")


def main() -> None:
    """Measure, print and write the results."""
    found = locate(os.environ.get("CUTTINGROOM_FFMPEG"), search_path=os.environ["PATH"])
    if found is None:
        sys.exit("no ffmpeg")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source = make_source(found, work)
        rungs = tuple(r.model_copy(update={"packaging": None}) for r in RECIPES["ladder-hls"])
        runs = {
            "four runs": [typed(source, rung, work) for rung in rungs],
            "one run": [ours(source, rungs, work, meets=False)],
            "one run, top rung copied": [ours(source, rungs, work, meets=True)],
        }
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, commands in runs.items():
                measured[name].append(timed(found, commands, work))
    told = results(found, measured)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


def make_source(found: Ffmpeg, work: Path) -> Path:
    """Some seconds of 1080p with noise and motion, at 6 Mbit/s."""
    path = work / "source.mp4"
    picture = f"testsrc2=s=1920x1080:r=25:d={SECONDS},noise=alls=12:allf=t"
    command = [
        *("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=d={SECONDS}"),
        *("-c:v", "libx264", "-preset", "veryfast", "-b:v", "4800k", "-maxrate", "4800k"),
        *("-bufsize", "9600k", "-g", str(GOP), "-keyint_min", str(GOP), "-sc_threshold", "0"),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "256k", str(path)),
    ]
    subprocess.run([str(found.path), *GLOBALS, *command], check=True)
    return path


def typed(source: Path, rung: Profile, work: Path) -> list[str]:
    """What somebody types for one rung, with the same encoder settings as ours."""
    video = rung.video
    assert video is not None
    rate = str(video.bitrate)
    return [
        *("-i", str(source), "-vf", f"scale=-2:{video.height}", "-c:v", "libx264"),
        *("-preset", "faster", "-b:v", rate, "-maxrate", rate, "-bufsize", f"{2 * int(rate)}"),
        *("-g", str(GOP), "-keyint_min", str(GOP), "-sc_threshold", "0", "-c:a", "aac"),
        *("-b:a", "128k", "-ac", "2", "-movflags", "+faststart", str(work / f"t{rung.name}.mp4")),
    ]


def ours(source: Path, rungs: tuple[Profile, ...], work: Path, *, meets: bool) -> list[str]:
    """The arguments the product's own planner gives; the source meets the top rung, or hardly."""
    rate = 4_800_000 if meets else 9_000_000
    facts = RenditionFacts(source=_known(source, rate))
    command = CreateRenditions(
        tenant_id="t",
        requested_by="benchmark",
        connector=ConnectorRef(id="c", tenant_id="t", type="local", config={}),
        file_id=source.name,
        recipes=rungs,
        destination=Destination(key="out"),
    )
    return list(ffargs.ladder(design(command, facts).encoding))


def _known(source: Path, rate: int) -> Source:
    length_us = SECONDS * 1_000_000
    video = StreamInfo(
        index=0, kind="video", codec="h264", width=1920, height=1080, frame_rate=Fraction(25),
        pixel_format="yuv420p", field_order="progressive",
    )  # fmt: skip
    sound = StreamInfo(index=1, kind="audio", codec="aac", channels=1)
    keys = tuple(range(0, length_us, GOP * 40_000))
    tracks = (
        TrackPace(index=0, packets=SECONDS * 25, first_us=0, end_us=length_us,
                  bytes=rate * SECONDS // 8, step_us=40_000, keyframes_us=keys),
        TrackPace(index=1, packets=900, first_us=0, end_us=length_us, bytes=256_000 * SECONDS // 8),
    )  # fmt: skip
    info = MediaInfo(container="mp4", size=1, duration_ms=SECONDS * 1000, streams=(video, sound))
    return Source(path=str(source), demuxer="mov", info=info, pace=Pace(tracks=tracks))


def timed(found: Ffmpeg, commands: list[list[str]], work: Path) -> tuple[float, float]:
    """Wall and processor seconds of some runs, one after the other."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for command in commands:
        subprocess.run([str(found.path), *GLOBALS, *command], check=True, cwd=work)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


def results(found: Ffmpeg, measured: dict[str, list[tuple[float, float]]]) -> dict[str, object]:
    """Medians, and ratios to the four runs."""
    wall = {name: statistics.median(w for w, _ in runs) for name, runs in measured.items()}
    cpu = {name: statistics.median(c for _, c in runs) for name, runs in measured.items()}
    peer = "four runs"
    return {
        "source": f"1080p25, {SECONDS} s, H.264 at 4.8 Mbit/s",
        "ladder": "1080p, 720p, 480p, 360p in H.264 with AAC",
        "ffmpeg": found.version_text.partition("-")[0],
        "rounds": ROUNDS,
        "cores": len(os.sched_getaffinity(0)),
        "wall_s": {name: round(value, 2) for name, value in wall.items()},
        "cpu_s": {name: round(value, 2) for name, value in cpu.items()},
        "wall_ratio": {name: round(value / wall[peer], 3) for name, value in wall.items()},
        "cpu_ratio": {name: round(value / cpu[peer], 3) for name, value in cpu.items()},
    }


if __name__ == "__main__":
    main()
