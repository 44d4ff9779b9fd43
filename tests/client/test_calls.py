"""Calls: refusals told, patience kept, POSTs repeated safely, secrets kept quiet."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from client import ApiError, Client, TryLater, Unreachable, Unreadable
from client.calls import MAX_ANSWER_BYTES
from schemas.errors import FieldInvalid, InvalidCommand
from tests.client_kit import Pauses

JOB = {
    "id": "job_1",
    "kind": "clip",
    "state": "queued",
    "createdAt": "2026-01-01T00:00:00Z",
    "requestedBy": "key:1",
}
SECRET = "cr_live_abcdefgh_not-to-be-seen"


@dataclass(frozen=True)
class Said:
    """An answer; without a status the connection is closed instead."""

    status: int | None
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Heard:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Stub:
    """A server that says what it is told to, in order; the last answer stays."""

    url: str
    answers: list[Said]
    heard: list[Heard] = field(default_factory=list)

    def next(self) -> Said:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def stub(*answers: Said) -> Iterator[Stub]:
    """A server on loopback."""
    made = Stub("", list(answers))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = {name.lower(): value for name, value in self.headers.items()}
            made.heard.append(Heard(self.command, self.path, said, body))
            answer = made.next()
            self.close_connection = True
            if answer.status is None:
                return
            raw = (
                answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            )
            self.send_response(answer.status)
            headers = {"Content-Type": "application/json", "Connection": "close"}
            for name, value in (headers | answer.headers).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def problem(status: int, code: str, **more: Any) -> Said:
    headers = more.pop("headers", {})
    body = {
        "type": "about:blank",
        "title": "No",
        "status": status,
        "detail": "it cannot be",
        "instance": "/x",
        "code": code,
        "retryable": status in {429, 503},
        **more,
    }
    return Said(status, body, {"Content-Type": "application/problem+json", **headers})


def a_client(server: Stub, pauses: Pauses | None = None, **options: Any) -> Client:
    return Client(server.url, api_key=SECRET, pause=pauses or Pauses(), **options)


def test_a_refusal_says_what_was_wrong_and_where() -> None:
    found = [{"pointer": "/name", "message": "too short"}]
    answer = problem(422, "invalid", errors=found, held={"startMs": 1, "endMs": 2})
    with stub(answer) as server, a_client(server) as client, pytest.raises(ApiError) as refused:
        client.connectors.create("hls", "")

    error = refused.value
    assert (error.status, error.error_code, error.detail) == (422, "invalid", "it cannot be")
    assert error.pointers == (("/name", "too short"),)
    assert error.more == {"held": {"startMs": 1, "endMs": 2}}
    assert not error.retryable
    assert len(server.heard) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_asks_for_patience_gets_it(status: int) -> None:
    later = problem(status, "busy", headers={"Retry-After": "7"})
    pauses = Pauses()
    with stub(later, later, Said(200, JOB)) as server, a_client(server, pauses) as client:
        job = client.jobs.get("job_1")

    assert job.id == "job_1"
    assert pauses.waited == [7.0, 7.0]


def test_a_service_that_asks_for_too_much_patience_is_not_waited_for() -> None:
    later, pauses = problem(429, "busy", headers={"Retry-After": "3600"}), Pauses()
    with stub(later) as server, a_client(server, pauses) as client, pytest.raises(TryLater) as no:
        client.jobs.get("job_1")

    assert (no.value.retry_after_s, no.value.retryable) == (3600.0, True)
    assert (pauses.waited, len(server.heard)) == ([], 1)


def test_patience_ends() -> None:
    pauses = Pauses()
    with (
        stub(problem(503, "busy")) as server,
        a_client(server, pauses, retries=3) as client,
        pytest.raises(TryLater),
    ):
        client.jobs.get("job_1")

    assert (len(server.heard), len(pauses.waited)) == (4, 3)
    assert all(0 < seconds < 5 for seconds in pauses.waited)


def test_a_post_whose_answer_is_lost_is_repeated_under_its_key() -> None:
    lost = (Said(None), Said(502, b"<html>"), Said(202, JOB))
    with stub(*lost) as server, a_client(server) as client:
        client.clips.create("con_1", "c/2022/02/04/range-1643957046-1643957106-clip-1")

    keys = {heard.headers["idempotency-key"] for heard in server.heard}
    assert (len(server.heard), len(keys)) == (3, 1)
    assert "%2Frange-" in server.heard[0].path


def test_a_post_that_is_still_being_answered_is_asked_for_again() -> None:
    busy = problem(409, "idempotency_in_progress", retryable=True, headers={"Retry-After": "2"})
    pauses = Pauses()
    with stub(Said(None), busy, Said(202, JOB)) as server, a_client(server, pauses) as client:
        client.localize.create("con_1", "a/b.mp4")

    assert len(server.heard) == 3
    assert pauses.waited[1:] == [2.0]


def test_two_posts_have_two_keys_and_a_key_of_ones_own_is_kept() -> None:
    with stub(Said(202, JOB)) as server, a_client(server) as client:
        for key in (None, None, "mine"):
            client.localize.create("con_1", "a/b.mp4", key=key)

    first, second, third = (heard.headers["idempotency-key"] for heard in server.heard)
    assert first != second
    assert third == "mine"


@pytest.mark.parametrize(
    "act", [lambda c: c.keys.update("k", rotate=True), lambda c: c.users.delete("u")]
)
def test_what_may_have_been_done_already_is_not_done_again(act: Callable[[Client], Any]) -> None:
    with stub(Said(None)) as server, a_client(server) as client, pytest.raises(Unreachable):
        act(client)

    assert len(server.heard) == 1


def test_what_a_newer_service_adds_is_left_out() -> None:
    newer = {
        **JOB,
        "kind": "transcription",
        "mood": "good",
        "error": {"code": "c", "message": "m", "retryable": False, "hint": "h"},
    }
    with stub(Said(200, newer)) as server, a_client(server) as client:
        job = client.jobs.get("job_1")

    assert (job.kind, job.error.code if job.error else None) == ("transcription", "c")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[1]", b'{"id": 1}', b"[" * 100_000, b"\xff\xfe"],
    ids=["nothing", "a page", "a list", "no job", "depth", "no text"],
)
def test_an_answer_that_is_none_is_said_to_be_none(body: bytes) -> None:
    with stub(Said(200, body)) as server, a_client(server) as client, pytest.raises(Unreadable):
        client.jobs.get("job_1")


def test_an_answer_without_end_is_not_read() -> None:
    body = b" " * (MAX_ANSWER_BYTES + 1)
    with stub(Said(200, body)) as server, a_client(server) as client, pytest.raises(Unreadable):
        client.jobs.get("job_1")


def test_pages_follow_each_other_and_a_list_that_never_ends_does() -> None:
    def a_page(number: int, cursor: str | None) -> Said:
        return Said(200, {"items": [{**JOB, "id": f"job_{number}"}], "nextCursor": cursor})

    with stub(a_page(1, "a b&c"), a_page(2, None)) as server, a_client(server) as client:
        found = [job.id for job in client.jobs.list(state="queued")]
    with stub(a_page(1, "x")) as endless, a_client(endless) as client, pytest.raises(Unreadable):
        list(client.jobs.list())

    assert found == ["job_1", "job_2"]
    assert "state=queued" in server.heard[1].path
    assert "cursor=a+b%26c" in server.heard[1].path


def test_a_credential_is_in_no_error_and_no_repr() -> None:
    url = f"http://127.0.0.1:9/x?key={SECRET}"
    tokens = {"accessToken": SECRET, "refreshToken": SECRET, "expiresIn": 1}
    with stub(Said(401, {"detail": "no"}), Said(200, tokens)) as server, a_client(server) as client:
        with pytest.raises(ApiError) as refused:
            client.jobs.get("job_1")
        told = client.auth.refresh(SECRET)
    with pytest.raises(InvalidCommand) as no_address:
        Client(url)

    shown = [repr(one) for one in (client, refused.value, told, no_address.value)]
    assert SECRET not in "".join(shown) + str(refused.value) + str(no_address.value)


def test_a_redirect_is_not_followed_with_the_credential() -> None:
    with stub(Said(200, JOB)) as elsewhere:
        away = Said(307, {}, {"Location": f"{elsewhere.url}/v1/jobs/job_1"})
        with stub(away) as server, a_client(server) as client, pytest.raises(ApiError):
            client.jobs.get("job_1")

    assert elsewhere.heard == []


def test_a_session_renews_itself_once() -> None:
    tokens = {"accessToken": "one", "refreshToken": "r1", "expiresIn": 600}
    ended = problem(401, "unauthenticated")
    answers = (
        Said(200, tokens),
        ended,
        Said(200, {**tokens, "accessToken": "two"}),
        Said(200, JOB),
    )
    with stub(*answers) as server, Client(server.url, pause=Pauses()) as client:
        client.login("a@example.com", "correct horse").jobs.get("job_1")

    sent = [heard.headers.get("authorization") for heard in server.heard]
    assert sent == [None, "Bearer one", None, "Bearer two"]
    assert json.loads(server.heard[2].body) == {"refreshToken": "r1"}


def test_a_session_that_has_ended_for_good_says_so() -> None:
    tokens, ended = {"accessToken": "a", "refreshToken": "r", "expiresIn": 1}, problem(401, "no")
    with stub(Said(200, tokens), ended) as server, Client(server.url, pause=Pauses()) as client:
        client.login("a@example.com", "correct horse")
        with pytest.raises(ApiError):
            client.jobs.get("job_1")

    assert [heard.path for heard in server.heard][1:] == ["/v1/jobs/job_1", "/v1/auth/refresh"]


@pytest.mark.parametrize("job_id", ["", ".", ".."])
def test_an_id_is_never_another_path(job_id: str) -> None:
    with stub(Said(200, JOB)) as server, a_client(server) as client, pytest.raises(InvalidCommand):
        client.jobs.get(job_id)

    assert server.heard == []


def test_an_id_with_a_slash_stays_one_segment() -> None:
    with stub(Said(200, JOB)) as server, a_client(server) as client:
        client.jobs.get("../tenant?x=1")

    assert server.heard[0].path == "/v1/jobs/..%2Ftenant%3Fx%3D1"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:1", "ftp://x/", "http://", "http://u:p@h/", "http://h/?a=b", ""]
)
def test_an_address_is_that_of_a_service(url: str) -> None:
    with pytest.raises(InvalidCommand):
        Client(url)


def test_a_moment_has_a_zone() -> None:
    from datetime import datetime

    with Client("http://127.0.0.1:9") as client, pytest.raises(FieldInvalid):
        client.clips.create("con", channel="c", start=datetime(2022, 1, 1), end=1)  # noqa: DTZ001


def test_the_machine_s_own_service_is_asked_past_any_proxy_and_netrc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with stub(Said(200, JOB)) as server, a_client(server) as client:
        client.jobs.get("job_1")

    assert "authorization" not in server.heard[0].headers
