"""How long an idle worker takes to begin a job, ours next to dramatiq's own, interleaved.

`python -m benchmarks.pickup.run [SAMPLES]` prints a table and writes `results.json` beside itself.
The time runs from the call that queues the job, returned, to the job's first act; both sides pay
one more round trip to Redis to tell of it.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import redis

from benchmarks.pickup.workers import stock_actor
from store.client import Store
from store.jobs import Jobs
from tests.builders import a_clip_command
from tests.redis_server import redis_server

HERE = Path(__file__).parent
IDLE_S = (0.15, 0.65)


def main(samples: int) -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as server:
        argv = [sys.executable, "-m", "benchmarks.pickup.workers"]
        crews = [
            subprocess.Popen([*argv, "ours", server.url, folder]),
            subprocess.Popen([*argv, "stock", server.url], stdin=subprocess.PIPE),
        ]
        try:
            found = measure(server.url, samples)
            found["ours"]["idle_cpu_share"] = idle_cpu(crews[0].pid)
        finally:
            for crew in crews:
                crew.terminate()
                crew.wait(10)
    print(json.dumps(found, indent=2))
    (HERE / "results.json").write_text(json.dumps(found, indent=2) + "\n")


def measure(url: str, samples: int) -> dict[str, dict[str, Any]]:
    """The times of both, taken in turns after idle gaps of random length."""
    client, jobs, actor = redis.Redis.from_url(url), Jobs(Store.from_url(url)), stock_actor(url)
    dice, times = random.Random(1), {"ours": [], "dramatiq": []}  # type: ignore[var-annotated]
    for number in range(samples + 1):
        for name, queue in (
            ("ours", lambda n=number: jobs.accept(a_clip_command(clip_id=f"c{n}"))),
            ("dramatiq", lambda: actor.send()),
        ):
            time.sleep(dice.uniform(*IDLE_S))
            queue()
            began = time.perf_counter()
            client.blpop(["picked-up"], timeout=30)
            times[name].append((time.perf_counter() - began) * 1000)
    # The first of each also waited for its worker to start.
    return {name: summary(taken[1:]) for name, taken in times.items()}


def summary(taken: list[float]) -> dict[str, Any]:
    """The numbers a reader wants."""
    cuts = statistics.quantiles(taken, n=100)
    return {"samples": len(taken), "p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2)}


def idle_cpu(supervisor: int, seconds: float = 10.0) -> float:
    """The share of a core our supervisor and its slots use while nothing happens."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    pids = [supervisor, *(int(pid) for pid in children)]
    before = sum(cpu_s(pid) for pid in pids)
    time.sleep(seconds)
    return round((sum(cpu_s(pid) for pid in pids) - before) / seconds, 4)


def cpu_s(pid: int) -> float:
    """The CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
