"""A wall-clock range becomes the segments that hold it."""

from __future__ import annotations

import random

import pytest

from pipelines.window import AUDIO, SEAM_US, VIDEO, Policy, select
from schemas.errors import OutsideWindow
from schemas.media import MediaPlaylist, Region, Segment
from schemas.times import TimeRange

S = 1_000_000
NOW_US = 1_000 * S


def a_segment(
    sequence: int,
    start_s: float,
    duration_s: float = 4,
    *,
    dated: bool = True,
    gap: bool = False,
    region: int = 0,
) -> Segment:
    start_us = round(start_s * S)
    return Segment(
        sequence=sequence,
        discontinuity_sequence=region,
        uri=f"https://o.test/{region}-{sequence}.ts",
        duration_us=round(duration_s * S),
        start_us=start_us,
        pdt_us=start_us if dated else None,
        gap=gap,
    )


def a_playlist(
    *segments: Segment,
    ended: bool = False,
    estimated: tuple[int, ...] = (),
    part_target_us: int | None = None,
) -> MediaPlaylist:
    numbers = dict.fromkeys(s.discontinuity_sequence for s in segments)
    return MediaPlaylist(
        uri="https://o.test/media.m3u8",
        regions=tuple(
            Region(
                discontinuity_sequence=number,
                clock="estimated" if number in estimated else "pdt",
                segments=tuple(s for s in segments if s.discontinuity_sequence == number),
            )
            for number in numbers
        ),
        target_duration_us=4 * S,
        part_target_us=part_target_us,
        ended=ended,
        media_sequence=segments[0].sequence if segments else 0,
    )


def four_seconds_each(count: int, *, start_s: int = 100, ended: bool = False) -> MediaPlaylist:
    return a_playlist(*(a_segment(i, start_s + 4 * i) for i in range(count)), ended=ended)


def span(start_s: float, end_s: float) -> TimeRange:
    return TimeRange(start_ms=round(start_s * 1000), end_ms=round(end_s * 1000))


@pytest.mark.parametrize(
    ("wanted", "sequences", "extras"),
    [
        (span(101, 103), [0], []),
        (span(101, 106), [0, 1], []),
        (span(104, 108), [1], [2]),
        (span(104, 107.9), [1], [2]),
        (span(104, 107.7), [1], []),
        (span(104.001, 108.001), [1, 2], []),
        (span(103.999, 108), [0, 1], [2]),
        (span(103.999, 104.001), [0, 1], []),
        (span(100, 120), [0, 1, 2, 3, 4], []),
        (span(105, 105.001), [1], []),
    ],
)
def test_only_the_segments_of_the_range_and_one_more_are_chosen(
    wanted: TimeRange, sequences: list[int], extras: list[int]
) -> None:
    playlist = four_seconds_each(5)

    found = select(playlist, wanted, NOW_US)

    assert [s.sequence for s in found.segments] == sequences
    assert [s.sequence for s in found.extras] == extras
    assert found.complete
    assert found.holes == ()


def test_a_range_that_ends_where_a_segment_ends_waits_for_no_other() -> None:
    playlist = four_seconds_each(5)

    found = select(playlist, span(112, 120), NOW_US)

    assert found.complete
    assert found.look_again_ms is None


def test_a_caller_may_wait_for_the_segment_after_the_range() -> None:
    playlist = four_seconds_each(5)

    found = select(playlist, span(112, 120), NOW_US, Policy(await_tail=True))

    assert not found.complete
    assert found.pending_from_ms == 120_000


@pytest.mark.parametrize(("end_s", "complete"), [(119.7, True), (119.9, False), (120, False)])
def test_a_range_that_ends_in_the_tail_of_the_edge_waits_where_asked(
    end_s: float, complete: bool
) -> None:
    playlist = four_seconds_each(5)

    found = select(playlist, span(112, end_s), NOW_US, Policy(await_tail=True))

    assert found.complete is complete


