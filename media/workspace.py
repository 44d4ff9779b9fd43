"""A folder for each attempt at a job: named by us, metered, and swept once its owner is dead."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
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
_LOCK_SUFFIX, _HALF_MADE = ".lock", ".half-made-"
_HALF_MADE_S = 60


class Workspace:
    """One attempt's folder; its lock is held for as long as its owner lives."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, root: Path, job_id: str, attempt: int) -> Workspace:
        """A new empty folder under `root`, writable by the jailed children of this job only."""
        root.mkdir(parents=True, exist_ok=True, mode=0o711)
        name = f"{_UNSAFE.sub('_', job_id)[:64]}-{attempt}-{secrets.token_hex(4)}"
        path = root / name
        try:
            lock = _take_lock(root, name)
            path.mkdir(mode=0o700)
        except OSError as error:
            raise DiskFull(f"no workspace could be made: {error.strerror}") from error
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
        self.remove()

    def file(self, name: str) -> Path:
        """The absolute path of a file of ours in it; a name that would lead outside is refused."""
        if not _NAME.fullmatch(name):
            raise InvalidCommand(f"{name[:40]!r} is not a name inside a workspace")
        return self.path / name

    def jail(self, reads: tuple[Path, ...] = (), **limits: Any) -> Jail:
        """The jail of a child that works here, with what else it may read and its limits."""
        return Jail(workspace=self.path, reads=reads, **limits)

    def remove(self) -> None:
        """Delete the folder and give up the lock; a second time does nothing."""
        if self._lock < 0:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if not self.path.exists():
            _lock_file(self.path).unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1


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


def sweep(root: Path) -> int:
    """Delete what dead owners left under `root`; how many folders that were."""
    if not root.is_dir():
        return 0
    _sweep_half_made(root)
    return sum(_swept(lock) for lock in sorted(root.glob(f"*{_LOCK_SUFFIX}")))


def _swept(lock_file: Path) -> bool:
    try:
        lock = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return False
    Workspace(lock_file.with_name(lock_file.name.removesuffix(_LOCK_SUFFIX)), lock).remove()
    return True


def _sweep_half_made(root: Path) -> None:
    for path in root.glob(f"{_HALF_MADE}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _HALF_MADE_S:
                path.unlink()


def _take_lock(root: Path, name: str) -> int:
    # Locked before it gets the name a sweep looks for, so no sweep can come in between.
    half_made = root / f"{_HALF_MADE}{name}"
    lock = os.open(half_made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        half_made.rename(_lock_file(root / name))
    except OSError:
        os.close(lock)
        raise
    return lock


def _lock_file(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)
