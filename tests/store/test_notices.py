"""Every kind of event that is no change of a job is told by the job that found it out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.commands import CommandBase, parse_command
from schemas.events import READY_EVENT, Event
from schemas.jobs import JobError
from schemas.ledger import Lease
from store.events import Events
from store.jobs import Jobs, RedisLedger
from tests.builders import a_clip_command, a_connector_ref
from tests.fakes import fake_store

GAP = {"startMs": 1, "endMs": 2, "reason": "absent", "treatment": "skip"}
_SPAN = {"start_ms": 1_643_957_046_000, "end_ms": 1_643_957_056_000}
_CONNECTOR = a_connector_ref().model_dump(mode="json")
_TO = {"destination": {"key": "a.mp4"}}
COMMANDS: dict[str, dict[str, Any]] = {
    "export": {
        **_TO,
        "channel_id": "ch1",
        "parts": [{"connector": _CONNECTOR, "channel_id": "ch1", "range": _SPAN}],
    },
    "localize": {"file_id": "a.mp4"},
    "sprite": {**_TO, "file_id": "a.mp4"},
}


def told(command: CommandBase, end: Any) -> list[Event]:
    """What is told of a job besides its changes of state."""
    store = fake_store()
    Jobs(store).accept(command)
    lease = RedisLedger(store).claim(type(command).queue, "w1", "n1")
    assert lease is not None
    end(RedisLedger(store), lease)
    return [e for e in Events(store).after("t1", None) if not e.type.startswith("job.")]


def failed(code: str) -> Any:
    error = JobError(code=code, message="why", retryable=False)

    def end(ledger: RedisLedger, lease: Lease) -> None:
        ledger.fail(lease, error)

    return end


def succeeded(**result: Any) -> Any:
    def end(ledger: RedisLedger, lease: Lease) -> None:
        ledger.finish(lease, result)

    return end


def test_a_clip_says_that_it_is_ready() -> None:
    assert [e.type for e in told(a_clip_command(), succeeded(gaps=[]))] == ["clip.ready"]


def test_gaps_of_the_channel_are_told() -> None:
    ready, gap = told(a_clip_command(), succeeded(gaps=[GAP]))

    assert (ready.type, gap.type) == ("clip.ready", "channel.gap_detected")
    assert gap.data == {"connectorId": "con_1", "channelId": "ch1", "gaps": [GAP]}
    assert gap.job_id == ready.job_id


def test_media_that_is_missing_is_a_gap() -> None:
    (gap,) = told(a_clip_command(), failed("segment_missing"))

    assert (gap.type, gap.data["channelId"], gap.data["code"]) == (
        "channel.gap_detected",
        "ch1",
        "segment_missing",
    )


def test_a_connector_that_lets_nobody_in_is_told() -> None:
    (denied,) = told(a_clip_command(), failed("access_denied"))

    assert denied.type == "connector.auth_failed"
    assert denied.data == {
        "connectorId": "con_1",
        "channelId": "ch1",
        "code": "access_denied",
        "message": "why",
    }


@pytest.mark.parametrize("code", ["source_stalled", "media_invalid", "out_of_window"])
def test_other_failures_say_nothing_of_connector_or_channel(code: str) -> None:
    assert told(a_clip_command(), failed(code)) == []


def test_a_result_told_twice_tells_its_events_once() -> None:
    def twice(ledger: RedisLedger, lease: Lease) -> None:
        for _ in range(2):
            ledger.finish(lease, {"gaps": [GAP]})

    assert len(told(a_clip_command(), twice)) == 2


@pytest.mark.parametrize("kind", COMMANDS)
def test_every_kind_says_that_its_output_is_ready(kind: str) -> None:
    asked = {"kind": kind, "tenant_id": "t1", "requested_by": "user:u1", "connector": _CONNECTOR}
    command = parse_command(json.dumps({**asked, **COMMANDS[kind]}))

    (ready,) = told(command, succeeded(files=1))

    assert (ready.type, ready.data) == (READY_EVENT[kind], {"result": {"files": 1}})
