"""Messages nobody vouches for: only a bell that names a job is believed."""

from __future__ import annotations

import json
from typing import Any

import dramatiq
import pytest

from store.jobs import Jobs
from tests.builders import a_clip_command
from tests.fakes import fake_store
from workers.broker import Malformed, decoded

GOOD: dict[str, Any] = {
    "queue_name": "clip",
    "actor_name": "clip",
    "args": ["job_" + "0" * 26],
    "kwargs": {},
    "options": {},
    "message_id": "m",
    "message_timestamp": 1,
}


def spoiled(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def test_the_ledger_rings_in_dramatiqs_own_form() -> None:
    store = fake_store()
    job = Jobs(store).accept(a_clip_command()).job
    raw = store.run("fetch", "clip").encode()

    message: dramatiq.Message[Any] = dramatiq.Message.decode(raw)

    assert message.args == (job.id,)
    assert (message.queue_name, message.actor_name) == ("clip", "clip")
    assert message.options["redis_message_id"] == message.message_id
    assert decoded(raw, "clip").args == (job.id,)


def test_options_are_dropped() -> None:
    message = decoded(spoiled(options={"throws": 5, "eta": "never", "max_retries": 9}), "clip")

    assert message.options == {}
    assert message.kwargs == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"5",
        b"[]",
        b"{}",
        b"{" * 2000,
        b"[" * 4000,
        spoiled(queue_name="other"),
        spoiled(queue_name=None),
        spoiled(actor_name="other"),
        spoiled(actor_name=["clip"]),
        spoiled(args=[]),
        spoiled(args=None),
        spoiled(args="job_" + "0" * 26),
        spoiled(args=[5]),
        spoiled(args=["job_x"]),
        spoiled(args=["job_" + "0" * 26, 1]),
        spoiled(args=[{"a": 1}]),
        spoiled(args=["job_" + "0" * 26 + "\n"]),
        spoiled(padding="x" * 5000),
    ],
)
def test_a_malformed_message_is_recognised(raw: bytes) -> None:
    with pytest.raises(Malformed):
        decoded(raw, "clip")
