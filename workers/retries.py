"""The decision whether a failed attempt is made again, and when."""

from __future__ import annotations

from typing import Literal, NamedTuple

from schemas.errors import CuttingRoomError, RateLimited, RetryableError
from schemas.jobs import JobError, Stage

FIRST_DELAY_MS = 1_000
LONGEST_DELAY_MS = 60_000
UNEXPECTED_ATTEMPTS = 2


class Decision(NamedTuple):
    """What becomes of the job: `again` after `delay_ms`, or `fail`."""

    action: Literal["again", "fail"]
    delay_ms: int = 0


def decide(error: Exception, attempt: int, allowance: int, jitter: float) -> Decision:
    """Retryable errors come again with growing, spread delays until no attempt is left.

    `jitter` is a random number 0..1. An error we know nothing of is tried twice: it is a fault of
    ours, or of the machine.
    """
    if not is_unexpected(error) and not getattr(error, "retryable", False):
        return Decision("fail")
    known = isinstance(error, RetryableError)
    if attempt >= (allowance if known else min(allowance, UNEXPECTED_ATTEMPTS)):
        return Decision("fail")
    return Decision("again", _delay_ms(error, attempt, jitter))


def is_unexpected(error: Exception) -> bool:
    """Whether an error is a fault of ours: not one we know the meaning of."""
    return not isinstance(error, CuttingRoomError) or type(error) is CuttingRoomError


def _delay_ms(error: Exception, attempt: int, jitter: float) -> int:
    doubled = FIRST_DELAY_MS * 2 ** min(attempt - 1, 16)
    spread = int(min(doubled, LONGEST_DELAY_MS) * (0.5 + jitter / 2))
    asked = error.retry_after_s if isinstance(error, RateLimited) else None
    return max(spread, int((asked or 0) * 1000))


def job_error(error: Exception, stage: Stage | None) -> JobError:
    """What a client reads of an error; of an unexpected one only that it happened."""
    if isinstance(error, CuttingRoomError) and not is_unexpected(error):
        return JobError(
            code=error.error_code, message=error.message, retryable=error.retryable, stage=stage
        )
    message = "an unexpected error; the operator's log has the details"
    return JobError(code="internal", message=message, retryable=True, stage=stage)
