"""Keeps slots alive: starts a process for each, starts another where one died."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import structlog

from schemas.errors import CuttingRoomError

GRACE_S = 4.5
SOON_S = 1.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0
_PR_SET_PDEATHSIG = 1
log = structlog.get_logger(__name__)


@dataclass
class _Child:
    """One slot's process, and how often it died soon after its start."""

    name: str
    pid: int = 0
    started: float = 0.0
    due: float = 0.0
    hasty: int = field(default=0)


class Supervisor:
    """Forks a process a slot; `body` runs in it and `bury` here once it is dead.

    Forking from a process that has imported everything makes a new slot ready in milliseconds.
    It stays safe because this process has no threads.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        body: Callable[[str, int], None],
        bury: Callable[[str, int], None],
    ) -> None:
        self._children = [_Child(name) for name in names]
        self._body = body
        self._bury = bury
        self._stopping = False
        self._status = 0

    def run(self) -> int:
        """Until SIGTERM or SIGINT; then every slot is told, and killed after its grace.

        Answers the exit status: EX_CONFIG where a slot said that it can never start.
        """
        with _woken_by_signals(self._told) as wait:
            while not self._stopping:
                self._start_due()
                if not self._collect():
                    wait(self._until_due())
            self._end_all(wait)
        return self._status

    def _told(self) -> None:
        self._stopping = True

    def _start_due(self) -> None:
        for child in self._children:
            if not child.pid and time.monotonic() >= child.due and not self._stopping:
                child.started = time.monotonic()
                child.pid = self._fork(child.name)

    def _fork(self, name: str) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            _forget_signals()
            _die_with(parent)
            self._body(name, os.getpid())
            status = 0
        except CuttingRoomError as error:
            # What we know the meaning of before the first job is a setting or a missing tool.
            log.error("slot cannot start", slot=name, code=error.error_code, reason=error.message)
            status = os.EX_CONFIG
        except BaseException:  # noqa: BLE001  # nothing of this process may run on in its fork
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def _until_due(self) -> float:
        waits = [child.due - time.monotonic() for child in self._children if not child.pid]
        return max(0.0, min([0.5, *waits]))

    def _collect(self) -> bool:
        found = [(child, _exit_status(child.pid)) for child in self._children if child.pid]
        dead = [(child, status) for child, status in found if status is not None]
        for child, status in dead:
            if status == os.EX_CONFIG and not self._stopping:
                self._stopping, self._status = True, status
            self._buried(child)
        return bool(dead)

    def _buried(self, child: _Child) -> None:
        now, pid = time.monotonic(), child.pid
        child.hasty = child.hasty + 1 if now - child.started < SOON_S else 0
        pause = min(FIRST_PAUSE_S * 2**child.hasty, LONGEST_PAUSE_S) if child.hasty else 0.0
        child.pid, child.due = 0, now + pause
        if not self._stopping:
            log.warning("slot died", slot=child.name, pid=pid)
        self._bury(child.name, pid)

    def _end_all(self, wait: Callable[[float], None]) -> None:
        self._signal_all(signal.SIGTERM)
        self._await_deaths(wait, time.monotonic() + GRACE_S)
        self._signal_all(signal.SIGKILL)
        self._await_deaths(wait, float("inf"))

    def _await_deaths(self, wait: Callable[[float], None], deadline: float) -> None:
        while any(child.pid for child in self._children) and time.monotonic() < deadline:
            if not self._collect():
                wait(0.1)

    def _signal_all(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.pid:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, number)


@contextmanager
def _woken_by_signals(told: Callable[[], None]) -> Iterator[Callable[[float], None]]:
    """A wait that ends early when a child dies or somebody tells us to stop."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told())

    def wait(timeout_s: float) -> None:
        if select.select([reader], [], [], timeout_s)[0]:
            os.read(reader, 4096)

    yield wait
    _forget_signals()
    os.close(reader)
    os.close(writer)


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _exit_status(pid: int) -> int | None:
    """How a child ended, or None while it lives."""
    try:
        gone, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 1
    return os.waitstatus_to_exitcode(status) if gone == pid else None


def _die_with(parent: int) -> None:
    """Ask the kernel for SIGTERM when the supervisor is gone; where it cannot, leases lapse."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
