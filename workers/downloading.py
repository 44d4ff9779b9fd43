"""Brings one long file here: several connections, one preallocated file, resumed, hashed on the
way."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from connectors.base import Control, OnBytes, Reader
from pipelines import localize
from pipelines.localize import JOURNAL_BYTES, MAX_CONNECTIONS, Ramp
from schemas.errors import (
    CuttingRoomError,
    DiskFull,
    RateLimited,
    RetryableError,
    SourceChanged,
    SourceUnavailable,
    StoreUnavailable,
    TooLarge,
    WorkerInterrupted,
)
from schemas.localized import FetchedFile, Resume, SourceFile
from schemas.media import ByteRange

# A shared rate is asked for in parts this long: ten questions a second, whoever asks.
GRANT_S = 0.1
ALONE_S = 5.0
BUFFER_BYTES = 256 * 1024
HASH_BYTES = 1024 * 1024
WINDOW_S = 0.1
TRIES = 6
PATIENCE_S = 0.6
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0
ROOM_BYTES = 64 * 1024 * 1024
PART, RESUME = ".part", ".resume"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


Grant = Callable[[int], float]
"""Asks for so many bytes of a rate that others take from too; the seconds to wait for them."""


@dataclass
class Options:
    """How to go about it."""

    max_connections: int = MAX_CONNECTIONS
    max_bytes: int = 1 << 50
    max_bytes_per_s: int | None = None
    grant: Grant | None = None
    first_pause_s: float = FIRST_PAUSE_S
    replaces: bool = False  # what has the target's name is no attempt of ours, and stays until then
    on_bytes: OnBytes = lambda _count: None
    report: Callable[[float], None] = lambda _fraction: None
    control: Control = lambda: None


class _StartOver(Exception):  # a turn of events, not an error
    """The source sends whole files only."""


class _Over(Exception):  # the same
    """Somebody else has ended the download."""


@dataclass(eq=False)
class _Part:
    """What one connection is at: the next byte, and the first that is not its own."""

    at: int
    end: int
    noted: int = 0


@dataclass
class _State:
    """What every thread of one download shares, under `lock`."""

    size: int | None
    pending: list[tuple[int, int]]
    active: list[_Part] = field(default_factory=list)
    arrived: int = 0
    failures: int = 0
    flowing: int = 0
    threads: int = 0
    most_threads: int = 0
    ramp: Ramp = field(default_factory=Ramp)
    fatal: Exception | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)

    def floor(self) -> int:
        """The first byte that is not here."""
        starts = [start for start, _ in self.pending] + [part.at for part in self.active]
        return min(starts, default=self.size or 0)

    def left(self) -> int:
        """How many bytes nobody has begun with."""
        return sum(end - start for start, end in self.pending)

    def take(self) -> _Part | None:
        """The next part for one more connection."""
        with self.lock:
            if not self.pending or self.threads > self.ramp.connections:
                return None
            start, end = self.pending.pop(0)
            size = localize.part_bytes(self.left() + end - start, self.ramp.connections)
            if end - start > size + localize.MIN_PART_BYTES // 2:
                self.pending.insert(0, (start + size, end))
                end = start + size
            part = _Part(start, end, noted=start)
            self.active.append(part)
            return part

    def give_back(self, part: _Part) -> None:
        """A part has ended; what it has not read is for somebody else."""
        with self.lock:
            self.active.remove(part)
            if part.at < part.end:
                self.pending.insert(0, (part.at, part.end))


class Throttle:
    """So many bytes a second, shared by everybody who takes from it.

    With a `grant` the rate is one of all processes: a part of it is asked for at a time. Where
    nobody grants anything, this process keeps the rate alone.
    """

    def __init__(self, bytes_per_s: int | None, grant: Grant | None = None) -> None:
        self._rate = bytes_per_s
        self._grant = grant
        self._credit = 0
        self._alone_until = 0.0
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    @property
    def read_bytes(self) -> int:
        """How much to read at once, so that no single read is a long wait."""
        return BUFFER_BYTES if self._rate is None else max(4096, min(BUFFER_BYTES, self._rate // 8))

    def wait_s(self, count: int) -> float:
        """How long to wait before the next bytes, these having come."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = time.monotonic()
            if self._grant is not None and now >= self._alone_until:
                return self._granted(self._grant, self._rate, count, now)
            self._free_at = max(self._free_at, now) + count / self._rate
            return self._free_at - now

    def _granted(self, grant: Grant, rate: int, count: int, now: float) -> float:
        """Spend what was granted already; ask for more where that is not enough."""
        self._credit -= count
        if self._credit < 0:
            part = max(-self._credit, int(rate * GRANT_S), 1)
            try:
                self._free_at = now + grant(part)
                self._credit += part
            except StoreUnavailable:
                self._alone_until, self._credit = now + ALONE_S, 0
                self._free_at = max(self._free_at, now) + count / rate
        return max(0.0, self._free_at - now)


