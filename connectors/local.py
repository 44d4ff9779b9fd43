"""The `local` connector: a folder of this machine that the operator has listed.

Paths are walked name by name from the folder's own descriptor and never through a link, so no
name, however it is spelled and whoever swaps it meanwhile, leads out of the folder.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import mimetypes
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pydantic import Field

from connectors.base import (
    CHUNK_BYTES,
    TEMP_PREFIX,
    Artifact,
    AuthModel,
    CheckFence,
    ConnectorEnv,
    Control,
    Entry,
    Intent,
    OnBytes,
    PacedConfig,
    Page,
    Query,
    TimedUrl,
    key_parts,
    paged,
)
from schemas.connectors import Capability, Published
from schemas.errors import (
    AccessDenied,
    CuttingRoomError,
    DestinationRejected,
    DestinationUnavailable,
    DiskFull,
    FieldInvalid,
    SourceNotFound,
    SourceUnavailable,
)

TYPE = "local"
IDENTITY = ("folder",)
MAX_ENTRIES = 100_000
MAX_DEPTH = 32
JOB_ATTRIBUTE = "user.cuttingroom.job"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking, so that a named pipe is refused instead of waited for.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NOT_MOVABLE = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EROFS})
_NOT_HERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO})


class Config(PacedConfig):
    """Where the files are."""

    folder: str = Field(min_length=1, max_length=1024, description="An absolute path")


class Auth(AuthModel):
    """Nothing: the operator's list is the permission."""


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> Folder:
    """The folder, if the operator listed it or one above it."""
    listed, below = _listed(config.folder, env.settings.local_folders)
    return Folder(listed, below)


def _listed(folder: str, listed: Iterable[str]) -> tuple[Path, tuple[str, ...]]:
    wanted = PurePosixPath(folder)
    if not wanted.is_absolute() or ".." in wanted.parts:
        raise FieldInvalid("config/folder: an absolute path without ..", code="folder_invalid")
    for root in listed:
        if wanted.is_relative_to(root):
            return Path(root), wanted.relative_to(root).parts
    raise AccessDenied("this folder is not among those the operator has listed")


