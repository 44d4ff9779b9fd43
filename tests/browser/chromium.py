"""A headless Chromium on the machine, driven over its debugging pipe: no further library."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
INSTALL = (
    "no Chromium on the machine: install one (Debian: `apt-get install chromium`)"
    " or name it in CHROMIUM"
)
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    "--autoplay-policy=no-user-gesture-required",
    "--proxy-server=direct://",
    "--remote-debugging-pipe",
)
_READ_BYTES = 1 << 20
# The browser reads commands from descriptor 3 and answers on 4.
_START = "import os, sys; i, o, *c = sys.argv[1:]; os.dup2(int(i), 3); os.dup2(int(o), 4); "
_START += "os.execvp(c[0], c)"


def found() -> str | None:
    """The Chromium of this machine."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for path in map(shutil.which, NAMES) if path), None)


def _pipe() -> tuple[int, int]:
    """A pipe's ends, out of the way of the numbers the browser wants."""
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return read, write


class BrowserError(Exception):
    """The browser refused a command, a script threw, or no answer came in time."""


class Chromium:
    """One browser with one page, running while its context is entered."""

    def __init__(self, program: str, profile: Path, *, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._asked = 0
        self._rest = b""
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        theirs_in, self._to = _pipe()
        self._from, theirs_out = _pipe()
        command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", _START, str(theirs_in), str(theirs_out), *command],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": str(profile)},
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)

    def __enter__(self) -> Self:
        try:
            self._open_page()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    @property
    def version(self) -> str:
        """What the browser calls itself."""
        return str(self._ask("Browser.getVersion", {}, None)["product"])

    def open(self, url: str) -> None:
        """Load a page and wait until it is complete."""
        self.events.clear()
        self.ask("Page.navigate", url=url)
        deadline = time.monotonic() + self._timeout_s
        while not any(e["method"] == "Page.loadEventFired" for e in self.events):
            self._receive(deadline)

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The page's answer to a command of the DevTools protocol."""
        return self._ask(method, params, self._session)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"]
            raise BrowserError(thrown.get("exception", {}).get("description", thrown["text"]))
        return answer["result"].get("value")

    def _open_page(self) -> None:
        targets = self._ask("Target.getTargets", {}, None)["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self._ask("Target.attachToTarget", {"targetId": page, "flatten": True}, None)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Media"):
            self.ask(f"{domain}.enable")

    def _ask(self, method: str, params: dict[str, Any], session: str | None) -> dict[str, Any]:
        self._asked += 1
        number = self._asked
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + self._timeout_s
        while True:
            answer = self._receive(deadline)
            if answer.get("id") != number:
                continue
            if "error" in answer:
                raise BrowserError(f"{method}: {answer['error'].get('message')}")
            return dict(answer["result"])

    def _receive(self, deadline: float) -> dict[str, Any]:
        """The next message; those that answer nothing are kept as events too."""
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise BrowserError(f"no answer within {self._timeout_s:g} s")
            data = os.read(self._from, _READ_BYTES)
            if not data:
                raise BrowserError("the browser went away")
            self._rest += data
        line, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "id" not in message:
            self.events.append(message)
        return message

    def _end(self) -> None:
        """Close the pipe, which ends the browser, and see that its whole group is gone."""
        os.close(self._to)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._from)
