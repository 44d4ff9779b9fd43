"""How long it takes from POST to a published clip of 10 s, through the whole service, in turn.

    python -m benchmarks.publish [SAMPLES]

Everything is real: gateway, Redis-compatible server, keeper and workers, as `cuttingroom up` runs
them. The stream is the one of `benchmarks.clip`. Writes `benchmarks/results/publish.json`.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.clip import EPOCH_MS, FPS, RESULTS, make_stream, served
from cli.stack import Stack
from client import Client, clip_file_id
from schemas.settings import Settings
from tests.redis_server import free_port

LENGTH_S, STREAM_S, LOOPBACK = 10, 630, ("127.0.0.0/8",)
POLL_S = 0.01


def main(samples: int) -> None:
    """Measure, print, write."""
    stream = Path("build/benchmarks/clip").absolute() / "stream"
    make_stream(stream, STREAM_S)
    with tempfile.TemporaryDirectory() as folder, served(stream) as base:
        Path(folder).chmod(0o711)
        settings = Settings.model_validate(
            {"data_dir": folder, "port": free_port(), "allow_cidrs": LOOPBACK}
        )
        stack = Stack(settings, lambda text: print(text, file=sys.stderr))
        with stack, Client(stack.url, api_key=stack.credentials().api_key) as client:
            made = client.connectors.create("hls", "stream", {"url": f"{base}/index.m3u8"})
            taken = [clip_s(client, made.id, number) for number in range(samples + 1)]
    # The first also waits for the workers to have started.
    found = {
        "samples": samples,
        "p50_s": round(statistics.median(taken[1:]), 3),
        "least_s": round(min(taken[1:]), 3),
        "most_s": round(max(taken[1:]), 3),
        "first_s": round(taken[0], 3),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(found, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "publish.json").write_text(json.dumps(found, indent=2) + "\n")


def clip_s(client: Client, connector_id: str, number: int) -> float:
    """Seconds from the POST of a clip to its job having succeeded, as a client sees it."""
    start_ms = EPOCH_MS + 13_480 + number * 1_000 // FPS
    name = clip_file_id("main", start_ms, start_ms + LENGTH_S * 1000, f"c{number}")
    began = time.monotonic()
    job = client.clips.create(connector_id, name)
    while not job.is_final:
        time.sleep(POLL_S)
        job = client.jobs.get(job)
    if job.state != "succeeded":
        raise SystemExit(f"the clip {job.state}: {job.error}")
    return time.monotonic() - began


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
