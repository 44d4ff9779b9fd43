"""Child processes: the only module that starts any. Jailed ones are watched by their progress."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

from pydantic import JsonValue

from media import jail as jails
from media.forkserver import Request
from media.jail import Jail
from schemas import errors
from schemas.base import Value
from schemas.errors import (
    Cancelled,
    CorruptMedia,
    CuttingRoomError,
    LeaseLost,
    PermanentError,
    RetryableError,
    Stalled,
    TimedOut,
    TooLarge,
    UnsupportedMedia,
    WorkerInterrupted,
)

TICK_S = 0.05
# Cancel promises a gone process within 2 s, so TERM gets less than that before KILL.
GRACE_S = 1.5
STALL_S = 30.0
DEFAULT_PRELOAD = (
    "media.forkserver",
    "media.pace_child",
    "media.probe_child",
    "media.cut.tasks",
    "media.sprite_child",
)
_START_S = 30.0
_KILL_WAIT_S = 5.0
_CHUNK = 65536
_STDOUT_CAP = 4 * 1024 * 1024
_STDERR_TAIL = 16 * 1024
_LINE_CAP = 32 * 1024 * 1024
_ERROR_CHARS = 600
_NOTE_CHARS = 6000
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_NOT_MOVING = frozenset({"bitrate", "speed", "fps", "elapsed", "progress", "dup_frames"})

Progress = Mapping[str, JsonValue]
OnProgress = Callable[[Progress], None]
Control = Callable[[], None]


class Finished(Value):
    """How a program ended by itself, and what it took."""

    exit_code: int
    stdout: bytes = b""
    stderr: str = ""
    cpu_ms: int = 0
    peak_kib: int = 0


class ForkServer:
    """The owner's handle on a warm process that forks jailed children in a few milliseconds.

    Safe to use from several threads. Everything started here dies with this process, even when it
    is killed: the fork server ends when its socket closes, and each child dies with the server.
    """

    def __init__(
        self, *, preload: Sequence[str] = DEFAULT_PRELOAD, allow_unjailed: bool = False
    ) -> None:
        self._preload = tuple(preload)
        self._allow_unjailed = allow_unjailed
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._owner_pid = os.getpid()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server without waiting for its imports; refused where no jail can be had."""
        jails.require_jail(allow_unjailed=self._allow_unjailed)
        with self._lock:
            self._ensure_running()

    def close(self) -> None:
        """End the server and every child of it."""
        with self._lock:
            self._forget()

    def run(
        self,
        argv: Sequence[str],
        *,
        jail: Jail,
        limit_s: float,
        on_progress: OnProgress | None = None,
        control: Control | None = None,
        stall_s: float | None = STALL_S,
    ) -> Finished:
        """Run a program to its end; its `-progress pipe:3` lines move the stall timer.

        Raises whatever `control` or `on_progress` raises, Stalled, TimedOut, TooLarge, CorruptMedia
        (it crashed), UnsupportedMedia (it could not start); the whole group is gone by then.
        """
        request = Request(argv=tuple(argv), jail=jail, allow_unjailed=self._allow_unjailed)
        said = _KeyValues(on_progress)
        return self._finish(request, said, _Watch(control, stall_s, limit_s))

    def call(
        self,
        target: str,
        argument: Value | JsonValue,
        *,
        jail: Jail,
        limit_s: float,
        on_progress: OnProgress | None = None,
        control: Control | None = None,
        stall_s: float | None = STALL_S,
    ) -> JsonValue:
        """What `module:function` returns for this argument in a fresh jailed child.

        The function takes `(argument, report)` and answers JSON or a value; its typed errors are
        raised here again.
        """
        plain = argument.model_dump(mode="json") if isinstance(argument, Value) else argument
        request = Request(
            target=target, argument=plain, jail=jail, allow_unjailed=self._allow_unjailed
        )
        said = _Messages(on_progress)
        finished = self._finish(request, said, _Watch(control, stall_s, limit_s))
        if not said.answered:
            raise CorruptMedia(f"the child ended without an answer: {redacted(finished.stderr)}")
        return said.result

    def _finish(self, request: Request, said: _Spoken, watch: _Watch) -> Finished:
        with self._begin(request, said, watch) as child:
            return child.wait()

    def _begin(self, request: Request, said: _Spoken, watch: _Watch) -> _Child:
        child = _Child(said, watch)
        try:
            with self._lock:
                self._ensure_running()
                self._hand_over(request, child)
        except BaseException:
            child.close()
            raise
        finally:
            child.close_far_ends()
        return child

    def _hand_over(self, request: Request, child: _Child) -> None:
        with _request_file() as file:
            file.write(request.model_dump_json().encode())
            file.flush()
            fds = [file.fileno(), *child.far_ends]
            try:
                socket.send_fds(cast("socket.socket", self._socket), [b"R"], fds)
            except OSError as error:
                self._forget()
                raise Stalled("the fork server ended; the next run starts another") from error

    def _ensure_running(self) -> None:
        self._disown_after_fork()
        if self._process is not None and self._process.poll() is None:
            return
        self._forget()
        ours, theirs = socket.socketpair()
        try:
            self._process = _start_server(theirs, self._preload)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours

    def _disown_after_fork(self) -> None:
        if self._owner_pid == os.getpid():
            return
        # A fork of the owner must neither share the server nor keep its socket open: the server
        # lives until the last copy of that end is closed.
        if self._socket is not None:
            self._socket.close()
        self._process, self._socket, self._owner_pid = None, None, os.getpid()

    def _forget(self) -> None:
        self._disown_after_fork()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_WAIT_S)
            if self._process.returncode is None:
                self._process.kill()
                self._process.wait()
            self._process = None


