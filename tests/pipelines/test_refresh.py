"""Readings of a live playlist become one playlist that forgets nothing."""

from __future__ import annotations

from functools import reduce

import pytest

from pipelines.hls import parse
from pipelines.refresh import merged
from schemas.errors import TooLarge
from schemas.media import MediaPlaylist
from schemas.times import rfc3339

S = 1_000_000
EPOCH_S = 1_700_000_000
URI = "https://o.test/live/media.m3u8"


def a_reading(
    first: int,
    count: int,
    *,
    at_s: int | None = None,
    dates: str = "every",
    names: str = "seg{n}.ts",
    breaks: tuple[int, ...] = (),
    gaps: tuple[int, ...] = (),
    regions: int | None = None,
    fetched_s: int = 0,
    ended: bool = False,
) -> MediaPlaylist:
    """Four-second segments from number `first`, which starts at EPOCH_S + at_s."""
    at_s = first * 4 if at_s is None else at_s
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    if regions is not None:
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{regions}")
    for index in range(count):
        number = first + index
        lines += ["#EXT-X-DISCONTINUITY"] * (number in breaks)
        if dates == "every" or (dates == str(number)):
            moment = rfc3339((EPOCH_S + at_s + 4 * index) * 1000)
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{moment}")
        lines += ["#EXT-X-GAP"] * (number in gaps)
        lines += ["#EXTINF:4.0,", names.format(n=number, r=fetched_s)]
    lines += ["#EXT-X-ENDLIST"] * ended
    found = parse("\n".join(lines), URI, fetched_at_us=(EPOCH_S + fetched_s) * S)
    assert isinstance(found, MediaPlaylist)
    return found


def after(*readings: MediaPlaylist) -> MediaPlaylist:
    found = reduce(merged, readings, None)
    assert found is not None
    return found


def numbers(playlist: MediaPlaylist) -> list[int]:
    return [s.sequence for s in playlist.segments]


def starts_s(playlist: MediaPlaylist) -> list[float]:
    return [s.start_us / S - EPOCH_S for s in playlist.segments]


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([a_reading(0, 3)], [0, 1, 2]),
        ([a_reading(0, 3), a_reading(1, 3)], [0, 1, 2, 3]),
        ([a_reading(0, 3), a_reading(3, 3)], [0, 1, 2, 3, 4, 5]),
        ([a_reading(0, 3), a_reading(7, 2)], [0, 1, 2, 7, 8]),
        ([a_reading(2, 3), a_reading(0, 4), a_reading(3, 3)], [0, 1, 2, 3, 4, 5]),
        ([a_reading(5, 3), a_reading(2, 3)], [5, 6, 7]),
        ([a_reading(5, 3), a_reading(5, 3), a_reading(5, 3)], [5, 6, 7]),
        ([a_reading(10, 3), a_reading(0, 2, at_s=52)], [10, 11, 12, 0, 1]),
        (
            [a_reading(10, 3), a_reading(0, 2, at_s=52), a_reading(1, 3, at_s=56)],
            [10, 11, 12, 0, 1, 2, 3],
        ),
        (
            [a_reading(10, 3), a_reading(0, 2, at_s=52), a_reading(10, 3)],
            [10, 11, 12, 0, 1],
        ),
        ([a_reading(0, 3), a_reading(0, 3, at_s=12)], [0, 1, 2, 0, 1, 2]),
        (
            [a_reading(0, 3), a_reading(0, 3, at_s=12), a_reading(1, 3, at_s=16)],
            [0, 1, 2, 0, 1, 2, 3],
        ),
        ([a_reading(0, 3), a_reading(100, 4, at_s=0)], [0, 1, 2, 103]),
    ],
    ids=[
        "one reading",
        "the window rolls",
        "just in time",
        "some were missed",
        "a longer, then a shorter list",
        "a stale cache",
        "nothing new",
        "numbered anew",
        "numbered anew, and on",
        "numbered anew, then a stale cache",
        "the same numbers and names, later",
        "the same again, and on",
        "another origin's numbers for the same time",
    ],
)
def test_every_segment_is_known_once_in_order(
    readings: list[MediaPlaylist], expected: list[int]
) -> None:
    found = after(*readings)

    assert numbers(found) == expected
    starts = starts_s(found)
    assert starts == sorted(starts)
    names = [(s.discontinuity_sequence, s.sequence) for s in found.segments]
    assert len(set(names)) == len(names)


def test_an_origin_that_takes_over_adds_only_what_is_later() -> None:
    found = after(a_reading(0, 3), a_reading(100, 4, at_s=0), a_reading(101, 4, at_s=4))

    assert starts_s(found) == [0, 4, 8, 12, 16]


