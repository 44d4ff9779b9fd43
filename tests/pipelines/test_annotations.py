"""Metadata of a source become names and texts of a file, timed records become markers."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import annotations
from schemas.metadata import BUILT_IN, MAX_MARKERS, Marker, MetadataRecord
from schemas.times import TimeRange


def a_record(view: str = "news-clip", at: str = "1", **values: Any) -> MetadataRecord:
    return MetadataRecord(id=f"mdr_{at}", view=view, values=values)


def timed(start_ms: int, end_ms: int | None = None, **values: Any) -> MetadataRecord:
    return MetadataRecord(id="mdr_1", view="sport-log", values=values or {"event": "goal"},
                          start_ms=start_ms, end_ms=end_ms)  # fmt: skip


def test_fields_are_named_as_players_name_them() -> None:
    records = [
        a_record("news-clip", headline="Fire", byline="Ann", priority=3, breaking=True),
        a_record("dublin-core", rights="CC", creator="Bob"),
    ]

    assert annotations.by_name(records) == {
        "copyright": "CC",
        "artist": "Bob",
        "title": "Fire",
        "news-clip.byline": "Ann",
        "priority": "3",
        "breaking": "true",
    }


def test_the_newer_of_two_records_of_a_view_has_the_name() -> None:
    records = [a_record(at="1", headline="old"), a_record(at="2", headline="new")]

    assert annotations.by_name(records) == {"title": "new", "news-clip.headline": "old"}


def test_what_is_said_of_a_clip_goes_before_what_is_said_of_its_channel() -> None:
    clip, channel = a_record("v", subject="goal"), a_record("dublin-core", subject="football")

    assert annotations.by_name([clip], [channel]) == {
        "subject": "goal",
        "dublin-core.subject": "football",
    }


def test_what_does_not_fit_is_left_out() -> None:
    records = [a_record(f"v{n}", headline="x" * 16_000) for n in range(5)]

    assert sum(len(text) for text in annotations.by_name(records).values()) <= 48 * 1024


def test_a_marker_tells_its_values_in_the_order_of_its_view() -> None:
    record = timed(1000, 3000, player="Ann", event="goal", minute=12)

    (marker,) = annotations.markers([record, a_record()], BUILT_IN)

    assert marker == Marker(
        view="Sport log",
        name="goal",
        comment="event: goal; player: Ann; minute: 12",
        start_ms=1000,
        end_ms=3000,
    )


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ((1000, 3000), (0, 2000)),
        ((500, 2000), (500, 1500)),
        ((2000, 9000), (0, 1000)),
        ((3000, 4000), None),
        ((0, 1000), None),
    ],
)
def test_as_much_of_a_marker_stands_in_a_range_as_lies_in_it(
    span: tuple[int, int], found: tuple[int, int] | None
) -> None:
    given = annotations.markers([timed(1000, 3000)], BUILT_IN)

    got = annotations.within(given, TimeRange(start_ms=span[0], end_ms=span[1]))

    assert [(m.start_ms, m.end_ms) for m in got] == ([found] if found else [])


def test_an_instant_is_inside_from_its_moment_on() -> None:
    given = annotations.markers([timed(1000)], BUILT_IN)

    assert annotations.within(given, TimeRange(start_ms=1000, end_ms=2000))
    assert not annotations.within(given, TimeRange(start_ms=1001, end_ms=2000))
    assert not annotations.within(given, TimeRange(start_ms=0, end_ms=1000))


def test_only_so_many_markers_travel() -> None:
    given = annotations.markers([timed(n) for n in range(600, 0, -1)], {})

    kept = annotations.carried([], given).markers

    assert [marker.start_ms for marker in kept] == list(range(1, MAX_MARKERS + 1))


def test_only_so_much_text_travels() -> None:
    given = annotations.markers([timed(n, comment="ü" * 400) for n in range(1, 500)], {})

    kept = annotations.carried([], given).markers

    size = sum(len(m.name.encode()) + len(m.comment.encode()) for m in kept)
    assert 250_000 < size <= 256 * 1024
    assert [marker.start_ms for marker in kept] == list(range(1, len(kept) + 1))
