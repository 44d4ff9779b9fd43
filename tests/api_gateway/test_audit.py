"""The audit log says who did what, when and from where."""

from __future__ import annotations

import json

from tests.gateway_kit import Kit


def actions(kit: Kit, query: str = "") -> list[str]:
    return [e["action"] for e in kit.get(f"/v1/audit{query}").json()["items"]]


def test_changes_and_log_ins_are_written_down(kit: Kit) -> None:
    user = kit.user()
    kit.post("/v1/auth/token", {"email": user.email, "password": "wrong"}, key=None)
    kit.clock.advance(1)
    bearer = f"Bearer {kit.login()['accessToken']}"
    kit.clock.advance(1)
    connector = kit.connector()
    kit.clock.advance(1)
    kit.as_user("DELETE", f"/v1/connectors/{connector}", bearer)
    kit.get("/v1/jobs")
    kit.post("/v1/connectors", {"type": "nonsense"})

    found = kit.get("/v1/audit").json()["items"]

    assert [(e["action"], e["subject"], e["target"]) for e in found] == [
        ("deleteConnector", f"user:{user.id}", connector),
        ("createConnector", f"key:{kit.mine.key_id}", f"/v1/connectors/{connector}"),
        ("authenticate", f"user:{user.id}", None),
        ("authenticateFailed", f"user:{user.id}", None),
    ]
    assert {e["address"] for e in found} == {"127.0.0.1"}
    assert found[0]["occurredAt"] == "2022-02-04T07:33:20.003Z"
    assert all(e["agent"].startswith("python-httpx") for e in found)


def test_entries_are_filtered_and_paged(kit: Kit) -> None:
    for number in range(5):
        kit.connector(f"c{number}")
        kit.clock.advance(1000)
    kit.post("/v1/api-keys", {"name": "k"})

    assert actions(kit, "?action=createApiKey") == ["createApiKey"]
    assert actions(kit, "?subject=user:x") == []
    assert len(actions(kit, "?from=2022-02-04T07:33:24Z")) == 2
    assert len(actions(kit, "?to=2022-02-04T07:33:22Z")) == 2
    first = kit.get("/v1/audit?limit=4").json()
    rest = kit.get(f"/v1/audit?limit=4&cursor={first['nextCursor']}").json()
    ids = [e["id"] for e in (*first["items"], *rest["items"])]
    assert len(set(ids)) == 6
    assert ids == sorted(ids, reverse=True)
    assert kit.get("/v1/audit?from=yesterday").status_code == 422


def test_the_log_is_exported_whole(kit: Kit) -> None:
    with kit.gateway.catalog.write() as tx:
        for number in range(1100):
            tx.audit.add(kit.mine.tenant_id, "user:x", f"a{number}")
        tx.audit.add(kit.theirs.tenant_id, "user:y", "secret")

    answer = kit.get("/v1/audit/export")

    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert len({line["id"] for line in lines}) == 1100
    assert {line["subject"] for line in lines} == {"user:x"}


def test_nobody_reads_anothers_log(kit: Kit) -> None:
    kit.connector(key="theirs")

    assert actions(kit) == []
    assert kit.as_user("GET", "/v1/audit", kit.bearer("editor")).status_code == 403


def test_no_secret_is_written_down(kit: Kit) -> None:
    user = kit.user()
    kit.login()
    kit.post("/v1/api-keys", {"name": "k"})
    kit.patch(f"/v1/users/{user.id}", {"resetMfa": True})

    text = kit.get("/v1/audit/export").text

    assert "correct horse" not in text
    assert "cr_live_" not in text