_shared: dict[bool, ForkServer] = {}


def shared(*, allow_unjailed: bool = False) -> ForkServer:
    """This process's own fork server, started at first use and ended with the process."""
    if allow_unjailed not in _shared:
        _shared[allow_unjailed] = ForkServer(allow_unjailed=allow_unjailed)
        atexit.register(_shared[allow_unjailed].close)
    return _shared[allow_unjailed]


def _request_file() -> IO[bytes]:
    # In memory where that can be, so that a full disk cannot keep a child from being started.
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("request"), "w+b")
    return tempfile.TemporaryFile()


def _start_server(theirs: socket.socket, preload: tuple[str, ...]) -> subprocess.Popen[bytes]:
    # The server gets our import path as an argument because its environment is empty.
    code = (
        "import json,sys; sys.path[:]=json.loads(sys.argv[2]); "
        "from media.forkserver import main; main(int(sys.argv[1]), tuple(sys.argv[3:]))"
    )
    paths = json.dumps([str(Path(entry or ".").resolve()) for entry in sys.path])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, str(theirs.fileno()), paths, *preload],
        env={
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            # One thread before any fork, and no arena per thread after it.
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        },
        stdin=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,
        cwd="/",
    )


class _Watch:
    """The patience with one child: whom to ask, and how long it may stand still or take."""

    def __init__(self, control: Control | None, stall_s: float | None, limit_s: float) -> None:
        self._control = control
        self._stall_s = stall_s
        self._limit_s = limit_s
        self._began = self._moved = time.monotonic()

    def moved(self) -> None:
        """Something was achieved just now."""
        self._moved = time.monotonic()

    def started(self) -> None:
        """The child runs: its time counts from here."""
        self._began = self._moved = time.monotonic()

    def check(self) -> None:
        """Raise where somebody wants it ended, or it took too long."""
        if self._control is not None:
            self._control()
        now = time.monotonic()
        if now - self._began > self._limit_s:
            raise TimedOut(f"ended after {self._limit_s:g} s, longer than an honest run takes")
        if self._stall_s is not None and now - self._moved > self._stall_s:
            raise Stalled(f"no progress for {self._stall_s:g} s")


