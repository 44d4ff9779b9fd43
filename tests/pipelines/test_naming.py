"""Path templates and the names they make."""

from __future__ import annotations

import pytest

from connectors.base import key_parts
from pipelines.naming import MAX_NAME_BYTES, VARIABLES, checked, filled, safe_name
from schemas.errors import FieldInvalid

VALUES = dict.fromkeys(VARIABLES, "x") | {
    "channel": "News 24",
    "date": "2026-11-23",
    "title": "Opening goal",
    "id": "job_1",
}


def test_a_template_is_filled_in() -> None:
    key = filled("{channel}/{date}/{title}-{id}.mp4", VALUES)

    assert key == "News 24/2026-11-23/Opening goal-job_1.mp4"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\\b", "a_b"),
        ("tab\there\x00", "tab_here_"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("  dots... ", "dots"),
        ("..", "_"),
        ("", "_"),
        ("e\u0301", "\u00e9"),
        ("right\u202eleft", "rightleft"),
        ("{id}", "_id_"),
        ("100% #1?", "100_ _1_"),
        ("\U0001f3ac film", "\U0001f3ac film"),
    ],
)
def test_names_are_safe_on_every_file_system(title: str, name: str) -> None:
    assert safe_name(title) == name
    key_parts(safe_name(title))


@pytest.mark.parametrize("title", ["ä" * 500, "\U0001f3ac" * 300, "x" * 5000])
def test_long_titles_are_cut_between_characters(title: str) -> None:
    key = filled("{title}.mp4", VALUES | {"title": title})

    assert key.endswith(".mp4")
    assert len(key.encode()) <= MAX_NAME_BYTES
    assert key.removesuffix(".mp4").strip(title[0]) == ""


def test_what_a_value_holds_is_never_a_variable_or_a_folder() -> None:
    key = filled("{title}/{id}.mp4", VALUES | {"title": "{id}/{id}"})

    assert key == "_id___id_/job_1.mp4"


@pytest.mark.parametrize(
    "template",
    ["{nope}.mp4", "{title.mp4", "a}b.mp4", "a//b.mp4", "../a.mp4", "/a.mp4", "a/", "{}", " a.mp4"],
)
def test_a_template_that_makes_no_key_is_refused(template: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        checked(template)
    assert refused.value.error_code == "path_invalid"
