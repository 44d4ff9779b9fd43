"""Sprites of an hour of video against the ffmpeg command line people type for them.

`python -m benchmarks.sprite [--minutes N] [--rounds N]` makes a numbered film once, then times in
turns, in the same run, `cuttingroom sprite` as a process of its own and ffmpeg's `fps` filter with
`tile`; each picture's frame number is read back, so that speed is told next to error.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from media.ffmpeg import locate
from schemas.settings import Settings

RESULTS = Path(__file__).parent / "results"
FPS, STEP_S, WIDTH, SIDE = 25, 10, 192, 10
SIZE = (640, 360)
BITS = 18


def main() -> None:
    """Measure, and write `results/sprite.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        found = measured(Path(folder), asked.minutes, asked.rounds)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "sprite.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def measured(folder: Path, minutes: int, rounds: int) -> dict[str, Any]:
    """Seconds and errors of each way, taken in turns."""
    film = folder / "film.mp4"
    make(film, minutes)
    ways = {"cuttingroom": ours, "cuttingroom keyframes": ours_by_key, "ffmpeg fps": theirs}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    errors: dict[str, float] = {}
    for number in range(rounds):
        for name, way in ways.items():
            out = folder / f"{name.replace(' ', '-')}-{number}"
            out.mkdir()
            began = time.perf_counter()
            way(film, out)
            taken[name].append(time.perf_counter() - began)
            errors[name] = largest_error_s(out)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count()},
        "load_average": round(os.getloadavg()[0], 1),
        "film": {"minutes": minutes, "size": SIZE, "fps": FPS, "every_s": STEP_S},
        "rounds": rounds,
        "seconds": {name: round(value, 2) for name, value in medians.items()},
        "largest_error_s": errors,
        "ratio_to_ffmpeg": {
            name: round(value / medians["ffmpeg fps"], 3) for name, value in medians.items()
        },
    }


def make(film: Path, minutes: int) -> None:
    """A film whose frames show their number as blocks; 2 s GOPs with B-frames."""
    with av.open(str(film), "w") as out:
        track: Any = out.add_stream("libx264", rate=FPS)
        track.width, track.height, track.pix_fmt = *SIZE, "yuv420p"
        track.options = {"preset": "ultrafast", "bf": "2", "g": "50", "crf": "23"}
        for number in range(minutes * 60 * FPS):
            frame = av.VideoFrame.from_ndarray(picture(number), format="yuv420p")
            frame.pts = number
            out.mux(track.encode(frame))
        out.mux(track.encode(None))


def picture(number: int) -> np.ndarray[Any, Any]:
    """A frame that moves, its number in blocks along the top."""
    width, height = SIZE
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    ramp = (np.arange(width) + number * 3) % 256
    planes[:height] = ramp[None, :]
    bits = [number >> n & 1 for n in range(BITS)]
    columns = np.arange(width) * BITS // width
    planes[: height // 4] = np.where(np.array(bits)[columns] > 0, 235, 16)
    return planes


def ours(film: Path, out: Path) -> None:
    """Exact times."""
    _sprite(film, out)


def ours_by_key(film: Path, out: Path) -> None:
    """Nearest keyframes."""
    _sprite(film, out, "--keyframes")


def _sprite(film: Path, out: Path, *more: str) -> None:
    words = ["sprite", str(film), "-o", str(out), "--every", str(STEP_S), "-w", str(WIDTH), *more]
    argv = [sys.executable, "-m", "cli.main", *words]
    subprocess.run(argv, check=True, capture_output=True)


def theirs(film: Path, out: Path) -> None:
    """The command line people find for it."""
    ffmpeg = locate(Settings().ffmpeg, search_path="/usr/local/bin:/usr/bin:/bin")
    if ffmpeg is None:
        raise SystemExit("there is no ffmpeg to compare with")
    filters = f"fps=1/{STEP_S},scale={WIDTH}:-2,tile={SIDE}x{SIDE}"
    argv = [ffmpeg.path, "-v", "error", "-i", str(film), "-vf", filters, "-q:v", "4"]
    subprocess.run([str(a) for a in (*argv, out / "sprite-%03d.jpg")], check=True)


def largest_error_s(out: Path) -> float:
    """How far the shown frames are from the wanted times, by the numbers in the pictures."""
    height = WIDTH * SIZE[1] // SIZE[0]
    worst = 0
    for sheet, path in enumerate(sorted(out.glob("*.jpg"))):
        luma = np.asarray(Image.open(path).convert("L"), np.float32)
        for cell in range(SIDE * SIDE):
            top, left = cell // SIDE * height, cell % SIDE * WIDTH
            tile = luma[top : top + height, left : left + WIDTH]
            shown = number_in(tile)
            if shown is not None:
                wanted = (sheet * SIDE * SIDE + cell) * STEP_S * FPS
                worst = max(worst, abs(shown - wanted))
    return worst / FPS


def number_in(tile: np.ndarray[Any, Any]) -> int | None:
    """The number a tile shows; None for an empty cell."""
    if tile.shape != (WIDTH * SIZE[1] // SIZE[0], WIDTH) or tile.max() < 60:
        return None
    rows = tile[4 : tile.shape[0] // 4 - 4].mean(axis=0)
    cell = WIDTH / BITS
    return sum(
        1 << n
        for n in range(BITS)
        if rows[int(cell * (n + 0.3)) : int(cell * (n + 0.7))].mean() > 128
    )


if __name__ == "__main__":
    main()
