"""Publishing exactly once: the order in which a destination, the job record and we must act."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from connectors.base import Artifact, CheckFence, Control, Intent, OnBytes, Writes
from schemas.connectors import Published
from schemas.errors import DestinationUnavailable, PermanentError

Remember = Callable[[Intent], None]
"""Stores the intent in the job record; raises `LeaseLost` where the attempt is stale."""


def artifact_of(
    path: Path,
    *,
    key: str,
    job_id: str,
    content_type: str = "video/mp4",
    movable: bool = False,
    hashed: bool = True,
) -> Artifact:
    """The finished file as an artifact: measured and mostly hashed, before anybody moves it."""
    sha256 = None
    if hashed:
        with path.open("rb") as source:
            sha256 = hashlib.file_digest(source, "sha256").hexdigest()
    return Artifact(
        path=str(path),
        key=key,
        job_id=job_id,
        size=path.stat().st_size,
        sha256=sha256,
        content_type=content_type,
        movable=movable,
    )


def already_published(target: Writes, earlier: Intent | None) -> Published | None:
    """What an earlier attempt of the job made visible before it died, its leftovers removed."""
    done = target.find(earlier) if earlier else None
    if earlier and done:
        target.abort(earlier)
    return done


def earlier_set(
    target: Writes, artifacts: Iterable[Artifact], check_fence: CheckFence
) -> list[Published]:
    """What an earlier attempt of the job published of files that belong together.

    The one that makes them whole comes first: where it is there, all are, and stay as they are.
    Where it is not, what is there of the others is removed: they would be of two attempts.
    """
    found: list[Published] = []
    whole = False
    for number, artifact in enumerate(artifacts):
        published = _looked_for(target, artifact)
        whole = whole or (number == 0 and published is not None)
        if published is not None and whole:
            found.append(published)
        elif published is not None:
            check_fence()
            target.delete(published.key)
        elif whole:
            raise DestinationUnavailable(f"{artifact.key} was taken away again")
    return found


def _looked_for(target: Writes, artifact: Artifact) -> Published | None:
    """The job's own file under an artifact's key; nothing begun stays behind."""
    intent = target.begin(artifact)
    try:
        return target.find(intent)
    finally:
        target.abort(intent)


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
