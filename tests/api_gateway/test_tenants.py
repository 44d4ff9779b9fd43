"""Tenants: signing up, changing, and being deleted after a grace."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from api_gateway.purge import purge_due
from tests.gateway_kit import HLS, Kit, a_kit

DAY_MS = 24 * 3600_000
BODY = {"name": "Harbour News", "admin": {"email": "a@harbour.example"}}


def sign_up(kit: Kit, **more: Any) -> Any:
    headers = more.pop("headers", {})
    return kit.post("/v1/tenants", {**BODY, **more}, key=None, headers=headers)


def test_signing_up_makes_a_tenant_and_mails_its_admin(tmp_path: Path) -> None:
    with a_kit(tmp_path, signup="open") as kit:
        made = sign_up(kit, headers={"Idempotency-Key": "k1"})
        again = sign_up(kit, headers={"Idempotency-Key": "k1"})
        taken = sign_up(kit)
        password = re.findall(r"Temporary password: (\S+)", kit.letters()[-1])[0]
        asked = kit.login("a@harbour.example", password)

        assert made.status_code == 201
        assert (made.json()["admin"]["role"], made.json()["name"]) == ("admin", "Harbour News")
        assert (again.status_code, again.json()) == (201, made.json())
        assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
        assert asked["challenge"] == "newPassword"
        assert len(kit.letters()) == 1


def test_a_stranger_with_a_key_learns_nothing_of_a_tenants_own_keys(tmp_path: Path) -> None:
    with a_kit(tmp_path, signup="open") as kit:
        headers = {"Idempotency-Key": "1"}
        kit.post("/v1/connectors", HLS, headers=headers)

        taken = sign_up(kit, name="mine", headers=headers)
        others = [sign_up(kit, name=name, headers=headers) for name in ("A", "B")]

        assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
        assert [other.status_code for other in others] == [201, 201]
        assert kit.post("/v1/connectors", HLS, headers=headers).status_code == 201


def test_no_tenant_is_named_as_another_ones_id(tmp_path: Path) -> None:
    with a_kit(tmp_path, signup="open") as kit:
        made = sign_up(kit, name=kit.theirs.tenant_id)
        renamed = kit.patch("/v1/tenant", {"name": kit.theirs.tenant_id})
        own = kit.patch("/v1/tenant", {"name": kit.mine.tenant_id})

        assert (made.status_code, made.json()["code"]) == (409, "name_taken")
        assert (renamed.status_code, renamed.json()["code"]) == (409, "name_taken")
        assert own.status_code == 200


def test_signing_up_twice_at_once_makes_one_tenant(tmp_path: Path) -> None:
    with a_kit(tmp_path, signup="open") as kit:
        posts = [("/v1/tenants", BODY)] * 4

        answers = kit.at_once(*posts, headers={"Idempotency-Key": "k1"})
        again = sign_up(kit, headers={"Idempotency-Key": "k1"})

        made = {answer.text for answer in answers if answer.status_code == 201}
        others = {answer.json()["code"] for answer in answers if answer.status_code != 201}
        assert made == {again.text}
        assert others <= {"idempotency_in_progress"}
        assert len(kit.letters()) == 1


def test_nobody_signs_up_where_it_is_off(tmp_path: Path) -> None:
    with a_kit(tmp_path, signup="off") as kit:
        answer = sign_up(kit)

        assert (answer.status_code, answer.json()["code"]) == (403, "signup_off")


def test_an_invitation_is_for_one_address_once_in_time(kit: Kit) -> None:
    with kit.gateway.catalog.write() as tx:
        anyones = tx.invitations.make(None, DAY_MS)
        theirs = tx.invitations.make("A@harbour.example", DAY_MS)
        late = tx.invitations.make(None, 0)

    refused = [
        sign_up(kit),
        sign_up(kit, invitation="cri_made_up"),
        sign_up(kit, invitation=late),
        sign_up(kit, invitation=theirs, admin={"email": "b@harbour.example"}),
    ]
    done = sign_up(kit, invitation=theirs)
    again = sign_up(kit, invitation=theirs, name="Other")
    other = sign_up(kit, invitation=anyones, name="Other", admin={"email": "b@b.example"})

    assert [r.json()["code"] for r in refused] == ["invitation_invalid"] * 4
    assert (done.status_code, again.status_code, other.status_code) == (201, 403, 201)


def test_an_invitation_is_not_used_up_by_a_name_that_is_taken(kit: Kit) -> None:
    with kit.gateway.catalog.write() as tx:
        code = tx.invitations.make(None, DAY_MS)

    taken = sign_up(kit, invitation=code, name="mine")

    assert taken.status_code == 409
    assert sign_up(kit, invitation=code).status_code == 201


def test_a_tenant_is_shown_and_changed(kit: Kit) -> None:
    shown = kit.get("/v1/tenant")
    changed = kit.patch("/v1/tenant", {"name": "ours"}, headers={"If-Match": '"v1"'})
    stale = kit.patch("/v1/tenant", {"name": "ours"}, headers={"If-Match": '"v1"'})
    taken = kit.patch("/v1/tenant", {"name": "theirs"})

    assert (shown.json()["name"], shown.json()["id"]) == ("mine", kit.mine.tenant_id)
    assert (changed.json()["name"], changed.headers["etag"]) == ("ours", '"v2"')
    assert (stale.status_code, taken.status_code) == (412, 409)


def delete(kit: Kit, name: str = "mine", key: str = "mine") -> Any:
    return kit.ask("DELETE", f"/v1/tenant?name={name}", key=key)


def test_deleting_asks_for_the_name(kit: Kit) -> None:
    assert kit.ask("DELETE", "/v1/tenant").status_code == 422
    assert delete(kit, "theirs").json()["code"] == "name_mismatch"
    assert kit.get("/v1/jobs").status_code == 200


def test_a_tenant_in_its_grace_can_only_be_looked_at_and_restored(kit: Kit) -> None:
    kit.user()
    bearer = f"Bearer {kit.login()['accessToken']}"

    marked = delete(kit)
    shut = [kit.get("/v1/jobs"), kit.as_user("GET", "/v1/jobs", bearer)]
    shown = kit.get("/v1/tenant").json()["deletionAt"]
    restored = kit.post("/v1/tenant/restore")

    assert marked.status_code == 202
    assert shown == marked.json()["deletionAt"] == "2022-02-11T07:33:20.000Z"
    assert [a.json()["code"] for a in shut] == ["tenant_deleting"] * 2
    assert kit.get("/v1/auth/verify").json()["valid"]
    assert restored.json()["deletionAt"] is None
    assert kit.get("/v1/jobs").status_code == 200
    assert "will be deleted" in kit.letters()[-1]


def test_a_repeated_restore_gets_the_first_answer(kit: Kit) -> None:
    key = {"Idempotency-Key": "once"}
    delete(kit)
    first = kit.post("/v1/tenant/restore", headers=key)
    delete(kit)

    again = kit.post("/v1/tenant/restore", headers=key)

    assert (again.status_code, again.text) == (first.status_code, first.text)
    assert again.headers["etag"] == first.headers["etag"]
    assert kit.get("/v1/tenant").json()["deletionAt"] is not None


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_only_an_admin_deletes(kit: Kit, role: Any) -> None:
    assert kit.as_user("DELETE", "/v1/tenant?name=mine", kit.bearer(role)).status_code == 403


def a_tenant_with_everything(kit: Kit, folder: Path, key: str) -> str:
    tenant_id = (kit.mine if key == "mine" else kit.theirs).tenant_id
    kit.user(f"admin@{key}.example", of=key)
    kit.login(f"admin@{key}.example")
    connector = kit.connector(key=key)
    kit.clip(connector, key=key)
    hook = kit.post("/v1/webhooks", {"url": "https://hooks.example.com/"}, key=key).json()["id"]
    assert kit.post(f"/v1/webhooks/{hook}/test", key=key).status_code == 202
    for area in ("clips", "localized"):
        place = folder / "media" / area / tenant_id / "deep" / "er"
        place.mkdir(parents=True)
        (place / "a.mp4").write_bytes(b"12345")
    return tenant_id


def test_a_tenant_that_is_due_is_really_deleted_and_no_other(tmp_path: Path) -> None:
    with a_kit(tmp_path) as kit:
        gone = a_tenant_with_everything(kit, tmp_path, "mine")
        stays = a_tenant_with_everything(kit, tmp_path, "theirs")
        delete(kit)
        early = purge_due(kit.gateway)
        kit.clock.advance(7 * DAY_MS)

        reports = purge_due(kit.gateway)

        assert (early, purge_due(kit.gateway)) == ((), ())
        [report] = reports
        assert (report.tenant_id, report.objects, report.object_bytes) == (gone, 2, 10)
        assert report.rows["users"] == report.rows["connectors"] == report.rows["api_keys"] == 1
        assert {"sessions", "audit", "webhooks"} <= report.rows.keys()
        assert report.redis_keys >= 3
        left = b"".join(kit.gateway.store.client.dump(k) or b"" for k in all_keys(kit))
        assert gone.encode() not in left
        assert not any(gone in name for name in all_keys(kit))
        assert any(stays in name for name in all_keys(kit))
        assert list(tmp_path.glob(f"media/*/{gone}/**/*.mp4")) == []
        assert len(list(tmp_path.glob(f"media/*/{stays}/**/*.mp4"))) == 2
        assert kit.get("/v1/tenant").status_code == 401
        assert kit.get("/v1/jobs", key="theirs").json()["items"]
        with kit.gateway.catalog.read() as tx:
            assert tx.deletions.reports() == reports
            assert tx.tenants.find("mine") is None


def all_keys(kit: Kit) -> list[str]:
    return [str(name) for name in kit.gateway.store.client.scan_iter()]


def test_a_tenant_taken_back_is_not_deleted(kit: Kit) -> None:
    delete(kit)
    kit.post("/v1/tenant/restore")
    kit.clock.advance(30 * DAY_MS)

    assert purge_due(kit.gateway) == ()
    assert kit.get("/v1/tenant").status_code == 200