class Download:
    """One file on its way to `target`; beside it lie the bytes so far and the resume file."""

    def __init__(
        self,
        connect: Callable[[Control], Reader],
        source: SourceFile,
        target: Path,
        options: Options,
    ) -> None:
        self.connect, self.source, self.options = connect, source, options
        self.throttle = Throttle(options.max_bytes_per_s, options.grant)
        self._target = target
        self._part = target.with_name(target.name + PART)
        self._resume = target.with_name(target.name + RESUME)
        self._restarted = False

    def run(self) -> FetchedFile:
        """Bring the file here; what came so far stays for another call where this raises.

        The resume file stays until `forget`, so that even a whole file is recognised again.
        """
        boot = boot_id()
        ours = self._target.exists() and not self.options.replaces
        if ours and not self._part.exists():
            # An attempt that died after its download: the resume file vouches for the bytes.
            self._target.replace(self._part)
        held = self._held()
        done = localize.still_good(held, self.source.validators, boot)
        if not done:
            self.forget()
        size = self.source.validators.size
        _check_room(self._part.parent, (size or 0) - sum(r.length for r in done))
        with _opened(self._part) as fd, _opened(self._resume, append=True) as journal:
            if not done:
                head = localize.resume_head(self.source.validators, boot)
                _write(journal, head.encode())
            fetched = self._fetch(fd, journal, done)
            _write(journal, localize.resume_line(0, fetched.size).encode())
        self._part.replace(self._target)
        return fetched

    def forget(self) -> None:
        """Remove what an earlier attempt left."""
        self._part.unlink(missing_ok=True)
        self._resume.unlink(missing_ok=True)

    def _held(self) -> Resume | None:
        try:
            if not self._part.exists():
                return None
            return localize.resume_of(self._resume.read_text(encoding="ascii", errors="replace"))
        except FileNotFoundError:
            return None

    def _fetch(self, fd: int, journal: int, done: tuple[ByteRange, ...]) -> FetchedFile:
        size = self.source.validators.size
        resumed = sum(r.length for r in done)
        if size is not None:
            _allocate(fd, size)
            gaps = [(r.offset, r.offset + r.length) for r in localize.missing(done, size)]
            state = _State(size, gaps, arrived=resumed)
            state.ramp = Ramp(most=self.options.max_connections)
            try:
                sha256 = _Ranges(self, state, fd, journal).run()
                return self._fetched(size, sha256, resumed, state.most_threads)
            except _StartOver:
                resumed, self._restarted = 0, True
        size, sha256 = _Whole(self, fd).run()
        return self._fetched(size, sha256, resumed, 1)

    def _fetched(self, size: int, sha256: str, resumed: int, connections: int) -> FetchedFile:
        return FetchedFile(
            name=self._target.name,
            size=size,
            sha256=sha256,
            resumed=resumed,
            connections=connections,
            restarted=self._restarted,
        )


