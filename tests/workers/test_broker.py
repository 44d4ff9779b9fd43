"""Messages nobody vouches for: only a bell that names a job is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest

from store.jobs import Jobs
from store.queues import Bells
from tests.builders import a_clip_command
from tests.fakes import fake_store
from workers.broker import BellConsumer, Malformed, decoded
from workers.turn import Stint, Turn

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


class Row(Bells):
    """Bells in memory, and what may happen while nobody rings."""

    def __init__(self, *raw: bytes, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.raw = list(raw)
        self.meanwhile = meanwhile
        self.spoiled: list[bytes] = []
        self.passed_on = 0

    def fetch(self, queue: str) -> bytes | None:
        return self.raw.pop(0) if self.raw else None

    def wait(self, queue: str, timeout_s: float) -> bool:
        self.meanwhile()
        return bool(self.raw)

    def pass_on(self, queue: str) -> None:
        self.passed_on += 1

    def quarantine(self, queue: str, message: bytes, reason: str) -> None:
        self.spoiled.append(message)


def consumer(row: Row, turn: Turn) -> BellConsumer:
    return BellConsumer(row, turn, "clip", 0.01, lambda _queue: None)


def begun(turn: Turn) -> Stint:
    stint = turn.begin()
    assert stint is not None
    return stint


def test_a_bell_is_left_to_others_while_a_job_works() -> None:
    turn, row = Turn(1), Row(spoiled())
    begun(turn)

    assert next(consumer(row, turn)) is None
    assert len(row.raw) == 1


@pytest.mark.parametrize("over", ["ack", "nack"])
def test_a_bell_has_the_turn_until_it_is_answered(over: str) -> None:
    turn, row = Turn(1), Row(spoiled(), spoiled())
    bells = consumer(row, turn)
    first = next(bells)
    assert first is not None

    refused = next(bells)
    getattr(bells, over)(first)

    assert refused is None
    assert next(bells) is not None


def test_a_bell_whose_job_waits_makes_room_for_the_next() -> None:
    turn, row = Turn(1), Row(spoiled(), spoiled())
    bells = consumer(row, turn)
    first = next(bells)
    assert first is not None
    assert turn.holder is not None
    turn.holder.pause()

    second = next(bells)
    bells.ack(first)

    assert second is not None
    assert turn.begin() is None  # the first one's end takes the second no turn


def test_who_was_woken_and_cannot_answer_wakes_another() -> None:
    turn = Turn(1)
    row = Row(meanwhile=lambda: (row.raw.append(spoiled()), begun(turn)))

    assert next(consumer(row, turn)) is None
    assert (len(row.raw), row.passed_on) == (1, 1)


def test_who_was_woken_for_what_another_took_wakes_nobody() -> None:
    turn = Turn(1)
    row = Row(spoiled())
    row.fetch = lambda _queue: None  # type: ignore[method-assign]  # others are always first

    assert next(consumer(row, turn)) is None
    assert row.passed_on == 0


def test_a_malformed_bell_keeps_no_turn() -> None:
    turn, row = Turn(1), Row(b"[]", spoiled())
    bells = consumer(row, turn)

    assert next(bells) is not None
    assert row.spoiled == [b"[]"]


def test_bells_nobody_answered_ring_elsewhere() -> None:
    turn, rung = Turn(1), list[str]()
    bells = BellConsumer(Row(spoiled()), turn, "clip", 0.01, rung.append)
    first = next(bells)
    assert first is not None

    bells.requeue([first])
    bells.requeue([])

    assert rung == ["clip"]
    assert turn.begin() is not None