class _Spoken:
    """What a child says on its progress pipe, a line at a time."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._rest = bytearray()
        self._last: Progress = {}
        self.error: CuttingRoomError | None = None

    def take(self, data: bytes) -> bool:
        """Read more bytes; whether they show that something moved."""
        self._rest += data
        if len(self._rest) > _LINE_CAP:
            raise CorruptMedia(f"the child said a line of over {_LINE_CAP} bytes")
        if b"\n" not in data:
            return False
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        moved = False
        for line in lines:
            moved = self.line(bytes(line)) or moved
        return moved

    def line(self, line: bytes) -> bool:
        """Read one line; whether it shows that something moved."""
        raise NotImplementedError

    def progress(self, now: Progress) -> bool:
        """Pass progress on; whether it differs from what was said before."""
        moving = {key: value for key, value in now.items() if key not in _NOT_MOVING}
        moved, self._last = moving != self._last, moving
        if self._on_progress is not None:
            self._on_progress(now)
        return moved


class _KeyValues(_Spoken):
    """ffmpeg's `-progress` blocks: key=value lines, closed by `progress=`."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        super().__init__(on_progress)
        self._block: dict[str, JsonValue] = {}

    def line(self, line: bytes) -> bool:
        if line.startswith(b"{"):
            self.error = _failure(line)
            return True
        key, equals, value = line.decode("utf-8", "replace").strip().partition("=")
        if equals and len(self._block) < 100:
            self._block[key] = value.strip()
        if key != "progress":
            return False
        block, self._block = self._block, {}
        return self.progress(block)


class _Messages(_Spoken):
    """The JSON lines of a called function: progress, then one result or one error."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        super().__init__(on_progress)
        self.answered = False
        self.result: JsonValue = None

    def line(self, line: bytes) -> bool:
        message = _json_object(line)
        if isinstance(step := message.get("progress"), dict):
            return self.progress(step)
        if "error" in message:
            self.error = _failure(line)
        elif "result" in message and not self.answered:
            self.answered, self.result = True, message["result"]
        return True


class _Child:
    """One running child: its pipes, its control socket, and how it ended."""

    def __init__(self, said: _Spoken, watch: _Watch) -> None:
        self._said = said
        self._watch = watch
        self._selector = selectors.DefaultSelector()
        self._control, control_far = socket.socketpair()
        self._control_text = ""
        self._near: dict[int, Callable[[bytes], None]] = {}
        takers = (self._take_progress, self._take_stdout, self._take_stderr)
        self.far_ends = [*(self._pipe(taker) for taker in takers), control_far.detach()]
        self._control.setblocking(False)
        self._selector.register(self._control, selectors.EVENT_READ, self._read_control)
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._pid: int | None = None
        self._exit: tuple[int, int, int] | None = None
        self._gone = False
        self._ending = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not self._over:
                self._end()
        finally:
            self.close()

    @property
    def _over(self) -> bool:
        return self._exit is not None or self._gone

    def wait(self) -> Finished:
        """Watch it to its end; raises what it failed with."""
        starting = time.monotonic()
        while not self._over:
            self._turn(TICK_S)
            if self._pid is not None:
                self._watch.check()
            elif time.monotonic() - starting > _START_S:
                raise Stalled(f"the fork server did not answer for {_START_S:g} s")
            else:
                self._watch.started()
                self._watch.check()
        self._drain()
        return self._finished()

    def close_far_ends(self) -> None:
        """Close the ends that are the child's now."""
        for fd in self.far_ends:
            os.close(fd)
        self.far_ends = []

    def close(self) -> None:
        """Let go of everything; a child that still runs is killed by the fork server."""
        for fd in self._near:
            os.close(fd)
        self._near = {}
        self._control.close()
        self._selector.close()

    def _pipe(self, taker: Callable[[bytes], None]) -> int:
        read, write = os.pipe()
        os.set_blocking(read, False)
        self._near[read] = taker
        self._selector.register(read, selectors.EVENT_READ, lambda: self._read(read))
        return write

    def _turn(self, timeout_s: float) -> bool:
        ready = self._selector.select(timeout_s)
        for key, _ in ready:
            key.data()
        return bool(ready)

    def _read(self, fd: int) -> None:
        data = os.read(fd, _CHUNK)
        if data:
            if not self._ending:
                self._near[fd](data)
            return
        self._selector.unregister(fd)
        del self._near[fd]
        os.close(fd)

    def _drain(self) -> None:
        # What a dead child said is in the pipes already: no waiting, so no end of file needed.
        while self._near and self._turn(0):
            pass

    def _read_control(self) -> None:
        try:
            data = self._control.recv(4096)
        except ConnectionError:
            data = b""
        if not data:
            self._selector.unregister(self._control)
            self._gone = True
        self._control_text += data.decode()
        *lines, self._control_text = self._control_text.split("\n")
        for line in lines:
            self._heard(line.split())

    def _heard(self, words: list[str]) -> None:
        match words:
            case ["pid", pid]:
                self._pid = int(pid)
                self._watch.started()
            case ["exit", status, cpu_ms, peak_kib]:
                self._exit = (int(status), int(cpu_ms), int(peak_kib))

    def _take_progress(self, data: bytes) -> None:
        if self._said.take(data):
            self._watch.moved()

    def _take_stdout(self, data: bytes) -> None:
        self._stdout += data
        if len(self._stdout) > _STDOUT_CAP:
            raise TooLarge(f"the program printed more than {_STDOUT_CAP} bytes")

    def _take_stderr(self, data: bytes) -> None:
        self._stderr = (self._stderr + data)[-_STDERR_TAIL:]

    def _end(self) -> None:
        self._ending = True
        for order, patience_s in ((b"TERM\n", GRACE_S), (b"KILL\n", _KILL_WAIT_S)):
            with contextlib.suppress(OSError):
                self._control.send(order)
            deadline = time.monotonic() + patience_s
            while not self._over and time.monotonic() < deadline:
                self._turn(TICK_S)

    def _finished(self) -> Finished:
        if self._said.error is not None:
            raise _with_traceback(self._said.error, bytes(self._stderr))
        if self._exit is None:
            raise Stalled("the fork server was ended by the system in the middle of the work")
        status, cpu_ms, peak_kib = self._exit
        stderr = self._stderr.decode("utf-8", "replace")
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            raise _ended_by(-code, stderr)
        return Finished(
            exit_code=code,
            stdout=bytes(self._stdout),
            stderr=stderr,
            cpu_ms=cpu_ms,
            peak_kib=peak_kib,
        )