def test_sound_may_begin_a_little_after_the_pictures() -> None:
    playlist = four_seconds_each(5)

    found = select(playlist, span(99.9, 103), NOW_US, AUDIO)

    assert [s.sequence for s in found.segments] == [0]
    assert [(h.span, h.reason) for h in found.holes] == [(span(99.9, 100), "absent")]


def test_sound_that_begins_much_later_is_outside_the_window() -> None:
    with pytest.raises(OutsideWindow):
        select(four_seconds_each(5), span(99, 103), NOW_US, AUDIO)


def test_sound_without_dates_is_taken_with_a_segment_on_either_side() -> None:
    segments = (a_segment(i, 100 + 4 * i, dated=False) for i in range(5))
    playlist = a_playlist(*segments, estimated=(0,))

    found = select(playlist, span(109, 111), NOW_US, AUDIO)

    assert [s.sequence for s in found.segments] == [2]
    assert [s.sequence for s in found.extras] == [1, 3]


def test_sound_is_wanted_from_just_before_the_range() -> None:
    playlist = four_seconds_each(5)

    found = select(playlist, span(108, 110), NOW_US, AUDIO)

    assert [s.sequence for s in found.extras] == [1]


@pytest.mark.parametrize(
    ("wanted", "pending_ms", "chosen"),
    [
        (span(116, 121), 120_000, [4]),
        (span(120, 130), 120_000, []),
        (span(300, 310), 300_000, []),
    ],
    ids=["ends in the future", "starts at the edge", "all in the future"],
)
def test_what_is_not_broadcast_yet_is_pending(
    wanted: TimeRange, pending_ms: int, chosen: list[int]
) -> None:
    playlist = four_seconds_each(5)

    found = select(playlist, wanted, NOW_US)

    assert found.pending_from_ms == pending_ms
    assert [s.sequence for s in found.segments] == chosen
    assert found.holes == ()


@pytest.mark.parametrize(
    ("wanted", "part_target_us", "wait_ms"),
    [
        (span(116, 121), None, 2_000),
        (span(116, 121), 1 * S, 1_000),
        (span(116, 121), 100_000, 250),
        (span(220, 230), None, 96_000),
    ],
    ids=["half a target", "a part", "not too often", "a target before it starts"],
)
def test_the_origin_is_asked_again_when_it_can_have_news(
    wanted: TimeRange, part_target_us: int | None, wait_ms: int
) -> None:
    playlist = four_seconds_each(5).model_copy(update={"part_target_us": part_target_us})

    found = select(playlist, wanted, NOW_US)

    assert found.look_again_ms == NOW_US // 1000 + wait_ms


def test_a_playlist_without_segments_is_looked_at_again() -> None:
    found = select(a_playlist(), span(100, 110), NOW_US)

    assert (found.segments, found.pending_from_ms) == ((), 100_000)
    assert found.look_again_ms == NOW_US // 1000 + 2_000


@pytest.mark.parametrize(
    ("playlist", "wanted", "held"),
    [
        (four_seconds_each(5), span(99.9, 110), (100_000, 120_000)),
        (four_seconds_each(5), span(10, 20), (100_000, 120_000)),
        (four_seconds_each(5, ended=True), span(120, 130), (100_000, 120_000)),
        (a_playlist(ended=True), span(1, 2), None),
    ],
    ids=["starts before", "wholly before", "after the end", "nothing listed"],
)
def test_a_range_outside_the_window_is_refused_with_what_is_held(
    playlist: MediaPlaylist, wanted: TimeRange, held: tuple[int, int] | None
) -> None:
    with pytest.raises(OutsideWindow) as caught:
        select(playlist, wanted, NOW_US)

    assert caught.value.held == held


