"""Uploads into a folder, for the `local` connector: bytes arrive through our gateway under a hidden
name, and get their own once they were checked."""

from __future__ import annotations

import fcntl
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import PurePosixPath

from connectors._local_files import (
    conflict,
    give_name,
    if_there,
    is_ours,
    opened,
    reading,
    sign,
    signature,
    unlink,
    writing,
)
from connectors.base import CHUNK_BYTES, TEMP_PREFIX, CheckFence, Intent, key_parts
from schemas.connectors import Published
from schemas.errors import (
    Conflict,
    CorruptMedia,
    DiskFull,
    InvalidCommand,
    SourceNotFound,
    TooLarge,
)
from schemas.uploads import AnyGrant, TusGrant, UploadMode, UploadWanted

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_AGAIN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class FolderUploads(ABC):
    """What makes a folder take uploads."""

    @abstractmethod
    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> AbstractContextManager[int]:
        """A folder below ours, by its descriptor."""

    @abstractmethod
    def _told(self, intent: Intent, size: int, sha256: str) -> Published:
        """What lies under the intent's key."""

    def upload_modes(self, size: int) -> tuple[UploadMode, ...]:
        """By the tus protocol; the disk says how large."""
        return ("tus",)

    def open_upload(self, wanted: UploadWanted, mode: UploadMode) -> Intent:
        """Make the file it will come into, under a hidden name in its folder."""
        if mode != "tus":
            raise InvalidCommand(f"a folder takes no uploads by {mode}")
        *parents, name = key_parts(wanted.key)
        temp = f"{TEMP_PREFIX}{wanted.upload_id}.part"
        with writing(wanted.key), self._folder(tuple(parents), make=True) as folder:
            _check_room(folder, wanted.size)
            taken = _is_there(folder, name)
            fd = os.open(temp, _NEW, 0o644, dir_fd=folder)
            try:
                sign(fd, wanted.upload_id)
            finally:
                os.close(fd)
            os.fsync(folder)
        key = _unique(wanted.key, wanted.upload_id) if taken else wanted.key
        return {
            "type": "local",
            "mode": mode,
            "key": key,
            "temp": temp,
            "job_id": wanted.upload_id,
            "size": wanted.size,
            "sha256": wanted.sha256,
        }

    def grant(self, intent: Intent, ttl_s: int) -> AnyGrant:
        """Where the upload stands; the gateway adds where to send the rest, and leave to do so."""
        return TusGrant(
            endpoint="",
            key=intent["key"],
            offset=self.arrived(intent),
            length=intent["size"],
        )

    def arrived(self, intent: Intent) -> int:
        """How much has come."""
        with reading(intent["key"]), self._upload(intent) as file:
            return os.fstat(file).st_size

    def settle(self, intent: Intent) -> Intent:
        """Nothing can be added any more: it has its whole length."""
        size = self.arrived(intent)
        if size < intent["size"]:
            raise CorruptMedia(f"{size} bytes of {intent['size']} came", code="upload_incomplete")
        if size > intent["size"]:
            raise TooLarge(f"{size} bytes came, more than the {intent['size']} agreed")
        return intent

    def read_upload(self, intent: Intent, offset: int, length: int) -> bytes:
        """These bytes of the hidden file, or of the one it became."""
        with reading(intent["key"]), self._upload(intent) as file:
            return os.pread(file, length, offset)

    def admit(self, intent: Intent, sha256: str, check_fence: CheckFence) -> Published:
        """Give the file its name, if nobody else has it."""
        known = {**intent, "sha256": sha256}
        *parents, name = key_parts(intent["key"])
        with writing(intent["key"]), self._folder(tuple(parents)) as folder:
            check_fence()
            try:
                give_name(folder, intent["temp"], name)
            except (FileExistsError, FileNotFoundError):
                if not is_ours(folder, name, known):
                    raise conflict(intent["key"]) from None
            unlink(folder, intent["temp"])
            unlink(folder, _chunk_name(intent))
        return self._told(intent, intent["size"], sha256)

    def abandon(self, intent: Intent, *, admitted: bool = False) -> None:
        """Remove the hidden file, and the name it may have got before its worker died."""
        *parents, name = key_parts(intent["key"])
        with writing(intent["key"]), if_there(), self._folder(tuple(parents)) as folder:
            if not admitted and _is_signed(folder, name, intent["job_id"]):
                unlink(folder, name)
            unlink(folder, intent["temp"])
            unlink(folder, _chunk_name(intent))

    @contextmanager
    def receive(self, intent: Intent, *, whole: bool = False) -> Iterator[PartialFile]:
        """The hidden file, locked against every other writer of this machine."""
        *parents, _ = key_parts(intent["key"])
        with ExitStack() as stack:
            with reading(intent["key"]):
                folder = stack.enter_context(self._folder(tuple(parents)))
                fd = os.open(intent["temp"], _AGAIN, dir_fd=folder)
                stack.callback(os.close, fd)
                _lock(fd, intent["key"])
                if whole:
                    chunk = os.open(_chunk_name(intent), _CHUNK, 0o644, dir_fd=folder)
                    stack.callback(unlink, folder, _chunk_name(intent), lasting=False)
                    stack.callback(os.close, chunk)
            yield PartialFile(intent["key"], fd, chunk if whole else None)

    @contextmanager
    def _upload(self, intent: Intent) -> Iterator[int]:
        """The file, by its hidden name or by the one it was given."""
        *parents, name = key_parts(intent["key"])
        with self._folder(tuple(parents)) as folder, ExitStack() as stack:
            with if_there():
                file = stack.enter_context(opened(folder, intent["temp"]))
                yield file.fileno()
                return
            if not is_ours(folder, name, intent):
                raise SourceNotFound(f"the upload of {intent['key']} is gone")
            yield stack.enter_context(opened(folder, name)).fileno()


