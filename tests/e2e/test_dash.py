"""Clips of DASH presentations, live and on demand, through the same engine as those of HLS."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.jobs import Job
from tests.dash_builder import MPD, SCALES, DashOrigin, stamp
from tests.e2e.export_kit import export
from tests.e2e.kit import Simulation, clip
from tests.e2e.sprite_kit import poster
from tests.hls_builder import _shifted, _timescales
from tests.media_builder import (
    AudioSpec,
    Discontinuity,
    HlsAsset,
    StreamSpec,
    build,
    continued,
    segment,
)
from tests.oracle import audio_offsets, check_exact, inspect
from tests.origin import Fault, Live, ManualClock, Origin, wall_clock_ms

pytestmark = pytest.mark.slow

SPEC = StreamSpec(seconds=12)
SEGMENT_MS = 2000


@cache
def asset() -> HlsAsset:
    """Twelve seconds in six segments, sound beside the pictures."""
    return segment(build(SPEC), container="fmp4", separate_audio=True)


@pytest.fixture
def clock() -> ManualClock:
    """Six seconds after the channel began."""
    return ManualClock(asset().epoch_ms + 6000)


@pytest.fixture
def now(clock: ManualClock, tmp_path: Path) -> Simulation:
    """An engine that lives by that clock."""
    return Simulation(clock, tmp_path)


def code(job: Job) -> str | None:
    """What a job failed with."""
    return job.error.code if job.error else None


def media(origin: Origin) -> Counter[str]:
    """How often each segment was fetched."""
    return Counter(p for p in origin.paths() if p.endswith(".m4s"))


def result(job: Job) -> dict[str, Any]:
    """What a job that must have succeeded answers."""
    assert job.state == "succeeded", job.error
    return job.result or {}


# ---- on demand


@pytest.mark.parametrize("style", ["time", "timed-number", "number", "list", "base"])
def test_a_clip_is_exact_however_segments_are_addressed(style: str, tmp_path: Path) -> None:
    start, end = asset().epoch_ms + 3330, asset().epoch_ms + 7770

    with DashOrigin(asset(), style=style) as origin:
        told = result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))

    assert check_exact(tmp_path / "c.mp4", asset(), start, end) == []
    assert told["clock"] == "pdt"
    assert 0 < told["reencodedMs"] < 2000


@pytest.mark.parametrize(
    ("begin", "stop"), [(2100, 3900), (4010, 6390), (1990, 2050), (6410, 9990)]
)
def test_segments_may_lie_beside_their_nominal_place(begin: int, stop: int, tmp_path: Path) -> None:
    # They last 2.4 and 1.6 s in turn, and the manifest says two seconds each.
    spec = StreamSpec(seconds=12, gops=(60, 40, 60, 40, 60, 40), codec="hevc")
    uneven = segment(build(spec), container="fmp4", separate_audio=True, segment_s=Fraction(16, 10))
    start, end = uneven.epoch_ms + begin, uneven.epoch_ms + stop

    with DashOrigin(uneven, style="number") as origin:
        result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))

    lengths = {float(s.duration_s) for s in uneven.playlist().segments}
    assert lengths == {2.4, 1.6}
    assert check_exact(tmp_path / "c.mp4", uneven, start, end) == []


def test_only_the_segments_of_the_range_are_fetched_each_once(tmp_path: Path) -> None:
    start, end = asset().epoch_ms + 4100, asset().epoch_ms + 5900

    with DashOrigin(asset(), style="timed-number") as origin:
        result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))
        fetched = media(origin)

    assert {name for name in fetched if name.startswith("main")} == {"main-2.m4s", "main-3.m4s"}
    assert set(fetched.values()) == {1}
    assert origin.count(MPD) == 1


def test_without_a_wall_clock_a_presentation_begins_at_zero(tmp_path: Path) -> None:
    with DashOrigin(asset(), style="time", dated=False) as origin:
        told = result(clip(origin.mpd_url, "0:03.330", "0:07.770", tmp_path / "c.mp4"))

    assert told["clock"] == "estimated"
    assert told["delivered"]["startMs"] == 3360
    wanted = asset().numbers_between(asset().epoch_ms + 3330, asset().epoch_ms + 7770)
    assert inspect(tmp_path / "c.mp4").numbers == wanted


def test_sound_may_count_its_time_from_elsewhere_than_the_pictures(tmp_path: Path) -> None:
    moved = _with_later_sound(asset(), Fraction(7))
    start, end = moved.epoch_ms + 3330, moved.epoch_ms + 7770

    with DashOrigin(moved, style="time", offsets_s=(Fraction(0), Fraction(7))) as origin:
        result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))

    assert check_exact(tmp_path / "c.mp4", moved, start, end) == []


def _with_later_sound(one: HlsAsset, by_s: Fraction) -> HlsAsset:
    """The asset with every PTS of its sound later by so much."""
    files = dict(one.files)
    for entry in one.playlists["audio-0.m3u8"].segments:
        assert entry.init is not None
        scales = _timescales(files[entry.init[0]])
        files[entry.name] = _shifted(files[entry.name], scales, round(by_s * 90_000))
    return replace(one, files=files)


@pytest.mark.parametrize("style", ["time", "timed-number", "number"])
def test_a_clip_over_two_periods_is_exact_although_pts_jump(style: str, tmp_path: Path) -> None:
    first = StreamSpec(seconds=6)
    second = continued(first, seconds=6, start_pts_90k=90_000 * 5000)
    both = segment(build(first), build(second), container="fmp4", separate_audio=True)
    start, end = both.epoch_ms + 3330, both.epoch_ms + 9330

    with DashOrigin(both, style=style) as origin:
        told = result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))

    # Sounds that were encoded apart do not meet to the sample.
    assert check_exact(tmp_path / "c.mp4", both, start, end) == ["sound 0 has holes or errors: ()"]
    assert told["coverage"] == 1


def test_a_period_that_begins_inside_a_segment_shows_nothing_before(tmp_path: Path) -> None:
    first = StreamSpec(seconds=6)
    second = continued(first, seconds=6, start_pts_90k=90_000 * 50)
    both = segment(build(first), build(second), container="fmp4", separate_audio=True)
    with DashOrigin(both, style="timed-number") as origin:
        text = (origin.content("live", MPD) or b"").decode()
        # The second period is spliced in one second later, as far into its own media.
        later = text.replace('start="PT6.000000S"', 'start="PT7.000000S"')
        for scale in SCALES.values():
            later = later.replace(
                f'presentationTimeOffset="{50 * scale}"', f'presentationTimeOffset="{51 * scale}"'
            )
        origin.put(MPD, later.encode())
        start, end = both.epoch_ms + 7000, both.epoch_ms + 9000
        result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))
        job = clip(origin.mpd_url, start - 1000, end, tmp_path / "d.mp4")

    assert inspect(tmp_path / "c.mp4").numbers == both.numbers_between(start, end)
    # What lies in the segment before the period begins is not shown: that second has no media.
    assert code(job) == "segment_missing"


def test_periods_may_share_a_segment(tmp_path: Path) -> None:
    # The same media, spliced at 5 s, in the middle of a segment: nothing is lost or doubled.
    with DashOrigin(asset(), style="timed-number") as origin:
        text = (origin.content("live", MPD) or b"").decode()
        period = text[text.index("<Period") : text.index("</Period>") + len("</Period>")]
        after = period.replace('id="p0" start="PT0.000000S"', 'id="p1" start="PT5.000000S"')
        for scale in SCALES.values():
            after = after.replace(
                f'timescale="{scale}" presentationTimeOffset="0"',
                f'timescale="{scale}" presentationTimeOffset="{5 * scale}"',
            )
        assert after.count("presentationTimeOffset") == 2
        origin.put(MPD, text.replace(period, period + after).encode())
        start, end = asset().epoch_ms + 3330, asset().epoch_ms + 7770
        result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))

    assert inspect(tmp_path / "c.mp4").numbers == asset().numbers_between(start, end)
    offsets = [o.worst_ms for o in audio_offsets(tmp_path / "c.mp4", asset().times)]
    assert all(abs(ms) < 1 for ms in offsets)


def test_every_sound_of_a_presentation_is_kept_with_its_language(tmp_path: Path) -> None:
    spec = StreamSpec(
        seconds=6, audio=(AudioSpec(language="deu"), AudioSpec(codec="ac3", language="fra"))
    )
    spoken = segment(build(spec), container="fmp4", separate_audio=True)
    start, end = spoken.epoch_ms + 1330, spoken.epoch_ms + 4770

    with DashOrigin(spoken) as origin:
        told = result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))

    assert check_exact(tmp_path / "c.mp4", spoken, start, end) == []
    heard = [(t["codec"], t["language"]) for t in told["tracks"] if t["kind"] == "audio"]
    assert heard == [("aac", "deu"), ("ac3", "fra")]


def test_an_export_of_two_ranges_and_a_poster_are_made_of_the_same_manifest(
    tmp_path: Path,
) -> None:
    start = asset().epoch_ms
    with DashOrigin(asset(), style="number") as origin:
        made = export(
            origin.mpd_url,
            [(start + 1200, start + 3000), (start + 7000, start + 8200)],
            tmp_path / "e.mp4",
        )
        picture = poster(origin.mpd_url, tmp_path / "p.jpg", at=str((start + 5000) / 1000))

    assert code(made) is None
    wanted = asset().numbers_between(start + 1200, start + 3000)
    wanted += asset().numbers_between(start + 7000, start + 8200)
    assert inspect(tmp_path / "e.mp4").numbers == wanted
    assert code(picture) is None
    assert (tmp_path / "p.jpg").read_bytes().startswith(b"\xff\xd8")


def test_sound_alone_is_clipped_too(tmp_path: Path) -> None:
    start, end = asset().epoch_ms + 3330, asset().epoch_ms + 7770

    with DashOrigin(asset(), style="time") as origin:
        text = (origin.content("live", MPD) or b"").decode()
        pictures = text[text.index("<AdaptationSet") : text.index("</AdaptationSet>") + 16]
        origin.put(MPD, text.replace(pictures, "").encode())
        told = result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))

    assert [track["kind"] for track in told["tracks"]] == ["audio"]
    assert abs(told["delivered"]["startMs"] - start) <= 22
    assert abs(told["delivered"]["endMs"] - end) <= 22


# ---- live


@pytest.mark.parametrize("style", ["time", "timed-number", "number", "list"])
@pytest.mark.parametrize("end_ms", [8040, 9990])
def test_a_clip_that_ends_in_the_future_is_ready_two_segments_after_its_end(
    style: str, end_ms: int, now: Simulation
) -> None:
    start, end = asset().epoch_ms + 3330, asset().epoch_ms + end_ms

    with DashOrigin(asset(), live=Live(now.clock), style=style) as origin:
        job = now.clip(origin.mpd_url, start, end)
        counted = media(origin)

    assert code(job) is None
    assert check_exact(now.output, asset(), start, end) == []
    assert now.clock() - end <= 2 * SEGMENT_MS
    assert "waiting" in now.states
    assert set(counted.values()) == {1}


def test_a_timeline_that_slides_while_a_job_waits_loses_nothing(now: Simulation) -> None:
    start, end = asset().epoch_ms + 2330, asset().epoch_ms + 9490

    with DashOrigin(asset(), live=Live(now.clock, window_s=4, linger_s=0), style="time") as origin:
        job = now.clip(origin.mpd_url, start, end)

    assert code(job) is None
    assert check_exact(now.output, asset(), start, end) == []


def test_a_live_presentation_that_becomes_one_on_demand_ends(now: Simulation) -> None:
    start, end = asset().epoch_ms + 7330, asset().epoch_ms + 30_000

    with DashOrigin(asset(), live=Live(now.clock), style="time", dated=False) as origin:
        job = now.clip(origin.mpd_url, start, end, gaps="skip")

    assert code(job) is None
    wanted = asset().numbers_between(start, end)
    assert inspect(now.output).numbers == wanted
    assert result(job)["clock"] == "pdt"


@pytest.mark.parametrize("style", ["time", "number"])
def test_what_has_left_the_window_is_out_of_it(style: str, now: Simulation) -> None:
    now.clock.advance(5)
    live = Live(now.clock, window_s=4)

    with DashOrigin(asset(), live=live, style=style) as origin:
        job = now.clip(origin.mpd_url, asset().epoch_ms + 1000, asset().epoch_ms + 9000)

    assert code(job) == "out_of_window"


def test_the_origins_clock_says_what_there_is(tmp_path: Path) -> None:
    # The origin's clock is an hour behind, where its channel is six seconds old.
    epoch_ms = wall_clock_ms() // 1000 * 1000 - 3_606_000
    late = segment(build(SPEC), container="fmp4", separate_audio=True, epoch_ms=epoch_ms)
    timing = (
        f'<UTCTiming schemeIdUri="urn:mpeg:dash:utc:direct:2014" value="{stamp(epoch_ms + 6000)}"/>'
    )
    live = Live(lambda: wall_clock_ms() - 3_600_000)

    with DashOrigin(late, live=live, style="number", clock=timing) as origin:
        start = epoch_ms + 1330
        job = clip(origin.mpd_url, start, epoch_ms + 5500, tmp_path / "c.mp4", on_future="reject")
        ahead = clip(origin.mpd_url, start, epoch_ms + 9500, tmp_path / "d.mp4", on_future="reject")

    assert code(job) is None
    assert check_exact(tmp_path / "c.mp4", late, start, epoch_ms + 5500) == []
    assert code(ahead) == "in_future"


# ---- what is missing


@pytest.mark.parametrize("gaps", ["fail", "skip", "black", "hold"])
def test_a_segment_that_is_not_there_is_a_gap(gaps: str, tmp_path: Path) -> None:
    start, end = asset().epoch_ms + 1330, asset().epoch_ms + 7770

    with DashOrigin(asset(), style="number") as origin:
        origin.fault("main-2.m4s", Fault.status(404))
        job = clip(origin.mpd_url, start, end, tmp_path / "c.mp4", gaps=gaps)

    if gaps == "fail":
        assert code(job) == "segment_missing"
        return
    told = result(job)
    (gap,) = told["gaps"]
    assert (gap["startMs"] - asset().epoch_ms, gap["endMs"] - asset().epoch_ms) == (4000, 6000)
    assert gap["treatment"] == gaps


def test_time_a_timeline_leaves_out_is_a_gap(tmp_path: Path) -> None:
    start, end = asset().epoch_ms + 1330, asset().epoch_ms + 7770

    with DashOrigin(asset(), style="time") as origin:
        text = (origin.content("live", MPD) or b"").decode()
        origin.put(MPD, text.replace('<S t="360000" d="180000"/>', "").encode())
        failed = clip(origin.mpd_url, start, end, tmp_path / "c.mp4")
        told = result(clip(origin.mpd_url, start, end, tmp_path / "d.mp4", gaps="skip"))

    assert code(failed) == "segment_missing"
    assert [g["endMs"] - g["startMs"] for g in told["gaps"]] == [2000]


def test_what_is_protected_says_so(tmp_path: Path) -> None:
    start, end = asset().epoch_ms + 1330, asset().epoch_ms + 3770
    scheme = "urn:mpeg:dash:mp4protection:2011"

    with DashOrigin(asset(), style="time") as origin:
        text = (origin.content("live", MPD) or b"").decode()
        locked = f'<ContentProtection schemeIdUri="{scheme}" value="cenc"/><Representation'
        origin.put(MPD, text.replace("<Representation", locked).encode())
        job = clip(origin.mpd_url, start, end, tmp_path / "c.mp4")

    assert code(job) == "encrypted"
    assert media(origin) == Counter()


def test_a_discontinuity_inside_one_presentation_is_told_by_its_periods(tmp_path: Path) -> None:
    jumped = segment(
        build(StreamSpec(seconds=8)),
        container="fmp4",
        separate_audio=True,
        discontinuities=(Discontinuity(at_segment=2, pts_jump_90k=0, pdt_jump_ms=0),),
    )
    start, end = jumped.epoch_ms + 1330, jumped.epoch_ms + 6770

    with DashOrigin(jumped, style="timed-number") as origin:
        result(clip(origin.mpd_url, start, end, tmp_path / "c.mp4"))

    assert check_exact(tmp_path / "c.mp4", jumped, start, end) == []


def test_an_origin_that_lags_behind_its_own_clock_is_waited_for(tmp_path: Path) -> None:
    # A second behind on a machine's real clock: what is listed is not there yet.
    epoch_ms = wall_clock_ms() // 1000 * 1000 - 4000
    late = segment(build(SPEC), container="fmp4", separate_audio=True, epoch_ms=epoch_ms)
    live = Live(wall_clock_ms, delay_s=1.5)

    with DashOrigin(late, live=live, style="number") as origin:
        job = clip(origin.mpd_url, epoch_ms + 1330, epoch_ms + 5500, tmp_path / "c.mp4")
        refused = [r for r in origin.requests if r.status == 404]

    assert code(job) is None
    assert check_exact(tmp_path / "c.mp4", late, epoch_ms + 1330, epoch_ms + 5500) == []
    assert refused
