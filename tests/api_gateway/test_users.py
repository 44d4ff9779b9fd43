"""Users by id and by mail address, the last admin, and what a change does to sessions."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api_gateway import paging
from schemas.errors import Conflict
from tests.gateway_kit import Kit

ROBIN = {"email": "Robin@Example.com", "name": "Robin", "role": "editor"}


def test_a_new_user_gets_a_temporary_password_by_mail(kit: Kit) -> None:
    made = kit.post("/v1/users", ROBIN)

    assert made.status_code == 201
    body = made.json()
    assert (body["email"], body["role"], body["passwordIsTemporary"]) == (
        "robin@example.com",
        "editor",
        True,
    )
    assert made.headers["location"] == f"/v1/users/{body['id']}"
    mailed = re.findall(r"Temporary password: (\S+)", kit.letters()[-1])[0]
    assert mailed not in made.text
    asked = kit.login("robin@example.com", mailed)
    assert asked["challenge"] == "newPassword"


def test_a_repeated_creation_mails_once(kit: Kit) -> None:
    first, second = (
        kit.post("/v1/users", ROBIN, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )

    assert first.json() == second.json()
    assert len(kit.letters()) == 1
    assert kit.post("/v1/users", ROBIN).json()["code"] == "email_taken"


def test_users_are_listed_page_by_page(kit: Kit) -> None:
    made = [kit.user(f"{n}@example.com", "viewer").id for n in range(5)]

    first = kit.get("/v1/users?limit=3").json()
    rest = kit.get(f"/v1/users?limit=3&cursor={first['nextCursor']}").json()

    assert sorted(made) == sorted(u["id"] for u in (*first["items"], *rest["items"]))
    assert rest["nextCursor"] is None


@pytest.mark.parametrize("by", ["id", "address"])
def test_a_user_is_changed_and_deleted(kit: Kit, by: str) -> None:
    user = kit.user("robin@example.com", "editor")
    path = f"/v1/users/{user.id}" if by == "id" else "/v1/users/by-email/Robin%40example.com"

    changed = kit.patch(path, {"role": "viewer", "name": "R"}, headers={"If-Match": '"v1"'})
    stale = kit.patch(path, {"name": "S"}, headers={"If-Match": '"v1"'})
    deleted = kit.ask("DELETE", path)

    assert (changed.json()["role"], changed.headers["etag"]) == ("viewer", '"v2"')
    assert stale.status_code == 412
    assert deleted.status_code == 204
    assert kit.get(f"/v1/users/{user.id}").status_code == 404
    assert kit.ask("DELETE", path).status_code == 404


def test_an_etag_is_held(kit: Kit) -> None:
    user = kit.user()
    first = kit.get(f"/v1/users/{user.id}")

    again = kit.get(f"/v1/users/{user.id}", headers={"If-None-Match": first.headers["etag"]})

    assert again.status_code == 304


@pytest.mark.parametrize("how", [{"role": "viewer"}, {"enabled": False}, None])
def test_the_last_admin_stays(kit: Kit, how: dict[str, Any] | None) -> None:
    user = kit.user()
    kit.user("robin@example.com", "editor")
    disabled = kit.user("old@example.com", "admin")
    kit.patch(f"/v1/users/{disabled.id}", {"enabled": False})
    path = f"/v1/users/{user.id}"

    refused = kit.ask("DELETE", path) if how is None else kit.patch(path, how)
    kit.user("second@example.com", "admin")
    done = kit.ask("DELETE", path) if how is None else kit.patch(path, how)

    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
    assert done.status_code in {200, 204}


def test_two_admins_who_remove_each_other_leave_one(kit: Kit) -> None:
    users = [kit.user(f"{n}@example.com", "admin") for n in range(2)]

    def remove(number: int) -> str:
        try:
            with kit.gateway.catalog.write() as tx:
                tx.users.delete(users[number].tenant_id, users[number].id)
        except Conflict as error:
            return error.error_code
        return "removed"

    with ThreadPoolExecutor(2) as pool:
        told = sorted(pool.map(remove, range(2)))

    assert told == ["last_admin", "removed"]


def test_a_demotion_is_felt_within_seconds(kit: Kit) -> None:
    kit.user()
    bearer = kit.bearer("editor")
    assert kit.as_user("POST", "/v1/connectors", bearer, json={}).status_code == 422

    kit.patch("/v1/users/by-email/editor.of.mine@example.com", {"role": "viewer"})
    kit.clock.advance(5_000)

    assert kit.as_user("POST", "/v1/connectors", bearer, json={}).status_code == 403


def test_a_disabled_user_is_out_at_once(kit: Kit) -> None:
    kit.user()
    bearer = kit.bearer("editor")

    kit.patch("/v1/users/by-email/editor.of.mine@example.com", {"enabled": False})

    assert kit.as_user("GET", "/v1/jobs", bearer).status_code == 401


@pytest.mark.parametrize(
    "email",
    [
        "",
        "robin",
        "robin@",
        "@example.com",
        "a b@example.com",
        "a\r\nBcc: b@example.com@example.com",
        "<script>@example.com",
        "a@b@example.com",
        "a@exam ple.com",
        "a\u0000@example.com",
        "x" * 250 + "@example.com",
    ],
)
def test_what_is_no_address_is_refused(kit: Kit, email: str) -> None:
    answer = kit.post("/v1/users", {**ROBIN, "email": email})

    assert answer.status_code == 422
    assert kit.letters() == []


@pytest.mark.parametrize("place", ["\0", "usr_\0", ""])
def test_a_made_up_cursor_leads_nowhere(kit: Kit, place: str) -> None:
    answer = kit.get(f"/v1/users?cursor={paging.cursor('users', place)}")

    assert (answer.status_code, answer.json()["code"]) == (422, "cursor_invalid")