class PartialFile:
    """The only writer of an upload; a chunk that has to come whole waits beside it."""

    def __init__(self, name: str, fd: int, chunk: int | None) -> None:
        self._name, self._fd, self._chunk = name, fd, chunk
        self.offset = os.fstat(fd).st_size
        self._end = self.offset

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        with writing(self._name):
            if self._chunk is not None:
                _write_at(self._chunk, data, self._end - self.offset)
            else:
                _write_at(self._fd, data, self._end)
            self._end += len(data)

    def commit(self) -> int:
        """Put a waiting chunk in its place; have all of it on the disk."""
        with writing(self._name):
            if self._chunk is not None:
                _append(self._chunk, self._fd, self.offset, self._end - self.offset)
            os.fsync(self._fd)
        self.offset = self._end
        return self.offset

    def discard(self) -> None:
        """Take back what was written since."""
        with writing(self._name):
            os.ftruncate(self._fd, self.offset)
            self._end = self.offset


def _write_at(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


def _append(chunk: int, fd: int, offset: int, length: int) -> None:
    for at in range(0, length, CHUNK_BYTES):
        _write_at(fd, os.pread(chunk, min(CHUNK_BYTES, length - at), at), offset + at)


def _lock(fd: int, key: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Conflict(
            f"somebody else is sending to {key} now; try again", code="upload_locked"
        ) from None
    if not os.fstat(fd).st_nlink:
        raise SourceNotFound(f"the upload of {key} is gone")


def _chunk_name(intent: Intent) -> str:
    return f"{intent['temp']}.chunk"


def _check_room(folder: int, size: int) -> None:
    room = os.fstatvfs(folder)
    free = room.f_bavail * room.f_frsize
    if size > free:
        raise DiskFull(f"the folder has room for {free} bytes, not for {size}")


def _is_there(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_signed(folder: int, name: str, job_id: str) -> bool:
    with if_there(), opened(folder, name) as source:
        return signature(source.fileno()) == job_id
    return False


def _unique(key: str, upload_id: str) -> str:
    path = PurePosixPath(key)
    return str(path.with_name(f"{path.stem}.{upload_id}{path.suffix}"))
