"""JSON as it is allowed in: UTF-8, no duplicate keys, no NaN, of bounded depth."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from api_gateway.problems import Problem

MAX_DEPTH = 32
_MAX_NUMBER_DIGITS = 64


def parse(raw: bytes, depth: int = MAX_DEPTH) -> Any:
    """The value a body spells, or a 400 that says what is wrong with it."""
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_int=_bounded_int,
        )
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise _too_deep(depth) from error
    _check_depth(value, depth)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem(400, f"the body has the key {twice[:40]!r} twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise Problem(400, f"the body holds {name}, which is not JSON")


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_NUMBER_DIGITS:
        raise Problem(400, f"the body holds a number of {len(digits)} digits")
    return int(digits)


def _check_depth(value: Any, depth: int) -> None:
    level = [value]
    for _ in range(depth):
        level = [child for one in level for child in _children(one)]
        if not level:
            return
    raise _too_deep(depth)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [child for child in value.values() if isinstance(child, dict | list)]
    if isinstance(value, list):
        return [child for child in value if isinstance(child, dict | list)]
    return []


def _too_deep(depth: int) -> Problem:
    return Problem(400, f"the body is nested deeper than {depth} levels")
