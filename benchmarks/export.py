"""Times joined ranges of a 1080p stream against what a user would type: ffmpeg copies, then concat.

    python -m benchmarks.export [--runs 3] [--ranges 2,10,40] [--work DIR]

Writes `benchmarks/results/export.json`. Peers: `export` (`cuttingroom export`, a new process, exact
to the frame), `concat` (one `ffmpeg -c copy` a range, then the concat demuxer: cut on keyframes),
`encode` (the same with each range encoded anew, for exact ends; up to `--encode-up-to` ranges).
Ratios are to `concat`. The first round is not timed.
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
from typing import Any

import av

from benchmarks.clip import EPOCH_MS, FPS, GOP, HEIGHT, WIDTH, ffmpeg, make_stream, served

RANGE_S, STEP_S, FIRST_S = 5.2, 9.7, 3.48
RESULTS = Path(__file__).parent / "results"
Peer = Callable[[str, list[tuple[float, float]], Path], list[list[str]]]


def spans(count: int) -> list[tuple[float, float]]:
    """Where the ranges lie in the stream, in seconds."""
    starts = [FIRST_S + n * STEP_S for n in range(count)]
    return [(start, start + RANGE_S) for start in starts]


def export(url: str, wanted: list[tuple[float, float]], output: Path) -> list[list[str]]:
    """Our command line."""
    ranges = [
        f"--range={EPOCH_MS + round(a * 1000)}..{EPOCH_MS + round(b * 1000)}" for a, b in wanted
    ]
    line = [sys.executable, "-m", "cli.main", "export", url, *ranges, "--allow-cidr=127.0.0.0/8"]
    return [[*line, "-f", "-o", str(output)]]


def concat(url: str, wanted: list[tuple[float, float]], output: Path) -> list[list[str]]:
    """What a user would type: a copy a range, then a list of them joined."""
    names = [output.with_name(f"piece-{n}.ts") for n in range(len(wanted))]
    listed = output.with_suffix(".txt")
    listed.write_text("".join(f"file '{name}'\n" for name in names), encoding="utf-8")
    quiet = [ffmpeg(), "-v", "error", "-y"]
    cuts = [
        [*quiet, "-ss", f"{a}", "-t", f"{b - a}", "-i", url, "-c", "copy", str(name)]
        for (a, b), name in zip(wanted, names, strict=True)
    ]
    joined = ["-f", "concat", "-safe", "0", "-i", str(listed), "-c", "copy", str(output)]
    return [*cuts, [*quiet, *joined]]


def encode(url: str, wanted: list[tuple[float, float]], output: Path) -> list[list[str]]:
    """The same with every range encoded, so that it may begin anywhere."""
    names = [output.with_name(f"made-{n}.ts") for n in range(len(wanted))]
    listed = output.with_suffix(".txt")
    listed.write_text("".join(f"file '{name}'\n" for name in names), encoding="utf-8")
    quiet = [ffmpeg(), "-v", "error", "-y"]
    coded = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-c:a", "aac"]
    cuts = [
        [*quiet, "-ss", f"{a}", "-t", f"{b - a}", "-i", url, *coded, str(name)]
        for (a, b), name in zip(wanted, names, strict=True)
    ]
    joined = ["-f", "concat", "-safe", "0", "-i", str(listed), "-c", "copy", str(output)]
    return [*cuts, [*quiet, *joined]]


def timed(lines: list[list[str]]) -> tuple[float, float]:
    """Wall and processor seconds of the commands, one after the other."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    for line in lines:
        subprocess.run(line, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


def judged(output: Path, wanted: list[tuple[float, float]]) -> dict[str, Any]:
    """How many frames there are and should be, and how far sound and picture part."""
    with av.open(str(output)) as file:
        frames = sum(1 for packet in file.demux(video=0) if packet.size)
    with av.open(str(output)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        lengths = [float((s.duration or 0) * (s.time_base or 0)) for s in (video, audio)]
    return {
        "frames": frames,
        "wanted": round(sum(b - a for a, b in wanted) * FPS),
        "soundLongerMs": round((lengths[1] - lengths[0]) * 1000, 1),
    }


def measure(
    url: str, count: int, runs: int, folder: Path, peers: dict[str, Peer]
) -> list[dict[str, Any]]:
    """All peers, interleaved; the first round is not timed."""
    wanted, found = spans(count), []
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    for turn in range(runs + 1):
        for name, lines in peers.items():
            took = timed(lines(url, wanted, folder / f"{name}.mp4"))
            if turn:
                times[name].append(took)
    medians = {
        name: [statistics.median(column) for column in zip(*each, strict=True)]
        for name, each in times.items()
    }
    for name, (wall, cpu) in medians.items():
        told = {
            "peer": name,
            "ranges": count,
            "wallS": round(wall, 3),
            "cpuS": round(cpu, 3),
            "wallRatio": round(wall / medians["concat"][0], 2),
            "cpuRatio": round(cpu / medians["concat"][1], 2),
        }
        found.append(told | judged(folder / f"{name}.mp4", wanted))
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ranges", default="2,10,40")
    parser.add_argument("--encode-up-to", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks/clip"))
    asked = parser.parse_args()
    counts = [int(text) for text in asked.ranges.split(",")]
    stream = asked.work.absolute() / "stream"
    make_stream(stream, round(FIRST_S + max(counts) * STEP_S + 30))
    results: list[dict[str, Any]] = []
    loads = []
    with served(stream) as base, tempfile.TemporaryDirectory() as made:
        for count in counts:
            peers: dict[str, Peer] = {"export": export, "concat": concat}
            peers |= {"encode": encode} if count <= asked.encode_up_to else {}
            results += measure(f"{base}/index.m3u8", count, asked.runs, Path(made), peers)
            loads.append(os.getloadavg()[0])
    told = {
        "stream": f"{WIDTH}x{HEIGHT} {FPS} fps, GOP {GOP}",
        "rangeS": RANGE_S,
        "runs": asked.runs,
        "cores": len(os.sched_getaffinity(0)),
        "load": [round(min(loads), 1), round(max(loads), 1)],
        "rows": results,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "export.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for row in results:
        print(row)


if __name__ == "__main__":
    main()
