"""The intake: what producers write is validated, accepted once, or buried with a reason."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from pipelines.recipes import RECIPES
from store import keys
from store.client import Store
from store.inbox import Inbox, Taken
from store.jobs import Jobs
from tests.builders import a_clip_command, a_connector_ref
from tests.fakes import fake_store
from tests.redis_server import redis_url

__all__ = ["redis_url"]
ACL = Path(__file__).parent.parent.parent / "deploy/redis/producers.acl"


@pytest.fixture
def store() -> Store:
    return fake_store()


@pytest.fixture
def inbox(store: Store) -> Inbox:
    made = Inbox(store, Jobs(store), consumer="k1")
    made.open("t1")
    return made


def an_event(**changes: Any) -> dict[str, Any]:
    data = a_clip_command().model_dump(mode="json", exclude={"tenant_id", "requested_by", "kind"})
    return {
        "specversion": "1.0",
        "id": "e1",
        "source": "/mam",
        "type": "com.cuttingroom.command.clip",
        "data": data,
    } | changes


def write(store: Store, event: Any, tenant: str = "t1") -> str:
    text = event if isinstance(event, str) else json.dumps(event)
    return str(store.client.xadd(keys.intake(tenant), {"event": text}))


def test_a_good_entry_becomes_a_job(store: Store, inbox: Inbox) -> None:
    write(store, an_event())

    taken = inbox.take()

    (job,) = Jobs(store).list("t1").items
    assert taken == Taken(accepted=1, refused=0)
    assert (job.kind, job.requested_by) == ("clip", "intake:/mam")
    assert store.client.xlen(keys.intake("t1")) == 0


def test_an_entry_taken_twice_is_one_job(store: Store, inbox: Inbox) -> None:
    entry = write(store, an_event())
    inbox.take()
    store.client.delete(keys.intake("t1"))
    store.client.xadd(keys.intake("t1"), {"event": json.dumps(an_event())}, id=entry)

    Inbox(store, Jobs(store), consumer="k2").take()

    assert len(Jobs(store).list("t1").items) == 1


def test_the_tenant_is_that_of_the_stream(store: Store, inbox: Inbox) -> None:
    inbox.open("t2")
    write(store, an_event(), tenant="t2")

    taken = inbox.take()

    assert taken == Taken(accepted=0, refused=1)  # its connector is t1's
    assert Jobs(store).list("t1").items == ()


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("clip", {"destination": {"key": "clips/t2/goal.mp4"}}),
        ("clip", {"destination": {"key": "goal.mp4"}}),
        ("probe", {"stored_key": "clips/t2/goal.mp4"}),
        ("rendition", {"stored_key": "clips/t2/goal.mp4"}),
        ("sprite", {"stored_key": "clips/t2/goal.mp4"}),
    ],
)
def test_what_another_tenant_has_in_the_media_store_is_out_of_reach(
    store: Store, inbox: Inbox, kind: str, changes: dict[str, Any]
) -> None:
    connector = a_connector_ref(tenant_id="t1").model_dump(mode="json")
    data: dict[str, Any] = {
        "clip": a_clip_command().model_dump(
            mode="json", exclude={"tenant_id", "requested_by", "kind"}
        ),
        "probe": {"connector": connector, "file_id": "f"},
        "rendition": {"connector": connector, "file_id": "f", "destination": {"key": "r/t1/x"},
                      "recipes": [RECIPES["h264-720p"][0].model_dump(mode="json")]},
        "sprite": {"connector": connector, "file_id": "f", "destination": {"key": "s/t1/x"}},
    }[kind]  # fmt: skip
    own = {k: {"key": "a/t1/x"} if k == "destination" else "a/t1/x" for k in changes}
    for words in (changes, own):
        event = an_event(type=f"com.cuttingroom.command.{kind}", data={**data, **words})
        write(store, event)

    taken = inbox.take()

    assert taken == Taken(accepted=1, refused=1)


def test_an_entry_for_a_full_queue_waits(store: Store) -> None:
    full = Inbox(store, Jobs(store, queue_cap=0), consumer="k1")
    full.open("t1")
    write(store, an_event())

    taken = full.take()

    assert taken == Taken(0, 0)
    assert store.client.xlen(keys.intake("t1")) == 1


@pytest.mark.parametrize(
    "event",
    [
        "",
        "{",
        "null",
        "[]",
        '{"specversion":"1.0","specversion":"1.0"}',
        "[" * 100 + "]" * 100,
        an_event(specversion="0.3"),
        an_event(type="com.other.thing"),
        an_event(type="com.cuttingroom.command.unknown"),
        an_event(id=""),
        an_event(source=5),
        an_event(data=[]),
        an_event(data={}),
        an_event(data=an_event()["data"] | {"surprise": 1}),
        an_event(data=an_event()["data"] | {"tenant_id": 5, "range": {"start_ms": 5}}),
        an_event(data=an_event()["data"] | {"mode": "sideways"}),
        an_event(padding="x" * 300_000),
        '{"data": NaN}',
    ],
)
def test_a_bad_entry_is_buried_with_a_problem_and_harms_no_neighbour(
    store: Store, inbox: Inbox, event: Any
) -> None:
    write(store, event)
    write(store, an_event())

    taken = inbox.take()

    assert taken == Taken(accepted=1, refused=1)
    buried: Any = store.client.xrange(keys.intake_dead("t1"))
    ((_, dead),) = buried
    problem = json.loads(dead["problem"])
    assert (problem["status"], problem["code"]) == (422, "invalid_command")
    assert problem["detail"]


def test_an_entry_without_an_event_is_buried(store: Store, inbox: Inbox) -> None:
    store.client.xadd(keys.intake("t1"), {"body": "x"})

    assert inbox.take() == Taken(accepted=0, refused=1)


@pytest.mark.redis
def test_the_shipped_acl_lets_a_producer_write_its_own_intake_alone(redis_url: str) -> None:
    admin = Store.from_url(redis_url)
    shipped = next(line for line in ACL.read_text().splitlines() if line.startswith("user "))
    secret = hashlib.sha256(b"hunter2").hexdigest()
    words = shipped.replace("TENANT", "t1").replace("#" + "0" * 64, f"#{secret}").split()[1:]
    admin.client.execute_command("ACL", "SETUSER", *words)  # type: ignore[no-untyped-call]
    host = redis_url.removeprefix("redis://")
    producer = Store.from_url(f"redis://intake-t1:hunter2@{host}")

    entry = producer.client.xadd(keys.intake("t1"), {"event": "{}"})

    assert entry
    for denied in (
        lambda: producer.client.xadd(keys.intake("t2"), {"event": "{}"}),
        lambda: producer.client.xrange(keys.intake("t1")),
        lambda: producer.client.hgetall(keys.job("x")),
        lambda: producer.client.rpush("dramatiq:clip", "x"),
        lambda: producer.client.eval("return 1", 0),
    ):
        with pytest.raises(NoPermissionError):
            denied()
    producer.close()
    admin.close()
