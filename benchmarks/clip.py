"""Times clips of a 1080p stream against what a user would type instead, in one interleaved run.

    python -m benchmarks.clip [--runs 5] [--lengths 10,60,600] [--peers warm,cold,copy,...]

Writes `benchmarks/results/clip.json` and `benchmarks/results/clip.svg`. The stream is made once into
`--work`. Peers: `warm` (this project, a worker that has run before), `cold` (`cuttingroom clip`),
`copy` and `encode` (ffmpeg on the playlist), `smartcut` (PyPI, on the joined local file, joining
included), `limit` (fetch the overlapping segments and write them once).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.chart import bars

EPOCH_MS = 1_780_000_000_000
FPS = 25
GOP = 50
SEGMENT_S = 4
START_S = 13.48
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Sample:
    """One timed run of one peer, as the operating system saw the whole process."""

    peer: str
    length_s: int
    wall_s: float
    cpu_s: float
    peak_mb: float
    fetched_mb: float
    frames: int
    frames_wanted: int


class CountingHandler(http.server.SimpleHTTPRequestHandler):
    """Serves the stream and counts what leaves."""

    protocol_version = "HTTP/1.1"
    sent = 0

    def copyfile(self, source: object, outputfile: object) -> None:
        data = source.read()  # type: ignore[attr-defined]
        type(self).sent += len(data)
        outputfile.write(data)  # type: ignore[attr-defined]

    def log_message(self, *args: object) -> None:
        """Stay quiet."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on loopback; yields its base URL."""
    handler = functools.partial(CountingHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def ffmpeg() -> str:
    """The ffmpeg all peers use."""
    from media.ffmpeg import locate

    return str(locate(None).ffmpeg)


def make_stream(folder: Path, seconds: int) -> Path:
    """A 1080p25 H.264 stream of about 6 Mb/s with AAC, in 4 s segments with a PDT each."""
    playlist = folder / "index.m3u8"
    if playlist.exists():
        return playlist
    folder.mkdir(parents=True, exist_ok=True)
    video = f"testsrc2=s=1920x1080:r={FPS},noise=alls=6:allf=t"
    subprocess.run(
        [
            ffmpeg(),
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            video,
            "-f",
            "lavfi",
            "-i",
            "sine=b=4:r=48000",
        ]
        + ["-t", str(seconds), "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast"]
        + ["-b:v", "6M", "-maxrate", "7M", "-bufsize", "12M", "-g", str(GOP), "-bf", "2"]
        + ["-sc_threshold", "0", "-x264-params", "open-gop=0", "-c:a", "aac", "-b:a", "128k"]
        + ["-f", "hls", "-hls_time", str(SEGMENT_S), "-hls_list_size", "0"]
        + ["-hls_segment_filename", str(folder / "s%05d.ts"), str(folder / "plain.m3u8")],
        check=True,
    )
    playlist.write_text(with_pdt((folder / "plain.m3u8").read_text()))
    return playlist


def with_pdt(text: str) -> str:
    """The playlist with a PDT before every segment."""
    from schemas.times import rfc3339

    lines, at_ms = [], float(EPOCH_MS)
    for line in text.splitlines():
        if line.startswith("#EXTINF:"):
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{rfc3339(round(at_ms))}")
            at_ms += float(line[8:].rstrip(",")) * 1000
        lines.append(line)
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Task:
    """What every peer is asked: `length_s` from START_S."""

    url: str
    length_s: int
    out: Path

    @property
    def start_ms(self) -> int:
        """Epoch milliseconds of the first wanted frame."""
        return EPOCH_MS + round(START_S * 1000)


def cold(task: Task) -> list[str]:
    """`cuttingroom clip`, a new process."""
    span = ["--start", str(task.start_ms), "--end", str(task.start_ms + task.length_s * 1000)]
    allow = ["--allow-cidr", "127.0.0.0/8"]
    return [sys.executable, "-m", "cli.main", "clip", task.url, *span, *allow, "-o", str(task.out)]


def copy(task: Task) -> list[str]:
    """ffmpeg, stream copy."""
    return [
        *(ffmpeg(), "-v", "error", "-y", "-ss", str(START_S), "-i", task.url),
        *("-t", str(task.length_s), "-c", "copy", "-movflags", "+faststart", str(task.out)),
    ]


def encode(task: Task) -> list[str]:
    """ffmpeg, all of it encoded again."""
    return [
        *(ffmpeg(), "-v", "error", "-y", "-ss", str(START_S), "-i", task.url),
        *("-t", str(task.length_s), "-c:v", "libx264", "-preset", "veryfast", "-crf", "18"),
        *("-c:a", "aac", "-movflags", "+faststart", str(task.out)),
    ]


def smartcut(task: Task, python: str) -> list[str]:
    """PyPI's smartcut; it wants a local file, so the playlist is joined first."""
    joined = task.out.with_suffix(".joined.mp4")
    until = START_S + task.length_s + 2 * SEGMENT_S
    join = f"{ffmpeg()} -v error -y -i {task.url} -t {until} -c copy {joined}"
    keep = f"{START_S},{START_S + task.length_s}"
    cut = f"{python} -m smartcut {joined} {task.out} --keep {keep}"
    return ["sh", "-c", f"{join} && {cut}"]


def limit(task: Task) -> list[str]:
    """The physical bound: the overlapping segments fetched and written once."""
    first = int(START_S // SEGMENT_S)
    last = int((START_S + task.length_s) // SEGMENT_S)
    base = task.url.rsplit("/", 1)[0]
    urls = [f"{base}/s{number:05d}.ts" for number in range(first, last + 1)]
    code = (
        "import sys,urllib.request,shutil\n"
        "with open(sys.argv[1],'wb') as out:\n"
        " for url in sys.argv[2:]:\n"
        "  shutil.copyfileobj(urllib.request.urlopen(url),out,1<<20)\n"
    )
    return [sys.executable, "-c", code, str(task.out), *urls]


def timed(peer: str, task: Task, argv: list[str]) -> Sample:
    """One run of a command, measured from outside."""
    CountingHandler.sent = 0
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - began
    if status:
        raise SystemExit(f"{peer}: exit {status}: {complaint.decode(errors='replace')[-800:]}")
    return sample(peer, task, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def sample(peer: str, task: Task, wall_s: float, cpu_s: float, peak_mb: float) -> Sample:
    """The figures of a run, with the frames its output really holds."""
    return Sample(
        peer, task.length_s, round(wall_s, 3), round(cpu_s, 3), round(peak_mb, 1),
        round(CountingHandler.sent / 1e6, 2), frames_in(task.out), task.length_s * FPS,
    )  # fmt: skip


def frames_in(path: Path) -> int:
    """Video packets in the file; 0 where it is not one (the limit writes bytes only)."""
    import av

    try:
        with av.open(str(path)) as container:
            return sum(1 for packet in container.demux(video=0) if packet.size)
    except av.FFmpegError:
        return 0


class Warm:
    """A worker that stays up: a child process of ours that is asked for one clip after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.warm"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, task: Task) -> Sample:
        """One clip; CPU and peak memory as the worker reports them of itself and its children."""
        CountingHandler.sent = 0
        asked = {
            "url": task.url, "start_ms": task.start_ms, "out": str(task.out),
            "end_ms": task.start_ms + task.length_s * 1000,
        }  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began = time.monotonic()
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        wall_s = time.monotonic() - began
        return sample("warm", task, wall_s, answer["cpu_s"], answer["peak_mb"])

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def runners(peers: list[str], smartcut_python: str) -> dict[str, Callable[[Task], Sample]]:
    """What to call for each peer asked for."""
    commands: dict[str, Callable[[Task], list[str]]] = {
        "cold": cold,
        "copy": copy,
        "encode": encode,
        "smartcut": functools.partial(smartcut, python=smartcut_python),
        "limit": limit,
    }

    def outside(peer: str) -> Callable[[Task], Sample]:
        return lambda task: timed(peer, task, commands[peer](task))

    made = {peer: outside(peer) for peer in peers if peer in commands}
    return ({"warm": Warm().run} if "warm" in peers else {}) | made


def summary(samples: list[Sample]) -> list[dict[str, object]]:
    """Medians per peer and length, with wall time as a ratio to the limit of the same run."""
    rows: list[dict[str, object]] = []
    for length_s in sorted({s.length_s for s in samples}):
        of_length = [s for s in samples if s.length_s == length_s]
        walls = {
            p: _median(of_length, p, "wall_s") for p in dict.fromkeys(s.peer for s in of_length)
        }
        for peer, wall_s in walls.items():
            row = {name: _median(of_length, peer, name) for name in FIGURES}
            ratio = round(wall_s / walls["limit"], 2) if walls.get("limit") else None
            rows.append({"peer": peer, "length_s": length_s, **row, "wall_vs_limit": ratio})
    return rows


FIGURES = ("wall_s", "cpu_s", "peak_mb", "fetched_mb", "frames", "frames_wanted")


def _median(samples: list[Sample], peer: str, name: str) -> float:
    return statistics.median(getattr(s, name) for s in samples if s.peer == peer)


def main() -> None:
    """Run all peers in turn, `--runs` times over, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--lengths", default="10,60,600")
    parser.add_argument("--peers", default="warm,cold,copy,encode,smartcut,limit")
    parser.add_argument("--smartcut-python", default=sys.executable)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks/clip"))
    args = parser.parse_args()
    lengths = [int(part) for part in args.lengths.split(",")]
    work: Path = args.work.absolute()
    make_stream(work / "stream", max(lengths) + 30)
    with served(work / "stream") as base:
        urllib.request.urlopen(f"{base}/index.m3u8").read()
        ways = runners(args.peers.split(","), args.smartcut_python)
        samples = []
        for run in range(args.runs + 1):
            for length_s in lengths:
                for peer, way in ways.items():
                    # A full re-encode of ten minutes takes minutes: once is enough.
                    if length_s >= 600 and peer == "encode" and run != 1:
                        continue
                    taken = way(Task(f"{base}/index.m3u8", length_s, work / f"{peer}.mp4"))
                    print(json.dumps(asdict(taken)), file=sys.stderr, flush=True)
                    samples += [taken] if run else []  # the first round warms up
    write(samples)


def write(samples: list[Sample]) -> None:
    """The results as a file and as a plot."""
    rows = summary(samples)
    RESULTS.mkdir(exist_ok=True)
    found = {"cpus": os.cpu_count(), "summary": rows, "samples": [asdict(s) for s in samples]}
    (RESULTS / "clip.json").write_text(json.dumps(found, indent=1) + "\n")
    groups = {f"{r['length_s']} s": {} for r in rows}  # type: dict[str, dict[str, float]]
    for row in rows:
        groups[f"{row['length_s']} s"][str(row["peer"])] = float(str(row["wall_s"]))
    (RESULTS / "clip.svg").write_text(bars("Clip of a 1080p stream: seconds, log scale", groups))
    print(json.dumps(rows, indent=1))
    print("self peak MB:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


if __name__ == "__main__":
    main()
