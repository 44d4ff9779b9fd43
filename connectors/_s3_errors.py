"""What an S3 service says when it refuses, in our words; its own may hold keys and are dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from connectors.egress import ours_within
from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    DestinationRejected,
    DestinationUnavailable,
    RateLimited,
    SourceChanged,
    SourceNotFound,
    SourceUnavailable,
)

ABSENT = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound", "InvalidRange", "416"})
TAKEN = frozenset({"412", "PreconditionFailed"})
_RACED = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
_BUSY = frozenset({"429", "SlowDown", "Throttling", "TooManyRequests", "RequestLimitExceeded"})


def code_of(error: ClientError) -> str:
    """What the service calls the failure."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status it was answered with."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def ignoring(codes: Iterable[str]) -> Iterator[None]:
    """These failures are none here."""
    try:
        yield
    except ClientError as error:
        if code_of(error) not in codes:
            raise


@contextmanager
def reading(name: str) -> Iterator[None]:
    """What the service says against a read, in our words."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise ours_within(error) or _read_error(error, name) from None


@contextmanager
def writing(name: str) -> Iterator[None]:
    """What the service says against a write, in our words."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise ours_within(error) or _write_error(error, name) from None
    except SourceUnavailable as error:
        raise DestinationUnavailable(f"{name}: {error.message}") from None
    except OSError as error:
        raise DestinationUnavailable(f"{name}: the file to publish: {error.strerror}") from None


def _read_error(error: ClientError | BotoCoreError, name: str) -> CuttingRoomError:
    """Our error for a failed read; the library's words may hold keys and are dropped."""
    if not isinstance(error, ClientError):
        return SourceUnavailable(f"{name}: the bucket could not be reached")
    code, status = code_of(error), status_of(error)
    if code in ABSENT:
        return SourceNotFound(f"{name} is not there")
    if code in TAKEN:
        return SourceChanged(f"{name} is not the object it was")
    if code in _BUSY or status == 503:
        return RateLimited(f"{name}: the bucket asks for fewer requests")
    if status in {400, 401, 403}:
        return AccessDenied(f"{name}: the bucket answered {code[:60]}")
    return SourceUnavailable(f"{name}: the bucket answered {status}")


def _write_error(error: ClientError | BotoCoreError, name: str) -> CuttingRoomError:
    """Our error for a failed write."""
    if not isinstance(error, ClientError):
        return DestinationUnavailable(f"{name}: the bucket could not be reached")
    code, status = code_of(error), status_of(error)
    if code in _BUSY or code in _RACED or code == "NoSuchUpload" or status >= 500:
        return DestinationUnavailable(f"{name}: the bucket answered {code[:60]}")
    return DestinationRejected(f"{name}: the bucket answered {code[:60]}")
