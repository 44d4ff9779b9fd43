"""The gateway as a process: served by uvicorn, on a real Redis-compatible server."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from catalog.bootstrap import bootstrap
from catalog.engine import Catalog, catalog_url, migrate
from connectors.sealing import new_key
from schemas.settings import Settings
from tests.gateway_kit import CANONICAL, FILE_ID, HLS, clip_path
from tests.redis_server import free_port, redis_server

pytestmark = pytest.mark.redis


@dataclass
class Served:
    """A running gateway."""

    process: subprocess.Popen[bytes]
    port: int
    api_key: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection, answer = self.open(method, path, body, **headers)
        with closing(connection):
            return answer.status, answer.read()

    def open(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        sent = {"X-Api-Key": self.api_key, **{k.replace("_", "-"): v for k, v in headers.items()}}
        if body is not None:
            sent["Content-Type"] = "application/json"
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, sent)
        return connection, connection.getresponse()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "redis").mkdir()
    with redis_server(folder / "redis") as redis:
        process, port = start(folder, redis.url)
        try:
            yield Served(process, port, first_key(folder))
        finally:
            process.terminate()
            process.wait(10)


def first_key(folder: Path) -> str:
    catalog = Catalog(catalog_url(str(folder)), clock=lambda: time.time_ns() // 10**6)
    made = bootstrap(catalog, tenant="Acme", email="a@example.com", keep=lambda _: None)
    catalog.close()
    assert made is not None
    return made.api_key


def start(
    folder: Path, redis_url: str, log: IO[bytes] | None = None
) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    migrate(catalog_url(str(folder)))
    settings = Settings(data_dir=str(folder), redis_url=redis_url, port=port, secret_keys=new_key())
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CUTTINGROOM_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "api_gateway"], env={**kept, **settings.to_env()}, stderr=log
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), closing(c := http.client.HTTPConnection("127.0.0.1", port)):
            c.request("GET", "/readyz")
            if c.getresponse().status == 200:
                return process, port
        time.sleep(0.05)
    process.kill()
    pytest.fail("the gateway did not become ready")


def a_connector(served: Served, name: str) -> str:
    status, body = served.ask("POST", "/v1/connectors", {**HLS, "name": name})
    assert status == 201, body
    return str(json.loads(body)["id"])


def test_an_encoded_slash_survives_the_server(served: Served) -> None:
    connector = a_connector(served, "slashes")

    status, body = served.ask("POST", clip_path(connector), {})

    assert (status, json.loads(body)["fileId"]) == (202, CANONICAL)


def test_literal_dots_survive_the_server(served: Served) -> None:
    connector = a_connector(served, "dots")

    status, body = served.ask("POST", f"/v1/connectors/{connector}/files/../{FILE_ID}/clip", {})

    assert (status, json.loads(body)["code"]) == (422, "file_id_invalid")


def test_a_live_stream_tells_what_happens_while_it_is_read(served: Served) -> None:
    connector = a_connector(served, "live")
    job = json.loads(served.ask("POST", clip_path(connector), {})[1])["id"]
    reading, answer = served.open("GET", f"/v1/jobs/{job}/events", Accept="text/event-stream")

    with closing(reading):
        first = read_event(answer)
        served.ask("POST", f"/v1/jobs/{job}/cancel")
        second = read_event(answer)
        rest = answer.read().strip()

    assert (first["type"], second["type"], rest) == ("job.queued", "job.cancelled", b"")


def test_the_tenants_stream_replays_from_a_known_event(served: Served) -> None:
    connector = a_connector(served, "replay")
    served.ask("POST", clip_path(connector), {})
    known = json.loads(served.ask("GET", "/v1/events?limit=500")[1])["items"]

    reading, answer = served.open(
        "GET", "/v1/events", Accept="text/event-stream", Last_Event_ID=known[-2]["id"]
    )
    with closing(reading):
        replayed = read_event(answer)

    assert replayed == known[-1]


def test_a_reader_who_leaves_is_noticed(served: Served) -> None:
    reading, answer = served.open("GET", "/v1/events", Accept="text/event-stream")
    answer.readline()
    assert open_streams(served) >= 1

    reading.close()
    answer.close()

    deadline = time.monotonic() + 10
    while open_streams(served) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_streams(served) == 0


def test_sigterm_ends_it_although_somebody_reads(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    log = tmp_path / "log"
    with redis_server(tmp_path / "redis") as redis, log.open("wb") as written:
        process, port = start(tmp_path, redis.url, written)
        served = Served(process, port, first_key(tmp_path))
        reading, answer = served.open("GET", "/v1/events", Accept="text/event-stream")
        answer.readline()

        process.send_signal(signal.SIGTERM)
        rest = answer.read()  # raises where the answer is torn
        process.wait(10)
        reading.close()

    assert process.returncode in {0, -signal.SIGTERM}
    assert rest in {b"\n", b"\n: still here\n\n"}
    assert "error" not in {json.loads(line)["level"] for line in log.read_text().splitlines()}


def read_event(answer: http.client.HTTPResponse) -> dict[str, Any]:
    while True:
        line = answer.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            found: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            return found


def open_streams(served: Served) -> int:
    text = served.ask("GET", "/metrics")[1].decode()
    line = next(x for x in text.splitlines() if x.startswith("cuttingroom_http_event_streams "))
    return int(float(line.split()[1]))
