"""`cuttingroom localize`: one call brings a file, a second one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.file_origin import Fault, FileOrigin, file_origin
from tests.localizing import a_movie

SIZE = 4_000_000
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return a_movie(tmp_path_factory.mktemp("movie"), SIZE)


@pytest.fixture
def origin(movie: bytes) -> Iterator[FileOrigin]:
    with file_origin(**{"movie.mp4": movie}) as running:
        yield running


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "localize", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": str(ROOT)},
    )


def finished(*arguments: str) -> tuple[int, str, str]:
    process = command(*arguments)
    said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


def test_a_file_is_brought_and_described(origin: FileOrigin, movie: bytes, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"

    code, said, complained = finished(f"{origin.url}/movie.mp4?sig=x", "-o", str(target), "--json")

    assert code == 0, complained
    told = json.loads(said)
    assert target.read_bytes() == movie
    assert (told["size"], told["resumedBytes"]) == (len(movie), 0)
    assert [stream["kind"] for stream in told["media"]["streams"]] == ["video", "audio"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_after_kill_9_the_same_command_goes_on(
    origin: FileOrigin, movie: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    slow = command(f"{origin.url}/movie.mp4", "-o", str(target), "--limit-rate", "2000000")
    deadline = time.monotonic() + 60
    while origin.sent < SIZE * 3 // 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    slow.send_signal(signal.SIGKILL)
    slow.communicate(timeout=10)
    # What was on its way when it was killed is counted as sent and was never received.
    before = origin.sent
    assert not target.exists()

    code, said, complained = finished(f"{origin.url}/movie.mp4", "-o", str(target), "--json")

    told = json.loads(said)
    assert (code, target.read_bytes() == movie) == (0, True), complained
    assert told["resumedBytes"] > 0
    assert origin.sent - before <= len(movie) - told["resumedBytes"] + 1000


def test_a_source_that_changed_since_is_said_so(
    origin: FileOrigin, movie: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    slow = command(f"{origin.url}/movie.mp4", "-o", str(target), "--limit-rate", "2000000")
    deadline = time.monotonic() + 60
    while origin.sent < SIZE * 3 // 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    slow.kill()
    slow.communicate(timeout=10)
    origin.etags["movie.mp4"] = '"2"'

    refused = finished(f"{origin.url}/movie.mp4", "-o", str(target))
    forced = finished(f"{origin.url}/movie.mp4", "-o", str(target), "--force")

    assert refused[0] == 1
    assert "source_changed" in refused[2]
    assert (forced[0], target.read_bytes() == movie) == (0, True), forced[2]


def test_a_file_that_is_there_is_not_replaced_unasked(origin: FileOrigin, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"mine")

    code, _, complained = finished(f"{origin.url}/movie.mp4", "-o", str(target))

    assert (code, target.read_bytes()) == (1, b"mine")
    assert "--force" in complained


def test_a_file_is_replaced_only_once_another_is_whole(
    origin: FileOrigin, movie: bytes, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"mine")
    origin.faults = [Fault("status", times=50, status=404)]

    failed = finished(f"{origin.url}/movie.mp4", "-o", str(target), "--force")
    left = target.read_bytes()
    origin.faults = []
    done = finished(f"{origin.url}/movie.mp4", "-o", str(target), "--force")

    assert (failed[0], left) == (1, b"mine")
    assert (done[0], target.read_bytes() == movie) == (0, True), done[2]
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
