"""How many clips a second one core accepts: our gateway next to what one would write without it.

    python -m benchmarks.ingress [SECONDS]

`ours`: the gateway, credentials checked, job, event and message stored before the 202. `inline`: a
FastAPI route that checks nothing and enqueues with plain dramatiq. `bare`: the same route doing
nothing. Each is held to the first core and asked over 32 connections by a client on the other one,
where the Redis-compatible server runs too. In turns, three rounds; writes `results/ingress.json`.
The CPU time a request takes of its server says most where the machine has other things to do.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from benchmarks.clip import RESULTS
from benchmarks.pickup.run import cpu_s
from catalog.bootstrap import bootstrap
from catalog.engine import Catalog, catalog_url, migrate
from client import Client
from connectors.sealing import new_key
from schemas.file_id import ClipFileId
from schemas.settings import Settings
from schemas.times import TimeRange
from tests.redis_server import free_port, redis_server

CONNECTIONS, ROUNDS, START_MS = 32, 3, 1_780_000_000_000
PEER = """
import sys, uvicorn, dramatiq
from fastapi import FastAPI, Request
from dramatiq.brokers.redis import RedisBroker
app, broker = FastAPI(), RedisBroker(url=sys.argv[2])
@dramatiq.actor(broker=broker, queue_name="clip")
def clip(name: str, body: dict) -> None: ...
@app.post("/{rest:path}", status_code=202)
def accept(rest: str, body: dict) -> dict:
    if sys.argv[3] == "inline":
        return {"id": clip.send(rest, body).message_id}
    return {"id": rest}
uvicorn.run(app, port=int(sys.argv[1]), http="httptools", loop="uvloop", access_log=False,
            log_level="error")
"""


def main(seconds: float) -> None:
    """Measure, print, write."""
    os.sched_setaffinity(0, {1})
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server(Path(folder)) as redis,
        ours(Path(folder), redis.url) as (port, key, pid),
        peers(redis.url) as ports,
    ):
        base = f"/v1/connectors/{connector_id(port, key)}"
        every = {"ours": (port, pid), **ports}
        found = rounds({name: (*at, base, key) for name, at in every.items()}, seconds)
    print(json.dumps(found, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ingress.json").write_text(json.dumps(found, indent=2) + "\n")


def rounds(asked: dict[str, tuple[int, int, str, str]], seconds: float) -> dict[str, object]:
    """Every peer in turn, some rounds; medians."""
    taken: dict[str, list[tuple[float, ...]]] = {name: [] for name in asked}
    for number in range(ROUNDS + 1):
        for name, (port, pid, base, key) in asked.items():
            before = cpu_s(pid)
            one = asyncio.run(pressed(port, base, key, seconds, f"{name}{number}"))
            cpu_ms = (cpu_s(pid) - before) * 1000 / (one[0] * seconds)
            taken[name] += [(*one, cpu_ms)] if number else []  # the first round warms up
    columns = ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms")
    return {
        name: {c: round(statistics.median(s[at] for s in of), 2) for at, c in enumerate(columns)}
        for name, of in taken.items()
    } | {"load": round(os.getloadavg()[0], 1)}


async def pressed(
    port: int, base: str, key: str, seconds: float, mark: str
) -> tuple[float, float, float]:
    """Requests a second, median and 99th percentile, over all connections at once."""
    until, times = time.monotonic() + seconds, list[float]()
    lanes = (lane(port, base, key, until, f"{mark}_{n}", times) for n in range(CONNECTIONS))
    await asyncio.gather(*lanes)
    cuts = statistics.quantiles(times, n=100)
    return len(times) / seconds, cuts[49] * 1000, cuts[98] * 1000


async def lane(port: int, base: str, key: str, until: float, mark: str, times: list[float]) -> None:
    """One connection: a new clip as soon as the one before was accepted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while (began := time.monotonic()) < until:
        writer.write(request(base, key, f"{mark}_{number}"))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        if not head.startswith(b"HTTP/1.1 202"):
            raise SystemExit(head.decode())
        times.append(time.monotonic() - began)
        number += 1
    writer.close()


def request(base: str, key: str, clip_id: str) -> bytes:
    """The bytes of one POST."""
    wanted = TimeRange(start_ms=START_MS, end_ms=START_MS + 10_000)
    name = ClipFileId(channel_id="main", range=wanted, clip_id=clip_id).canonical
    lines = (
        f"POST {base}/files/{quote(name, safe='')}/clip HTTP/1.1", "Host: 127.0.0.1",
        f"X-Api-Key: {key}", "Content-Type: application/json", "Content-Length: 16", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode() + b'{"mode":"exact"}'


def connector_id(port: int, key: str) -> str:
    """The id of a connector made through the gateway."""
    config = {"url": "http://127.0.0.1:9/index.m3u8"}
    with Client(f"http://127.0.0.1:{port}", api_key=key) as client:
        return client.connectors.create("hls", "x", config).id


@contextmanager
def ours(folder: Path, redis_url: str) -> Iterator[tuple[int, str, int]]:
    """Our gateway on the first core, with nobody working on what it accepts."""
    url, port = catalog_url(str(folder)), free_port()
    migrate(url)
    catalog = Catalog(url, clock=lambda: time.time_ns() // 10**6)
    made = bootstrap(catalog, tenant="t", email="admin@example.com", keep=lambda _: None)
    catalog.close()
    assert made is not None
    settings = Settings.model_validate(
        {
            "data_dir": str(folder), "redis_url": redis_url, "port": port, "queue_cap": 10_000_000,
            "rate_per_minute": 100_000_000, "secret_keys": new_key(), "log_level": "error",
            "allow_cidrs": ("127.0.0.0/8",),
        }
    )  # fmt: skip
    with pinned([sys.executable, "-m", "api_gateway"], port, settings.to_env()) as pid:
        yield port, made.api_key, pid


@contextmanager
def peers(redis_url: str) -> Iterator[dict[str, tuple[int, int]]]:
    """The two routes one would write without us."""
    inline, bare = free_port(), free_port()
    code = [sys.executable, "-c", PEER]
    with (
        pinned([*code, str(inline), redis_url, "inline"], inline, {}) as first,
        pinned([*code, str(bare), redis_url, "bare"], bare, {}) as second,
    ):
        yield {"inline": (inline, first), "bare": (bare, second)}


@contextmanager
def pinned(argv: list[str], port: int, env: dict[str, str]) -> Iterator[int]:
    """A server held to the first core, its process id once it listens."""
    process = subprocess.Popen(["taskset", "-c", "0", *argv], env={**os.environ, **env})
    try:
        deadline = time.monotonic() + 60
        while not listening(port):
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{argv[:3]} does not answer")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def listening(port: int) -> bool:
    """Whether anybody answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
