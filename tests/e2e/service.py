"""The whole service in a folder, and a client of its API."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from cli.stack import Credentials, Stack
from schemas.settings import Settings
from tests.chaos.processes import until

FINAL = {"succeeded", "failed", "cancelled"}
# Where services that run now answer: what is asked elsewhere is of no service.
PORTS: set[int] = set()


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Client:
    """Somebody with an API key."""

    port: int
    api_key: str

    def open(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Ask; the answer is still to be read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"X-Api-Key": self.api_key, **{k.replace("_", "-"): v for k, v in headers.items()}}
        if body is not None:
            sent["Content-Type"] = "application/json"
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        return connection, connection.getresponse()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask, and read the answer."""
        connection, answer = self.open(method, path, body, **headers)
        with closing(connection):
            text = answer.read().decode()
        found = {name.lower(): value for name, value in answer.getheaders()}
        read = json.loads(text) if "json" in found.get("content-type", "") else text
        return Answer(answer.status, read, found)

    def get(self, path: str, **headers: str) -> Any:
        """The body of a GET that succeeds."""
        answer = self.ask("GET", path, **headers)
        assert answer.status == 200, answer
        return answer.body

    def connector(self, url: str, name: str, **auth: Any) -> str:
        """The id of a new HLS connector."""
        body = {"type": "hls", "name": name, "config": {"url": url}, "auth": auth}
        answer = self.ask("POST", "/v1/connectors", body)
        assert answer.status == 201, answer
        return str(answer.body["id"])

    def clip(self, connector: str, file_id: str, body: Any = None, **headers: str) -> Answer:
        """POST a clip, its fileId as one path segment."""
        return self.ask("POST", clip_path(connector, file_id), body or {}, **headers)

    def clipped(self, connector: str, file_id: str, body: Any = None) -> str:
        """The job of a clip that is accepted."""
        answer = self.clip(connector, file_id, body)
        assert answer.status == 202, answer
        return str(answer.body["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it is now."""
        found: dict[str, Any] = self.get(f"/v1/jobs/{job_id}")
        return found

    def ended(self, job_id: str, timeout_s: float = 60) -> dict[str, Any]:
        """A job once it has ended."""
        until(lambda: self.job(job_id)["state"] in FINAL, f"the end of {job_id}", timeout_s)
        return self.job(job_id)

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Everything that happened to a job."""
        found: list[dict[str, Any]] = self.get(
            f"/v1/jobs/{job_id}/events?limit=500", Accept="application/json"
        )["items"]
        return found

    def stream(self, path: str, **headers: str) -> Iterator[dict[str, Any]]:
        """The events of a stream, until it ends."""
        connection, answer = self.open("GET", path, Accept="text/event-stream", **headers)
        with closing(connection):
            for line in answer:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))


def clip_path(connector: str, file_id: str) -> str:
    """The address of a clip."""
    return f"/v1/connectors/{connector}/files/{quote(file_id, safe='')}/clip"


def file_id(start_ms: int, end_ms: int, clip_id: str, *, unit: str = "ms") -> str:
    """A fileId of the contract, spelled in milliseconds or in seconds."""
    day = datetime.fromtimestamp(start_ms / 1000, UTC).strftime("%Y/%m/%d")
    each = 1000 if unit == "s" else 1
    start, end = (f"{at / each:.3f}s" if unit == "s" else f"{at}" for at in (start_ms, end_ms))
    return f"ch1/{day}/range-{start}-{end}-clip-{clip_id}"


def settings(folder: Path, **changes: Any) -> Settings:
    """Settings of a service in a folder, on ports nobody uses."""
    values = {"data_dir": str(folder), "port": free_ports(), "allow_cidrs": ("127.0.0.0/8",)}
    return Settings(**{**values, "fetch_connections": 4, **changes})


def free_ports() -> int:
    """A port after which two more are free: those of the keeper's and the workers' numbers.

    Below those that the system gives to outgoing connections, which come and go meanwhile.
    """
    while True:
        port = random.randrange(10_000, 32_000, 3)
        with suppress(OSError), ExitStack() as held:
            for each in range(port, port + 3):
                held.enter_context(closing(socket.socket())).bind(("127.0.0.1", each))
            return port


@dataclass
class Service:
    """A running service and its first client."""

    stack: Stack
    client: Client

    @property
    def media(self) -> Path:
        """Where its clips lie."""
        return self.stack.data / "media"

    def file_of(self, job: dict[str, Any]) -> Path:
        """The file of a finished clip."""
        return self.media / str(job["result"]["file"]["key"])

    def numbers(self, offset: int) -> str:
        """What the gateway (0), the keeper (1) or the workers (2) tell Prometheus."""
        client = Client(self.stack.settings.port + offset, self.client.api_key)
        return str(client.ask("GET", "/metrics").body)


@contextmanager
def service(folder: Path, **changes: Any) -> Iterator[Service]:
    """The whole service, ready; ended afterwards."""
    # Jailed children run under another uid: they must reach the workspaces below.
    for above in (folder, *folder.parents):
        with suppress(PermissionError):
            above.chmod(above.stat().st_mode | 0o011)
    with Stack(settings(folder, **changes), print) as stack:
        made, port = stack.credentials(), stack.settings.port
        PORTS.add(port)
        try:
            yield Service(stack, client_of(made, port))
        finally:
            PORTS.discard(port)


def client_of(made: Credentials, port: int) -> Client:
    """A client with the first start's key."""
    return Client(port, made.api_key)


# ---- processes ------------------------------------------------------------------------------


def below(pid: int) -> list[int]:
    """Every process below one, at any depth."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *below(int(child))]
    return found


def command_line(pid: int) -> str:
    """What a process was started as; nothing where it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def children(pid: int) -> list[int]:
    """The processes one started itself."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def is_fork_server(pid: int) -> bool:
    """Whether a process forks jailed children."""
    return "media.forkserver import main" in command_line(pid)


def freeze_next_child(above: int, timeout_s: float = 30, *, but: int = 0) -> int:
    """Stop the next jailed child in the middle of its work; its process id.

    It may live but a moment: after one child, those of the same fork server alone are looked at.
    """
    server = parent(but) if but and alive(but) else 0
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        servers = [server] if server else [pid for pid in below(above) if is_fork_server(pid)]
        for _ in range(100):
            for pid in (child for one in servers for child in children(one) if child != but):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                    return pid
            time.sleep(0.001)
    raise AssertionError(f"not within {timeout_s} s: a jailed child")


def parent(pid: int) -> int:
    """The process that started one."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