def _with_traceback(error: CuttingRoomError, stderr: bytes) -> CuttingRoomError:
    """An internal error with what the child printed as a note: the operator's log shows it."""
    if type(error) is CuttingRoomError:
        text = _URL.sub("<url>", stderr.decode("utf-8", "replace"))
        error.add_note("in the child:\n" + text[-_NOTE_CHARS:])
    return error


def _ended_by(number: int, stderr: str) -> CuttingRoomError:
    name = signal.Signals(number).name
    match number:
        case signal.SIGXCPU:
            return TimedOut("the child used up its processor time")
        case signal.SIGXFSZ:
            return TooLarge("the output is larger than a job may write")
        case signal.SIGKILL | signal.SIGTERM:
            return Stalled(f"the system ended the child ({name}); most likely memory ran out")
    return CorruptMedia(f"the media crashed the child ({name}): {redacted(stderr)}")


def _failure(line: bytes) -> CuttingRoomError:
    """The typed error a child spelled; anything it may not claim is an internal one."""
    spelled = _json_object(line).get("error")
    fields = spelled if isinstance(spelled, dict) else {}
    message = redacted(str(fields.get("message", "")))
    kind = _claimed(str(fields.get("class")))
    if kind is None:
        return CuttingRoomError(message or "the child failed without saying why")
    failure = kind.__new__(kind)
    code = str(fields.get("code") or kind.code)[:64]
    CuttingRoomError.__init__(failure, message, code=code)
    extras = fields.get("extras")
    for name in ("held", "gaps", "retry_after_s", "retry_at_ms"):
        if isinstance(extras, dict) and name in extras:
            setattr(failure, name, _frozen(extras[name]))
    return failure


