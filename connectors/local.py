"""The `local` connector: a folder of this machine that the operator has listed.

Paths are walked name by name from the folder's own descriptor and never through a link, so no
name, however it is spelled and whoever swaps it meanwhile, leads out of the folder.
"""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from pydantic import Field

from connectors._local_files import (
    conflict,
    digest,
    give_name,
    if_there,
    is_ours,
    opened,
    reading,
    sign,
    unlink,
    writing,
)
from connectors._local_uploads import FolderUploads
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
    DestinationUnavailable,
    FieldInvalid,
)

TYPE = "local"
IDENTITY = ("folder",)
MAX_ENTRIES = 100_000
MAX_DEPTH = 32
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_MOVABLE = frozenset({errno.EXDEV, errno.EPERM, errno.EACCES, errno.EROFS})


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


class Folder(FolderUploads):
    """Files below `root` / `below`; the root is the operator's word and may be a link."""

    takes_files: Literal[True] = True

    def __init__(self, root: Path, below: tuple[str, ...] = ()) -> None:
        self._root, self._below = root, below

    def check(self, capability: Capability | None = None) -> None:
        """The folder is there and may be read, or written."""
        writes = capability in {"writes", "temp_credentials"}
        mode = os.W_OK | os.X_OK if writes else os.R_OK | os.X_OK
        with reading("the folder"), self._folder(()) as folder:
            if not os.access(".", mode, dir_fd=folder):
                raise AccessDenied("the folder does not permit this")

    def query(self, query: Query) -> Page:
        """One folder's entries; with a text, everything below it."""
        base = key_parts(query.path) if query.path else ()
        with reading(query.path or "the folder"), self._folder(base) as folder:
            found = _entries(folder, base, deep=query.text is not None)
            return paged(_bounded(found), query)

    def stat(self, file_id: str) -> Entry:
        """Size and times of a file."""
        parts = key_parts(file_id)
        with reading(file_id), self._file(parts) as source:
            return _entry(parts, os.fstat(source.fileno()))

    def read_range(self, file_id: str, offset: int, length: int) -> bytes:
        """These bytes of a file."""
        with reading(file_id), self._file(key_parts(file_id)) as source:
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
        with writing(intent["key"]), self._folder(tuple(parents), make=True) as folder:
            if artifact.movable and _moved_in(artifact.path, folder, intent):
                if on_bytes:
                    on_bytes(artifact.size)
                return intent
            fd = os.open(intent["temp"], _WRITE, 0o644, dir_fd=folder)
            with (
                _whole_or_gone(folder, intent["temp"]),
                os.fdopen(fd, "wb") as out,
                Path(artifact.path).open("rb") as source,
            ):
                sha256 = _copy(source, out, on_bytes, control)
                sign(fd, intent["job_id"])
                out.flush()
                os.fsync(out.fileno())
        return {**intent, "sha256": intent["sha256"] or sha256}

    def finish(self, intent: Intent, check_fence: CheckFence) -> Published:
        """Read the bytes back, then give them their name, if nobody else has it."""
        *parents, name = key_parts(intent["key"])
        with writing(intent["key"]), self._folder(tuple(parents)) as folder:
            known = _read_back(folder, intent)
            check_fence()
            try:
                give_name(folder, intent["temp"], name)
            except FileExistsError:
                if not is_ours(folder, name, known):
                    raise conflict(intent["key"]) from None
                # Bytes of an earlier attempt: told of as they are, not as ours were.
                found = self._published(intent, folder)
            else:
                found = self._told(intent, known["size"], known["sha256"])
            # A leftover name after a power cut is the janitor's: nothing waits for the disk here.
            unlink(folder, intent["temp"], lasting=False)
            return found

    def abort(self, intent: Intent) -> None:
        """Remove the temporary file."""
        *parents, _ = key_parts(intent["key"])
        with writing(intent["key"]), if_there(), self._folder(tuple(parents)) as folder:
            unlink(folder, intent["temp"])

    def find(self, intent: Intent) -> Published | None:
        """The file under its name, if it is signed by the intent's job or has its very bytes."""
        *parents, name = key_parts(intent["key"])
        with reading(intent["key"]), if_there(), self._folder(tuple(parents)) as folder:
            if is_ours(folder, name, intent):
                return self._published(intent, folder)
        return None

    def delete(self, key: str) -> None:
        """Remove a file."""
        *parents, name = key_parts(key)
        with writing(key), if_there(), self._folder(tuple(parents)) as folder:
            unlink(folder, name)

    def janitor(self, live: Iterable[Intent], older_than_ms: int) -> int:
        """Remove temporary files that no live intent names."""
        named = {intent.get("temp") for intent in live}
        with writing("the folder"), self._folder(()) as folder:
            return _sweep(folder, named, older_than_ms, MAX_DEPTH)

    def _published(self, intent: Intent, folder: int) -> Published:
        found = digest(folder, key_parts(intent["key"])[-1])
        if found is None:
            raise DestinationUnavailable(f"{intent['key']} was taken away again")
        return self._told(intent, *found)

    def _told(self, intent: Intent, size: int, sha256: str) -> Published:
        root = self._root.absolute().joinpath(*self._below)
        return Published(
            destination=root.as_uri(),
            key=intent["key"],
            url=root.joinpath(*key_parts(intent["key"])).as_uri(),
            size=size,
            sha256=sha256,
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
        with self._folder(parts[:-1]) as folder, opened(folder, parts[-1]) as source:
            yield source


def _make_folder(parent: int, name: str) -> None:
    try:
        os.mkdir(name, dir_fd=parent)
        os.fsync(parent)
    except FileExistsError:
        pass


def _copy(
    source: BinaryIO, out: BinaryIO, on_bytes: OnBytes | None, control: Control | None
) -> str:
    """Copy all bytes; answers their SHA-256."""
    digested = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        if control:
            control()
        out.write(chunk)
        digested.update(chunk)
        if on_bytes:
            on_bytes(len(chunk))
    return digested.hexdigest()


@contextmanager
def _whole_or_gone(folder: int, name: str) -> Iterator[None]:
    """A file that is written to its end, or is not left behind."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            unlink(folder, name, lasting=False)
        raise


def _moved_in(path: str, folder: int, intent: Intent) -> bool:
    """Take a file away to its new folder, safe on disk; False where only a copy can get there."""
    try:
        os.rename(path, intent["temp"], dst_dir_fd=folder)
    except OSError as error:
        if error.errno in _NOT_MOVABLE:
            return False
        raise
    with opened(folder, intent["temp"]) as file:
        fd = file.fileno()
        if os.fstat(fd).st_uid != os.geteuid():
            os.fchown(fd, os.geteuid(), os.getegid())
        os.fchmod(fd, 0o644)
        sign(fd, intent["job_id"])
        os.fsync(fd)
    return True


def _read_back(folder: int, intent: Intent) -> Intent:
    """The intent with the hash of what lies under its temporary name, which must be all there.

    A file that was moved here had no hash before: it is what it was, and read but once.
    """
    found = digest(folder, intent["temp"])
    wanted = intent["size"], intent["sha256"] or (found and found[1])
    if found is None or found != wanted:
        raise DestinationUnavailable(f"{intent['key']} did not read back as it was written")
    return {**intent, "sha256": found[1]}


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
                unlink(folder, entry.name)
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
