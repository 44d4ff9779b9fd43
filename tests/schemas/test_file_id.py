"""One clip has one canonical fileId, however it is spelled."""

from __future__ import annotations

import random

import pytest

from schemas.errors import FieldInvalid
from schemas.file_id import check_path, is_clip, parse
from schemas.times import TimeRange, rfc3339

DAY = "2022/02/04"
CANONICAL = "761f422bb93edb7c/2022/02/04/range-1643957046000-1643957106000-clip-123498625"


@pytest.mark.parametrize(
    "span",
    [
        "1643957046-1643957106",
        "1643957046000-1643957106000",
        "1643957046s-1643957106s",
        "1643957046000ms-1643957106000ms",
        "1643957046.0-1643957106.000",
        "1643957046.0s-1643957106s",
        "1643957046s-1643957106",
        "1643957046000-1643957106000ms",
        "0001643957046-1643957106",
    ],
)
@pytest.mark.parametrize("clip", ["clip-123498625", "123498625", "clip-clip-123498625"])
def test_every_spelling_is_the_same_resource(span: str, clip: str) -> None:
    found = parse(f"761f422bb93edb7c/{DAY}/range-{span}-{clip}")

    assert found.canonical == CANONICAL
    assert found.range == TimeRange(start_ms=1643957046000, end_ms=1643957106000)
    assert (found.channel_id, found.clip_id) == ("761f422bb93edb7c", "123498625")


@pytest.mark.parametrize(
    ("t", "start_ms"),
    [
        ("1643957046.5", 1643957046500),
        ("1643957046.25", 1643957046250),
        ("1643957046.125s", 1643957046125),
        ("1643957046.05", 1643957046050),
        ("1643957046123", 1643957046123),
    ],
)
def test_fractions_are_of_a_second(t: str, start_ms: int) -> None:
    end = "1643957106s" if "." in t else "1643957106000"

    assert parse(f"c/{DAY}/range-{t}-{end}-1").range.start_ms == start_ms


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("c/1970/01/01/range-0-60-a", "c/1970/01/01/range-0000000000000ms-0000000060000ms-clip-a"),
        (
            "c/1973/03/03/range-99999999999ms-100000000001ms-a",
            "c/1973/03/03/range-0099999999999ms-0100000000001ms-clip-a",
        ),
        (
            "c/1973/03/03/range-100000000000-100000000001-a",
            "c/1973/03/03/range-0100000000000-0100000000001-clip-a",
        ),
        (
            "c/5138/11/16/range-99999999998s-99999999999s-a",
            "c/5138/11/16/range-99999999998000-99999999999000-clip-a",
        ),
    ],
    ids=["the epoch", "milliseconds below 10^11", "milliseconds from 10^11", "the last seconds"],
)
def test_magnitude_decides_where_nothing_else_does(text: str, canonical: str) -> None:
    assert parse(text).canonical == canonical
    assert parse(canonical).canonical == canonical


@pytest.mark.parametrize("written", ["2022/02/03", "2022/02/04", "2022/02/05"])
def test_the_date_may_be_a_local_one_and_becomes_utc(written: str) -> None:
    found = parse(f"761f422bb93edb7c/{written}/range-1643957046-1643957106-clip-123498625")

    assert found.canonical == CANONICAL


