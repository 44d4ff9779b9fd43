"""Times clips of a 1080p stream against what a user would type instead, in one interleaved run.

    python -m benchmarks.clip [--runs 3] [--lengths 10,60,600] [--peers warm,cold,copy,...]

Writes `benchmarks/results/clip.json` and `clip.svg`; the stream is made once into `--work`. Peers:
`warm` (this project, a worker that has run before), `cold` (`cuttingroom clip`, a new process),
`copy` and `encode` (ffmpeg on the playlist), `smartcut` (PyPI, in an environment of its own, on the
joined local file, joining included), `limit` (fetch the overlapping segments and write them once).

The first round is not timed: it warms the caches, looks at the memory of every process of a peer
and reads back which frames its output shows.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import av

from benchmarks.chart import bars
from media.ffmpeg import locate
from tests.marks import picture, read_fields

EPOCH_MS = 1_780_000_000_000
WIDTH, HEIGHT, FPS = 1920, 1080, 25
GRAINS = 7
LOOP_S = 40
GOP = 50
SEGMENT_S = 4
START_S = 13.48
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Sample:
    """One timed run of one peer, as the operating system saw all of its processes."""

    peer: str
    length_s: int
    wall_s: float
    cpu_s: float
    fetched_mb: float
    load: float


@dataclass(frozen=True)
class Judged:
    """What one peer's output shows, and what memory it took."""

    peer: str
    length_s: int
    peak_mb: float
    frames: int
    wanted: int
    hidden: int
    first_off: int | None
    last_off: int | None


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
        # Some peers hang up in the middle of a segment.
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@functools.cache
def ffmpeg() -> str:
    """The ffmpeg all peers use."""
    found = locate(None, search_path=os.environ.get("PATH", ""))
    if found is None:
        raise SystemExit("no ffmpeg: install one, or the extra `ffmpeg`")
    return str(found.path)


