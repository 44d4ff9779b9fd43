"""A job's folder on this machine: found again by its next attempt, never shared by two."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from media.jail import jail_uid
from schemas.ledger import Lease


@contextmanager
def workspace(work_dir: Path, lease: Lease) -> Iterator[Path]:
    """The job's folder, locked; another one where a frozen worker still holds it."""
    work_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
    name = lease.job_id
    lock = _locked(work_dir / f"{name}.lock")
    if lock is None:
        name = f"{lease.job_id}.{lease.fence}"
        lock = _locked(work_dir / f"{name}.lock")
    folder = work_dir / name
    folder.mkdir(mode=0o700, exist_ok=True)
    if (uid := jail_uid()) is not None:
        os.chown(folder, uid, -1)
        folder.chmod(0o770)
    try:
        yield folder
    finally:
        if lock is not None:
            os.close(lock)


def _locked(path: Path) -> int | None:
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def remove(folder: Path) -> None:
    """Delete a job's folder and its lock."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


def forget_older(work_dir: Path, before_s: float) -> int:
    """Delete folders nobody holds and nobody has touched since; answers how many."""
    removed = 0
    for folder in work_dir.glob("job_*"):
        if not folder.is_dir() or folder.stat().st_mtime >= before_s:
            continue
        lock = _locked(folder.with_name(f"{folder.name}.lock"))
        if lock is not None:
            remove(folder)
            os.close(lock)
            removed += 1
    return removed
