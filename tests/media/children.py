"""What the tests run inside jailed children: honest work, attacks, and misbehaviour."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from schemas.errors import CorruptMedia, MissingSegments, TooLarge

Report = Callable[[Mapping[str, Any]], None]


def echo(argument: Any, report: Report) -> Any:
    report({"fraction": 0.5})
    return argument


def fail(argument: Any, report: Report) -> Any:
    kind, message, extras = argument
    errors = {"CorruptMedia": CorruptMedia, "TooLarge": TooLarge, "KeyError": KeyError}
    if kind == "MissingSegments":
        raise MissingSegments(message, gaps=tuple(tuple(gap) for gap in extras))
    raise errors[kind](message)


def write_line(argument: Any, report: Report) -> Any:
    os.write(3, argument.encode())
    return None


def hang(argument: Any, report: Report) -> Any:
    report({"fraction": 0.0})
    time.sleep(600)


def hang_deaf(argument: Any, report: Report) -> Any:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return hang(argument, report)


def tick_for_ever(argument: Any, report: Report) -> Any:
    step = 0
    while True:
        step += 1
        report({"step": step, "pid": os.getpid()})
        time.sleep(0.01)


def crash(argument: Any, report: Report) -> Any:
    os.abort()


def die_quietly(argument: Any, report: Report) -> Any:
    os._exit(0)


def fill_memory(argument: Any, report: Report) -> Any:
    return len(bytearray(argument))


def write_file(argument: Any, report: Report) -> Any:
    name, size = argument
    with Path(name).open("wb") as file:
        written = 0
        while written < size:
            written += file.write(bytes(min(65536, size - written)))
    return written


def read_file(argument: Any, report: Report) -> Any:
    return _tried(lambda: Path(argument).read_text())


def open_for_writing(argument: Any, report: Report) -> Any:
    return _tried(lambda: Path(argument).open("ab").close())


def list_folder(argument: Any, report: Report) -> Any:
    return _tried(lambda: sorted(os.listdir(argument)))  # noqa: PTH208


def environment(argument: Any, report: Report) -> Any:
    return dict(os.environ)


def who(argument: Any, report: Report) -> Any:
    return {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "session": os.getsid(0),
        "uid": os.getuid(),
        "core": resource.getrlimit(resource.RLIMIT_CORE)[0],
        "fds": sorted(int(fd) for fd in (0, 1, 2, *range(3, 200)) if _is_open(fd)),
    }


def capabilities(argument: Any, report: Report) -> Any:
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget(header, data)
    return sum(data)


def attack(argument: Any, report: Report) -> Any:
    owner = int(argument)
    libc = ctypes.CDLL(None, use_errno=True)

    def ptrace() -> None:
        if libc.ptrace(16, owner, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    def io_uring() -> None:
        if libc.syscall(425, 1, 0) < 0:
            raise OSError(ctypes.get_errno(), "io_uring_setup")

    return {
        "inet socket": _tried(lambda: str(socket.socket(socket.AF_INET))),
        "unix socket": _tried(lambda: str(socket.socket(socket.AF_UNIX))),
        "socket pair": _tried(lambda: str(socket.socketpair())),
        "fork": _tried(os.fork),
        "exec": _tried(lambda: os.execv("/bin/true", ["true"])),  # noqa: S606
        "signal": _tried(lambda: os.kill(owner, 0)),
        "new session": _tried(lambda: os.setsid()),
        "ptrace": _tried(ptrace),
        "io_uring": _tried(io_uring),
        "symbolic link": _tried(lambda: Path("link").symlink_to("/etc/passwd")),
        "hard link": _tried(lambda: Path("hard").hardlink_to("/etc/passwd")),
        "pipe": _tried(lambda: os.mkfifo("pipe")),
        "device": _tried(lambda: os.mknod("device", 0o600 | 0o20000, os.makedev(1, 3))),
        "another user": _tried(lambda: os.setuid(12345)),
        "raise limit": _tried(lambda: resource.prlimit(owner, resource.RLIMIT_CORE, (0, 0))),
    }


def use_threads(argument: Any, report: Report) -> Any:
    seen: list[int] = []
    threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(seen)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _tried(action: Callable[[], Any]) -> Any:
    try:
        return ["did", action()]
    except OSError as error:
        return ["refused", error.errno]
