"""Files of a folder by its descriptor, for the `local` connector: named without ever replacing,
signed with a job's id, and their failures in our words."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from typing import Any

from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    DestinationRejected,
    DestinationUnavailable,
    DiskFull,
    SourceNotFound,
    SourceUnavailable,
)

JOB_ATTRIBUTE = "user.cuttingroom.job"
# Non-blocking, so that a named pipe is refused instead of waited for.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
NOT_HERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


@contextmanager
def opened(folder: int, name: str) -> Iterator[BufferedReader]:
    """A plain file of a folder, to read."""
    fd = os.open(name, READ, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
    with os.fdopen(fd, "rb") as source:
        yield source


def sign(fd: int, job_id: str) -> None:
    """Write the job's id beside the bytes, where the file system has room for it."""
    with suppress(OSError, AttributeError):
        os.setxattr(fd, JOB_ATTRIBUTE, job_id.encode())


def signature(fd: int) -> str | None:
    """The job's id that a file was signed with, if it was."""
    with suppress(OSError, AttributeError):
        return os.getxattr(fd, JOB_ATTRIBUTE).decode("utf-8", "replace")
    return None


def is_ours(folder: int, name: str, intent: Mapping[str, Any]) -> bool:
    """Whether a file is the intent's job's; where it is not signed, its bytes must tell."""
    with if_there(), opened(folder, name) as source:
        job_id = signature(source.fileno())
        if job_id is not None:
            return bool(job_id == intent["job_id"])
        return digest(folder, name) == (intent["size"], intent["sha256"])
    return False


def digest(folder: int, name: str) -> tuple[int, str] | None:
    """A file's size and SHA-256, read back; None where there is no such file."""
    with if_there(), opened(folder, name) as source:
        sha256 = hashlib.file_digest(source, "sha256").hexdigest()
        return os.fstat(source.fileno()).st_size, sha256
    return None


@contextmanager
def if_there() -> Iterator[None]:
    """What is not there needs no undoing."""
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_HERE:
            raise


def give_name(folder: int, temp: str, name: str) -> None:
    """Give a finished file its name; `FileExistsError` where the name is taken."""
    try:
        # A link never replaces what is there; a plain rename would.
        os.link(temp, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_exclusively(folder, temp, name)
    os.fsync(folder)


def _rename_exclusively(folder: int, temp: str, name: str) -> None:
    """renameat2 with RENAME_NOREPLACE, for file systems without hard links (FAT, some mounts)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(folder, os.fsencode(temp), folder, os.fsencode(name), ctypes.c_uint(1)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def unlink(folder: int, name: str, *, lasting: bool = True) -> None:
    """Remove a name; where there is none, nothing happens."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
        if lasting:
            os.fsync(folder)


def conflict(key: str) -> DestinationRejected:
    """The refusal to replace what somebody else put there."""
    return DestinationRejected(
        f"{key} exists already and is not this job's", code="destination_conflict"
    )


@contextmanager
def reading(name: str) -> Iterator[None]:
    """What the system says against a read, in our words."""
    try:
        yield
    except OSError as error:
        raise _read_error(error, name) from None


def _read_error(error: OSError, name: str) -> CuttingRoomError:
    if error.errno in NOT_HERE:
        return SourceNotFound(f"{name} is not there, or not a plain file or folder")
    if error.errno in REFUSED:
        return AccessDenied(f"{name} may not be read")
    return SourceUnavailable(f"{name} could not be read: {error.strerror}")


@contextmanager
def writing(name: str) -> Iterator[None]:
    """What the system says against a write, in our words."""
    try:
        yield
    except OSError as error:
        raise _write_error(error, name) from None


def _write_error(error: OSError, name: str) -> CuttingRoomError:
    if error.errno in _FULL:
        return DiskFull(f"{name} does not fit: {error.strerror}")
    if error.errno in REFUSED | {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}:
        return DestinationRejected(f"{name} may not be written: {error.strerror}")
    return DestinationUnavailable(f"{name} could not be written: {error.strerror}")
