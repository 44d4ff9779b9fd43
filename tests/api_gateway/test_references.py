"""Stretches kept at their own store by reference, as a client asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from connectors.egress import Egress
from tests.connectors.tams_store import Store, muxed, tams_store
from tests.gateway_kit import Kit
from tests.media_builder import HlsAsset, StreamSpec, build, segment


@cache
def camera() -> HlsAsset:
    """Four seconds of a camera."""
    return segment(build(StreamSpec(seconds=4)))


@pytest.fixture
def near(kit: Kit) -> Iterator[Kit]:
    """A gateway that may connect to this machine."""
    egress = Egress(allow_cidrs=("127.0.0.0/8",))
    kit.gateway.env = replace(kit.gateway.env, egress=egress)
    yield kit
    egress.close()


@pytest.fixture
def store() -> Iterator[Store]:
    with tams_store() as made:
        yield made


def connected(kit: Kit, store: Store) -> str:
    """A connector to the store."""
    body = {"type": "tams", "name": "Store", "config": {"url": store.base}}
    return str(kit.post("/v1/connectors", body).json()["id"])


def path(connector: str, channel: str) -> str:
    """Where references are asked for."""
    return f"/v1/connectors/{connector}/channels/{channel}/references"


def asked(**changes: Any) -> dict[str, Any]:
    """A body that is accepted."""
    span = {"startMs": camera().epoch_ms + 500, "endMs": camera().epoch_ms + 3500}
    return {"range": span, "name": "The goal", **changes}


def test_a_stretch_is_kept_without_any_media_moving(near: Kit, store: Store) -> None:
    connector, source = connected(near, store), muxed(store, camera())
    objects = dict(store.objects)

    answer = near.post(path(connector, source), asked())

    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["name"], found["objects"]) == ("The goal", 2)
    assert store.sources[found["channelId"]]["label"] == "The goal"
    assert (store.objects, store.fetched) == (objects, [])
    assert found["links"]["segments"].endswith(f"/channels/{found['channelId']}/segments")


def test_asked_for_twice_it_is_the_same(near: Kit, store: Store) -> None:
    connector, source = connected(near, store), muxed(store, camera())

    first, second = (near.post(path(connector, source), asked()) for _ in range(2))
    count = len(store.flows)
    keyed = [
        near.post(path(connector, source), body, headers={"Idempotency-Key": "k"})
        for body in (asked(), asked(name="Another"))
    ]

    assert first.json() == second.json() == keyed[0].json()
    assert len(store.flows) == count == 2
    assert (keyed[1].status_code, keyed[1].json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"range": {"startMs": 5}}, 422, "range_invalid"),
        ({"range": {"startMs": 0, "endMs": 10**12}}, 422, "too_long"),
        ({"range": {"startMs": 1000, "endMs": 2000}}, 410, "out_of_window"),
        ({"name": ""}, 422, "invalid"),
        ({"name": "a\nb"}, 422, "invalid"),
    ],
    ids=["half a range", "too long", "before the flow", "no name", "a line break"],
)
def test_what_cannot_be_kept_is_refused(
    near: Kit, store: Store, change: dict[str, Any], status: int, code: str
) -> None:
    connector, source = connected(near, store), muxed(store, camera())

    answer = near.post(path(connector, source), asked(**change))

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(store.flows) == 1


def test_a_channel_that_is_not_there_is_not_found(near: Kit, store: Store) -> None:
    connector = connected(near, store)

    answer = near.post(path(connector, "361e6954-c3bb-4958-ab0f-9ed2bd41a4fc"), asked())

    assert answer.status_code == 404


def test_a_store_that_refuses_is_upstream(near: Kit, store: Store) -> None:
    connector, source = connected(near, store), muxed(store, camera())
    store.bearer = "another"

    answer = near.post(path(connector, source), asked())

    assert (answer.status_code, answer.json()["code"]) == (502, "upstream")


def test_other_types_keep_nothing_by_reference(kit: Kit) -> None:
    answer = kit.post(path(kit.connector(), "ch1"), asked())

    assert (answer.status_code, answer.json()["code"]) == (501, "not_supported")
