"""Numbers that several processes share and their successors take over."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from workers import metrics

ROOT = Path(__file__).parent.parent.parent
COUNT = """
import sys
from pathlib import Path
from workers import metrics
metrics.share(Path(sys.argv[1]), sys.argv[2])
metrics.FETCHED_BYTES.labels("clip").inc(float(sys.argv[3]))
with metrics.stage_timed("clip", "cutting"):
    pass
"""
WAITING = """
import sys
from pathlib import Path
from workers import metrics
metrics.share(Path(sys.argv[1]), sys.argv[2])
metrics.WAITING_JOBS.labels("clip").set(int(sys.argv[3]))
"""
SERVE = """
import sys
from pathlib import Path
from workers import metrics
metrics.serve(Path(sys.argv[1]), int(sys.argv[2]))
print("serving", flush=True)
sys.stdin.read()
"""


def counted(folder: Path, identity: str, amount: int) -> None:
    """One process that counts and ends without a word."""
    argv = [sys.executable, "-c", COUNT, str(folder), identity, str(amount)]
    subprocess.run(argv, cwd=ROOT, check=True, timeout=60)


def test_a_successor_goes_on_counting_and_slots_add_up(tmp_path: Path) -> None:
    from tests.redis_server import free_port

    port = free_port()
    for identity, amount in (("clip-0", 5), ("clip-1", 7), ("clip-0", 11)):
        counted(tmp_path, identity, amount)

    argv = [sys.executable, "-c", SERVE, str(tmp_path), str(port)]
    with subprocess.Popen(
        argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "serving\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        server.terminate()

    assert 'cuttingroom_fetched_bytes_total{kind="clip"} 23.0' in text
    assert 'cuttingroom_stage_duration_seconds_count{kind="clip",stage="cutting"} 3.0' in text
    # A file a slot, however many processes there were.
    assert len(list(tmp_path.glob("counter_*.db"))) == 2


def summed(folder: Path, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    return registry.get_sample_value(name, labels)


@pytest.mark.parametrize("torn", ["zeros", "noise", "cut"])
def test_a_torn_file_costs_its_own_numbers_alone(tmp_path: Path, torn: str) -> None:
    for identity in ("clip-0", "clip-1"):
        counted(tmp_path, identity, 5)
    file = tmp_path / "counter_clip-0.db"
    whole = file.read_bytes()
    lost = {"zeros": bytes(24), "noise": b"\xff\x7f" * 12, "cut": b""}[torn]
    file.write_bytes(whole[:8] + lost + (whole[32:] if lost else b""))

    metrics.tidy(tmp_path, ("clip-0", "clip-1"))
    counted(tmp_path, "clip-0", 1)

    assert summed(tmp_path, "cuttingroom_fetched_bytes_total", kind="clip") == 6


def test_nothing_waits_in_a_slot_there_is_no_more(tmp_path: Path) -> None:
    for identity in ("clip-0", "clip-1"):
        argv = [sys.executable, "-c", WAITING, str(tmp_path), identity, "2"]
        subprocess.run(argv, cwd=ROOT, check=True, timeout=60)

    metrics.tidy(tmp_path, ("clip-0",))

    assert summed(tmp_path, "cuttingroom_worker_waiting_jobs", queue="clip") == 2


def test_time_at_a_job_is_counted_but_for_its_pauses() -> None:
    def counted_s() -> float:
        name = "cuttingroom_worker_busy_seconds_total"
        return metrics.REGISTRY.get_sample_value(name, {"kind": "paused"}) or 0.0

    with metrics.Busy("paused") as busy:
        with busy.paused():
            before_it = counted_s()
            with busy.paused():
                pass
            after_it = counted_s()
        again = counted_s()
    end = counted_s()

    assert 0 < before_it == after_it == again < end


def test_a_successor_begins_with_no_job_that_waits(tmp_path: Path) -> None:
    for number, identity in ((3, "clip-0"), (2, "clip-1"), (0, "clip-0")):
        argv = [sys.executable, "-c", WAITING, str(tmp_path), identity, str(number)]
        subprocess.run(argv, cwd=ROOT, check=True, timeout=60)

    assert summed(tmp_path, "cuttingroom_worker_waiting_jobs", queue="clip") == 2


def test_a_taken_port_costs_the_numbers_and_not_the_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answered = metrics.answer(CollectorRegistry(), taken.getsockname()[1], "127.0.0.1")

    assert not answered