class _Ranges:
    """Reads a file of known size over several connections."""

    def __init__(self, download: Download, state: _State, fd: int, journal: int) -> None:
        self._connect = download.connect
        self._expected = download.source.validators
        self._options = download.options
        self._throttle = download.throttle
        self._state, self._fd, self._journal = state, fd, journal
        self._readers: list[Reader] = []

    def run(self) -> str:
        """Read everything that is missing; the SHA-256 of the whole file."""
        state = self._state
        hashing = _Follower(self._fd, state)
        threads: list[threading.Thread] = [hashing.start()]
        try:
            self._supervise(threads)
            digest = hashing.finish()
        finally:
            state.over.set()
            self._end(threads)
        if state.fatal is not None:
            raise state.fatal
        return digest

    def _end(self, threads: list[threading.Thread]) -> None:
        """Wait for every thread; one that waits for a silent source loses its connection."""
        deadline = time.monotonic() + PATIENCE_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            for reader in list(self._readers):
                reader.close()
        for thread in threads:
            thread.join()

    def _supervise(self, threads: list[threading.Thread]) -> None:
        state, since, arrived = self._state, time.monotonic(), self._state.arrived
        while True:
            self._options.control()
            with state.lock:
                if state.fatal is not None or (not state.pending and not state.threads):
                    return
                wanted = min(state.ramp.connections - state.threads, len(state.pending) and 64)
            threads.extend(self._started() for _ in range(wanted))
            state.over.wait(WINDOW_S)
            now = time.monotonic()
            with state.lock:
                flowing = state.flowing >= min(state.ramp.connections, state.threads) > 0
                if flowing and not localize.settled(state.ramp):
                    rate = (state.arrived - arrived) / (now - since)
                    state.ramp = localize.ramped(state.ramp, rate)
                since, arrived = now, state.arrived
                done = state.arrived / max(1, state.size or 0)
            self._options.report(done)

    def _started(self) -> threading.Thread:
        with self._state.lock:
            self._state.threads += 1
            self._state.most_threads = max(self._state.most_threads, self._state.threads)
        thread = threading.Thread(target=self._work, name="localize", daemon=True)
        thread.start()
        return thread

    def _work(self) -> None:
        state, flowed, reader = self._state, False, None
        buffer = memoryview(bytearray(self._throttle.read_bytes))
        try:
            reader = self._connect(self._pulse)
            self._readers.append(reader)
            while (part := state.take()) is not None and not state.over.is_set():
                try:
                    flowed = self._try(reader, part, buffer, flowed)
                finally:
                    state.give_back(part)
        except _Over:
            pass
        except Exception as error:  # noqa: BLE001  # it is raised again by the supervisor
            self._fail(error)
        finally:
            with state.lock:
                state.threads -= 1
                state.flowing -= flowed
            if reader is not None:
                reader.close()

    def _pulse(self) -> None:
        if self._state.over.is_set():
            raise _Over

    def _try(self, reader: Reader, part: _Part, buffer: memoryview, flowed: bool) -> bool:
        try:
            return self._read(reader, part, buffer, flowed)
        except DiskFull:
            raise
        except RetryableError as error:
            self._forgive(error, flowed)
            return flowed

    def _read(self, reader: Reader, part: _Part, buffer: memoryview, flowed: bool) -> bool:
        state = self._state
        with reader.open(part.at, part.end - part.at) as body:
            if localize.differs(self._expected, body.validators):
                raise SourceChanged("the file at the source changed while it was read")
            if not body.partial:
                raise _StartOver
            while part.at < part.end:
                count = body.readinto(buffer[: part.end - part.at])
                if count == 0:
                    raise SourceUnavailable(f"the file ended early, at byte {part.at}")
                _write_at(self._fd, buffer[:count], part.at)
                self._arrived(part, count, flowed)
                flowed = True
                if state.over.is_set():
                    raise _Over
        return flowed

    def _arrived(self, part: _Part, count: int, flowed: bool) -> None:
        state = self._state
        with state.lock:
            part.at += count
            state.arrived += count
            state.failures = 0
            state.flowing += not flowed
        if part.at - part.noted >= JOURNAL_BYTES or part.at >= part.end:
            _write(self._journal, localize.resume_line(part.noted, part.at - part.noted).encode())
            part.noted = part.at
        self._options.on_bytes(count)
        wait_s = self._throttle.wait_s(count)
        if wait_s > 0:
            state.over.wait(wait_s)

    def _forgive(self, error: RetryableError, flowed: bool) -> None:
        """Wait and go on after a fault that may pass; raise where it does not pass."""
        state = self._state
        with state.lock:
            others = state.threads - 1
            if others and (isinstance(error, RateLimited) or not flowed):
                # The source has refused one connection more: the others go on without it.
                state.ramp = localize.narrowed(state.ramp, others)
                raise _Over
            state.failures += 1
            failures = state.failures
        if failures >= TRIES:
            raise error
        state.over.wait(_pause_s(error, failures, self._options.first_pause_s))

    def _fail(self, error: Exception) -> None:
        with self._state.lock:
            self._state.fatal = self._state.fatal or error
        self._state.over.set()


