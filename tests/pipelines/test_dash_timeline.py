"""The arithmetic of DASH, worked out by hand: what there is of a track, and where it lies."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from pipelines import dash_timeline
from pipelines.dash import Addressing, Mpd, Period, Repeat, Resource, Track
from pipelines.dash_timeline import Template
from schemas.errors import CorruptMedia, CuttingRoomError, TooLarge

S = 1_000_000
START_US = 1_643_957_046 * S
BASE = "https://o.test/live/"


def an_addressing(**changes: Any) -> Addressing:
    """Two seconds a segment, numbered from one."""
    values: dict[str, Any] = {
        "timescale": 1,
        "offset": 0,
        "start_number": 1,
        "end_number": None,
        "duration": 2,
        "timeline": None,
        "early_us": 0,
        "media": "$Number$.m4s",
        "init_template": "init.mp4",
    }
    return Addressing(**values | changes)


def a_track(addressing: Addressing, **changes: Any) -> Track:
    """A track of pictures."""
    values: dict[str, Any] = {
        "kind": "video", "id": "v1", "group": 0, "bandwidth_bps": 3000, "base": BASE, "line": 9,
    }  # fmt: skip
    return Track(**values | changes, addressing=addressing)


def an_mpd(*, live: bool = True, depth_s: float | None = None) -> Mpd:
    """A manifest that began at 2022-02-04T06:44:06Z."""
    depth_us = None if depth_s is None else round(depth_s * S)
    return Mpd(
        uri=f"{BASE}a.mpd", dynamic=live, zero_us=START_US, end_us=None, depth_us=depth_us,
        update_us=None, longest_us=None, location=None, timings=(), periods=(),
    )  # fmt: skip


def numbers(
    addressing: Addressing,
    now_s: float,
    *,
    start_s: float = 0,
    end_s: float | None = None,
    most: int = 1000,
    **about: Any,
) -> list[int]:
    """The numbers listed so many seconds after the presentation began."""
    end_us = None if end_s is None else round(end_s * S)
    period = Period("p", round(start_s * S), end_us, ())
    found = dash_timeline.listed(
        an_mpd(**about), period, a_track(addressing), START_US + round(now_s * S), most
    )
    return [one.number for one in found]


# ---- a duration


@pytest.mark.parametrize(
    ("now_s", "about", "wanted"),
    [
        # Segment k is there once it has ended: start + (k + 1) * 2 s <= now.
        (0, {}, []),
        (1.999, {}, []),
        (2, {}, [1]),
        (7.5, {}, [1, 2, 3]),
        # The window: what reaches into the last 5 s before now.
        (11, {"depth_s": 5}, [4, 5]),
        (11, {"depth_s": 6}, [3, 4, 5]),
        # A period that starts at 100 s counts from there.
        (105, {"start_s": 100}, [1, 2]),
        (99, {"start_s": 100}, []),
        # It ends with the period: 7 s hold three segments and a half.
        (60, {"end_s": 7}, [1, 2, 3, 4]),
        (3600, {"end_s": 7, "depth_s": 5}, []),
    ],
)
def test_a_live_segment_is_listed_once_it_has_ended(
    now_s: float, about: dict[str, Any], wanted: list[int]
) -> None:
    assert numbers(an_addressing(), now_s, **about) == wanted


@pytest.mark.parametrize(
    ("early_us", "wanted"), [(0, [1, 2]), (S, [1, 2, 3]), (1_500_000, [1, 2, 3]), (None, [1, 2, 3])]
)
def test_an_early_segment_is_listed_early(early_us: int | None, wanted: list[int]) -> None:
    assert numbers(an_addressing(early_us=early_us), 5) == wanted


def test_numbers_begin_and_end_where_the_template_says() -> None:
    assert numbers(an_addressing(start_number=40), 7) == [40, 41, 42]
    assert numbers(an_addressing(start_number=0), 7) == [0, 1, 2]
    assert numbers(an_addressing(end_number=2), 600) == [1, 2]


def test_on_demand_all_of_the_period_is_there() -> None:
    assert numbers(an_addressing(), 0, end_s=9, live=False) == [1, 2, 3, 4, 5]
    with pytest.raises(CorruptMedia, match="where a presentation on demand ends"):
        numbers(an_addressing(), 0, live=False)


def test_ticks_need_not_divide_a_second() -> None:
    # Sixty frames at 29.97 a second are 2.002 s; after 100 s 49 of them have ended.
    addressing = an_addressing(timescale=90_000, duration=180_180)

    assert len(numbers(addressing, 100)) == 49
    assert len(numbers(addressing, 49 * 2.002)) == 49
    assert len(numbers(addressing, 49 * 2.002 - 0.001)) == 48


def test_time_in_an_address_counts_with_the_offset() -> None:
    addressing = an_addressing(timescale=10, duration=20, offset=500, media="$Time$.m4s")
    period = Period("p", 0, 4 * S, ())

    found = dash_timeline.listed(an_mpd(live=False), period, a_track(addressing), 0, 9)

    assert [one.place.uri for one in found] == [f"{BASE}500.m4s", f"{BASE}520.m4s"]
    assert dash_timeline.zero_us(an_mpd(), period, addressing) == START_US - 50 * S


def test_the_wall_clock_of_media_time_zero_is_exact() -> None:
    # 1 tick of 90000 before it: a third of a microsecond must not be lost.
    addressing = an_addressing(timescale=90_000, offset=1)

    found = dash_timeline.zero_us(an_mpd(), Period("p", 10 * S, None, ()), addressing)

    assert found == START_US + 10 * S - Fraction(100, 9)


# ---- a timeline


def timed(*repeats: tuple[int, int, int | None], **changes: Any) -> Addressing:
    """A timeline of `(start, duration, count)`."""
    line = tuple(Repeat(*one) for one in repeats)
    return an_addressing(duration=None, timeline=line, **changes)


def spans(addressing: Addressing, now_s: float = 0, **about: Any) -> list[tuple[int, int]]:
    """Media times listed, in ticks."""
    end_s = about.pop("end_s", None)
    period = Period("p", 0, None if end_s is None else round(end_s * S), ())
    found = dash_timeline.listed(
        an_mpd(**about), period, a_track(addressing), START_US + round(now_s * S), 1000
    )
    return [(one.start, one.start + one.duration) for one in found]


def test_a_timeline_lists_what_it_lists_whatever_time_it_is() -> None:
    assert spans(timed((0, 2, 2), (4, 3, 1))) == [(0, 2), (2, 4), (4, 7)]


def test_a_hole_in_a_timeline_is_time_without_media() -> None:
    addressing = timed((0, 2, 1), (6, 2, 2))

    assert spans(addressing) == [(0, 2), (6, 8), (8, 10)]
    assert numbers(addressing, 0) == [1, 2, 3]


def test_an_endless_repetition_ends_with_the_next_entry() -> None:
    # ceil((9 - 0) / 2) = 5 fit before 9, the last of them overlapping it.
    assert spans(timed((0, 2, None), (9, 2, 1))) == [
        (0, 2),
        (2, 4),
        (4, 6),
        (6, 8),
        (8, 10),
        (9, 11),
    ]


def test_an_endless_repetition_ends_with_the_period() -> None:
    assert spans(timed((0, 2, None)), live=False, end_s=5) == [(0, 2), (2, 4), (4, 6)]
    with pytest.raises(CorruptMedia, match="how often"):
        spans(timed((0, 2, None)), live=False)


def test_an_endless_repetition_of_a_live_timeline_ends_now() -> None:
    # 48 kHz, 94 AAC frames a segment: 61 s hold 30 whole ones (2928000 / 96256 = 30.4).
    line = timed((48_000, 96_256, None), timescale=48_000, offset=48_000)

    assert len(spans(line, 61)) == 30
    assert len(spans(line, 30 * 96_256 / 48_000 + 0.0001)) == 30
    assert spans(line, 1) == []


def test_what_lies_outside_the_period_is_left_out() -> None:
    # The period shows media time 10 to 15: 8..10 has ended before it, 14..16 reaches into it.
    addressing = timed((4, 2, 8), offset=10)

    assert spans(addressing, end_s=5) == [(10, 12), (12, 14), (14, 16)]
    assert (
        spans(timed((9, 2, 4), offset=10), end_s=5) == [(9, 11), (11, 13), (13, 15), (15, 17)][:3]
    )


def test_a_list_has_as_many_segments_as_addresses() -> None:
    urls = tuple(Resource(f"{BASE}{name}") for name in "abc")
    addressing = an_addressing(media=None, urls=urls)
    period = Period("p", 0, 60 * S, ())

    found = dash_timeline.listed(an_mpd(live=False), period, a_track(addressing), 0, 9)

    assert [one.place.uri[-1] for one in found] == ["a", "b", "c"]
    assert [one.start for one in found] == [0, 2, 4]


def test_a_list_of_one_lasts_as_long_as_its_period() -> None:
    addressing = an_addressing(media=None, duration=None, urls=(Resource(BASE),), timescale=10)
    period = Period("p", 0, 6 * S, ())

    (one,) = dash_timeline.listed(an_mpd(live=False), period, a_track(addressing), 0, 9)

    assert (one.start, one.duration) == (0, 60)


# ---- addresses


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("$RepresentationID$/$Number$.m4s", "v1/7.m4s"),
        ("$Number%05d$", "00007"),
        ("$Time$-$Bandwidth$", "900-3000"),
        ("$Time%08d$-$Bandwidth%06d$", "00000900-003000"),
        ("a$$b$Number$", "a$b7"),
        ("$Number%01d$$Number%03d$", "7007"),
        ("plain", "plain"),
    ],
)
def test_templates_are_filled_in(template: str, filled: str) -> None:
    assert Template(template, a_track(an_addressing())).filled(7, 900) == filled


@pytest.mark.parametrize(
    "template",
    ["$Nothing$", "$number$", "$Number", "$Number%5d$", "$Number%0xd$", "$SubNumber$", "a$b"],
)
def test_an_identifier_nobody_knows_is_refused(template: str) -> None:
    with pytest.raises(CorruptMedia, match="identifier"):
        Template(template, a_track(an_addressing()))


def test_a_template_cannot_leave_http() -> None:
    track = a_track(an_addressing(media="file:///etc/passwd?$Number$"))

    with pytest.raises(CorruptMedia) as raised:
        dash_timeline.listed(an_mpd(), Period("p", 0, None, ()), track, START_US + 9 * S, 9)

    assert "passwd" not in raised.value.message


# ---- what is out of all proportion


HUGE: dict[str, tuple[Addressing, dict[str, Any]]] = {
    "a billion segments": (timed((0, 1, 2**31)), {}),
    "a segment a tick": (an_addressing(timescale=10**9, duration=1), {"end_s": 3600}),
    "a thousand years": (an_addressing(), {"end_s": 3.1e10}),
}


@pytest.mark.parametrize("name", HUGE)
def test_too_much_on_demand_is_refused_at_once(name: str) -> None:
    addressing, about = HUGE[name]

    with pytest.raises(TooLarge, match="segments"):
        numbers(addressing, 0, live=False, **{"end_s": 1e12} | about)


@pytest.mark.parametrize("depth_s", [None, 3.1e9], ids=["no window", "a window of a century"])
def test_of_too_much_that_is_live_the_newest_is_kept(depth_s: float | None) -> None:
    found = numbers(an_addressing(), 1e9, depth_s=depth_s, most=3)

    assert found == [499_999_998, 499_999_999, 500_000_000]


def test_of_a_timeline_that_is_too_long_the_newest_is_kept() -> None:
    found = numbers(timed((0, 1, 2**31), (2**31, 1, 2)), 0, most=3)

    assert found == [2**31, 2**31 + 1, 2**31 + 2]


@pytest.mark.parametrize(
    "addressing",
    [timed((2**62, 2**62, 4)), timed((0, 90_000 * 86_401, 1), timescale=90_000)],
    ids=["times past 2^63", "a segment of a day"],
)
def test_times_that_cannot_be_are_refused(addressing: Addressing) -> None:
    with pytest.raises(CuttingRoomError) as raised:
        numbers(addressing, 0, end_s=1e13, live=False)

    assert raised.value.code == "media_invalid"


# ---- only what is wanted of a long window


@pytest.mark.parametrize(
    ("around_s", "wanted"),
    [
        ((100, 104), [1, 48, 49, 50, 51, 52, 53, 54, 55, 500]),
        ((-50, -40), [1, 500]),
        ((0, 1), [1, 2, 3, 4, 500]),
        ((999, 1000), [1, 497, 498, 499, 500]),
        ((5000, 6000), [1, 500]),
        ((-5, 5000), list(range(1, 501))),
    ],
    ids=["inside", "before", "the start", "the end", "after", "all"],
)
def test_far_from_what_is_wanted_only_the_ends_are_listed(
    around_s: tuple[int, int], wanted: list[int]
) -> None:
    around_us = (START_US + around_s[0] * S, START_US + around_s[1] * S)
    period = Period("p", 0, 1000 * S, ())

    found = dash_timeline.listed(
        an_mpd(live=False), period, a_track(an_addressing()), 0, 1000, None, around_us
    )

    assert [one.number for one in found] == wanted
    assert [one.start for one in found] == [(number - 1) * 2 for number in wanted]


def test_in_a_timeline_of_many_entries_too() -> None:
    addressing = timed(*((at * 2, 2, 1) for at in range(500)))
    around_us = (START_US + 100 * S, START_US + 101 * S)

    found = dash_timeline.listed(
        an_mpd(), Period("p", 0, None, ()), a_track(addressing), 0, 1000, None, around_us
    )

    assert [one.number for one in found] == [1, 48, 49, 50, 51, 52, 53, 54, 500]