def make_stream(folder: Path, seconds: int) -> Path:
    """A 1080p25 H.264 stream of about 6 Mb/s with AAC, in 4 s segments with a PDT each.

    Its pictures carry their numbers modulo LOOP_S seconds: so much is encoded, the rest repeats it.
    """
    playlist = folder / "index.m3u8"
    if playlist.exists():
        return playlist
    folder.mkdir(parents=True, exist_ok=True)
    encode_loop(folder.parent / "loop.mp4")
    repeat(folder.parent / "loop.mp4", folder, -(-seconds // LOOP_S))
    playlist.write_text(with_pdt((folder / "plain.m3u8").read_text()))
    return playlist


def encode_loop(path: Path) -> None:
    """The part of the stream that is encoded."""
    encoder = subprocess.Popen(
        [
            *(ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p"),
            *("-s", f"{WIDTH}x{HEIGHT}", "-r", str(FPS), "-i", "-"),
            *("-f", "lavfi", "-i", "sine=b=4:r=48000", "-t", str(LOOP_S)),
            *("-c:v", "libx264", "-preset", "veryfast", "-b:v", "6M", "-maxrate", "7M"),
            *("-bufsize", "12M", "-g", str(GOP), "-bf", "2", "-sc_threshold", "0"),
            *("-x264-params", "open-gop=0", "-c:a", "aac", "-b:a", "128k", str(path)),
        ],
        stdin=subprocess.PIPE,
    )
    assert encoder.stdin is not None
    for number in range(LOOP_S * FPS):
        encoder.stdin.write(numbered(number))
    encoder.stdin.close()
    if encoder.wait():
        raise SystemExit("the stream could not be made")


def repeat(loop: Path, folder: Path, times: int) -> None:
    """The loop so many times over as HLS, its clock going on."""
    options = {
        "hls_time": str(SEGMENT_S),
        "hls_list_size": "0",
        "hls_segment_filename": str(folder / "s%05d.ts"),
    }
    playlist = str(folder / "plain.m3u8")
    with (
        av.open(str(loop)) as source,
        av.open(playlist, "w", format="hls", options=options) as out,
    ):
        tracks = {s.index: out.add_stream_from_template(s) for s in source.streams}
        kept = [packet for packet in source.demux() if _in_loop(packet)]
        for turn in range(times):
            for packet in kept:
                out.mux(_shifted(packet, turn, tracks[packet.stream.index]))


def _in_loop(packet: Any) -> bool:
    # What lies before zero or past the end is the sound encoder's run-up and padding.
    return packet.pts is not None and 0 <= packet.pts * packet.time_base < LOOP_S


def _shifted(packet: Any, turn: int, track: Any) -> Any:
    moved = av.Packet(bytes(packet))
    offset = round(turn * LOOP_S / packet.time_base)
    moved.pts, moved.dts = packet.pts + offset, packet.dts + offset
    moved.duration, moved.time_base = packet.duration, packet.time_base
    moved.is_keyframe, moved.stream = packet.is_keyframe, track
    return moved


def numbered(number: int) -> bytes:
    """A picture that carries its number, with grain below it so that it costs its bit rate."""
    import numpy as np

    made = picture(WIDTH, HEIGHT, number)
    made[HEIGHT // 2 : HEIGHT] += grain()[number % GRAINS]
    return np.ascontiguousarray(made).tobytes()


@functools.cache
def grain() -> Any:
    """A few layers of noise."""
    import numpy as np

    dice = np.random.default_rng(1)
    return dice.integers(0, 9, (GRAINS, HEIGHT // 2, WIDTH), dtype=np.uint8)


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


def timed(peer: str, task: Task, argv: list[str], memory: Memory | None) -> Sample:
    """One run of a command, measured from outside."""
    CountingHandler.sent = 0
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    with watched(memory, process.pid):
        complaint = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - began
    process.returncode = status
    if status:
        raise SystemExit(f"{peer}: exit {status}: {complaint.decode(errors='replace')[-800:]}")
    return sample(peer, task, wall_s, usage.ru_utime + usage.ru_stime)


def sample(peer: str, task: Task, wall_s: float, cpu_s: float) -> Sample:
    """The figures of a run."""
    sent_mb = round(CountingHandler.sent / 1e6, 2)
    load = round(os.getloadavg()[0], 1)
    return Sample(peer, task.length_s, round(wall_s, 3), round(cpu_s, 3), sent_mb, load)


class Memory:
    """The most memory a process and everything below it held at once."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._over = threading.Event()

    def watch(self, pid: int) -> None:
        """Look every few milliseconds until told to stop."""
        while not self._over.wait(0.02):
            self.peak_mb = max(self.peak_mb, sum(map(pss_mb, family(pid))))

    def stop(self) -> None:
        """End the watching."""
        self._over.set()


@contextlib.contextmanager
def watched(memory: Memory | None, pid: int) -> Iterator[None]:
    """The memory of a process looked at meanwhile, where anybody wants to know."""
    if memory is None:
        yield
        return
    thread = threading.Thread(target=memory.watch, args=(pid,))
    thread.start()
    yield
    memory.stop()
    thread.join()


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found = [pid]
    for known in found:
        with contextlib.suppress(OSError):
            below = Path(f"/proc/{known}/task/{known}/children").read_text()
            found.extend(int(child) for child in below.split())
    return found


def pss_mb(pid: int) -> float:
    """A process's memory, what it shares counted by its share."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        lines = [line for line in text.splitlines() if line.startswith("Pss:")]
        return sum(int(line.split()[1]) for line in lines) / 1024
    return 0.0


def judged(peer: str, task: Task, memory: Memory) -> Judged:
    """What the output shows: how many frames, how many hidden, and whether its ends are right."""
    wanted = task.length_s * FPS
    shown, hidden = packets(task.out)
    first, last = numbers(task.out) if shown else (None, None)
    expected = round(START_S * FPS)
    return Judged(
        peer, task.length_s, round(memory.peak_mb, 1), shown, wanted, hidden,
        off(first, expected), off(last, expected + wanted - 1),
    )  # fmt: skip


def off(number: int | None, expected: int) -> int | None:
    """By how many frames a number differs from the expected one, counted round the loop."""
    loop = LOOP_S * FPS
    return None if number is None else (number - expected + loop // 2) % loop - loop // 2


def packets(path: Path) -> tuple[int, int]:
    """Pictures a player shows, and those hidden behind the edit list; none of what is no video."""
    try:
        with av.open(str(path), format="mp4") as container:
            found = [p.is_discard for p in container.demux(video=0) if p.size]
            return found.count(False), found.count(True)
    except av.FFmpegError:
        return 0, 0


def numbers(path: Path) -> tuple[int | None, int | None]:
    """The numbers in the first and last pictures shown."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        container.seek((container.duration or 0) - 3_000_000)
        *_, last = container.decode(video=0)
        return number_of(first), number_of(last)


def number_of(frame: Any) -> int | None:
    """The number in a picture."""
    top, _ = read_fields(frame.to_ndarray(format="gray"))
    return top[0] if top else None


class Warm:
    """A worker that stays up: a child process of ours that is asked for one clip after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.warm"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, task: Task, memory: Memory | None) -> Sample:
        """One clip; CPU as the worker reports it of itself and its children."""
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
        with watched(memory, self._process.pid):
            answer = json.loads(self._process.stdout.readline())
        wall_s = time.monotonic() - began
        return sample("warm", task, wall_s, answer["cpu_s"])

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


Way = Callable[[Task, Memory | None], Sample]


def runners(peers: list[str], smartcut_python: str) -> dict[str, Way]:
    """What to call for each peer asked for."""
    commands: dict[str, Callable[[Task], list[str]]] = {
        "cold": cold,
        "copy": copy,
        "encode": encode,
        "smartcut": functools.partial(smartcut, python=smartcut_python),
        "limit": limit,
    }

    def outside(peer: str) -> Way:
        return lambda task, memory: timed(peer, task, commands[peer](task), memory)

    made = {peer: outside(peer) for peer in peers if peer in commands}
    return ({"warm": Warm().run} if "warm" in peers else {}) | made


def smartcut_environment(folder: Path) -> str:
    """A Python that has smartcut, in an environment of its own."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "smartcut"], check=True)
    return str(python)


def measure(ways: dict[str, Way], task: Task, runs: int, found: Found) -> None:
    """Every peer on a task, in turns; the first round is judged, the others timed."""
    for run in range(runs + 1):
        for peer, way in ways.items():
            mine = replace(task, out=task.out.with_name(f"{peer}.mp4"))
            mine.out.unlink(missing_ok=True)
            memory = None if run else Memory()
            taken = way(mine, memory)
            print(json.dumps(asdict(taken)), file=sys.stderr, flush=True)
            if memory:
                found.judged.append(judged(peer, mine, memory))
            else:
                found.samples.append(taken)


@dataclass(frozen=True)
class Found:
    """Everything a run of the benchmark found."""

    samples: list[Sample]
    judged: list[Judged]

    def rows(self) -> list[dict[str, Any]]:
        """A row for every peer and length: medians, and wall time against the limit's."""
        rows = []
        for verdict in self.judged:
            wall_s = self.median(verdict.peer, verdict.length_s, "wall_s")
            floor_s = self.median("limit", verdict.length_s, "wall_s")
            rows.append(
                {
                    **asdict(verdict),
                    "wall_s": wall_s,
                    "wall_vs_limit": round(wall_s / floor_s, 2) if wall_s and floor_s else None,
                    "cpu_s": self.median(verdict.peer, verdict.length_s, "cpu_s"),
                    "fetched_mb": self.median(verdict.peer, verdict.length_s, "fetched_mb"),
                }
            )
        return rows

    def median(self, peer: str, length_s: int, name: str) -> float | None:
        """The median of a figure; None where the peer was not asked."""
        of = [s for s in self.samples if (s.peer, s.length_s) == (peer, length_s)]
        return round(statistics.median(getattr(s, name) for s in of), 3) if of else None


def main() -> None:
    """Run all peers in turn, `--runs` times over, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--lengths", default="10,60,600")
    parser.add_argument("--encode-up-to", type=int, default=60, help="seconds; it takes minutes")
    parser.add_argument("--peers", default="warm,cold,copy,encode,smartcut,limit")
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks/clip"))
    args = parser.parse_args()
    lengths = [int(part) for part in args.lengths.split(",")]
    peers, work = args.peers.split(","), args.work.absolute()
    make_stream(work / "stream", max(lengths) + 30)
    python = smartcut_environment(work / "smartcut") if "smartcut" in peers else ""
    with served(work / "stream") as base:
        ways, found = runners(peers, python), Found([], [])
        for length_s in lengths:
            asked = {
                p: w for p, w in ways.items() if p != "encode" or length_s <= args.encode_up_to
            }
            measure(asked, Task(f"{base}/index.m3u8", length_s, work / "c"), args.runs, found)
            write(found)


def write(found: Found) -> None:
    """The results as a file and as a plot."""
    rows = found.rows()
    RESULTS.mkdir(exist_ok=True)
    kept = {"cpus": os.cpu_count(), "summary": rows, "samples": [asdict(s) for s in found.samples]}
    (RESULTS / "clip.json").write_text(json.dumps(kept, indent=1) + "\n")
    groups: dict[str, dict[str, float]] = {}
    for row in rows:
        groups.setdefault(f"{row['length_s']} s", {})[row["peer"]] = row["wall_s"]
    (RESULTS / "clip.svg").write_text(bars("Clip of a 1080p stream: seconds, log scale", groups))
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
