"""The processes of the Procfile: they start on settings alone and end when told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from store import keys
from store.client import Store
from store.jobs import Jobs
from tests.builders import a_clip_command
from tests.chaos.processes import until
from tests.redis_server import free_port, redis_server

ROOT = Path(__file__).parent.parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.redis]


@contextmanager
def process(folder: Path, url: str, *words: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours with an environment of only its settings."""
    settings = {
        "PATH": os.environ["PATH"],
        "CUTTINGROOM_DATA_DIR": str(folder / "data"),
        "CUTTINGROOM_REDIS_URL": url,
        "CUTTINGROOM_SECRET_KEYS": Fernet.generate_key().decode(),
        "CUTTINGROOM_ALLOW_UNJAILED": "true",
    }
    with (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=ROOT, env=settings | env, stderr=log
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait(10)


def scrape(port: int) -> str:
    """The metrics of a port; empty while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError:
        return ""


def end(child: subprocess.Popen[bytes]) -> float:
    """SIGTERM; how long the end took."""
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.wait(15) == 0
    return time.monotonic() - began


def test_a_keeper_takes_the_intake_in_tells_numbers_and_ends(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as server:
        store = Store.from_url(server.url)
        jobs = Jobs(store)
        first = jobs.accept(a_clip_command(clip_id="first")).job
        data = a_clip_command().model_dump(
            mode="json", exclude={"tenant_id", "requested_by", "kind"}
        )
        event = {
            "specversion": "1.0",
            "id": "1",
            "source": "/mam",
            "type": "com.cuttingroom.command.clip",
            "data": data,
        }
        store.client.xadd(keys.intake("t1"), {"event": json.dumps(event)})
        words = ("cli.keeper", "--metrics-port", str(port))
        with process(tmp_path, server.url, *words) as keeper:
            until(lambda: len(jobs.list("t1").items) == 2, "the intake taken in")
            until(lambda: 'accepted_total{kind="clip"} 2.0' in scrape(port), "its numbers")
            took = end(keeper)
        store.close()

    assert first.state == "queued"
    assert took < 5


def test_a_worker_answers_for_its_metrics_and_ends(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "redis").mkdir()
    words = ("workers.main", "--queue", "clip", "--slots", "2", "--metrics-port", str(port))
    with (
        redis_server(tmp_path / "redis") as server,
        process(tmp_path, server.url, *words) as worker,
    ):
        store = Store.from_url(server.url)
        job = Jobs(store).accept(a_clip_command()).job  # nobody listens at its origin
        until(
            lambda: 'stage_duration_seconds_count{kind="clip",stage="fetching"}' in scrape(port),
            "the numbers of an attempt",
        )
        took = end(worker)
        seen = Jobs(store).get("t1", job.id)
        store.close()

    assert took < 5
    assert seen.state in {"queued", "failed"}


def test_a_worker_survives_a_redis_that_comes_late(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with redis_server(tmp_path / "redis") as server:
        server.stop()
        with process(tmp_path, server.url, "workers.main", "--queue", "clip") as worker:
            until(lambda: b"queue not readable" in (tmp_path / "log").read_bytes(), "its complaint")
            server.start()
            store = Store.from_url(server.url)
            job = Jobs(store).accept(a_clip_command()).job
            until(lambda: Jobs(store).get("t1", job.id).attempt == 1, "the job claimed")
            store.close()
            assert end(worker) < 5


def test_a_worker_that_can_never_start_says_why_and_ends(tmp_path: Path) -> None:
    words = ("workers.main", "--queue", "clip")
    url = f"redis://127.0.0.1:{free_port()}/0"
    with process(tmp_path, url, *words, CUTTINGROOM_SECRET_KEYS="") as worker:
        status = worker.wait(60)

    assert status == os.EX_CONFIG
    assert b"key ring is empty" in (tmp_path / "log").read_bytes()
