"""What can go wrong at a client: the service refused, did not answer, or answered in riddles."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from schemas.errors import CuttingRoomError, PermanentError, RetryableError


class Pointer(NamedTuple):
    """One thing wrong in a request: where (a JSON pointer, or `#query/name`) and what."""

    pointer: str
    message: str


class ApiError(CuttingRoomError):
    """The service refused; `code` is stable, `detail` says what to try.

    `pointers` name the fields that were wrong, `retry_after_s` is when the service wants to be
    asked again, `more` is the rest of the problem (`held` of a window, `tenants` to choose from).
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str,
        pointers: tuple[Pointer, ...] = (),
        retry_after_s: float | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail, code=code)
        self.status = status
        self.detail = detail
        self.pointers = pointers
        self.retry_after_s = retry_after_s
        self.more = more or {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status}, {self.error_code!r}, {self.detail!r})"


class TryLater(ApiError, RetryableError):
    """The service refused for now: the same request may work later."""

    retryable: ClassVar[bool] = True


class Unreachable(RetryableError):
    """Nobody answered, or the connection broke off."""

    code = "service_unreachable"


class Unreadable(PermanentError):
    """The answer is not one of this API's, or is larger than an answer may be."""

    code = "answer_unreadable"


class JobFailed(PermanentError):
    """A job that was waited for did not succeed; `error_code` is the job's own."""

    code = "job_failed"

    def __init__(self, message: str, *, code: str, job_id: str) -> None:
        super().__init__(message, code=code)
        self.job_id = job_id


class ChallengePending(PermanentError):
    """Logging in asks for more: a second factor (`mfa`), or a password of one's own."""

    code = "challenge"

    def __init__(self, challenge: str, session: str) -> None:
        super().__init__(f"logging in asks for more: {challenge}", code=f"challenge_{challenge}")
        self.challenge = challenge
        self.session = session


class UploadInterrupted(RetryableError):
    """An upload stopped before its end; `reporter.upload(..., upload_id=…)` goes on with it."""

    code = "upload_interrupted"

    def __init__(self, message: str, *, destination_id: str, upload_id: str) -> None:
        super().__init__(message)
        self.destination_id = destination_id
        self.upload_id = upload_id