@pytest.mark.parametrize(
    ("playlist", "wanted", "holes"),
    [
        (
            a_playlist(a_segment(0, 100), a_segment(1, 104, gap=True), a_segment(2, 108)),
            span(101, 111),
            [(104, 108, "declared")],
        ),
        (
            a_playlist(a_segment(0, 100), a_segment(1, 104, gap=True), a_segment(2, 108, gap=True)),
            span(105, 110),
            [(105, 110, "declared")],
        ),
        (
            a_playlist(a_segment(0, 100), a_segment(1, 110, region=1)),
            span(101, 112),
            [(104, 110, "absent")],
        ),
        (
            a_playlist(a_segment(0, 100), a_segment(1, 110, region=1)),
            span(105, 109),
            [(105, 109, "absent")],
        ),
        (
            a_playlist(a_segment(0, 100), a_segment(1, 104.2, region=1)),
            span(101, 108),
            [],
        ),
        (a_playlist(a_segment(0, 100), a_segment(1, 103.5)), span(101, 107), []),
        (a_playlist(a_segment(0, 100), a_segment(1, 104.9)), span(101, 108), []),
        (
            a_playlist(a_segment(0, 100), a_segment(1, 108)),
            span(101, 110),
            [(104, 108, "absent")],
        ),
        (
            a_playlist(a_segment(0, 100), a_segment(1, 120)),
            span(101, 121),
            [(104, 120, "absent")],
        ),
        (
            a_playlist(a_segment(0, 100), ended=True),
            span(102, 106.5),
            [(104, 106.5, "ended")],
        ),
    ],
    ids=[
        "declared",
        "two declared are one hole",
        "between regions",
        "inside a hole",
        "a seam is no hole",
        "EXTINF too long",
        "EXTINF too short",
        "one segment is absent",
        "a jump in the dates",
        "the stream ended before the range did",
    ],
)
def test_holes_are_the_wanted_time_nobody_has(
    playlist: MediaPlaylist, wanted: TimeRange, holes: list[tuple[float, float, str]]
) -> None:
    found = select(playlist, wanted, NOW_US)

    assert [(h.span, h.reason) for h in found.holes] == [(span(a, b), why) for a, b, why in holes]
    assert found.complete


def test_a_region_gives_way_where_the_next_one_begins() -> None:
    playlist = a_playlist(
        a_segment(0, 100), a_segment(1, 104), a_segment(2, 108), a_segment(3, 106, region=1)
    )

    found = select(playlist, span(106.5, 109), NOW_US)

    assert [s.sequence for s in found.segments] == [3]


def test_a_region_with_a_clock_that_runs_behind_takes_nothing_away() -> None:
    playlist = a_playlist(a_segment(0, 100), a_segment(1, 104), a_segment(2, 50, region=1))

    found = select(playlist.model_copy(update={"ended": False}), span(101, 103), NOW_US)

    assert [s.sequence for s in found.segments] == [0]


@pytest.mark.parametrize(
    ("dated", "anchors"),
    [([0, 1, 2, 3], []), ([0], [0]), ([1], [1]), ([3], []), ([0, 4], [0]), ([], [])],
)
def test_an_anchor_is_fetched_where_the_chosen_segments_have_no_date(
    dated: list[int], anchors: list[int]
) -> None:
    playlist = a_playlist(*(a_segment(i, 100 + 4 * i, dated=i in dated) for i in range(5)))

    found = select(playlist, span(109, 115), NOW_US)

    assert [s.sequence for s in found.segments] == [2, 3]
    assert [s.sequence for s in found.anchors] == anchors


@pytest.mark.parametrize(("count", "extras"), [(100, []), (1000, [999])])
def test_far_from_a_date_neighbours_are_taken_where_rounding_adds_up(
    count: int, extras: list[int]
) -> None:
    playlist = a_playlist(
        *(a_segment(i, 100 + 4 * i, dated=i == 0) for i in range(count + 3)),
    )
    start_s = 100 + 4 * count + 0.4

    found = select(playlist, span(start_s, start_s + 2), NOW_US)

    assert [s.sequence for s in found.segments] == [count]
    assert [s.sequence for s in found.extras] == extras


