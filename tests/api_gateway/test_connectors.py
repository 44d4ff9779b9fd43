"""Connectors are made, shown without their secrets, changed by merge and deleted with care."""

from __future__ import annotations

import json

import pytest

from tests.gateway_kit import HLS, Kit

S3 = {
    "type": "s3",
    "name": "Archive",
    "config": {"bucket": "archive"},
    "auth": {"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "very secret indeed"},
}


def test_a_connector_is_made_and_read_back(kit: Kit) -> None:
    answer = kit.post("/v1/connectors", HLS)

    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/connectors/{made['id']}"
    assert answer.headers["etag"] == '"v1"'
    assert "live" in made["capabilities"]
    read = kit.get(answer.headers["location"])
    assert (read.json(), read.headers["etag"]) == (made, '"v1"')


def test_a_held_connector_is_not_sent_again(kit: Kit) -> None:
    path = f"/v1/connectors/{kit.connector()}"

    answer = kit.get(path, headers={"If-None-Match": '"v1"'})

    assert (answer.status_code, answer.content) == (304, b"")


def test_secrets_are_write_only(kit: Kit) -> None:
    made = kit.post("/v1/connectors", S3).json()

    shown = [made, kit.get(f"/v1/connectors/{made['id']}").json()]

    assert all(one["auth"]["secretAccessKey"] == "***" for one in shown)
    assert "very secret indeed" not in kit.get("/v1/connectors").text


def test_a_patch_keeps_the_secrets_it_does_not_name(kit: Kit) -> None:
    made = kit.post("/v1/connectors", S3).json()
    path = f"/v1/connectors/{made['id']}"

    changed = kit.patch(path, {"name": "Vault", "auth": {**made["auth"], "accessKeyId": "AKID2"}})

    tenant = kit.mine.tenant_id
    with kit.gateway.catalog.read() as tx:
        held = tx.connectors.get(tenant, made["id"])
    opened = kit.gateway.sealer.open_auth(tenant, held.id, held.sealed_auth or "")
    assert (changed.status_code, changed.json()["name"]) == (200, "Vault")
    assert changed.headers["etag"] == '"v2"'
    assert opened["access_key_id"] == "AKID2"
    assert opened["secret_access_key"] == "very secret indeed"


def test_a_stale_change_or_deletion_is_refused(kit: Kit) -> None:
    path = f"/v1/connectors/{kit.connector()}"
    kit.patch(path, {"name": "two"}, headers={"If-Match": '"v1"'})

    late = kit.patch(path, {"name": "three"}, headers={"If-Match": '"v1"'})
    gone = kit.ask("DELETE", path, headers={"If-Match": '"v1"'})

    assert (late.status_code, gone.status_code) == (412, 412)
    assert kit.get(path).json()["name"] == "two"


def test_lists_go_page_by_page_and_can_be_narrowed(kit: Kit) -> None:
    made = [kit.connector(f"c{n}") for n in range(3)]
    kit.post("/v1/connectors", S3)

    first = kit.get("/v1/connectors?limit=2&type=hls").json()
    rest = kit.get(f"/v1/connectors?limit=2&type=hls&cursor={first['nextCursor']}").json()
    live = kit.get("/v1/connectors?capability=live").json()

    listed = [c["id"] for c in (*first["items"], *rest["items"])]
    assert sorted(listed) == sorted(made)
    assert rest["nextCursor"] is None
    assert {c["id"] for c in live["items"]} == set(made)


def test_a_cursor_of_another_list_is_refused(kit: Kit) -> None:
    for n in range(2):
        kit.connector(f"c{n}")
    cursor = kit.get("/v1/connectors?limit=1").json()["nextCursor"]

    answer = kit.get(f"/v1/jobs?cursor={cursor}")

    assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid")


def test_an_idempotency_key_makes_one_connector(kit: Kit) -> None:
    key = {"Idempotency-Key": "k1"}
    first = kit.post("/v1/connectors", HLS, headers=key)

    again = kit.post("/v1/connectors", HLS, headers=key)
    other = kit.post("/v1/connectors", {**HLS, "name": "Other"}, headers=key)
    elsewhere = kit.post("/v1/connectors", HLS, headers=key, key="theirs")

    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert elsewhere.status_code == 201
    assert len(kit.get("/v1/connectors").json()["items"]) == 1


def test_a_connector_with_jobs_is_deleted_only_by_force(kit: Kit) -> None:
    connector = kit.connector()
    kit.clip(connector)

    refused = kit.ask("DELETE", f"/v1/connectors/{connector}")
    forced = kit.ask("DELETE", f"/v1/connectors/{connector}?force=true")

    assert (refused.status_code, refused.json()["code"]) == (409, "connector_busy")
    assert (forced.status_code, forced.content) == (204, b"")
    assert kit.clip(connector).status_code == 404


def test_every_type_shows_how_it_is_set_up(kit: Kit) -> None:
    types = {one["type"]: one for one in kit.get("/v1/connector-types").json()["items"]}

    assert {"hls", "http", "s3"} <= types.keys()
    assert "url" in types["hls"]["config"]["properties"]
    assert '"writeOnly":true' in json.dumps(
        types["s3"]["auth"]["properties"]["secretAccessKey"], separators=(",", ":")
    )


@pytest.mark.parametrize("body", [None, {"auth": {}}], ids=["kept", "given"])
def test_credentials_that_do_not_work_are_an_answer(kit: Kit, body: object) -> None:
    answer = kit.post(f"/v1/connectors/{kit.connector()}/auth-check", body)

    assert answer.status_code == 200
    assert answer.json()["valid"] is False
    assert answer.json()["code"]


@pytest.mark.parametrize(
    ("body", "told"),
    [(None, ["connector.auth_failed"]), ({"auth": {}}, [])],
    ids=["kept", "given"],
)
def test_kept_credentials_that_are_refused_are_told_of(
    kit: Kit, body: object, told: list[str]
) -> None:
    connector = kit.connector()

    kit.post(f"/v1/connectors/{connector}/auth-check", body)

    found = kit.get("/v1/events?limit=10").json()["items"]
    assert [event["type"] for event in found] == told
    assert all(event["data"]["connectorId"] == connector for event in found)
