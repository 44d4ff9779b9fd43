"""Connectors are made, shown without their secrets, changed by merge and deleted with care."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from api_gateway.routes import connectors as routes
from connectors.local import Folder
from connectors.registry import Registry
from schemas.connectors import Capability
from schemas.errors import AccessDenied
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


@pytest.mark.parametrize("used", ["source", "another range", "destination"])
def test_every_connector_of_an_export_is_in_use(kit: Kit, used: str) -> None:
    source, other = kit.connector(), kit.connector("Other")
    bucket, idle = kit.post("/v1/connectors", S3).json()["id"], kit.connector("Idle")
    start = 1643957046000
    body = {
        "ranges": [
            {"startMs": start, "endMs": start + 1000},
            {"startMs": start, "endMs": start + 1000, "connectorId": other, "channelId": "ch2"},
        ],
        "destination": {"connectorId": bucket, "path": "{id}.mp4"},
        "metadata": {"note": idle},
    }
    job = kit.post(f"/v1/connectors/{source}/channels/ch1/segments", body).json()
    asked = {"source": source, "another range": other, "destination": bucket}[used]

    refused = kit.ask("DELETE", f"/v1/connectors/{asked}")
    unused = kit.ask("DELETE", f"/v1/connectors/{idle}")
    kit.post(f"/v1/jobs/{job['id']}/cancel")
    free = kit.ask("DELETE", f"/v1/connectors/{asked}")

    assert (refused.status_code, refused.json()["code"]) == (409, "connector_busy")
    assert job["id"] in refused.json()["detail"]
    assert (unused.status_code, free.status_code) == (204, 204)


def test_each_capability_is_tried_and_told(kit: Kit, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    settings = kit.gateway.settings.model_copy(update={"local_folders": (str(folder),)})
    kit.gateway.env = replace(kit.gateway.env, settings=settings)
    connector = kit.connector("Files", type="local", config={"folder": str(folder)})

    well = kit.post(f"/v1/connectors/{connector}/auth-check", {}).json()
    folder.rmdir()
    gone = kit.post(f"/v1/connectors/{connector}/auth-check").json()

    assert (well["valid"], well["code"]) == (True, "ok")
    assert set(well["capabilities"]) >= {"lists", "reads", "writes"}
    assert all(check["works"] for check in well["checks"])
    assert (gone["valid"], gone["code"], gone["capabilities"]) == (False, "source_not_found", [])
    assert {check["code"] for check in gone["checks"]} == {"source_not_found"}


def test_credentials_that_may_not_write_are_valid_for_the_rest(kit: Kit) -> None:
    class ReadOnly(Folder):
        def check(self, capability: Capability | None = None) -> None:
            if capability == "writes":
                raise AccessDenied("the bucket answered AccessDenied")

    kind = replace(kit.gateway.registry.get("local"), connect=lambda *_: ReadOnly(Path("/")))
    kit.gateway.registry = Registry([kind])
    connector = kit.connector("Files", type="local", config={"folder": "/x"})

    found = kit.post(f"/v1/connectors/{connector}/auth-check", {"auth": {}}).json()

    assert (found["valid"], found["code"]) == (True, "partial")
    assert "writes" not in found["capabilities"]
    assert found["detail"] == "not everything works: writes: the bucket answered AccessDenied"
    wrong = [check for check in found["checks"] if not check["works"]]
    assert [(check["capability"], check["code"]) for check in wrong] == [
        ("writes", "access_denied")
    ]


def test_a_system_that_says_nothing_is_a_504(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    released = Event()

    class Silent(Folder):
        def check(self, capability: Capability | None = None) -> None:
            released.wait(30)

    monkeypatch.setattr(routes, "_CHECK_TIMEOUT_S", 0.05)
    kind = replace(kit.gateway.registry.get("local"), connect=lambda *_: Silent(Path("/")))
    kit.gateway.registry = Registry([kind])
    connector = kit.connector("Files", type="local", config={"folder": "/x"})

    answer = kit.post(f"/v1/connectors/{connector}/auth-check")
    released.set()

    assert (answer.status_code, answer.json()["code"]) == (504, "timed_out")


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
