"""Carries out publish steps: each file appears at its destination once, and is read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from connectors.base import Artifact, TakesFiles
from connectors.publishing import artifact_of, earlier_set, publish_once
from schemas.connectors import Published
from schemas.errors import (
    CuttingRoomError,
    PermanentError,
    RetryableError,
    WorkerInterrupted,
)
from schemas.plans import Publish, Step
from workers import metrics
from workers.run import Run
from workers.world import world_of

# Beside what a connector keeps in an intent: the key the command asked for.
ASKED = "asked"
log = structlog.get_logger(__name__)


def publish_all(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> list[object]:
    """Publish each file; each step answers what lies at its destination.

    Where the job ends without all of them, none of them stays.
    """
    publishes = [step for step in steps if isinstance(step, Publish)]
    done: list[tuple[Publish, Published]] = []
    try:
        moved = _Moved(publishes, run, report)
        known = _known(publishes, run)
        for step in publishes:
            held = known.get(step.name)
            done.append((step, held or _publish(step, run, moved)))
            moved.ends(step)
    except PermanentError:
        _withdraw(done, run)
        raise
    except RetryableError as error:
        counts = not isinstance(error, WorkerInterrupted)
        if counts and run.lease.attempt >= run.lease.allowance:
            _withdraw(done, run)
        raise
    return [published for _, published in done]


class _Moved:
    """How much of all files was moved, by their bytes."""

    def __init__(self, steps: Iterable[Publish], run: Run, report: Callable[[float], None]) -> None:
        self._sizes = {step.name: (run.workspace / step.name).stat().st_size for step in steps}
        self._total = max(1, sum(self._sizes.values()))
        self._whole = self._part = 0
        self._kind, self._report = run.lease.kind, report

    def __call__(self, count: int) -> None:
        """So many more bytes of the file at hand were moved."""
        self._part += count
        metrics.PUBLISHED_BYTES.labels(self._kind).inc(count)
        self._report(min(1.0, (self._whole + self._part) / self._total))

    def ends(self, step: Publish) -> None:
        """A file is there."""
        self._whole, self._part = self._whole + self._sizes[step.name], 0
        self._report(self._whole / self._total)


def _publish(step: Publish, run: Run, moved: Callable[[int], None]) -> Published:
    return publish_once(
        world_of(run).writes(step.to),
        _artifact(step, run),
        earlier=_earlier(run, step),
        remember=lambda intent: run.publish_intent({**intent, ASKED: step.to.key}),
        check_fence=run.hold,
        on_bytes=moved,
        control=run.check,
    )


def _artifact(step: Publish, run: Run) -> Artifact:
    return artifact_of(
        run.workspace / step.name,
        key=step.to.key,
        job_id=run.lease.job_id,
        content_type=step.to.content_type,
        movable=True,
        hashed=not isinstance(world_of(run).writes(step.to), TakesFiles),
    )


def _earlier(run: Run, step: Publish) -> dict[str, Any] | None:
    """What an earlier attempt began of this very file; a job may publish several."""
    intent = run.lease.intent
    return intent if intent and intent.get(ASKED, step.to.key) == step.to.key else None


def _known(steps: Sequence[Publish], run: Run) -> dict[str, Published]:
    """The files that belong together, where an earlier attempt published all; else none stays."""
    together = [step for step in steps if step.together]
    if run.lease.intent is None or not together:
        return {}
    target = world_of(run).writes(together[-1].to)
    artifacts = (_artifact(step, run) for step in reversed(together))
    found = earlier_set(target, artifacts, run.hold)
    return dict(zip((step.name for step in reversed(together)), found, strict=False))


def _withdraw(done: Sequence[tuple[Publish, Published]], run: Run) -> None:
    """Take back what nobody will be told of; what cannot be taken back is logged."""
    for step, published in reversed(done):
        try:
            world_of(run).writes(step.to).delete(published.key)
        except CuttingRoomError as error:
            log.warning("a file was left behind", key=published.key, reason=error.message)
