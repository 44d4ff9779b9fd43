"""A receiver of webhooks on loopback: keeps what it is sent, and answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook as Verifier


@dataclass(frozen=True)
class Received:
    """One request: header names in lower case."""

    headers: dict[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        """What tells it from others, and a repetition from a new one."""
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        """The event it tells of."""
        told: dict[str, Any] = json.loads(self.body)
        return told

    def verified(self, secret: str) -> dict[str, Any]:
        """The event, once its signature was judged; raises where it is not good."""
        told: dict[str, Any] = Verifier(secret).verify(self.body, self.headers)
        return told


@dataclass(frozen=True)
class Reply:
    """What a receiver answers; a hanging one answers nothing until the test is over."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs: bool = False


class Receiver:
    """The receiver; `answer` is given how many requests came before."""

    def __init__(self, answer: Callable[[int], Reply]) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def ids(self) -> set[str]:
        """The ids of everything that came."""
        with self._lock:
            return {one.message_id for one in self.received}

    def events(self) -> list[str]:
        """The ids of the events that came, each once, in order."""
        with self._lock:
            return sorted({str(one.event["id"]) for one in self.received})

    def _take(self, headers: dict[str, str], body: bytes) -> Reply:
        with self._lock:
            before = len(self.received)
            self.received.append(Received(headers, body))
        return self.answer(before)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                reply = outer._take({k.lower(): v for k, v in self.headers.items()}, body)
                if reply.hangs:
                    outer.over.wait(60)
                    return
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Receiver:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def receiver(*replies: Reply) -> Iterator[Receiver]:
    """A receiver that answers these in turn, and the last for ever; 204 where there is none."""
    given = replies or (Reply(),)
    with Receiver(lambda before: given[min(before, len(given) - 1)]) as made:
        yield made
