"""Times in every spelling the contract allows, and in none it does not."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.errors import FieldInvalid
from schemas.times import (
    MAX_EPOCH_MS,
    RangeBody,
    TimeRange,
    parse_rfc3339,
    parse_rfc3339_us,
    parse_timerange,
    rfc3339,
    time_range,
)

T0_MS = 1_643_957_046_000


@pytest.mark.parametrize(
    ("text", "epoch_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2022-02-04T06:44:06Z", T0_MS * 1000),
        ("2022-02-04t06:44:06z", T0_MS * 1000),
        ("2022-02-04 06:44:06Z", T0_MS * 1000),
        ("2022-02-04T07:44:06+01:00", T0_MS * 1000),
        ("2022-02-04T07:44:06+0100", T0_MS * 1000),
        ("2022-02-03T18:44:06-12:00", T0_MS * 1000),
        ("2022-02-04T06:44:06.5Z", T0_MS * 1000 + 500_000),
        ("2022-02-04T06:44:06.123456Z", T0_MS * 1000 + 123_456),
        ("2022-02-04T06:44:06.123456789Z", T0_MS * 1000 + 123_456),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000),
    ],
)
def test_an_instant_is_read_to_the_microsecond(text: str, epoch_us: int) -> None:
    assert parse_rfc3339_us(text) == epoch_us


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "offset"),
        ("2022-02-04", "offset"),
        ("2022-02-04T06:44:06", "offset"),
        ("2022-02-04T06:44Z", "offset"),
        ("1643957046", "bare number"),
        ("1643957046.5", "bare number"),
        ("2022-02-30T00:00:00Z", "exists"),
        ("2022-13-01T00:00:00Z", "exists"),
        ("2022-02-04T25:00:00Z", "exists"),
        ("2022-02-04T23:59:60Z", "exists"),
        ("0000-01-01T00:00:00Z", "exists"),
        ("2022-02-04T06:44:06+99:00", "exists"),
        ("2022-02-04T06:44:06.Z", "offset"),
        ("2022-02-04T06:44:06.1234567890Z", "offset"),
        ("2022-02-04T06:44:06Z\n", "offset"),
        ("２０２２-02-04T06:44:06Z", "offset"),
        ("x" * 10_000, "offset"),
    ],
)
def test_what_is_no_instant_is_refused_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(FieldInvalid, match=said) as caught:
        parse_rfc3339(text)

    assert len(caught.value.message) < 200


@pytest.mark.parametrize("seed", range(20))
def test_an_instant_written_and_read_is_the_same(seed: int) -> None:
    moment_ms = random.Random(seed).randrange(MAX_EPOCH_MS)

    assert parse_rfc3339(rfc3339(moment_ms)) == moment_ms


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("1970-01-01T00:00:00.0004Z", 0),
        ("1970-01-01T00:00:00.0005Z", 1),
        ("1970-01-01T00:00:00.9996Z", 1000),
    ],
)
def test_milliseconds_are_the_nearest(text: str, epoch_ms: int) -> None:
    assert parse_rfc3339(text) == epoch_ms


@pytest.mark.parametrize(
    ("text", "start_ms", "end_ms"),
    [
        ("[0:0_1:0)", 0, 1000),
        ("[1643957046:0_1643957106:500000000)", T0_MS, T0_MS + 60_500),
        ("[1:5_2:999999999)", 1000, 2999),
    ],
)
def test_a_tams_timerange_is_read(text: str, start_ms: int, end_ms: int) -> None:
    assert parse_timerange(text) == TimeRange(start_ms=start_ms, end_ms=end_ms)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[0:0_1:0]",
        "(0:0_1:0)",
        "[1:0_1:0)",
        "[2:0_1:0)",
        "[0:0_)",
        "_",
        "[-1:0_1:0)",
        "[0:1000000000_9:0)",
        "[0:0_9999999999999:0)",
        "[0:0_999999999999:0)",
        "[٠:0_1:0)",
    ],
)
def test_what_is_no_timerange_is_refused(text: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        parse_timerange(text)

    assert caught.value.error_code == "range_invalid"


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "said"),
    [
        (9, 5, "range ends at 5, not after its start 9"),
        (5, 5, "not after"),
        (-1, 5, "leaves"),
        (0, MAX_EPOCH_MS + 1, "leaves"),
    ],
)
def test_a_range_runs_forward_within_known_time(start_ms: int, end_ms: int, said: str) -> None:
    with pytest.raises(FieldInvalid, match=said) as caught:
        time_range(start_ms, end_ms)

    assert caught.value.error_code == "range_invalid"


@pytest.mark.parametrize(("start_ms", "end_ms"), [(5, 5), (9, 5)])
def test_a_range_that_does_not_run_forward_cannot_be_made(start_ms: int, end_ms: int) -> None:
    with pytest.raises(ValidationError, match="not after its start"):
        TimeRange(start_ms=start_ms, end_ms=end_ms)


@pytest.mark.parametrize(
    ("other", "meet"),
    [((0, 10), False), ((0, 11), True), ((15, 16), True), ((19, 30), True), ((20, 30), False)],
)
def test_half_open_ranges_meet_only_where_they_share_an_instant(
    other: tuple[int, int], meet: bool
) -> None:
    one = TimeRange(start_ms=10, end_ms=20)
    two = TimeRange(start_ms=other[0], end_ms=other[1])

    assert one.overlaps(two) is meet
    assert two.overlaps(one) is meet
    assert one.length_ms == 10


@pytest.mark.parametrize(
    "body",
    [
        {"start": "2022-02-04T06:44:06Z", "end": "2022-02-04T07:45:06+01:00"},
        {"startMs": T0_MS, "endMs": T0_MS + 60_000},
        {"timerange": "[1643957046:0_1643957106:0)"},
    ],
)
def test_a_body_spells_a_range_in_one_of_three_styles(body: dict[str, Any]) -> None:
    found = RangeBody.model_validate(body).resolved()

    assert found == TimeRange(start_ms=T0_MS, end_ms=T0_MS + 60_000)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"start": "2022-02-04T06:44:06Z"},
        {"end": "2022-02-04T06:44:06Z"},
        {"startMs": 1},
        {"startMs": 1, "end": "2022-02-04T06:44:06Z"},
        {"startMs": 1, "endMs": 2, "timerange": "[0:0_1:0)"},
        {"start": "2022-02-04T06:44:06Z", "end": "2022-02-04T06:45:06Z", "startMs": 1, "endMs": 2},
        {"startMs": 2, "endMs": 1},
        {"startMs": 0, "endMs": 0},
        {"startMs": -5, "endMs": 1},
    ],
)
def test_a_body_with_another_style_or_two_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(FieldInvalid) as caught:
        RangeBody.model_validate(body).resolved()

    assert caught.value.error_code == "range_invalid"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"start": 1643957046, "end": 1643957106}, "startMs/endMs"),
        ({"start": 1643957046.5, "end": 1643957106.5}, "startMs/endMs"),
        ({"startMs": "1", "endMs": "2"}, "integer"),
        ({"startMs": 1.5, "endMs": 2.5}, "integer"),
        ({"startMs": True, "endMs": 2}, "integer"),
        ({"startMs": 1, "endMs": 2, "unit": "ms"}, "[Ee]xtra"),
    ],
)
def test_a_body_of_the_wrong_types_is_refused(body: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RangeBody.model_validate(body)


@pytest.mark.parametrize("text", ["1643957046", "1643957046000"])
def test_a_number_where_a_time_belongs_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(FieldInvalid, match="startMs/endMs"):
        RangeBody(start=text, end=text).resolved()
