"""The warm, single-threaded process that forks jailed children on request and reaps them.

It is started by `media.process` with an empty environment and one socket. Each request comes as
five descriptors: the request itself (a sealed file), where progress, output and errors go, and a
control socket on which it answers `pid` and `exit` and obeys `TERM` and `KILL`. Whoever holds the
other end of a control socket owns the child: when that end closes, the child's group is killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn, cast

from pydantic import JsonValue

from media import jail
from media.jail import Jail
from schemas.base import Value
from schemas.errors import (
    CorruptMedia,
    CuttingRoomError,
    DiskFull,
    TooLarge,
    UnsupportedMedia,
)

PROGRESS_FD = 3
NOT_STARTED = 97
REQUEST_FDS = 5
_REPORT_EVERY_S = 0.05
_TRACEBACK_CHARS = 8000

Report = Callable[[Mapping[str, JsonValue]], None]
Entry = Callable[[JsonValue, Report], JsonValue | Value]


class Request(Value):
    """What one child is to do: become a program (`argv`) or call `module:function` (`target`)."""

    argv: tuple[str, ...] = ()
    target: str = ""
    argument: JsonValue = None
    jail: Jail
    allow_unjailed: bool = False


def main(listener_fd: int, preload: tuple[str, ...]) -> None:
    """Serve requests until the owner's end of the socket closes; every child dies with us."""
    for module in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Server(socket.socket(fileno=listener_fd)).serve()


class _Server:
    """The loop over requests, orders and deaths."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._pid = os.getpid()
        self._children: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_read, wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the owner is gone."""
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._reap)
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._listener, 1, REQUEST_FDS)
        if not data:
            self._leave()
        pid = os.fork()
        if pid == 0:
            _become_child(fds, self._pid)
        for fd in fds[:-1]:
            os.close(fd)
        self._watch(pid, socket.socket(fileno=fds[-1]))

    def _watch(self, pid: int, control: socket.socket) -> None:
        control.setblocking(False)
        self._children[pid] = control
        self._selector.register(control, selectors.EVENT_READ, lambda: self._obey(pid, control))
        _tell(control, f"pid {pid}\n")

    def _obey(self, pid: int, control: socket.socket) -> None:
        try:
            order = control.recv(64)
        except OSError:
            order = b""
        _kill_group(pid, signal.SIGTERM if order.endswith(b"TERM\n") else signal.SIGKILL)
        if not order:
            self._selector.unregister(control)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 65536)
        while (pid := _dead_child()) is not None:
            # Before the leader's pid is free for reuse, end what it may have left behind.
            _kill_group(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            self._bury(pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def _bury(self, pid: int, status: int, cpu_s: float, peak_kib: int) -> None:
        control = self._children.pop(pid)
        _tell(control, f"exit {status} {int(cpu_s * 1000)} {peak_kib}\n")
        with contextlib.suppress(KeyError):
            self._selector.unregister(control)
        control.close()

    def _leave(self) -> NoReturn:
        for pid in self._children:
            _kill_group(pid, signal.SIGKILL)
        os._exit(0)


def _tell(control: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):
        control.send(text.encode())


def _dead_child() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _kill_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _become_child(fds: list[int], parent_pid: int) -> NoReturn:
    code = NOT_STARTED
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        request = _read_request(fds[0])
        _arrange(fds)
        code = _carry_out(request, parent_pid)
    except BaseException:  # noqa: BLE001 - nothing may unwind into the server's loop
        os.write(2, traceback.format_exc()[-_TRACEBACK_CHARS:].encode())
    finally:
        os._exit(code)


def _read_request(fd: int) -> Request:
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        return Request.model_validate_json(file.read())


def _arrange(fds: list[int]) -> None:
    _, progress, output, errors, _ = (fcntl.fcntl(fd, fcntl.F_DUPFD, 16) for fd in fds)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (errors, 2), (progress, PROGRESS_FD)):
        os.dup2(source, target)
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - descriptors, not files
        if int(name) > PROGRESS_FD:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _carry_out(request: Request, parent_pid: int) -> int:
    program = Path(request.argv[0]) if request.argv else None
    try:
        jail.apply(
            request.jail,
            program=program,
            parent_pid=parent_pid,
            allow_unjailed=request.allow_unjailed,
        )
        if program is not None:
            _reset_signals()
            os.execve(program, request.argv, _environment(request.jail))  # noqa: S606
    except (CuttingRoomError, OSError) as error:
        _send({"error": _spelled(_not_started(error))})
        return NOT_STARTED
    _reset_signals(keep=(signal.SIGPIPE, signal.SIGXFSZ))
    return _call(request)


def _not_started(error: CuttingRoomError | OSError) -> CuttingRoomError:
    if isinstance(error, CuttingRoomError):
        return error
    return UnsupportedMedia(f"the child could not be started: {error.strerror}")


def _environment(of: Jail) -> dict[str, str]:
    home = str(of.workspace)
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home}


def _reset_signals(keep: tuple[int, ...] = ()) -> None:
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGTERM):
        if number not in keep:
            signal.signal(number, signal.SIG_DFL)


def _call(request: Request) -> int:
    os.environ.update(_environment(request.jail))
    try:
        outcome = _entry(request.target)(request.argument, _reporter())
        _send(
            {"result": outcome.model_dump(mode="json") if isinstance(outcome, Value) else outcome}
        )
    except Exception as error:  # noqa: BLE001 - every failure crosses the pipe as a typed one
        os.write(2, traceback.format_exc()[-_TRACEBACK_CHARS:].encode())
        _send({"error": _spelled(translated(error))})
    return 0


def _entry(target: str) -> Entry:
    module, _, name = target.partition(":")
    return cast("Entry", getattr(importlib.import_module(module), name))


def _reporter() -> Report:
    last = float("-inf")

    def report(progress: Mapping[str, JsonValue]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _REPORT_EVERY_S:
            last = now
            _send({"progress": dict(progress)})

    return report


def translated(error: Exception) -> CuttingRoomError:
    """Our error for whatever the work in a child raised."""
    number = getattr(error, "errno", None)
    match error:
        case CuttingRoomError():
            return error
        case MemoryError():
            return TooLarge("the media needs more memory than a job may use")
    match number:
        case errno.ENOSPC | errno.EDQUOT:
            return DiskFull("the workspace has no room left")
        case errno.EFBIG:
            return TooLarge("the output is larger than a job may write")
        case errno.ENOMEM:
            return TooLarge("the media needs more memory than a job may use")
    if type(error).__module__.startswith("av."):
        return CorruptMedia(f"the media could not be read: {type(error).__name__}")
    return CuttingRoomError(f"{type(error).__name__} in the child")


def _spelled(error: CuttingRoomError) -> dict[str, JsonValue]:
    extras = {k: v for k, v in vars(error).items() if k not in {"message", "error_code"}}
    return {
        "class": type(error).__name__,
        "message": error.message,
        "code": error.error_code,
        "extras": json.loads(json.dumps(extras, default=str)),
    }


def _send(message: dict[str, JsonValue]) -> None:
    data = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
    while data:
        data = data[os.write(PROGRESS_FD, data) :]
