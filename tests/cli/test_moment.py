"""Times on the command line."""

import pytest

from cli.moment import Moment, between, parse
from schemas.errors import FieldInvalid


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("12", Moment(ms=12_000, from_window_start=True)),
        ("12.345", Moment(ms=12_345, from_window_start=True)),
        ("2:05", Moment(ms=125_000, from_window_start=True)),
        ("1:00:00.5", Moment(ms=3_600_500, from_window_start=True)),
        ("1643957046", Moment(ms=1_643_957_046_000)),
        ("1643957046.25", Moment(ms=1_643_957_046_250)),
        ("1643957046000", Moment(ms=1_643_957_046_000)),
        ("2022-02-04T06:44:06Z", Moment(ms=1_643_957_046_000)),
        ("2022-02-04T08:44:06+02:00", Moment(ms=1_643_957_046_000)),
    ],
)
def test_a_moment_is_read_as_it_was_meant(text: str, moment: Moment) -> None:
    assert parse(text) == moment


@pytest.mark.parametrize(
    "text", ["", "now", "-5", "1e9", "2022-02-04T06:44:06", "2022-13-04T06:44:06Z", "9" * 16, "NaN"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(FieldInvalid):
        parse(text)


def test_offsets_count_from_the_start_of_the_window() -> None:
    wanted = between(parse("10"), parse("12"), window_start_ms=1_000_000)

    assert (wanted.start_ms, wanted.end_ms) == (1_010_000, 1_012_000)


def test_a_range_that_runs_backwards_is_refused() -> None:
    with pytest.raises(FieldInvalid, match="not after its start"):
        between(parse("12"), parse("10"), window_start_ms=0)
