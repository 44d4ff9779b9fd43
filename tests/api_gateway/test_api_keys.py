"""API keys are shown once, work at once, and stop when they should."""

from __future__ import annotations

from tests.gateway_kit import Kit


def a_key(kit: Kit, **body: object) -> dict[str, str]:
    answer = kit.post("/v1/api-keys", {"name": "ci", "scopes": ["read"], **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, str] = answer.json()
    return made


def works(kit: Kit, secret: str) -> bool:
    return kit.get("/v1/jobs", key=secret).status_code == 200


def test_a_new_key_works_and_its_secret_is_shown_once(kit: Kit) -> None:
    made = a_key(kit)

    listed = kit.get("/v1/api-keys")

    assert works(kit, made["secret"])
    assert made["secret"].startswith(made["prefix"])
    assert made["secret"] not in listed.text
    shown = next(k for k in listed.json()["items"] if k["id"] == made["id"])
    assert shown.keys() == {
        "id",
        "name",
        "prefix",
        "enabled",
        "scopes",
        "createdAt",
        "lastUsedAt",
        "expiresAt",
    }


def test_a_disabled_key_stops_at_once(kit: Kit) -> None:
    made = a_key(kit)
    assert works(kit, made["secret"])

    kit.patch(f"/v1/api-keys/{made['id']}", {"enabled": False})

    assert not works(kit, made["secret"])


def test_a_rotated_key_lives_through_its_grace(kit: Kit) -> None:
    made = a_key(kit)
    path = f"/v1/api-keys/{made['id']}"

    rotated = kit.patch(path, {"rotate": True, "graceSeconds": 60}).json()
    during = [works(kit, made["secret"]), works(kit, rotated["secret"])]
    kit.clock.advance(60_001)
    after = [works(kit, made["secret"]), works(kit, rotated["secret"])]

    assert (during, after) == ([True, True], [False, True])


def test_without_a_grace_the_old_secret_dies_at_once(kit: Kit) -> None:
    made = a_key(kit)

    kit.patch(f"/v1/api-keys/{made['id']}", {"rotate": True})

    assert not works(kit, made["secret"])


def test_a_key_expires(kit: Kit) -> None:
    made = a_key(kit, expiresAt="2022-02-04T07:33:30Z")
    before = works(kit, made["secret"])

    kit.clock.advance(20_000)

    assert (before, works(kit, made["secret"])) == (True, False)


def test_use_is_noted(kit: Kit) -> None:
    made = a_key(kit)
    works(kit, made["secret"])

    listed = kit.get("/v1/api-keys").json()["items"]

    assert next(k for k in listed if k["id"] == made["id"])["lastUsedAt"]


def test_a_repeated_creation_gives_the_same_secret(kit: Kit) -> None:
    key = {"Idempotency-Key": "once"}
    first = kit.post("/v1/api-keys", {"name": "ci"}, headers=key)

    again = kit.post("/v1/api-keys", {"name": "ci"}, headers=key)

    assert again.json() == first.json()
    assert works(kit, again.json()["secret"])


def test_a_name_is_taken_once(kit: Kit) -> None:
    a_key(kit)

    answer = kit.post("/v1/api-keys", {"name": "ci"})

    assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


def test_a_stale_change_is_refused(kit: Kit) -> None:
    path = f"/v1/api-keys/{a_key(kit)['id']}"
    kit.patch(path, {"name": "two"})

    answer = kit.patch(path, {"name": "three"}, headers={"If-Match": '"v1"'})

    assert answer.status_code == 412
