"""Clips while the event is on: what is not broadcast yet is waited for, what goes is kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.jobs import Job
from tests.e2e.kit import Simulation, clip
from tests.media_builder import HlsAsset, StreamSpec, build, continued, segment
from tests.oracle import check_exact, inspect
from tests.origin import Fault, Live, ManualClock, Origin, wall_clock_ms

pytestmark = pytest.mark.slow

SEGMENT_MS = 2000
SPEC = StreamSpec(seconds=16)


@cache
def channel(**dress: Any) -> HlsAsset:
    """Sixteen seconds of a channel in eight segments."""
    return segment(build(SPEC), **dress)


@pytest.fixture
def clock() -> ManualClock:
    """Six seconds after the channel began."""
    return ManualClock(channel().epoch_ms + 6000)


@pytest.fixture
def now(clock: ManualClock, tmp_path: Path) -> Simulation:
    """An engine that lives by that clock."""
    return Simulation(clock, tmp_path)


def code(job: Job) -> str | None:
    """What a job failed with."""
    return job.error.code if job.error else None


def fetched(origin: Origin) -> Counter[str]:
    """How often each segment was fetched."""
    return Counter(path for path in origin.paths() if path.endswith((".ts", ".m4s")))


DRESSES: dict[str, dict[str, Any]] = {
    "one playlist": {},
    "audio group": {"separate_audio": True},
    "fmp4": {"container": "fmp4"},
}


@pytest.mark.parametrize("end_ms", [8040, 9790, 9990, 10_000])
@pytest.mark.parametrize("name", DRESSES)
def test_a_clip_that_ends_in_the_future_is_ready_two_segments_after_its_end(
    name: str, end_ms: int, now: Simulation
) -> None:
    asset = channel(**DRESSES[name])
    start, end = asset.epoch_ms + 3330, asset.epoch_ms + end_ms

    with Origin(asset, live=Live(now.clock)) as origin:
        job = now.clip(origin.url, start, end)
        counted = fetched(origin)

    assert code(job) is None
    assert check_exact(now.output, asset, start, end) == []
    assert now.clock() - end <= 2 * SEGMENT_MS
    assert now.states[:2] == ["running", "waiting"]
    assert now.states[-2:] == ["running", "succeeded"]
    assert set(counted.values()) == {1}


def test_what_is_there_already_is_fetched_before_the_rest_is_waited_for(now: Simulation) -> None:
    asset = channel()
    seen: list[set[str]] = []

    with Origin(asset, live=Live(now.clock)) as origin:
        now.at[asset.epoch_ms + 6001] = lambda: seen.append(set(fetched(origin)))
        now.clip(origin.url, asset.epoch_ms + 2500, asset.epoch_ms + 9500)

    assert seen == [{"main-1.ts", "main-2.ts"}]


def test_the_origin_is_asked_about_once_a_half_segment_and_no_more(now: Simulation) -> None:
    asset = channel()

    with Origin(asset, live=Live(now.clock)) as origin:
        now.clip(origin.url, asset.epoch_ms + 5000, asset.epoch_ms + 13_000)
        asked = origin.count("main.m3u8")

    assert asked <= 2 + (now.clock() - asset.epoch_ms - 6000) / (SEGMENT_MS / 2)


def test_an_event_that_has_not_begun_is_looked_for_now_and_then(now: Simulation) -> None:
    asset = channel()
    now.clock.advance(-100)
    start, end = asset.epoch_ms + 2000, asset.epoch_ms + 4000

    with Origin(asset, live=Live(now.clock)) as origin:
        job = now.clip(origin.url, start, end)
        asked = origin.count("main.m3u8")

    assert code(job) is None
    assert check_exact(now.output, asset, start, end) == []
    assert asked <= 25


def test_a_range_far_ahead_of_the_live_edge_is_not_polled_for(now: Simulation) -> None:
    asset = segment(build(replace(SPEC, seconds=24)))

    with Origin(asset, live=Live(now.clock)) as origin:
        job = now.clip(origin.url, asset.epoch_ms + 20_000, asset.epoch_ms + 22_000)
        asked = origin.count("main.m3u8")

    assert code(job) is None
    assert asked <= 12


def test_segments_that_roll_out_of_the_window_meanwhile_are_used_all_the_same(
    now: Simulation,
) -> None:
    asset = channel()
    start, end = asset.epoch_ms + 2330, asset.epoch_ms + 13_510

    with Origin(asset, live=Live(now.clock, window_s=4, linger_s=0)) as origin:
        job = now.clip(origin.url, start, end)
        counted = fetched(origin)
        gone = origin.content("live", "main-1.ts")

    assert code(job) is None
    assert check_exact(now.output, asset, start, end) == []
    assert gone is None
    assert set(counted.values()) == {1}


def test_a_range_that_left_the_window_is_refused_with_what_is_held(now: Simulation) -> None:
    asset = channel()
    now.clock.advance(6)

    with Origin(asset, live=Live(now.clock, window_s=4, linger_s=0)) as origin:
        job = now.clip(origin.url, asset.epoch_ms + 1000, asset.epoch_ms + 5000)

    assert code(job) == "out_of_window"
    assert job.error is not None
    assert f"{asset.epoch_ms + 8000} to {asset.epoch_ms + 12_000}" in job.error.message


def test_who_will_not_wait_is_told_that_it_is_the_future(now: Simulation) -> None:
    asset = channel()

    with Origin(asset, live=Live(now.clock)) as origin:
        job = now.clip(origin.url, asset.epoch_ms + 3000, asset.epoch_ms + 9000, on_future="reject")

    assert code(job) == "in_future"
    assert now.waits <= 1


def test_a_channel_that_stops_growing_is_a_stalled_source(now: Simulation) -> None:
    asset = channel()

    with Origin(asset, live=Live(now.clock, end_list=False)) as origin:
        job = now.clip(origin.url, asset.epoch_ms + 12_000, asset.epoch_ms + 20_000)

    assert code(job) == "source_stalled"
    assert job.error is not None
    assert job.error.retryable
    assert 30_000 <= now.clock() - asset.epoch_ms - 16_000 <= 40_000


@pytest.mark.parametrize("status", [404, 503])
def test_an_origin_that_is_away_for_a_while_loses_nothing(status: int, now: Simulation) -> None:
    asset = channel()
    start, end = asset.epoch_ms + 3330, asset.epoch_ms + 15_510

    with Origin(asset, live=Live(now.clock, window_s=10)) as origin:
        now.at[asset.epoch_ms + 8000] = lambda: origin.fault("main.m3u8", Fault.status(status))
        now.at[asset.epoch_ms + 15_000] = lambda: origin.mend("main.m3u8")
        job = now.clip(origin.url, start, end)

    assert code(job) is None
    assert job.attempt == 1
    assert check_exact(now.output, asset, start, end) == []


def test_another_attempt_knows_what_has_left_the_window(now: Simulation) -> None:
    asset = channel()
    start, end = asset.epoch_ms + 2330, asset.epoch_ms + 15_510
    now.attempts = 2

    with Origin(asset, live=Live(now.clock, window_s=6, linger_s=0)) as origin:
        refused = Fault.status(429, times=1)
        now.at[asset.epoch_ms + 12_000] = lambda: origin.fault("main.m3u8", refused)
        job = now.clip(origin.url, start, end)
        counted = fetched(origin)

    assert code(job) is None
    assert job.attempt == 2
    assert check_exact(now.output, asset, start, end) == []
    assert set(counted.values()) == {1}


def test_an_origin_that_stays_away_is_told_of(now: Simulation) -> None:
    asset = channel()

    with Origin(asset, live=Live(now.clock)) as origin:
        now.at[asset.epoch_ms + 8000] = lambda: origin.fault("main.m3u8", Fault.status(404))
        job = now.clip(origin.url, asset.epoch_ms + 3330, asset.epoch_ms + 15_510)

    assert code(job) == "source_not_found"
    assert 30_000 <= now.clock() - asset.epoch_ms - 6000 <= 40_000


def test_a_channel_that_ends_too_early_leaves_a_gap(now: Simulation) -> None:
    asset = channel()
    start, end = asset.epoch_ms + 12_000, asset.epoch_ms + 20_000

    with Origin(asset, live=Live(now.clock)) as origin:
        job = now.clip(origin.url, start, end)

    assert code(job) == "segment_missing"
    assert not now.output.exists()


def test_what_there_was_of_a_channel_that_ended_is_cut_where_gaps_may_be(now: Simulation) -> None:
    asset = channel()
    start, end = asset.epoch_ms + 12_000, asset.epoch_ms + 20_000

    with Origin(asset, live=Live(now.clock)) as origin:
        job = now.clip(origin.url, start, end, gaps="skip")

    assert job.result is not None, job.error
    assert inspect(now.output).numbers == list(range(300, 400))
    assert job.result["coverage"] == pytest.approx(0.5, abs=0.01)
    (gap,) = job.result["gaps"]
    assert (gap["startMs"], gap["endMs"]) == (asset.epoch_ms + 16_000, end)


def test_an_origin_that_numbers_anew_is_followed(now: Simulation) -> None:
    first = build(replace(SPEC, seconds=8))
    second = build(continued(first.spec, start_pts_90k=123_456))
    truth, before, after = segment(first, second), segment(first), segment(second)
    start, end = truth.epoch_ms + 5330, truth.epoch_ms + 12_510

    with Origin(before, live=Live(now.clock, end_list=False)) as origin:
        now.at[truth.epoch_ms + 10_000] = lambda: origin.mount("live", after, live=Live(now.clock))
        job = now.clip(origin.url, start, end)

    assert code(job) is None
    assert inspect(now.output).numbers == truth.numbers_between(start, end)


def test_a_channel_without_dates_is_placed_by_its_live_edge(now: Simulation) -> None:
    asset = segment(build(SPEC), pdt="absent")
    start, end = asset.epoch_ms + 3330, asset.epoch_ms + 9790

    with Origin(asset, live=Live(now.clock)) as origin:
        job = now.clip(origin.url, start, end)

    assert job.result is not None, job.error
    assert job.result["clock"] == "estimated"
    assert check_exact(now.output, asset, start, end) == []


@pytest.mark.parametrize("gaps", ["fail", "skip"])
def test_a_segment_that_is_listed_before_it_is_there_is_waited_for(
    gaps: str, now: Simulation
) -> None:
    asset = channel()
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 5510

    with Origin(asset, live=Live(now.clock)) as origin:
        origin.fault("main-2.ts", Fault.status(404, times=5))
        job = now.clip(origin.url, start, end, gaps=gaps)

    assert code(job) is None
    assert check_exact(now.output, asset, start, end) == []


def test_the_machines_own_clock_brings_the_future_too(tmp_path: Path) -> None:
    asset = segment(build(replace(SPEC, seconds=8)), epoch_ms=wall_clock_ms() - 3000)
    start, end = asset.epoch_ms + 1000, asset.epoch_ms + 4990

    with Origin(asset, live=Live(wall_clock_ms)) as origin:
        job = clip(origin.url, start, end, tmp_path / "out.mp4")

    assert code(job) is None
    assert check_exact(tmp_path / "out.mp4", asset, start, end) == []
