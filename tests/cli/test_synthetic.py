"""The synthetic channel keeps time, keeps its window and stops when told."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from cli.synthetic import Channel, opened, pace, serve
from media.testcard import Card
from schemas.times import parse_rfc3339
from tests.oracle import inspect

CARD = Card(width=192, height=112, segment_ms=1_000)
NOW_MS = 1_643_957_046_300


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    made = opened(tmp_path, CARD, history_s=4, window_s=10, now_ms=NOW_MS)
    yield made
    made.end()


def _playlist(folder: Path) -> str:
    return (folder / "live.m3u8").read_text()


def _segments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.endswith(".ts")]


def _dates(text: str) -> list[int]:
    return [parse_rfc3339(found) for found in re.findall("DATE-TIME:(.*)", text)]


def test_history_is_there_before_the_first_second_has_passed(
    channel: Channel, tmp_path: Path
) -> None:
    text = _playlist(tmp_path)

    assert _dates(text) == [1_643_957_042_000 + 1000 * i for i in range(4)]
    assert channel.edge_ms == 1_643_957_046_000
    assert "#EXT-X-ENDLIST" not in text


def test_the_frames_of_a_segment_show_its_wall_clock(channel: Channel, tmp_path: Path) -> None:
    text = _playlist(tmp_path)
    last = tmp_path / _segments(text)[-1]

    numbers = inspect(last).numbers

    # Frame n stands at the channel's start + n * 40 ms.
    offset_ms = _dates(text)[-1] - _dates(text)[0]
    assert numbers == list(range(offset_ms // 40, offset_ms // 40 + 25))


def test_what_left_the_window_is_deleted_a_little_later(channel: Channel, tmp_path: Path) -> None:
    for _ in range(14):
        channel.publish()

    text = _playlist(tmp_path)
    held = sorted(p.name for p in tmp_path.glob("*.ts"))
    assert len(_segments(text)) == 10
    assert held[-10:] == _segments(text)
    assert len(held) == 13
    sequence = int(_segments(text)[0].removeprefix("seg-").removesuffix(".ts"))
    assert f"#EXT-X-MEDIA-SEQUENCE:{sequence}\n" in text


class _Steps:
    """A clock that reads its steps one by one, then stops the channel."""

    def __init__(self, stop: threading.Event, *readings_ms: int) -> None:
        self._stop, self._readings = stop, list(readings_ms)

    def __call__(self) -> int:
        if len(self._readings) == 1:
            self._stop.set()
            return self._readings[0]
        return self._readings.pop(0)


def test_a_segment_is_published_when_it_has_ended_and_not_before(
    channel: Channel, tmp_path: Path
) -> None:
    stop = threading.Event()
    due = channel.due_ms
    clock = _Steps(stop, due - 2, due - 1, due - 1, due, due, due + 1, due + 1)

    pace(channel, stop, None, clock)

    assert len(_segments(_playlist(tmp_path))) == 5


def test_a_long_sleep_is_skipped_with_a_discontinuity(channel: Channel, tmp_path: Path) -> None:
    stop = threading.Event()
    later = channel.due_ms + 3_600_500

    pace(channel, stop, None, _Steps(stop, later, later, later + 2_000, later + 2_000))

    text = _playlist(tmp_path)
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert _dates(text)[-1] >= later - 1_500
    assert len(_segments(text)) <= 10


def test_a_late_channel_catches_up_without_a_gap(channel: Channel, tmp_path: Path) -> None:
    until = channel.due_ms + 4_000

    pace(channel, threading.Event(), until, lambda: until)

    dates = _dates(_playlist(tmp_path))
    assert {b - a for a, b in itertools.pairwise(dates)} == {1000}
    assert channel.edge_ms == until


def test_only_the_channels_own_files_are_served(channel: Channel, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("no")
    server = serve(tmp_path, 0)
    base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        name = _segments(_playlist(tmp_path))[0]
        got = {
            path: requests.get(f"{base}/{path}", timeout=5).status_code
            for path in ("live.m3u8", name, "secret.txt", "", "seg-1.ts", "%2e%2e/x", ".live.m3u8")
        }
        whole = requests.get(f"{base}/{name}", timeout=5).content
    finally:
        server.shutdown()
        server.server_close()

    assert list(got.values()) == [200, 200, 404, 404, 404, 404, 404]
    assert whole == (tmp_path / name).read_bytes()


def _started(folder: Path, *more: str, stderr: int | None = None) -> subprocess.Popen[str]:
    small = ["--width", "192", "--height", "112", "--segment-ms", "1000", "--history-s", "2"]
    command = [sys.executable, "-m", "cli.synthetic", "--dir", str(folder), *small, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def test_the_program_says_when_it_is_ready_and_ends_on_sigterm(tmp_path: Path) -> None:
    with _started(tmp_path) as process:
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        text = requests.get(hello["url"], timeout=5).text
        deadline = time.monotonic() + 10
        while requests.get(hello["url"], timeout=5).text == text:
            assert time.monotonic() < deadline, "the edge does not grow"
        process.send_signal(signal.SIGTERM)

        assert process.wait(10) == 0

    assert len(_segments(text)) >= 2
    assert hello["startMs"] % 1000 == 0
    assert _playlist(tmp_path).endswith("#EXT-X-ENDLIST\n")


def test_the_program_ends_by_itself_after_its_seconds(tmp_path: Path) -> None:
    with _started(tmp_path, "--seconds", "1") as process:
        assert process.wait(20) == 0

    dates = _dates(_playlist(tmp_path))
    assert dates[-1] + 1000 >= dates[0] + 3000


def test_a_shape_that_cannot_be_made_is_refused_in_one_line(tmp_path: Path) -> None:
    with _started(tmp_path, "--segment-ms", "990", stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()

        assert process.wait(20) == 2

    assert "990 ms at 25 fps" in said
    assert "Traceback" not in said
