"""What strict JSON lets through is what it spells."""

from __future__ import annotations

import json

import pytest

from api_gateway.problems import Problem
from api_gateway.strictjson import MAX_DEPTH, parse


@pytest.mark.parametrize(
    "text", ['{"a":1}', "[]", "null", '{"a":{"b":[1,2.5,"x",true,null]}}', '"\\u00e9"']
)
def test_plain_json_is_read(text: str) -> None:
    assert parse(text.encode()) == json.loads(text)


def test_the_deepest_that_is_allowed_is_read() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH

    assert parse(text.encode()) == json.loads(text)


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 100_000])
def test_one_level_more_is_refused(levels: int) -> None:
    with pytest.raises(Problem) as refused:
        parse(b"[" * levels + b"]" * levels)

    assert refused.value.status == 400
    assert "deeper" in refused.value.detail
