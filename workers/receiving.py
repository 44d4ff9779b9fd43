"""Carries out the steps of an upload: its bytes are brought here and hashed, or it is let in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from connectors.base import READ_BYTES, Intent, TempCredentials
from schemas.connectors import Destination, Published
from schemas.errors import (
    Cancelled,
    CuttingRoomError,
    DestinationUnavailable,
    DiskFull,
    PermanentError,
    SourceUnavailable,
)
from schemas.plans import AdmitUpload, Step, TakeUpload
from schemas.uploads import TakenUpload
from workers import metrics
from workers.run import Run
from workers.world import world_of

log = structlog.get_logger(__name__)


def take_all(
    steps: tuple[Step, ...], run: Run, report: Callable[[float], None]
) -> list[TakenUpload]:
    """Close each upload and bring it into the workspace; answers what came."""
    return [_take(step, run, report) for step in steps if isinstance(step, TakeUpload)]


def admit_all(
    steps: tuple[Step, ...], run: Run, report: Callable[[float], None]
) -> list[Published]:
    """Let each upload in; answers what lies at its destination."""
    return [_admit(step, run) for step in steps if isinstance(step, AdmitUpload)]


@contextmanager
def removed_where_refused(to: Destination, intent: Intent, run: Run) -> Iterator[None]:
    """What is refused for good is kept nowhere; where it cannot be removed now, the keeper does."""
    try:
        yield
    except Cancelled:
        raise
    except PermanentError:
        try:
            world_of(run).uploads(to).abandon(intent)
        except CuttingRoomError as left:
            log.warning("a refused upload stays for now", reason=left.message)
        raise


def _take(step: TakeUpload, run: Run, report: Callable[[float], None]) -> TakenUpload:
    source = world_of(run).uploads(step.to)
    # What an earlier attempt was about to let in knows its hash, by which it is found again.
    known = {**step.intent, **(run.lease.intent or {})}
    with removed_where_refused(step.to, known, run):
        intent = source.settle(known)
    digest, at = hashlib.sha256(), 0
    try:
        with (run.workspace / step.name).open("wb") as out:
            for data in _ranges(source, intent, step.size, run):
                out.write(data)
                digest.update(data)
                at += len(data)
                metrics.FETCHED_BYTES.labels(run.lease.kind).inc(len(data))
                report(at / step.size)
    except OSError as error:
        raise DiskFull(f"the upload does not fit the workspace: {error.strerror}") from error
    return TakenUpload(name=step.name, size=at, sha256=digest.hexdigest(), intent=intent)


def _ranges(source: TempCredentials, intent: Intent, size: int, run: Run) -> Iterator[bytes]:
    for at in range(0, size, READ_BYTES):
        run.check()
        data = source.read_upload(intent, at, min(READ_BYTES, size - at))
        if len(data) != min(READ_BYTES, size - at):
            raise SourceUnavailable(f"the upload ended early, at {at + len(data)} of {size}")
        yield data


def _admit(step: AdmitUpload, run: Run) -> Published:
    target = world_of(run).uploads(step.to)
    run.publish_intent({**step.intent, "sha256": step.sha256})
    with removed_where_refused(step.to, step.intent, run):
        published = target.admit(step.intent, step.sha256, run.hold)
    if published.size != step.intent["size"]:
        raise DestinationUnavailable(f"{published.key} did not read back as it was sent")
    return published
