"""Whether an attempt is made again, and when."""

from __future__ import annotations

import pytest

from schemas.errors import (
    CorruptMedia,
    CuttingRoomError,
    LeaseLost,
    RateLimited,
    SourceUnavailable,
)
from workers.retries import LONGEST_DELAY_MS, Decision, decide, job_error


@pytest.mark.parametrize(
    ("error", "attempt", "decision"),
    [
        (SourceUnavailable("x"), 1, Decision("again", 500)),
        (SourceUnavailable("x"), 3, Decision("again", 2_000)),
        (SourceUnavailable("x"), 5, Decision("fail")),
        (RateLimited("x", retry_after_s=90), 1, Decision("again", 90_000)),
        (CorruptMedia("x"), 1, Decision("fail")),
        (ValueError("x"), 1, Decision("again", 500)),
        (ValueError("x"), 2, Decision("fail")),
    ],
    ids=["first", "third", "last", "told when", "permanent", "unexpected", "unexpected again"],
)
def test_the_error_and_the_attempt_decide(
    error: Exception, attempt: int, decision: Decision
) -> None:
    assert decide(error, attempt, allowance=5, jitter=0.0) == decision


def test_delays_are_spread_and_bounded() -> None:
    delays = [decide(SourceUnavailable("x"), 50, 99, jitter / 10).delay_ms for jitter in range(11)]

    assert len(set(delays)) == len(delays)
    assert max(delays) == LONGEST_DELAY_MS


def test_a_known_error_keeps_its_code_and_an_unknown_one_its_secrets() -> None:
    known = job_error(CorruptMedia("bad", code="source_changed"), "cutting")
    unknown = job_error(RuntimeError("s3cret"), None)

    assert (known.code, known.message, known.stage) == ("source_changed", "bad", "cutting")
    assert unknown.code == "internal"
    assert "s3cret" not in unknown.message


def test_a_fault_of_ours_in_a_child_is_as_unexpected_as_one_here() -> None:
    fault = CuttingRoomError("IndexError in the child")

    assert decide(fault, 1, 5, 0.0).action == "again"
    assert decide(fault, 2, 5, 0.0).action == "fail"
    assert "IndexError" not in job_error(fault, "cutting").message


def test_a_base_error_is_not_retried() -> None:
    assert isinstance(LeaseLost("x"), CuttingRoomError)
    assert decide(LeaseLost("x"), 1, 5, 0).action == "fail"
