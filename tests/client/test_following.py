"""Events are followed through connections that break, to the end and no further."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from client import Client, Job, JobFailed, Unreachable, Unreadable
from client.sse import MAX_MESSAGE_BYTES, Message, messages
from schemas.errors import TimedOut
from schemas.jobs import JobError
from schemas.ledger import Lease
from store.jobs import RedisLedger
from tests.client.test_calls import Said, stub
from tests.client_kit import Pauses, Served, cutting

START_MS, END_MS = 1_643_957_046_000, 1_643_957_106_000
WHOLE = ["job.queued", "job.started", "job.progress", "job.succeeded", "clip.ready"]


@pytest.fixture(scope="module")
def connector(gateway: Served) -> Iterator[str]:
    with gateway.client() as made:
        yield made.connectors.create("hls", "Followed", {"url": "http://127.0.0.1:9/x.m3u8"}).id


@pytest.fixture
def job(gateway: Served, connector: str, request: pytest.FixtureRequest) -> Iterator[Job]:
    with gateway.client() as client:
        yield client.clips.create(
            connector, channel="followed", start=START_MS, end=END_MS, clip_id=_id(request)
        )


def _id(request: pytest.FixtureRequest) -> str:
    return "".join(one for one in request.node.name if one.isalnum())[:60]


def taken(gateway: Served) -> tuple[RedisLedger, Lease]:
    ledger = RedisLedger(gateway.kit.gateway.store)
    lease = ledger.claim("clip", "test", "nonce")
    assert lease is not None
    return ledger, lease


def done(gateway: Served) -> None:
    """The job's whole life."""
    ledger, lease = taken(gateway)
    ledger.progress(lease, "fetching", 0.5, 3.0)
    ledger.finish(lease, {"file": {"key": "k", "size": 1}})


def beside(act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_a_job_s_events_are_told_to_their_end(gateway: Served, job: Job) -> None:
    done(gateway)

    with gateway.client() as client:
        found = list(client.jobs.events(job))

    assert [event.type for event in found] == WHOLE
    assert {event.job_id for event in found} == {job.id}


@pytest.mark.parametrize("limit", [300, 500, 700, 900])
def test_events_go_on_after_the_last_one_where_the_connection_was_cut(
    gateway: Served, job: Job, limit: int
) -> None:
    done(gateway)

    with (
        cutting(gateway.port, down=[limit, limit, None]) as cutter,
        gateway.client(cutter.url) as client,
    ):
        found = list(client.jobs.events(job))

    assert [event.type for event in found] == WHOLE
    assert len({event.id for event in found}) == len(WHOLE)
    assert cutter.opened >= 3


def test_a_job_is_followed_while_it_runs_and_its_connection_is_cut(
    gateway: Served, job: Job
) -> None:
    states: list[str] = []

    with (
        cutting(gateway.port, down=[None, 900, 1200]) as cutter,
        gateway.client(cutter.url) as client,
    ):
        for now in client.jobs.changes(job, timeout_s=60):
            states.append(now.state)
            if states == ["queued"]:
                worker = beside(lambda: done(gateway))
    worker.join(10)

    assert states[0] == "queued"
    assert states[-1] == "succeeded"


def test_a_job_that_does_not_end_in_time_is_said_not_to(gateway: Served, job: Job) -> None:
    with gateway.client() as client, pytest.raises(TimedOut):
        client.jobs.wait(job, timeout_s=0.3)

    done(gateway)


def test_a_job_that_failed_is_an_error_where_success_was_wanted(gateway: Served, job: Job) -> None:
    ledger, lease = taken(gateway)
    ledger.fail(lease, JobError(code="media_invalid", message="no media", retryable=False))

    with gateway.client() as client, pytest.raises(JobFailed, match="no media") as failed:
        client.jobs.succeeded(job)

    assert (failed.value.error_code, failed.value.job_id) == ("media_invalid", job.id)


def test_the_tenant_s_events_are_followed_from_a_known_one(gateway: Served, job: Job) -> None:
    with gateway.client() as client:
        queued = next(event for event in client.jobs.history(job))
    done(gateway)

    with cutting(gateway.port, down=[900]) as cutter, gateway.client(cutter.url) as client:
        stream = client.events.follow(after=queued.id, timeout_s=30)
        found = [next(stream).type for _ in WHOLE[1:]]

    assert found == WHOLE[1:]


def test_a_stream_that_always_breaks_is_given_up() -> None:
    broken = Said(200, b"retry: 1\n\n", {"Content-Type": "text/event-stream"})
    with (
        stub(broken) as server,
        Client(server.url, retries=2, pause=Pauses()) as client,
        pytest.raises(Unreachable),
    ):
        list(client.jobs.events("job_1"))

    assert len(server.heard) == 3


def test_an_answer_that_is_no_stream_is_said_to_be_none() -> None:
    page = Said(200, {"items": []})
    with stub(page) as server, Client(server.url) as client, pytest.raises(Unreadable):
        list(client.jobs.events("job_1"))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_messages_are_the_same_however_they_are_cut(size: int) -> None:
    text = (
        b"retry: 2000\n\nid: 1\nevent: x\ndata: {\ndata: }\r\n\r\n: still here\n\nid: 2\ndata:a\n\n"
    )
    text += b"da"
    chunks = [text[at : at + size] for at in range(0, len(text), size)]

    assert list(messages(chunks)) == [
        Message(None, "", 2000),
        Message("1", "{\n}"),
        Message(None, ""),
        Message("2", "a"),
    ]


@pytest.mark.parametrize(
    "line", [b"data: " + b"x" * 4096 + b"\n", b"x" * 65536], ids=["lines", "line"]
)
def test_a_message_without_end_is_not_kept(line: bytes) -> None:
    endless = (line for _ in range(2 * MAX_MESSAGE_BYTES // len(line)))

    with pytest.raises(Unreadable):
        list(messages(endless))