def test_a_date_that_rolled_out_still_places_its_region() -> None:
    found = after(a_reading(0, 3, dates="0"), a_reading(1, 3, dates="none", fetched_s=999))

    assert starts_s(found) == [0, 4, 8, 12]
    assert [region.clock for region in found.regions] == ["pdt"]


def test_a_date_that_comes_late_moves_what_was_estimated() -> None:
    found = after(a_reading(0, 3, dates="none", fetched_s=500), a_reading(1, 3, dates="3"))

    assert starts_s(found) == [0, 4, 8, 12]
    assert [region.clock for region in found.regions] == ["pdt"]


def test_without_dates_segments_stay_where_they_were_first_placed() -> None:
    found = after(
        a_reading(0, 3, dates="none", fetched_s=100),
        a_reading(1, 3, dates="none", fetched_s=106),
        a_reading(1, 3, dates="none", fetched_s=107),
        a_reading(0, 3, dates="none", fetched_s=108),
    )

    assert starts_s(found) == [88, 92, 96, 100]
    assert [region.clock for region in found.regions] == ["estimated"]


def test_without_dates_numbers_that_begin_anew_make_a_new_region() -> None:
    found = after(
        a_reading(7, 2, dates="none", fetched_s=100, names="a{n}.ts"),
        a_reading(0, 1, dates="none", fetched_s=104, names="b{n}.ts"),
    )

    assert numbers(found) == [7, 8, 0]
    assert starts_s(found) == [92, 96, 100]
    assert [region.discontinuity_sequence for region in found.regions] == [0, 1]


def test_without_dates_an_origin_that_never_counts_is_followed_by_names() -> None:
    def reading(first: int, fetched_s: int) -> MediaPlaylist:
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:4"]
        for number in range(first, first + 3):
            lines += ["#EXTINF:4,", f"seg{number}.ts"]
        found = parse("\n".join(lines), URI, fetched_at_us=(EPOCH_S + fetched_s) * S)
        assert isinstance(found, MediaPlaylist)
        return found

    found = after(reading(0, 100), reading(1, 104), reading(2, 108))

    assert [s.uri.rpartition("/")[2] for s in found.segments] == [
        f"seg{number}.ts" for number in range(5)
    ]
    assert starts_s(found) == [88, 92, 96, 100, 104]


def test_without_dates_names_may_change_with_every_reading() -> None:
    found = after(
        a_reading(0, 3, dates="none", names="{r}/seg{n}.ts", fetched_s=100),
        a_reading(1, 3, dates="none", names="{r}/seg{n}.ts", fetched_s=104),
    )

    assert numbers(found) == [0, 1, 2, 3]
    assert len(found.regions) == 1


def test_an_origin_that_lists_without_end_is_refused() -> None:
    with pytest.raises(TooLarge, match="more than 5"):
        merged(a_reading(0, 4), a_reading(2, 4), most=5)


def test_regions_keep_their_numbers_where_the_origin_counts_only_what_it_lists() -> None:
    found = after(
        a_reading(0, 4, breaks=(1,)), a_reading(1, 4, breaks=(1,)), a_reading(2, 4, breaks=(5,))
    )

    assert [s.discontinuity_sequence for s in found.segments] == [0, 1, 1, 1, 1, 2]


def test_a_changed_signature_is_taken_over_without_moving_the_segment() -> None:
    found = after(
        a_reading(0, 2, names="seg{n}.ts?sig={r}", fetched_s=1),
        a_reading(1, 2, names="seg{n}.ts?sig={r}", fetched_s=2),
    )

    assert [s.uri.rpartition("=")[2] for s in found.segments] == ["1", "2", "2"]
    assert starts_s(found) == [0, 4, 8]


def test_a_gap_that_is_filled_later_is_no_gap() -> None:
    found = after(a_reading(0, 2, gaps=(1,)), a_reading(0, 2))

    assert [s.gap for s in found.segments] == [False, False]


def test_a_segment_that_was_there_is_not_given_up_for_a_gap() -> None:
    found = after(a_reading(0, 2), a_reading(0, 2, gaps=(1,)))

    assert [s.gap for s in found.segments] == [False, False]


def test_an_end_once_seen_stays() -> None:
    found = after(a_reading(0, 3, ended=True), a_reading(0, 2))

    assert found.ended
    assert numbers(found) == [0, 1, 2]


def test_an_empty_reading_changes_nothing() -> None:
    empty = parse("#EXTM3U\n#EXT-X-TARGETDURATION:4\n", URI, fetched_at_us=0)
    assert isinstance(empty, MediaPlaylist)

    found = after(a_reading(0, 2), empty)

    assert numbers(found) == [0, 1]