def test_each_region_has_its_own_anchor() -> None:
    playlist = a_playlist(
        a_segment(0, 100),
        a_segment(1, 104, dated=False),
        a_segment(2, 108, dated=False, region=1),
        a_segment(3, 112, region=1),
    )

    found = select(playlist, span(105, 111), NOW_US)

    assert [s.sequence for s in found.anchors] == [0, 3]


@pytest.mark.parametrize(
    ("wanted", "clock"), [(span(101, 103), "pdt"), (span(101, 106), "estimated")]
)
def test_the_clock_is_the_worst_of_the_regions_used(wanted: TimeRange, clock: str) -> None:
    playlist = a_playlist(
        a_segment(0, 100), a_segment(1, 104, dated=False, region=1), estimated=(1,)
    )

    found = select(playlist, wanted, NOW_US)

    assert found.clock == clock


def test_segments_past_a_discontinuity_are_no_extras() -> None:
    playlist = a_playlist(a_segment(0, 100), a_segment(1, 104, region=1))

    found = select(playlist, span(101, 104), NOW_US)

    assert found.extras == ()


@pytest.mark.parametrize("seed", range(60))
def test_chosen_segments_and_holes_together_are_the_whole_range(seed: int) -> None:
    dice = random.Random(seed)
    playlist = _random_playlist(dice)
    shown = playlist.held
    assert shown is not None
    start_ms = dice.randint(shown.start_ms, shown.end_ms - 2)
    wanted = TimeRange(start_ms=start_ms, end_ms=start_ms + dice.randint(2, 60_000))

    found = select(playlist, wanted, NOW_US, dice.choice([VIDEO, AUDIO]))

    shown_to_ms = _last_end(playlist) if found.pending_from_ms is None else found.pending_from_ms
    stretches = [(h.span.start_ms, h.span.end_ms) for h in found.holes]
    for segment in found.segments:
        assert segment.start_us < wanted.end_ms * 1000
        assert segment.end_us + SEAM_US > wanted.start_ms * 1000
        stretches.append((segment.start_us // 1000, segment.end_us // 1000))
    assert _uncovered_ms(stretches, wanted, shown_to_ms) <= SEAM_US // 1000
    assert all(h.span.start_ms >= wanted.start_ms for h in found.holes)
    assert all(h.span.end_ms <= wanted.end_ms for h in found.holes)
    assert len(found.extras) <= 2
    assert not set(found.extras) & set(found.segments)


def _last_end(playlist: MediaPlaylist) -> int:
    return 10**12 if playlist.ended else playlist.segments[-1].end_us // 1000


def _uncovered_ms(stretches: list[tuple[int, int]], wanted: TimeRange, until_ms: int) -> int:
    """The longest part of the wanted and known time that no stretch holds."""
    at_ms, longest = wanted.start_ms, 0
    end_ms = min(wanted.end_ms, until_ms)
    for start_ms, stop_ms in sorted(stretches):
        longest = max(longest, min(start_ms, end_ms) - at_ms)
        at_ms = max(at_ms, stop_ms)
    return max(longest, end_ms - at_ms)


def _random_playlist(dice: random.Random) -> MediaPlaylist:
    at_s, region, segments = 100.0, 0, []
    for sequence in range(dice.randint(1, 30)):
        if dice.random() < 0.15:
            region += 1
            at_s += dice.choice([0, 0, -1, 0.1, 9])
        duration_s = dice.choice([1, 2, 3.84, 4, 4.004])
        segments.append(
            a_segment(
                sequence,
                at_s + dice.uniform(-0.02, 0.02),
                duration_s,
                gap=dice.random() < 0.1,
                region=region,
            )
        )
        at_s += duration_s
    return a_playlist(*segments, ended=dice.random() < 0.5)
