"""Localizing a long file at 20 MB/s a connection, next to what a user would type instead.

    python -m benchmarks.localize [--size-mb 1000] [--rounds 3]

Runs are interleaved: every round runs every contender once, against one server of its own process
that paces each connection. aria2c is measured where it is installed. Results go to
benchmarks/results/localize.json.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which

RATE = 20_000_000
RESULTS = Path(__file__).parent / "results" / "localize.json"

OURS = """
import sys
from pathlib import Path
from rich.console import Console
from cli.localize import Asked, fetch
from schemas.settings import Settings
url, out, connections = sys.argv[1:]
import time
asked = Asked(url=url, output=Path(out), connections=int(connections))
quiet, began = Console(file=open("/dev/null", "w")), time.monotonic()
fetch(asked, Settings(), quiet)
print(time.monotonic() - began)
"""
REQUESTS = """
import sys, requests
url, out, _ = sys.argv[1:]
with requests.get(url, stream=True) as answer, open(out, "wb") as file:
    for chunk in answer.iter_content(1 << 20):
        file.write(chunk)
"""
BOTO3 = """
import sys, boto3, botocore
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
url, out, connections = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=url.rpartition("/")[0], region_name="us-east-1",
    config=Config(signature_version=botocore.UNSIGNED, s3={"addressing_style": "path"},
    max_pool_connections=32, response_checksum_validation="when_required"))
s3.download_file("bucket", "big.bin", out, Config=TransferConfig(max_concurrency=int(connections)))
"""


def contenders() -> dict[str, Callable[[str, str], Sequence[str]]]:
    """What is measured: a name, and how it is started for a URL and a target."""
    found: dict[str, Callable[[str, str], Sequence[str]]] = {}
    for n in (8, 16):
        found[f"cuttingroom {n}"] = _python(OURS, n)
        found[f"boto3 {n}"] = _python(BOTO3, n)
        if which("aria2c"):
            found[f"aria2 {n}"] = _aria2(n)
    found["requests"] = _python(REQUESTS, 1)
    return found


def _python(code: str, connections: int) -> Callable[[str, str], Sequence[str]]:
    return lambda url, out: (sys.executable, "-c", code, url, out, str(connections))


def _aria2(connections: int) -> Callable[[str, str], Sequence[str]]:
    def argv(url: str, out: str) -> Sequence[str]:
        folder, _, name = out.rpartition("/")
        split = (f"-x{connections}", f"-s{connections}", "-k1M", "--file-allocation=falloc")
        return ("aria2c", "-q", "--allow-overwrite=true", *split, "-d", folder, "-o", name, url)

    return argv


@contextmanager
def serving(path: Path) -> Iterator[str]:
    """A paced server of one file, in a process of its own; yields a URL."""
    argv = [sys.executable, "-m", "benchmarks.throttling", str(path), str(RATE)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}/big.bin"
        finally:
            server.kill()


def measured(argv: Sequence[str], size: int, target: Path) -> dict[str, float]:
    """One run: its rate, CPU and peak memory."""
    target.unlink(missing_ok=True)
    began = time.monotonic()
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read().strip()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    spent_s = time.monotonic() - began
    if process.returncode != 0 or target.stat().st_size != size:
        raise SystemExit(f"{argv[0]} did not bring the file: {process.returncode}")
    # Only ours says a number: what the transfer took in a process that was up.
    warm_s = float(said) if said else spent_s
    return {
        "mb_per_s": size / spent_s / 1e6,
        "mb_per_s_once_up": size / warm_s / 1e6,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }


def main() -> None:
    """Run every contender in every round; write and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        runs = _rounds(Path(folder), given.size_mb * 1_000_000, given.rounds)
    told = {name: _summary(found) for name, found in runs.items()}
    _write(told, given.size_mb, given.rounds)
    for name, numbers in sorted(told.items(), key=lambda item: -item[1]["mb_per_s"]):
        print(
            f"{name:<16}{numbers['mb_per_s']:8.1f} MB/s"
            f"{numbers['mb_per_s_once_up']:8.1f} once up{numbers['peak_mb']:8.1f} MB peak"
            f"{numbers['cpu_s']:8.2f} s CPU{numbers['of_limit']:8.2f} of the limit"
        )


def _rounds(folder: Path, size: int, rounds: int) -> dict[str, list[dict[str, float]]]:
    source, target = folder / "source", folder / "target"
    with source.open("wb") as out:
        for _ in range(size // 1_000_000):
            out.write(os.urandom(1_000_000))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contenders()}
    with serving(source) as url:
        for _ in range(rounds):
            for name, argv in contenders().items():
                runs[name].append(measured(argv(url, str(target)), size, target))
    return runs


def _summary(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _write(told: dict[str, dict[str, float]], size_mb: int, rounds: int) -> None:
    for name, numbers in told.items():
        width = int(name.rpartition(" ")[2]) if name[-1].isdigit() and " " in name else 1
        numbers["of_limit"] = numbers["mb_per_s_once_up"] * 1e6 / (RATE * width)
    result = {
        "bytes_per_s_a_connection": RATE,
        "size_mb": size_mb,
        "rounds": rounds,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "medians": told,
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
