"""A ladder of four against four ffmpeg runs, interleaved.

    python -m benchmarks.rendition [--rounds 3] [--seconds 6]

Writes `benchmarks/results/rendition.json`. Peers: `four runs` (what somebody types: ffmpeg once a
rung, the same encoder settings), `one run` (the arguments of our plan, run alone), `cuttingroom
render` (the whole product in a new process: probing, the run, both ends of every file decoded,
hashed, published); the latter two also where the source meets the top rung, which is copied then.
The first round is not timed; in it the frames of every output are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av

from media.ffmpeg import Ffmpeg, locate
from media.jail import Jail, hand_over
from media.pace import pace
from media.probe import probe
from media.process import ForkServer
from pipelines import ffargs
from pipelines.recipes import RECIPES
from pipelines.rendition import RenditionFacts, Source, design
from schemas.commands import CreateRenditions
from schemas.connectors import ConnectorRef, Destination
from schemas.profiles import Profile

RESULTS = Path(__file__).parent / "results" / "rendition.json"
GOP = 50
GLOBALS = ("-nostdin", "-v", "error", "-y")
PEER = "four runs"
# At this rate the source is over the top rung's, so that all four are encoded.
TOO_MUCH_BPS, MET_BPS = 9_000_000, 4_800_000


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    asked = parser.parse_args()
    found = locate(os.environ.get("CUTTINGROOM_FFMPEG"), search_path=os.environ["PATH"])
    if found is None:
        sys.exit("no ffmpeg")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        # Jailed children of the product run under another uid.
        work.chmod(0o755)
        runs = peers(found, work, asked.seconds)
        frames = {name: counted(run(), asked.seconds) for name, run in runs.items()}
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        loads = []
        for _ in range(asked.rounds):
            for name, run in runs.items():
                measured[name].append(timed(run))
                loads.append(os.getloadavg()[0])
    told = results(found, measured, frames, asked.seconds, loads)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


def peers(found: Ffmpeg, work: Path, seconds: int) -> dict[str, Callable[[], list[Path]]]:
    """Every way to make the four files; each answers where they lie."""
    rungs = tuple(r.model_copy(update={"packaging": None}) for r in RECIPES["ladder-hls"])
    rich = make_source(found, work / "rich.mp4", seconds, TOO_MUCH_BPS)
    met = make_source(found, work / "met.mp4", seconds, MET_BPS)
    spelled = [rung.model_dump(mode="json", by_alias=True) for rung in rungs]
    (work / "recipes.json").write_text(json.dumps(spelled), encoding="utf-8")
    lines = {source: [ours(source, rungs)] for source in (rich, met)}
    return {
        PEER: lambda: with_ffmpeg(found, [typed(rich, rung, work) for rung in rungs], work, "t"),
        "one run": lambda: with_ffmpeg(found, lines[rich], work, "out"),
        "one run, top rung copied": lambda: with_ffmpeg(found, lines[met], work, "out"),
        "cuttingroom render": lambda: rendered(rich, work),
        "cuttingroom render, top rung copied": lambda: rendered(met, work),
    }


def with_ffmpeg(found: Ffmpeg, commands: list[list[str]], work: Path, prefix: str) -> list[Path]:
    """Run ffmpeg with each of some arguments, one after the other."""
    for command in commands:
        subprocess.run([str(found.path), *GLOBALS, *command], check=True, cwd=work)
    return sorted(work.glob(f"{prefix}[0-9]*.mp4"))


def rendered(source: Path, work: Path) -> list[Path]:
    """Run the product, as somebody would type it."""
    output = work / "rendered"
    line = [sys.executable, "-m", "cli.main", "render", str(source), "-f"]
    line += ["--recipe", str(work / "recipes.json"), "-o", str(output)]
    subprocess.run(line, check=True, capture_output=True)
    return sorted(output.glob("*.mp4"))


def counted(made: list[Path], seconds: int) -> str:
    """`right` where all four files show every frame of the source."""
    numbers = []
    for path in made:
        with av.open(str(path)) as file:
            numbers.append(sum(1 for packet in file.demux(video=0) if packet.size))
    right = numbers == [seconds * 25] * 4
    return "right" if right else f"{numbers}, not 4 times {seconds * 25}"


def make_source(found: Ffmpeg, path: Path, seconds: int, rate_bps: int) -> Path:
    """Some seconds of 1080p with noise and motion, at a rate."""
    picture = f"testsrc2=s=1920x1080:r=25:d={seconds},noise=alls=12:allf=t"
    rate, buffer = str(rate_bps), str(2 * rate_bps)
    command = [
        *("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"sine=d={seconds}"),
        *("-c:v", "libx264", "-preset", "veryfast", "-b:v", rate, "-maxrate", rate),
        *("-bufsize", buffer, "-g", str(GOP), "-keyint_min", str(GOP), "-sc_threshold", "0"),
        *("-flags", "+cgop", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "256k", str(path)),
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
        *(
            "-b:a",
            "128k",
            "-ac",
            "2",
            "-movflags",
            "+faststart",
            str(work / f"t{video.height}.mp4"),
        ),
    ]


def ours(source: Path, rungs: tuple[Profile, ...]) -> list[str]:
    """The arguments the product's own planner gives for the source as it is."""
    with ForkServer() as server, tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        hand_over(workspace)
        jail = Jail(workspace=workspace)
        info, paced = probe(server, source, jail=jail), pace(server, source, jail=jail)
    command = CreateRenditions(
        tenant_id="t",
        requested_by="benchmark",
        connector=ConnectorRef(id="c", tenant_id="t", type="local", config={}),
        file_id=source.name,
        recipes=rungs,
        destination=Destination(key="out"),
    )
    known = Source(path=str(source), demuxer="mov", info=info, pace=paced)
    return list(ffargs.ladder(design(command, RenditionFacts(source=known)).encoding))


def timed(run: Callable[[], list[Path]]) -> tuple[float, float]:
    """Wall and processor seconds of one way."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


def results(
    found: Ffmpeg,
    measured: dict[str, list[tuple[float, float]]],
    frames: dict[str, str],
    seconds: int,
    loads: list[float],
) -> dict[str, object]:
    """Medians, and ratios to the four runs."""
    wall = {name: statistics.median(w for w, _ in runs) for name, runs in measured.items()}
    cpu = {name: statistics.median(c for _, c in runs) for name, runs in measured.items()}
    return {
        "source": f"1080p25, {seconds} s, H.264",
        "ladder": "1080p, 720p, 480p, 360p in H.264 with AAC",
        "ffmpeg": found.version_text.partition("-")[0],
        "rounds": len(measured[PEER]),
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(min(loads), 1), round(max(loads), 1)],
        "frames": frames,
        "wall_s": {name: round(value, 2) for name, value in wall.items()},
        "cpu_s": {name: round(value, 2) for name, value in cpu.items()},
        "wall_ratio": {name: round(value / wall[PEER], 3) for name, value in wall.items()},
        "cpu_ratio": {name: round(value / cpu[PEER], 3) for name, value in cpu.items()},
    }


if __name__ == "__main__":
    main()