class _Follower:
    """Hashes the file from its start, as far as it is here."""

    def __init__(self, fd: int, state: _State) -> None:
        self._fd, self._state = fd, state
        self._digest, self._at = hashlib.sha256(), 0
        self._thread = threading.Thread(target=self._follow, name="sha256", daemon=True)

    def start(self) -> threading.Thread:
        """Begin to follow."""
        self._thread.start()
        return self._thread

    def finish(self) -> str:
        """The digest of the whole, once everything is here."""
        self._thread.join()
        return self._digest.hexdigest()

    def _follow(self) -> None:
        state, buffer = self._state, bytearray(HASH_BYTES)
        try:
            while self._at < (state.size or 0):
                with state.lock:
                    ready = state.floor() - self._at
                if ready >= min(HASH_BYTES, (state.size or 0) - self._at):
                    self._take(memoryview(buffer)[: min(ready, HASH_BYTES)])
                elif state.over.wait(0.02):
                    return
        except Exception as error:  # noqa: BLE001  # the download must not wait for ever
            with state.lock:
                state.fatal = state.fatal or error

    def _take(self, view: memoryview) -> None:
        count = os.preadv(self._fd, [view], self._at)
        if count == 0:
            raise DiskFull("what was written of the file is not there any more")
        self._digest.update(view[:count])
        self._at += count


class _Whole:
    """Reads a file from its first byte to its last, over one connection."""

    def __init__(self, download: Download, fd: int) -> None:
        self._download, self._fd = download, fd
        self._options = download.options
        self._expected = download.source.validators
        self._never = threading.Event()

    def run(self) -> tuple[int, str]:
        """The size and SHA-256 of what came."""
        for tried in range(1, TRIES):
            try:
                return self._once()
            except RetryableError as error:
                if tried == TRIES - 1 or isinstance(error, DiskFull | WorkerInterrupted):
                    raise
                self._never.wait(_pause_s(error, tried, self._options.first_pause_s))
        raise AssertionError("the last try returns or raises")

    def _once(self) -> tuple[int, str]:
        reader = self._download.connect(self._options.control)
        digest, at = hashlib.sha256(), 0
        buffer = memoryview(bytearray(self._download.throttle.read_bytes))
        with contextlib.closing(reader), reader.open(0, None) as body:
            if localize.differs(self._expected, body.validators):
                raise SourceChanged("the file at the source changed while it was read")
            while count := body.readinto(buffer):
                self._options.control()
                _write_at(self._fd, buffer[:count], at)
                digest.update(buffer[:count])
                at += count
                self._told(at, count)
            wanted = body.validators.size or self._expected.size
        if wanted is not None and at != wanted:
            raise SourceUnavailable(f"the file ended early: {at} bytes of {wanted} came")
        os.ftruncate(self._fd, at)
        return at, digest.hexdigest()

    def _told(self, at: int, count: int) -> None:
        if at > self._options.max_bytes:
            raise TooLarge(f"the file has more than {self._options.max_bytes} bytes")
        self._options.on_bytes(count)
        if self._expected.size:
            self._options.report(at / self._expected.size)
        until = time.monotonic() + self._download.throttle.wait_s(count)
        while (left_s := until - time.monotonic()) > 0:
            self._never.wait(min(left_s, WINDOW_S))
            self._options.control()


def boot_id() -> str:
    """What tells one run of this machine from the next."""
    with contextlib.suppress(OSError):
        return _BOOT.read_text(encoding="ascii").strip()
    return "unknown"


def _pause_s(error: CuttingRoomError, failures: int, first_s: float) -> float:
    asked = error.retry_after_s if isinstance(error, RateLimited) else None
    return min(asked or first_s * 2 ** (failures - 1), LONGEST_PAUSE_S)


@contextlib.contextmanager
def _opened(path: Path, *, append: bool = False) -> Iterator[int]:
    mode = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else 0)
    try:
        fd = os.open(path, mode, 0o644)
    except OSError as error:
        raise DiskFull(f"{path.name} could not be written: {error.strerror}") from error
    try:
        yield fd
    finally:
        os.close(fd)


def _allocate(fd: int, size: int) -> None:
    """Reserve the room at once: a disk that is too small is known before anything is fetched."""
    try:
        if size:
            os.posix_fallocate(fd, 0, size)
        os.ftruncate(fd, size)
    except OSError as error:
        raise DiskFull(f"{size} bytes do not fit: {error.strerror}") from error


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + ROOM_BYTES:
        raise DiskFull(f"{needed} bytes are to come and {free} are free")


def _write_at(fd: int, data: memoryview, at: int) -> None:
    try:
        while data:
            count = os.pwrite(fd, data, at)
            data, at = data[count:], at + count
    except OSError as error:
        raise DiskFull(f"the file could not be written: {error.strerror}") from error


def _write(fd: int, data: bytes) -> None:
    try:
        os.write(fd, data)
    except OSError as error:
        raise DiskFull(f"the resume file could not be written: {error.strerror}") from error
