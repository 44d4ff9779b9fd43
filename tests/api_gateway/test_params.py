"""What is no text in a query is taken as the document spells it, wherever it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway_kit import Kit, a_kit
from tests.made_up import DOCUMENT

WRONG = ("1.0", "+60", "%2060", "060", "6_0", "6e1", "", "true", "%D9%A6%D9%A0")


def is_of(kind: str, schema: dict[str, Any]) -> bool:
    return any(one.get("type") == kind for one in schema.get("anyOf", [schema]))


def parameters(kind: str) -> Iterator[tuple[str, str, str]]:
    """Every method and path that is asked for with a value of this kind, and the value's name."""
    for path, methods in json.loads(DOCUMENT.read_text())["paths"].items():
        for method, operation in methods.items():
            for one in operation.get("parameters", []):
                if one["in"] == "query" and is_of(kind, one["schema"]):
                    yield method.upper(), path, one["name"]


NUMBERS = tuple(parameters("integer"))
FLAGS = tuple(parameters("boolean"))


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    with a_kit(tmp_path_factory.mktemp("gateway"), rate_per_minute=10_000) as made:
        yield made


def test_there_are_numbers_of_every_kind() -> None:
    assert {name for _, _, name in NUMBERS} == {
        "limit",
        "atMs",
        "everyMs",
        "count",
        "width",
        "sheet",
    }


def refused(kit: Kit, method: str, path: str, name: str, spelled: str) -> bool:
    answer = kit.ask(method, f"{re.sub(r'{.+?}', 'nothing', path)}?{name}={spelled}")
    pointers = {one["pointer"] for one in answer.json().get("errors", ())}
    return (answer.status_code, f"#query/{name}" in pointers) == (422, True)


@pytest.mark.parametrize(("method", "path", "name"), NUMBERS, ids=lambda value: value)
def test_a_whole_number_is_written_in_digits_alone(
    kit: Kit, method: str, path: str, name: str
) -> None:
    for spelled in WRONG:
        assert refused(kit, method, path, name, spelled), spelled
    assert not refused(kit, method, path, name, "60")


@pytest.mark.parametrize(("method", "path", "name"), FLAGS, ids=lambda value: value)
def test_a_flag_is_true_or_false(kit: Kit, method: str, path: str, name: str) -> None:
    for spelled in ("1", "0", "yes", "on", "True", "TRUE", "t", "", "%20true", "null"):
        assert refused(kit, method, path, name, spelled), spelled
    assert not refused(kit, method, path, name, "true")
    assert not refused(kit, method, path, name, "false")


def test_there_are_flags_of_every_kind() -> None:
    assert {name for _, _, name in FLAGS} == {"force", "withLocalized"}
