"""What can go wrong: the class says what to do, the code what happened, the message what to try."""

from __future__ import annotations

from typing import ClassVar


class CuttingRoomError(Exception):
    """Any failure we know the meaning of; `code` is stable and part of the contract."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code


class RetryableError(CuttingRoomError):
    """Trying again later may work."""

    retryable = True


class PermanentError(CuttingRoomError):
    """Trying again gives the same answer."""


class SourceUnavailable(RetryableError):
    """An origin did not answer, or answered 5xx."""

    code = "manifest_unreachable"


class RateLimited(RetryableError):
    """A peer asked us to slow down."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotYetAvailable(RetryableError):
    """The media has not been broadcast yet; `retry_at_ms` is epoch milliseconds."""

    code = "not_yet_available"

    def __init__(self, message: str, *, retry_at_ms: int) -> None:
        super().__init__(message)
        self.retry_at_ms = retry_at_ms


class DestinationUnavailable(RetryableError):
    """A destination did not answer, or answered 5xx."""

    code = "destination_unavailable"


class StoreUnavailable(RetryableError):
    """Redis or the catalogue is away."""

    code = "store_unavailable"


class WorkerInterrupted(RetryableError):
    """The worker was told to stop; the attempt does not count."""

    code = "interrupted"


class DiskFull(RetryableError):
    """The workspace has no room for the job."""

    code = "disk_full"


class Stalled(RetryableError):
    """No progress within the allowed time."""

    code = "source_stalled"


class TimedOut(RetryableError):
    """The work took longer than any honest run could."""

    code = "timed_out"


class InvalidCommand(PermanentError):
    """The request makes no sense as asked."""

    code = "invalid_command"


class FieldInvalid(InvalidCommand):
    """One named rule of the contract is broken: answered as 422 with this code."""

    code = "invalid_field"


class SourceNotFound(PermanentError):
    """What was asked for does not exist at the source."""

    code = "source_not_found"


class AccessDenied(PermanentError):
    """The source refuses our credentials, or egress rules refuse the address."""

    code = "access_denied"


class OutsideWindow(PermanentError):
    """The range has left the DVR window; `held` is what is still served: (start_ms, end_ms)."""

    code = "out_of_window"

    def __init__(self, message: str, *, held: tuple[int, int] | None) -> None:
        super().__init__(message)
        self.held = held


class InFuture(PermanentError):
    """The range has not been broadcast and the caller chose not to wait."""

    code = "in_future"


class DestinationRejected(PermanentError):
    """The destination refused the bytes (permission, conflict, quota)."""

    code = "destination_denied"


class MissingSegments(PermanentError):
    """Media inside the range is absent and gaps were not allowed."""

    code = "segment_missing"

    def __init__(self, message: str, *, gaps: tuple[tuple[int, int], ...]) -> None:
        super().__init__(message)
        self.gaps = gaps


class CorruptMedia(PermanentError):
    """The bytes are not the media they claim to be."""

    code = "media_invalid"


class UnsupportedMedia(PermanentError):
    """A codec or container we do not handle, or a tool this machine lacks."""

    code = "media_invalid"


class Encrypted(PermanentError):
    """DRM, or a key we may not have."""

    code = "encrypted"


class FormatChange(PermanentError):
    """Codec or geometry changes inside the range in a way one file cannot hold."""

    code = "format_change"


class SourceChanged(PermanentError):
    """The bytes at the source are not those of the first attempt."""

    code = "source_changed"


class TooLarge(PermanentError):
    """A bound of size, length or count is exceeded."""

    code = "too_large"


class Unsupported(PermanentError):
    """The connector type has no such capability."""

    code = "not_supported"


class Conflict(PermanentError):
    """The state of the resource forbids it (409); pass the contract's code."""

    code = "conflict"


class NotFound(PermanentError):
    """No such resource for this tenant (404)."""

    code = "not_found"


class UnderWay(RetryableError):
    """An equal request under the same Idempotency-Key is being answered (409)."""

    code = "idempotency_in_progress"


class QueueFull(RetryableError):
    """The queue's cap is reached (429)."""

    code = "queue_full"


class Cancelled(PermanentError):
    """Somebody cancelled the job."""

    code = "cancelled"


class LeaseLost(CuttingRoomError):
    """Another worker holds this job now: stop, and touch nothing."""

    code = "lease_lost"
