"""Reading a guide of 50,000 programmes, beside py-xmltv in the same run.

    python -m benchmarks.epg [--programmes 50000] [--rounds 3] [--peer PYTHON]

Every run is a process of its own, so that its memory is its own; rounds are interleaved. `all`
reads every programme with all its fields, `mapped` what a refresh reads: twenty stations of a
hundred. `--peer` is a Python that has py-xmltv (`pip install py-xmltv`); without it the peer is
left out. Results go to `benchmarks/results/epg.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "epg.json"
STATIONS = 100
# What a process held at most; ru_maxrss would tell that of the process that started it.
HELD = """
def held_mb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
"""
OURS = """
import sys, time
from pipelines import xmltv
before = held_mb()
only = frozenset(f"c{n}.uk" for n in range(20)) if sys.argv[2] == "mapped" else None
wall, cpu = time.perf_counter(), time.process_time()
with open(sys.argv[1], "rb") as source:
    count = sum(1 for _ in xmltv.read(iter(lambda: source.read(65536), b""), stations=only))
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
"""
PEER = """
import sys, time
from xsdata.formats.dataclass.parsers import XmlParser
from xmltv.models import Tv
before = held_mb()
wall, cpu = time.perf_counter(), time.process_time()
guide = XmlParser().from_path(__import__("pathlib").Path(sys.argv[1]), Tv)
count = len(guide.channel) + len(guide.programme)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
"""
TELL = """
import json
after = held_mb()
print(json.dumps({"count": count, "wall_s": wall, "cpu_s": cpu,
                  "grown_mb": after - before, "peak_mb": after}))
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and keep the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epg", description=__doc__)
    parser.add_argument("--programmes", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", help="a Python that has py-xmltv")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        guide = Path(folder) / "guide.xml"
        guide.write_text(document(given.programmes), encoding="utf-8")
        runs = measured(guide, given.rounds, given.peer)
        size_mb = guide.stat().st_size / 1e6
    told = {"programmes": given.programmes, "megabytes": round(size_mb, 1), "runs": runs}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    for name, numbers in runs.items():
        print(f"{name:12}", " ".join(f"{k} {v:.2f}" for k, v in numbers.items()))


def document(programmes: int) -> str:
    """A guide of half hours on a hundred stations."""
    first = datetime(2026, 11, 23, tzinfo=UTC)
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tv SYSTEM "xmltv.dtd">\n<tv>']
    parts += [
        f'<channel id="c{n}.uk"><display-name>Channel {n}</display-name></channel>'
        for n in range(STATIONS)
    ]
    parts += [
        _programme(n, first + timedelta(minutes=30 * (n // STATIONS))) for n in range(programmes)
    ]
    return "\n".join((*parts, "</tv>"))


def _programme(n: int, start: datetime) -> str:
    stop = start + timedelta(minutes=30)
    return (
        f'<programme start="{start:%Y%m%d%H%M%S} +0000" stop="{stop:%Y%m%d%H%M%S} +0000" '
        f'channel="c{n % STATIONS}.uk"><title lang="en">Programme {n} &amp; more</title>'
        f'<sub-title>Part {n}</sub-title><desc lang="en">{"Some words of it. " * 4}</desc>'
        f'<category>News</category><episode-num system="xmltv_ns">1.{n % 20}.</episode-num>'
        "</programme>"
    )


def measured(guide: Path, rounds: int, peer: str | None) -> dict[str, dict[str, float]]:
    """The median of each number of each reader."""
    readers = {"all": (sys.executable, OURS), "mapped": (sys.executable, OURS)}
    if peer:
        readers["py-xmltv"] = (peer, PEER)
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, (python, script) in readers.items():
            found[name].append(_run(python, HELD + script + TELL, guide, name))
    return {
        name: {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}
        for name, runs in found.items()
    }


def _run(python: str, script: str, guide: Path, name: str) -> Mapping[str, float]:
    done = subprocess.run(
        [python, "-c", script, str(guide), name], capture_output=True, text=True, check=True
    )
    told: Mapping[str, float] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    main()
