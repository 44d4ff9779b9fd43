"""Whole numbers in a query are taken as the document spells them, wherever there is one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway_kit import Kit, a_kit
from tests.made_up import DOCUMENT

WRONG = ("1.0", "+60", "%2060", "060", "6_0", "6e1", "", "true", "%D9%A6%D9%A0")


def is_whole(schema: dict[str, Any]) -> bool:
    return any(one.get("type") == "integer" for one in schema.get("anyOf", [schema]))


def numbers() -> Iterator[tuple[str, str]]:
    """Every path that is asked for with a whole number, and the number's name."""
    for path, methods in json.loads(DOCUMENT.read_text())["paths"].items():
        for one in methods.get("get", {}).get("parameters", []):
            if one["in"] == "query" and is_whole(one["schema"]):
                yield path, one["name"]


NUMBERS = tuple(numbers())


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with a_kit(tmp_path_factory.mktemp("gateway"), rate_per_minute=10_000) as made:
        yield made


def test_there_are_numbers_of_every_kind() -> None:
    assert {name for _, name in NUMBERS} == {
        "limit",
        "atMs",
        "everyMs",
        "count",
        "width",
        "sheet",
    }


@pytest.mark.parametrize(("path", "name"), NUMBERS, ids=lambda value: value)
def test_a_whole_number_is_written_in_digits_alone(kit: Kit, path: str, name: str) -> None:
    there = re.sub(r"\{\w+\}", "nothing", path)
    for spelled in WRONG:
        answer = kit.get(f"{there}?{name}={spelled}")

        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), spelled
        assert f"#query/{name}" in {one["pointer"] for one in answer.json()["errors"]}
    assert f"#query/{name}" not in kit.get(f"{there}?{name}=60").text
