"""A headless Firefox on the machine, driven over Marionette: a second reader of the same clips."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.browser.chromium import BrowserError

NAMES = ("firefox", "firefox-esr")
INSTALL = (
    "no Firefox on the machine: install one (Debian: `apt-get install firefox-esr`)"
    " or name it in FIREFOX"
)
_PREFERENCES: dict[str, bool | int | str] = {
    "marionette.port": 0,
    "media.autoplay.default": 0,
    "app.update.enabled": False,
    "browser.region.update.enabled": False,
    "browser.safebrowsing.downloads.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.safebrowsing.provider.mozilla.updateURL": "",
    "browser.search.update": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "media.gmp-manager.url": "data:,",
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.proxy.type": 0,
    "services.settings.server": "data:,",
    "toolkit.telemetry.enabled": False,
}
_PORT_FILE = "MarionetteActivePort"
# The script's promise is answered as its value or as what it threw.
_AWAITED = (
    "const done = arguments[arguments.length - 1];"
    "Promise.resolve().then(() => window.eval(arguments[0]))"
    ".then((value) => done({ value }), (error) => done({ error: String(error) }))"
)


def found() -> str | None:
    """The Firefox of this machine."""
    named = os.environ.get("FIREFOX")
    return named or next((path for path in map(shutil.which, NAMES) if path), None)


class Firefox:
    """One browser with one page, running while its context is entered."""

    def __init__(self, program: str, profile: Path, *, timeout_s: float = 60.0) -> None:
        self._timeout_s = timeout_s
        self._profile = profile
        self._asked = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []
        self.version = ""
        lines = (
            f"user_pref({json.dumps(name)}, {json.dumps(value)});"
            for name, value in _PREFERENCES.items()
        )
        (profile / "user.js").write_text("\n".join(lines))
        self._process = subprocess.Popen(
            [program, "--headless", "--no-remote", "--marionette", "--profile", str(profile)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"HOME": str(profile)},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        try:
            self._socket = socket.create_connection(("127.0.0.1", self._port()), self._timeout_s)
            self._receive()
            session = self._ask("WebDriver:NewSession", {})["capabilities"]
        except BaseException:
            self._end()
            raise
        self.version = f"Firefox/{session['browserVersion']}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._end()

    def open(self, url: str) -> None:
        """Load a page and wait until it is complete."""
        self._ask("WebDriver:Navigate", {"url": url})

    def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited where it is a promise."""
        answer = self._ask(
            "WebDriver:ExecuteAsyncScript",
            {
                "script": _AWAITED,
                "args": [script],
                "scriptTimeout": round(self._timeout_s * 1000),
                "sandbox": None,
            },
        )["value"]
        if "error" in answer:
            raise BrowserError(answer["error"])
        return answer.get("value")

    def _port(self) -> int:
        """The port the browser chose, once it says so."""
        deadline = time.monotonic() + self._timeout_s
        said = self._profile / _PORT_FILE
        while time.monotonic() < deadline and self._process.poll() is None:
            text = said.read_text() if said.exists() else ""
            if text.isdigit():
                return int(text)
            time.sleep(0.05)
        raise BrowserError("the browser did not open its port")

    def _ask(self, command: str, params: dict[str, Any]) -> dict[str, Any]:
        self._asked += 1
        message = json.dumps([0, self._asked, command, params]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _, number, error, result = self._receive()
        assert number == self._asked
        if error is not None:
            raise BrowserError(f"{command}: {error.get('message')}")
        return dict(result)

    def _receive(self) -> Any:
        """The next message: its length, a colon and JSON."""
        while b":" not in self._rest:
            self._read()
        size, self._rest = self._rest.split(b":", 1)
        while len(self._rest) < int(size):
            self._read()
        message, self._rest = self._rest[: int(size)], self._rest[int(size) :]
        return json.loads(message)

    def _read(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise BrowserError("the browser went away")
        self._rest += data

    def _end(self) -> None:
        """End the browser and all of its processes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
