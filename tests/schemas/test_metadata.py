"""Values of a view are read by type, and what is wrong is said of each field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.metadata import BUILT_IN, MetadataField, MetadataView, checked

VIEW = MetadataView(
    id="v",
    name="View",
    fields=(
        MetadataField(name="word", required=True),
        MetadataField(name="kind", enum=("a", "b")),
        MetadataField(name="count", type="integer"),
        MetadataField(name="share", type="number"),
        MetadataField(name="live", type="boolean"),
        MetadataField(name="at", type="datetime"),
    ),
)


def test_good_values_are_kept_as_they_are_but_for_times() -> None:
    given = {"word": "Tör\n2", "kind": "b", "count": 3, "share": 0.5, "live": True}

    kept, faults = checked(VIEW, {**given, "at": "2022-02-04T07:44:06+01:00"})

    assert faults == ()
    assert kept == {**given, "at": "2022-02-04T06:44:06.000Z"}


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("word", None, "required"),
        ("word", 3, "no string"),
        ("word", "x" * 4097, "4097"),
        ("word", "a\x00b", "cannot be shown"),
        ("word", "\ud800", "cannot be shown"),
        ("kind", "c", "none of a, b"),
        ("count", 1.5, "no integer"),
        ("count", True, "no integer"),
        ("count", "3", "no integer"),
        ("count", 10**60, "further"),
        ("share", "much", "no number"),
        ("share", True, "no number"),
        ("live", 1, "no boolean"),
        ("at", "yesterday", "RFC 3339"),
        ("at", "2022-02-30T00:00:00Z", "exists"),
        ("at", 1643957046, "no datetime"),
        ("word", {"nested": 1}, "no string"),
        ("other", 1, "no such field"),
    ],
)
def test_each_wrong_field_is_told(field: str, value: Any, told: str) -> None:
    _, faults = checked(VIEW, {"word": "w", field: value})

    assert [fault.field for fault in faults] == [field]
    assert told in faults[0].message


def test_every_wrong_field_is_told_at_once() -> None:
    _, faults = checked(VIEW, {"kind": "c", "count": "x", "odd": 1})

    assert {fault.field for fault in faults} == {"word", "kind", "count", "odd"}


def test_all_values_together_are_bounded() -> None:
    fields = tuple(MetadataField(name=f"f{n}") for n in range(5))
    view = MetadataView(id="v", name="v", fields=fields)

    _, faults = checked(view, {f"f{n}": "ü" * 2048 for n in range(5)})

    assert "20480 bytes" in faults[0].message


@pytest.mark.parametrize(
    "field",
    [
        {"name": "1st"},
        {"name": "a b"},
        {"name": "n", "type": "integer", "enum": ["1"]},
        {"name": "n", "enum": ["a", "a"]},
        {"name": "n", "enum": [""]},
        {"name": "n", "enum": []},
        {"name": "n", "type": "list"},
    ],
)
def test_a_field_that_makes_no_sense_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        MetadataField.model_validate(field)


def test_the_sport_log_alone_is_timed() -> None:
    assert {view.id: view.timed for view in BUILT_IN.values()} == {
        "dublin-core": False,
        "news-clip": False,
        "sport-log": True,
    }
