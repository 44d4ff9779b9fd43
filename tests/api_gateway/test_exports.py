"""Segment exports as a client asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import epg
from schemas.commands import ExportSegment, parse_command
from schemas.guides import Airing, Station
from schemas.plans import KeepGuide
from store import keys
from store.epg import Guides
from tests.gateway_kit import NOW_MS, Kit

START_MS = NOW_MS - 600_000
RANGE = {"startMs": START_MS, "endMs": START_MS + 10_000}
TO = {"path": "{channel}/{date}/{title}-{id}.mp4"}


def path(connector: str, channel: str = "ch1") -> str:
    """Where a channel's exports are asked for."""
    return f"/v1/connectors/{connector}/channels/{channel}/segments"


def asked(**changes: Any) -> dict[str, Any]:
    """A body that is accepted."""
    return {"range": RANGE, "destination": TO, **changes}


def command_of(kit: Kit, job_id: str) -> ExportSegment:
    """The command a job carries."""
    text = kit.gateway.store.client.hget(keys.job(job_id), "command")
    command = parse_command(str(text))
    assert isinstance(command, ExportSegment)
    return command


def test_an_export_is_accepted_with_all_it_needs(kit: Kit) -> None:
    connector = kit.connector()

    answer = kit.post(path(connector), asked(metadata={"title": "News"}, sidecars=["edl"]))

    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["kind"], job["state"], job["channelId"]) == ("export", "queued", "ch1")
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    command = command_of(kit, job["id"])
    assert [(p.channel_id, p.range.start_ms) for p in command.parts] == [("ch1", START_MS)]
    assert command.sidecars == ("edl",)


def test_ranges_may_come_from_other_channels_and_connectors(kit: Kit) -> None:
    mine, other = kit.connector(), kit.connector("Sport")
    ranges = [
        RANGE,
        {**RANGE, "channelId": "ch2"},
        {**RANGE, "connectorId": other, "channelId": "x"},
    ]

    answer = kit.post(path(mine), {"ranges": ranges, "destination": TO})

    assert answer.status_code == 202, answer.text
    parts = command_of(kit, answer.json()["id"]).parts
    found = [(part.connector.id, part.channel_id) for part in parts]
    assert found == [(mine, "ch1"), (mine, "ch2"), (other, "x")]


def test_another_tenants_connector_in_a_range_is_unknown(kit: Kit) -> None:
    mine, foreign = kit.connector(), kit.connector("Theirs", key="theirs")
    ranges = [{**RANGE, "connectorId": foreign, "channelId": "x"}]

    answer = kit.post(path(mine), {"ranges": ranges, "destination": TO})

    assert answer.status_code == 422
    assert answer.json()["code"] == "connector_unknown"
    assert answer.json()["errors"][0]["pointer"] == "/ranges/0/connectorId"


LATER = {"startMs": NOW_MS, "endMs": NOW_MS + 5000}
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "backwards": (asked(range={"startMs": 2000, "endMs": 1000}), 422, "range_invalid"),
    "no instant": (asked(range={"start": "1643957046", "end": "x"}), 422, "range_invalid"),
    "two styles": (asked(range={**RANGE, "timerange": "[1:0_2:0)"}), 422, "range_invalid"),
    "too long": (asked(range={"startMs": 0, "endMs": 7 * 3600 * 1000}), 422, "too_long"),
    "too long together": (
        {"ranges": [{"startMs": 0, "endMs": 4 * 3600 * 1000}] * 2, "destination": TO},
        422,
        "too_long",
    ),
    "future, not waiting": (asked(range=LATER, onFuture="reject"), 425, "in_future"),
    "far future": (
        asked(range={"startMs": NOW_MS + 10**9, "endMs": NOW_MS + 10**9 + 1000}),
        422,
        "too_far_ahead",
    ),
    "nothing asked": ({"destination": TO}, 422, "invalid"),
    "two things asked": (asked(programmeId="p1"), 422, "invalid"),
    "no ranges": ({"ranges": [], "destination": TO}, 422, "invalid"),
    "an unknown variable": (asked(destination={"path": "{nope}.mp4"}), 422, "invalid"),
    "an open brace": (asked(destination={"path": "{title.mp4"}), 422, "invalid"),
    "a path upwards": (asked(destination={"path": "../{title}.mp4"}), 422, "invalid"),
    "an unknown rendition": (asked(renditionId="nope"), 422, "rendition_unknown"),
    "an unknown sidecar": (asked(sidecars=["pdf"]), 422, "invalid"),
    "an unknown destination": (
        asked(destination={"connectorId": "con_nope", "path": "a.mp4"}),
        422,
        "destination_unknown",
    ),
    "a destination that cannot be written": (
        asked(destination={"connectorId": "{mine}", "path": "a.mp4"}),
        501,
        "not_supported",
    ),
    "a programme without a guide": (
        {"programmeId": "p1643957046-180d8a1d8490", "destination": TO},
        409,
        "station_not_mapped",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused(kit: Kit, what: str) -> None:
    body, status, code = REFUSED[what]
    connector = kit.connector()
    if body["destination"].get("connectorId") == "{mine}":
        body = {**body, "destination": {**body["destination"], "connectorId": connector}}

    answer = kit.post(path(connector), body)

    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_exports_of_a_channel_are_listed_newest_first(kit: Kit) -> None:
    connector = kit.connector()
    first = kit.post(path(connector), asked()).json()["id"]
    second = kit.post(path(connector), asked(metadata={"title": "2"})).json()["id"]
    kit.post(path(connector, "ch2"), asked())
    kit.clip(connector)

    listed = kit.get(path(connector)).json()
    done = kit.get(f"{path(connector)}?state=succeeded").json()

    assert {job["id"] for job in listed["items"]} == {first, second}
    assert done["items"] == []


def test_the_same_idempotency_key_answers_the_same_export(kit: Kit) -> None:
    connector = kit.connector()
    once = kit.post(path(connector), asked(), headers={"Idempotency-Key": "k1"})
    again = kit.post(path(connector), asked(), headers={"Idempotency-Key": "k1"})
    other = kit.post(path(connector), asked(gaps="skip"), headers={"Idempotency-Key": "k1"})

    assert once.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_a_programme_is_exported_with_its_padding_and_title(kit: Kit) -> None:
    news = kit.connector()
    config = {"url": "http://127.0.0.1:9/guide.xml"}
    guide = kit.connector("Guide", type="xmltv", config=config)
    shown = Airing(
        station_id="bbc1.uk", start_ms=START_MS, end_ms=START_MS + 60_000, title="Breakfast"
    )
    days = epg.by_day("bbc1.uk", epg.scheduled([shown]).programmes)
    kept = KeepGuide(
        stations=(Station(station_id="bbc1.uk", name="BBC One"),),
        days=days,
        covered=("bbc1.uk",),
        fetched_ms=NOW_MS,
    )
    Guides(kit.gateway.store).keep(kit.mine.tenant_id, guide, kept)
    mapping = {"stationId": "bbc1.uk", "epgConnectorId": guide, "offsetMs": 5000}
    kit.ask("PUT", f"/v1/connectors/{news}/channels/ch1/station", json=mapping)
    programme = epg.programme_id("bbc1.uk", START_MS, "Breakfast")

    answer = kit.post(path(news), {"programmeId": programme, "padMs": 2000, "destination": TO})

    assert answer.status_code == 202, answer.text
    command = command_of(kit, answer.json()["id"])
    (part,) = command.parts
    assert (part.range.start_ms, part.range.end_ms) == (START_MS + 3000, START_MS + 67_000)
    assert (command.title, command.programme_id) == ("Breakfast", programme)
