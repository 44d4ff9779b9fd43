"""A folder for each job: named by us, metered, found again by its next attempt, swept when old."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from media.jail import Jail, hand_over
from media.process import Control
from schemas.errors import DiskFull, InvalidCommand, TooLarge

ROOM_FACTOR = 3
METER_EVERY_S = 1.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
_LOCK_SUFFIX = ".lock"


class Workspace:
    """A job's folder, locked by the attempt that works in it; what it fetched outlives it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, root: Path, job_id: str, fence: int) -> Workspace:
        """The job's folder, made or found again, writable by the jailed children of this job only.

        Where a frozen worker still holds it, this attempt gets one of its own.
        """
        name = _UNSAFE.sub("_", job_id)[:64]
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o711)
            path = root / name
            lock = _locked(path)
            if lock is None:
                path = root / f"{name}-{fence}"
                lock = _locked(path)
            path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise DiskFull(f"no workspace could be made: {error.strerror}") from error
        if lock is None:
            raise DiskFull(f"the workspace of attempt {fence} is held by another process")
        hand_over(path)
        return cls(path, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def file(self, name: str) -> Path:
        """The absolute path of a file of ours in it; a name that would lead outside is refused."""
        if not _NAME.fullmatch(name):
            raise InvalidCommand(f"{name[:40]!r} is not a name inside a workspace")
        return self.path / name

    def jail(self, reads: tuple[Path, ...] = (), **limits: Any) -> Jail:
        """The jail of a child that works here, with what else it may read and its limits."""
        return Jail(workspace=self.path, reads=reads, **limits)

    def close(self) -> None:
        """Give up the lock and leave the folder to the next attempt."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def remove(self) -> None:
        """Delete the folder and give up the lock; a second time does nothing."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if not self.path.exists():
            _lock_file(self.path).unlink(missing_ok=True)
        self.close()


def used_bytes(folder: Path) -> int:
    """The bytes its files take on disk; links are not followed."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    total += used_bytes(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def check_meter(folder: Path, max_bytes: int) -> None:
    """Refuse to go on where a job's folder holds more than that."""
    used = used_bytes(folder)
    if used > max_bytes:
        raise TooLarge(f"the job holds {used} bytes on disk, more than its {max_bytes}")


def check_room(folder: Path, estimate_bytes: int) -> None:
    """Refuse to begin where the disk has not three times the estimate free."""
    free, needed = shutil.disk_usage(folder).free, ROOM_FACTOR * estimate_bytes
    if free < needed:
        raise DiskFull(f"the job may need {needed} bytes on disk and {free} are free")


def metered(folder: Path, control: Control | None, max_bytes: int) -> Control:
    """A control for a child that works in a folder: the one given, and the meter once a second."""
    last = float("-inf")

    def check() -> None:
        nonlocal last
        if control is not None:
            control()
        now = time.monotonic()
        if now - last >= METER_EVERY_S:
            last = now
            check_meter(folder, max_bytes)

    return check


def sweep(root: Path, before_s: float) -> int:
    """Delete the folders nobody holds and nobody has touched since; how many there were."""
    if not root.is_dir():
        return 0
    return sum(_swept(lock_file, before_s) for lock_file in sorted(root.glob(f"*{_LOCK_SUFFIX}")))


def _swept(lock_file: Path, before_s: float) -> bool:
    folder = lock_file.with_name(lock_file.name.removesuffix(_LOCK_SUFFIX))
    touched = folder if folder.exists() else lock_file
    with contextlib.suppress(OSError):
        if touched.stat().st_mtime < before_s and (lock := _locked(folder)) is not None:
            Workspace(folder, lock).remove()
            return True
    return False


def _locked(folder: Path) -> int | None:
    """The lock of a folder, or None where another process holds it."""
    while True:
        lock = os.open(_lock_file(folder), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        if _is_in_place(lock, _lock_file(folder)):
            return lock
        os.close(lock)


def _is_in_place(lock: int, path: Path) -> bool:
    """Whether the locked file is still the one of that name: a sweep may have come in between."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), path.stat())
    return False


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)
