"""Publishing exactly once: the order in which a destination, the job record and we must act."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from connectors.base import Artifact, CheckFence, Control, Intent, OnBytes, Writes
from schemas.connectors import Published
from schemas.errors import PermanentError

Remember = Callable[[Intent], None]
"""Stores the intent in the job record; raises `LeaseLost` where the attempt is stale."""


def artifact_of(
    path: Path,
    *,
    key: str,
    job_id: str,
    content_type: str = "video/mp4",
    movable: bool = False,
) -> Artifact:
    """The finished file as an artifact: measured and hashed here, before anybody moves it."""
    with path.open("rb") as source:
        digest, size = hashlib.file_digest(source, "sha256"), source.tell()
    return Artifact(
        path=str(path),
        key=key,
        job_id=job_id,
        size=size,
        sha256=digest.hexdigest(),
        content_type=content_type,
        movable=movable,
    )


def already_published(target: Writes, earlier: Intent | None) -> Published | None:
    """What an earlier attempt of the job made visible before it died, its leftovers removed."""
    done = target.find(earlier) if earlier else None
    if earlier and done:
        target.abort(earlier)
    return done


def publish_once(
    target: Writes,
    artifact: Artifact,
    *,
    earlier: Intent | None,
    remember: Remember,
    check_fence: CheckFence,
    on_bytes: OnBytes | None = None,
    control: Control | None = None,
) -> Published:
    """Publish the artifact, unless an earlier attempt of the same job had done it already.

    `earlier` is the intent in the job record. Whatever dies in here leaves in the record what the
    next attempt needs, or an upload no record names, which the janitor removes.
    """
    done = already_published(target, earlier)
    if done:
        return done
    if earlier:
        target.abort(earlier)
    intent = _begun(target, artifact, remember)
    try:
        intent = target.put(intent, artifact, on_bytes=on_bytes, control=control)
        return target.finish(intent, check_fence)
    except PermanentError:
        # Nobody will come back for it.
        target.abort(intent)
        raise


def _begun(target: Writes, artifact: Artifact, remember: Remember) -> Intent:
    intent = target.begin(artifact)
    try:
        remember(intent)
    except BaseException:
        target.abort(intent)
        raise
    return intent
