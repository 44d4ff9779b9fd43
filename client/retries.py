"""Whether a request is asked again, and when: decided from what came back, without a clock."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from client.errors import ApiError, Pointer, TryLater
from client.transport import Reply
from schemas.errors import UnderWay

LONGEST_WAIT_S = 30.0
FIRST_WAIT_S = 0.25
_LATER = frozenset({429, 503})
_PROXIES = frozenset({502, 504})
_MOST_POINTERS = 100


def refusal(reply: Reply, now: datetime) -> ApiError:
    """The error an answer of 300 or more is."""
    problem = _problem(reply)
    later = bool(problem.get("retryable")) if problem else reply.status in _LATER | _PROXIES
    named = {"type", "title", "status", "detail", "instance", "code", "retryable", "errors"}
    return (TryLater if later else ApiError)(
        reply.status,
        str(problem.get("detail") or problem.get("title") or f"the answer was {reply.status}"),
        code=str(problem.get("code") or f"http_{reply.status}"),
        pointers=_pointers(problem.get("errors")),
        retry_after_s=retry_after_s(reply.headers.get("retry-after"), now),
        more={name: value for name, value in problem.items() if name not in named},
    )


def wait_s(error: ApiError, attempt: int) -> float | None:
    """How long to wait before the same is asked again; None where that makes no sense.

    A service that asks for more patience than `LONGEST_WAIT_S` is not kept waiting for.
    """
    from_proxy = error.error_code == f"http_{error.status}" and error.status in _PROXIES
    under_way = error.error_code == UnderWay.code
    if error.status not in _LATER and not from_proxy and not under_way:
        return None
    if error.retry_after_s is None:
        return pause_s(attempt)
    return error.retry_after_s if error.retry_after_s <= LONGEST_WAIT_S else None


def pause_s(attempt: int) -> float:
    """The pause after the attempt of this number, from 0: it grows, and is never quite the same."""
    longest: float = min(FIRST_WAIT_S * 2 ** min(attempt, 10), LONGEST_WAIT_S)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - nobody gains by guessing it


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Seconds told by a Retry-After, as a number or as a date.

    >>> retry_after_s("7", datetime.now(UTC))
    7.0
    """
    if value is None or len(value) > 64:
        return None
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)


def _problem(reply: Reply) -> dict[str, Any]:
    if "json" not in reply.headers.get("content-type", ""):
        return {}
    try:
        found = json.loads(reply.data)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _pointers(found: Any) -> tuple[Pointer, ...]:
    listed = found[:_MOST_POINTERS] if isinstance(found, list) else []
    return tuple(
        Pointer(str(one.get("pointer", "")), str(one.get("message", "")))
        for one in listed
        if isinstance(one, dict)
    )