def _claimed(name: str) -> type[CuttingRoomError] | None:
    kind = getattr(errors, name, None)
    if not isinstance(kind, type) or not issubclass(kind, RetryableError | PermanentError):
        return None
    # These three belong to the owner: a child must not end a job in its name.
    return None if issubclass(kind, Cancelled | WorkerInterrupted | LeaseLost) else kind


def _frozen(value: JsonValue) -> object:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _json_object(line: bytes) -> dict[str, JsonValue]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorruptMedia("the child said something that is not JSON") from error
    return message if isinstance(message, dict) else {}


def redacted(text: str) -> str:
    """The end of a program's output, fit for a message: no URLs, no control characters."""
    lines = [" ".join(line.split()) for line in _URL.sub("<url>", text).splitlines()]
    joined = " | ".join(line for line in lines if line)
    return "".join(c for c in joined if c.isprintable())[-_ERROR_CHARS:]


def capture(argv: Sequence[str], *, timeout_s: float = 10.0) -> str:
    """What a trusted tool of this machine prints about itself (`-version`, `-encoders`).

    Not for media: nothing here is jailed. Raises UnsupportedMedia where it does not run.
    """
    name = Path(argv[0]).name
    try:
        finished = subprocess.run(
            list(argv),
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnsupportedMedia(f"{name} does not run: {type(error).__name__}") from error
    if finished.returncode != 0:
        raise UnsupportedMedia(f"{name} ended with {finished.returncode} when asked about itself")
    return finished.stdout[:_STDOUT_CAP].decode("utf-8", "replace")


# Asks for a signal at our death, makes sure that we still live, and becomes the program.
_SERVICE_WRAPPER = (
    "import ctypes,os,sys;"
    "parent,number=int(sys.argv[1]),int(sys.argv[2]);"
    "sys.platform.startswith('linux') and ctypes.CDLL(None).prctl(1,number,0,0,0);"
    "os.getppid()==parent or os._exit(1);"
    # Python itself changes this one in a C locale; the program shall see what was given.
    "os.environ.pop('LC_CTYPE',None);"
    "os.environ.update({'LC_CTYPE':v[1:]} if (v:=sys.argv[3]) else {});"
    "os.execvpe(sys.argv[4],sys.argv[4:],os.environ)"
)


class Service:
    """A long-running program of our own (gateway, keeper, worker, Redis), in its own group."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id, which is also its group's."""
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code once it ends; None where it still runs after the timeout."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def interrupt(self) -> None:
        """Ask it to drain and end (TERM), without waiting."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End its whole group at once."""
        self._signal(signal.SIGKILL)

    def stop(self, grace_s: float = 5.0) -> int:
        """Ask, wait that long, then kill; its exit code."""
        self.interrupt()
        code = self.wait(grace_s)
        self.kill()
        return self._process.wait() if code is None else code

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def spawn_service(
    name: str,
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    output: IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
    on_our_death: signal.Signals = signal.SIGTERM,
) -> Service:
    """Start a program of our own with exactly this environment; its output is ours unless given.

    Call it from the main thread: the signal at our death is tied to the calling thread's.
    """
    wrapped = [sys.executable, "-I", "-S", "-c", _SERVICE_WRAPPER]
    locale = f"={env['LC_CTYPE']}" if "LC_CTYPE" in env else ""
    wrapped += [str(os.getpid()), str(int(on_our_death)), locale, *argv]
    try:
        process = subprocess.Popen(
            wrapped,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except OSError as error:
        raise UnsupportedMedia(f"{name} could not be started: {error.strerror}") from error
    return Service(name, process)


def stop_services(services: Sequence[Service], grace_s: float = 5.0) -> None:
    """Ask all of them to end at once, share the wait, and kill what is left."""
    for service in services:
        service.interrupt()
    deadline = time.monotonic() + grace_s
    for service in services:
        service.wait(max(deadline - time.monotonic(), 0))
        service.kill()
        service.wait(_KILL_WAIT_S)