class Folder:
    """Files below `root` / `below`; the root is the operator's word and may be a link."""

    def __init__(self, root: Path, below: tuple[str, ...] = ()) -> None:
        self._root, self._below = root, below

    def check(self, capability: Capability | None = None) -> None:
        """The folder is there and may be read, or written."""
        mode = os.W_OK | os.X_OK if capability == "writes" else os.R_OK | os.X_OK
        with _reading("the folder"), self._folder(()) as folder:
            if not os.access(".", mode, dir_fd=folder):
                raise AccessDenied("the folder does not permit this")

    def query(self, query: Query) -> Page:
        """One folder's entries; with a text, everything below it."""
        base = key_parts(query.path) if query.path else ()
        with _reading(query.path or "the folder"), self._folder(base) as folder:
            found = _entries(folder, base, deep=query.text is not None)
            return paged(_bounded(found), query)

    def stat(self, file_id: str) -> Entry:
        """Size and times of a file."""
        parts = key_parts(file_id)
        with _reading(file_id), self._file(parts) as source:
            return _entry(parts, os.fstat(source.fileno()))

    def read_range(self, file_id: str, offset: int, length: int) -> bytes:
        """These bytes of a file."""
        with _reading(file_id), self._file(key_parts(file_id)) as source:
            source.seek(offset)
            return source.read(length)

    def url(self, file_id: str, ttl_s: int) -> TimedUrl | None:
        """None: a browser cannot reach this machine's folders."""
        return None

    def begin(self, artifact: Artifact) -> Intent:
        """Invent a name for the file while it is being written; nothing is made yet."""
        key_parts(artifact.key)
        kept = artifact.model_dump(include={"key", "job_id", "size", "sha256"})
        temp = f"{TEMP_PREFIX}{artifact.job_id}-{secrets.token_hex(6)}.part"
        return {"type": TYPE, "temp": temp, **kept}

    def put(
        self,
        intent: Intent,
        artifact: Artifact,
        *,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> Intent:
        """Bring the bytes under the temporary name, into the folder they are meant for."""
        *parents, _ = key_parts(intent["key"])
        if control:
            control()
        with _writing(intent["key"]), self._folder(tuple(parents), make=True) as folder:
            if artifact.movable and _moved_in(artifact.path, folder, intent):
                if on_bytes:
                    on_bytes(artifact.size)
                return intent
            fd = os.open(intent["temp"], _WRITE, 0o644, dir_fd=folder)
            with os.fdopen(fd, "wb") as out, Path(artifact.path).open("rb") as source:
                _copy(source, out, on_bytes, control)
                _sign(fd, intent["job_id"])
                out.flush()
                os.fsync(out.fileno())
        return intent

    def finish(self, intent: Intent, check_fence: CheckFence) -> Published:
        """Read the bytes back, then give them their name, if nobody else has it."""
        *parents, name = key_parts(intent["key"])
        with _writing(intent["key"]), self._folder(tuple(parents)) as folder:
            if not _came_whole(folder, intent):
                raise DestinationUnavailable(f"{name} did not read back as it was written")
            check_fence()
            try:
                _name(folder, intent["temp"], name)
            except FileExistsError:
                if not _ours(folder, name, intent):
                    raise _conflict(intent["key"]) from None
            # A leftover name after a power cut is the janitor's: nothing waits for the disk here.
            _unlink(folder, intent["temp"], lasting=False)
            return self._published(intent, folder)

    def abort(self, intent: Intent) -> None:
        """Remove the temporary file."""
        *parents, _ = key_parts(intent["key"])
        with _writing(intent["key"]), _if_there(), self._folder(tuple(parents)) as folder:
            _unlink(folder, intent["temp"])

    def find(self, intent: Intent) -> Published | None:
        """The file under its name, if it is signed by the intent's job or has its very bytes."""
        *parents, name = key_parts(intent["key"])
        with _reading(intent["key"]), _if_there(), self._folder(tuple(parents)) as folder:
            if _ours(folder, name, intent):
                return self._published(intent, folder)
        return None

    def delete(self, key: str) -> None:
        """Remove a file."""
        *parents, name = key_parts(key)
        with _writing(key), _if_there(), self._folder(tuple(parents)) as folder:
            _unlink(folder, name)

    def janitor(self, live: Iterable[Intent], older_than_ms: int) -> int:
        """Remove temporary files that no live intent names."""
        named = {intent.get("temp") for intent in live}
        with _writing("the folder"), self._folder(()) as folder:
            return _sweep(folder, named, older_than_ms, MAX_DEPTH)

    def _published(self, intent: Intent, folder: int) -> Published:
        found = _digest(folder, key_parts(intent["key"])[-1])
        if found is None:
            raise DestinationUnavailable(f"{intent['key']} was taken away again")
        root = self._root.absolute().joinpath(*self._below)
        return Published(
            destination=root.as_uri(),
            key=intent["key"],
            url=root.joinpath(*key_parts(intent["key"])).as_uri(),
            size=found[0],
            sha256=found[1],
        )

    @contextmanager
    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
        current = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in (*self._below, *parts):
                if make:
                    _make_folder(current, part)
                deeper = os.open(part, _FOLDER, dir_fd=current)
                os.close(current)
                current = deeper
            yield current
        finally:
            os.close(current)

    @contextmanager
    def _file(self, parts: tuple[str, ...]) -> Iterator[BinaryIO]:
        with self._folder(parts[:-1]) as folder, _opened(folder, parts[-1]) as source:
            yield source


@contextmanager
def _opened(folder: int, name: str) -> Iterator[BufferedReader]:
    fd = os.open(name, _READ, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
    with os.fdopen(fd, "rb") as source:
        yield source


def _make_folder(parent: int, name: str) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
        os.fsync(parent)
    except FileExistsError:
        pass


def _copy(
    source: BinaryIO, out: BinaryIO, on_bytes: OnBytes | None, control: Control | None
) -> None:
    while chunk := source.read(CHUNK_BYTES):
        if control:
            control()
        out.write(chunk)
        if on_bytes:
            on_bytes(len(chunk))


def _moved_in(path: str, folder: int, intent: Intent) -> bool:
    """Take a file away to its new folder, safe on disk; False where only a copy can get there."""
    try:
        os.rename(path, intent["temp"], dst_dir_fd=folder)
    except OSError as error:
        if error.errno in _NOT_MOVABLE:
            return False
        raise
    with _opened(folder, intent["temp"]) as file:
        fd = file.fileno()
        if os.fstat(fd).st_uid != os.geteuid():
            os.fchown(fd, os.geteuid(), os.getegid())
        os.fchmod(fd, 0o644)
        _sign(fd, intent["job_id"])
        os.fsync(fd)
    return True


def _came_whole(folder: int, intent: Intent) -> bool:
    """Whether the temporary file reads back with the intent's bytes, also where it was moved."""
    return _digest(folder, intent["temp"]) == (intent["size"], intent["sha256"])


def _sign(fd: int, job_id: str) -> None:
    """Write the job's id beside the bytes, where the file system has room for it."""
    with suppress(OSError, AttributeError):
        os.setxattr(fd, JOB_ATTRIBUTE, job_id.encode())


def _signature(fd: int) -> str | None:
    with suppress(OSError, AttributeError):
        return os.getxattr(fd, JOB_ATTRIBUTE).decode("utf-8", "replace")
    return None


def _ours(folder: int, name: str, intent: Intent) -> bool:
    """Whether a file is the intent's job's; where it is not signed, its bytes must tell."""
    with _if_there(), _opened(folder, name) as source:
        job_id = _signature(source.fileno())
        if job_id is not None:
            return bool(job_id == intent["job_id"])
        return _digest(folder, name) == (intent["size"], intent["sha256"])
    return False


def _digest(folder: int, name: str) -> tuple[int, str] | None:
    """A file's size and SHA-256, read back; None where there is no such file."""
    with _if_there(), _opened(folder, name) as source:
        sha256 = hashlib.file_digest(source, "sha256").hexdigest()
        return os.fstat(source.fileno()).st_size, sha256
    return None


@contextmanager
def _if_there() -> Iterator[None]:
    """What is not there needs no undoing."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise


def _name(folder: int, temp: str, name: str) -> None:
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


def _unlink(folder: int, name: str, *, lasting: bool = True) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
        if lasting:
            os.fsync(folder)


def _sweep(folder: int, named: set[str | None], older_than_ms: int, depth: int) -> int:
    with os.scandir(folder) as listing:
        entries = list(listing)
    removed = 0
    for entry in entries:
        if entry.is_dir(follow_symlinks=False) and depth:
            with suppress(OSError), _below(folder, entry.name) as deeper:
                removed += _sweep(deeper, named, older_than_ms, depth - 1)
        elif entry.name.startswith(TEMP_PREFIX) and entry.name not in named:
            modified_ms = entry.stat(follow_symlinks=False).st_mtime_ns // 10**6
            if modified_ms < older_than_ms:
                _unlink(folder, entry.name)
                removed += 1
    return removed


@contextmanager
def _below(folder: int, name: str) -> Iterator[int]:
    deeper = os.open(name, _FOLDER, dir_fd=folder)
    try:
        yield deeper
    finally:
        os.close(deeper)


def _entries(folder: int, base: tuple[str, ...], *, deep: bool) -> Iterator[Entry]:
    with os.scandir(folder) as listing:
        found = [e for e in listing if _speakable(e.name)]
    for entry in found:
        parts = (*base, entry.name)
        if entry.is_dir(follow_symlinks=False):
            yield Entry(file_id="/".join(parts), name=entry.name, kind="folder")
            if deep and len(parts) < MAX_DEPTH:
                with suppress(OSError), _below(folder, entry.name) as deeper:
                    yield from _entries(deeper, parts, deep=True)
        elif entry.is_file(follow_symlinks=False):
            yield _entry(parts, entry.stat(follow_symlinks=False))


def _speakable(name: str) -> bool:
    try:
        return bool(key_parts(name))
    except FieldInvalid:
        return False


def _bounded(entries: Iterator[Entry]) -> Iterator[Entry]:
    for count, entry in enumerate(entries):
        if count == MAX_ENTRIES:
            raise FieldInvalid(
                f"more than {MAX_ENTRIES} entries: name a folder further down", code="too_many"
            )
        yield entry


def _entry(parts: tuple[str, ...], found: os.stat_result) -> Entry:
    return Entry(
        file_id="/".join(parts),
        name=parts[-1],
        size=found.st_size,
        modified_ms=found.st_mtime_ns // 10**6,
        content_type=mimetypes.guess_type(parts[-1])[0],
        etag=f'"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"',
    )


def _conflict(key: str) -> DestinationRejected:
    return DestinationRejected(
        f"{key} exists already and is not this job's", code="destination_conflict"
    )


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _read_error(error, name) from None


def _read_error(error: OSError, name: str) -> CuttingRoomError:
    if error.errno in _NOT_HERE:
        return SourceNotFound(f"{name} is not there, or not a plain file or folder")
    if error.errno in _REFUSED:
        return AccessDenied(f"{name} may not be read")
    return SourceUnavailable(f"{name} could not be read: {error.strerror}")


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _write_error(error, name) from None


def _write_error(error: OSError, name: str) -> CuttingRoomError:
    if error.errno in _FULL:
        return DiskFull(f"{name} does not fit: {error.strerror}")
    if error.errno in _REFUSED | {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}:
        return DestinationRejected(f"{name} may not be written: {error.strerror}")
    return DestinationUnavailable(f"{name} could not be written: {error.strerror}")