@pytest.mark.parametrize(
    ("rest", "code"),
    [
        ("2022/02/02/range-1643957046-1643957106-a", "date_mismatch"),
        ("2022/02/06/range-1643957046-1643957106-a", "date_mismatch"),
        ("2022/13/45/range-1643957046-1643957106-a", "date_mismatch"),
        ("0000/00/00/range-1643957046-1643957106-a", "date_mismatch"),
        ("2022/02/04/range-1643957106-1643957046-a", "range_invalid"),
        ("2022/02/04/range-1643957046-1643957046-a", "range_invalid"),
        ("2022/02/04/range-1643957046-1643957046000-a", "mixed_units"),
        ("2022/02/04/range-1643957046000-1643957106-a", "mixed_units"),
        ("2022/02/04/range-1643957046000-1643957106.5-a", "mixed_units"),
        ("2022/02/04/range-1643957046s-1643957106000ms-a", "mixed_units"),
        ("2022/02/04/range-1643957046s-1643957106000-a", "mixed_units"),
        ("2022/02/04/range-100000000000000-100000000000001-a", "timestamp_unit"),
        ("2022/02/04/range-1643957046000000-1643957106000000-a", "timestamp_unit"),
        ("2022/02/04/range-1643957046-1643957106000000-a", "timestamp_unit"),
        ("2022/02/04/range-9999999999999999s-9999999999999999s-a", "range_invalid"),
        ("2022/02/04/range-9999999999999998s-9999999999999999s-a", "range_invalid"),
        ("2022/02/04/range-9999999999999998ms-9999999999999999ms-a", "range_invalid"),
        ("2022/02/04/range-12345678901234567-12345678901234568-a", "file_id_invalid"),
        ("2022/02/04/range-1643957046.1234-1643957106-a", "file_id_invalid"),
        ("2022/02/04/range-1643957046.-1643957106-a", "file_id_invalid"),
        ("2022/02/04/range-.5-1643957106-a", "file_id_invalid"),
        ("2022/02/04/range--1-1643957106-a", "file_id_invalid"),
        ("2022/02/04/range-1e9-1643957106-a", "file_id_invalid"),
        ("2022/02/04/range-0x1-1643957106-a", "file_id_invalid"),
        ("2022/02/04/range-1643957046us-1643957106us-a", "file_id_invalid"),
        ("2022/02/04/range-1643957046S-1643957106S-a", "file_id_invalid"),
        ("2022/02/04/range-١٦٤٣٩٥٧٠٤٦-1643957106-a", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106-", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106-a b", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106-a.b", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106-ä", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106-a/b", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106-a/", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106-a\n", "file_id_invalid"),
        ("2022/02/04/range-1643957046-1643957106-" + "a" * 65, "file_id_invalid"),
        ("22/2/4/range-1643957046-1643957106-a", "file_id_invalid"),
        ("2022/02/range-1643957046-1643957106-a", "file_id_invalid"),
        ("2022/02/04/Range-1643957046-1643957106-a", "file_id_invalid"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_code(rest: str, code: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        parse(f"c/{rest}")

    assert caught.value.error_code == code


@pytest.mark.parametrize(
    "channel",
    ["", ".", "..", "a/../b", "a//b", "/a", "a\x00", "a\x1f", "a\x7f", "a\x9b", "a\\b", "a\u2028b",
     "a\ud800", "x" * 512],
)  # fmt: skip
def test_a_path_that_climbs_or_hides_is_refused(channel: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        parse(f"{channel}/{DAY}/range-1643957046-1643957106-a")

    assert caught.value.error_code == "file_id_invalid"
    caught.value.message.encode()


def test_a_date_that_does_not_match_names_both_readings() -> None:
    with pytest.raises(FieldInvalid, match=r"2021-02-04.*2022-02-04"):
        parse("c/2021/02/04/range-1643957046-1643957106-a")


@pytest.mark.parametrize("clip", ["a" * 64, "A-b_C-9", "-", "_", "clip-", "range-1"])
def test_a_clip_may_be_called_anything_of_the_alphabet(clip: str) -> None:
    found = parse(f"c/{DAY}/range-1643957046-1643957106-{clip}")

    assert parse(found.canonical) == found


@pytest.mark.parametrize("seed", range(100))
def test_the_canonical_form_is_its_own(seed: int) -> None:
    dice = random.Random(seed)
    start_ms = dice.choice([dice.randrange(10**14 - 10**6), dice.randrange(2 * 10**11)])
    end_ms = start_ms + dice.randint(1, 10**6 - 1)
    day = TimeRange(start_ms=start_ms, end_ms=end_ms)
    written = _day_of(day.start_ms)
    clip = "".join(dice.choices("abcXYZ019-_", k=dice.randint(1, 64)))

    found = parse(f"c{seed}/{written}/range-{start_ms}ms-{end_ms}ms-clip-{clip}")

    assert found.range == day
    assert parse(found.canonical) == found
    assert parse(found.canonical).canonical == found.canonical
    assert found.canonical.count("clip-") >= 1


@pytest.mark.parametrize("seed", range(60))
def test_noise_is_refused_and_never_breaks(seed: int) -> None:
    dice = random.Random(seed)
    text = list(CANONICAL)
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(text))
        text[at] = chr(dice.choice([dice.randrange(128), dice.randrange(0x11000)]))

    assert _outcome("".join(text)) in {
        "read",
        "file_id_invalid",
        "timestamp_unit",
        "mixed_units",
        "range_invalid",
        "date_mismatch",
    }


def _outcome(text: str) -> str:
    try:
        found = parse(text)
    except FieldInvalid as error:
        return error.error_code
    return "read" if parse(found.canonical) == found else "not canonical"


def _day_of(epoch_ms: int) -> str:
    return rfc3339(epoch_ms)[:10].replace("-", "/")


@pytest.mark.parametrize(
    ("text", "clip"),
    [(CANONICAL, True), ("a/b.mp4", False), ("a/2022/02/04/range-x", True), ("range-1", False)],
)
def test_a_clip_is_told_from_a_file(text: str, clip: bool) -> None:
    assert is_clip(text) is clip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\nb", "line feed"),
        ("a\\b", "backslash"),
        ("x" * 513, "512 characters"),
        ("", "512 characters"),
        ("a//b", "single slashes"),
        ("a/../b", "single slashes"),
    ],
)
def test_a_refused_path_is_told_why(text: str, why: str) -> None:
    with pytest.raises(FieldInvalid, match=why):
        check_path(text)


@pytest.mark.parametrize(
    "text", ["a", "a/b/c.mp4", "ä/ö", "a b", "..a", "a..", "%2e%2e", "x" * 512]
)
def test_ordinary_paths_pass(text: str) -> None:
    check_path(text)
