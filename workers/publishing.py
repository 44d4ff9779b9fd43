"""Carries out publish steps: the file appears at its destination once, and is read back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors.publishing import artifact_of, publish_once
from schemas.connectors import Published
from schemas.plans import Publish, Step
from workers import metrics
from workers.run import Run
from workers.world import world_of

# Beside what a connector keeps in an intent: the key the command asked for.
ASKED = "asked"


def publish_all(steps: tuple[Step, ...], run: Run, report: Callable[[float], None]) -> list[object]:
    """Publish each file; each step answers what lies at its destination."""
    publishes = [step for step in steps if isinstance(step, Publish)]
    return [_publish(step, run, report) for step in publishes]


def _publish(step: Publish, run: Run, report: Callable[[float], None]) -> Published:
    target = world_of(run).writes(step.to)
    artifact = artifact_of(
        run.workspace / step.name,
        key=step.to.key,
        job_id=run.lease.job_id,
        content_type=step.to.content_type,
        movable=True,
    )
    moved = 0

    def on_bytes(count: int) -> None:
        nonlocal moved
        moved += count
        metrics.PUBLISHED_BYTES.labels(run.lease.kind).inc(count)
        report(moved / max(1, artifact.size))

    return publish_once(
        target,
        artifact,
        earlier=_earlier(run, step),
        remember=lambda intent: run.publish_intent({**intent, ASKED: step.to.key}),
        check_fence=run.hold,
        on_bytes=on_bytes,
        control=run.check,
    )


def _earlier(run: Run, step: Publish) -> dict[str, Any] | None:
    """What an earlier attempt began of this very file; a job may publish several."""
    intent = run.lease.intent
    return intent if intent and intent.get(ASKED, step.to.key) == step.to.key else None
