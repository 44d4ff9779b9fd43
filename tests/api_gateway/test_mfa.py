"""Second factors: enrolment, the challenge, recovery codes, and who has to have one."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote

import pyotp
import pytest

from tests.gateway_kit import PASSWORD, Kit


def enrolled(kit: Kit, bearer: str) -> tuple[pyotp.TOTP, list[str]]:
    """The app of a user who has just enrolled, and the recovery codes."""
    made = kit.as_user("POST", "/v1/auth/mfa/enrol", bearer)
    assert made.status_code == 200, made.text
    app = pyotp.parse_uri(made.json()["otpauthUri"])
    assert isinstance(app, pyotp.TOTP)
    done = kit.as_user("POST", "/v1/auth/mfa/enrol/confirm", bearer, json={"code": now(kit, app)})
    assert done.status_code == 200, done.text
    return app, done.json()["recoveryCodes"]


def now(kit: Kit, app: pyotp.TOTP) -> str:
    return app.at(kit.clock() // 1000)


def answered(kit: Kit, session: str, code: str) -> Any:
    return kit.post("/v1/auth/mfa", {"session": session, "code": code}, key=None)


def a_user_with_an_app(kit: Kit) -> tuple[pyotp.TOTP, list[str]]:
    kit.user()
    app, codes = enrolled(kit, f"Bearer {kit.login()['accessToken']}")
    kit.clock.advance(30_000)
    return app, codes


def test_a_code_is_asked_for_once_enrolment_is_confirmed(kit: Kit) -> None:
    app, _ = a_user_with_an_app(kit)

    asked = kit.login()
    done = answered(kit, asked["session"], now(kit, app))

    assert asked.keys() == {"challenge", "session"}
    assert asked["challenge"] == "mfa"
    assert done.status_code == 200
    bearer = f"Bearer {done.json()['accessToken']}"
    assert kit.as_user("GET", "/v1/jobs", bearer).status_code == 200


def test_an_enrolment_says_everything_an_app_needs(kit: Kit) -> None:
    kit.user()

    made = kit.as_user("POST", "/v1/auth/mfa/enrol", f"Bearer {kit.login()['accessToken']}").json()

    assert unquote(made["otpauthUri"]).startswith("otpauth://totp/cuttingroom:admin@example.com?")
    assert f"secret={made['secret']}" in made["otpauthUri"]
    assert len(base64.b32decode(made["secret"])) == 20
    assert made["qr"].startswith("data:image/svg+xml")


def test_an_unconfirmed_factor_is_not_asked_for(kit: Kit) -> None:
    kit.user()
    bearer = f"Bearer {kit.login()['accessToken']}"
    kit.as_user("POST", "/v1/auth/mfa/enrol", bearer)

    wrong = kit.as_user("POST", "/v1/auth/mfa/enrol/confirm", bearer, json={"code": "000000"})

    assert (wrong.status_code, wrong.json()["code"]) == (400, "code_invalid")
    assert "accessToken" in kit.login()


def test_a_step_is_used_once(kit: Kit) -> None:
    app, _ = a_user_with_an_app(kit)
    first, second = kit.login()["session"], kit.login()["session"]
    code = now(kit, app)

    assert answered(kit, first, code).status_code == 200
    assert answered(kit, first, code).status_code == 401
    assert answered(kit, second, code).json()["code"] == "code_invalid"
    assert answered(kit, second, app.at(kit.clock() // 1000 - 30)).status_code == 401
    assert answered(kit, second, app.at(kit.clock() // 1000 + 30)).status_code == 200


def test_the_code_of_the_enrolment_is_used_up_too(kit: Kit) -> None:
    kit.user()
    app, _ = enrolled(kit, f"Bearer {kit.login()['accessToken']}")

    assert answered(kit, kit.login()["session"], now(kit, app)).status_code == 401


def test_a_challenge_has_five_tries_and_ten_minutes(kit: Kit) -> None:
    app, _ = a_user_with_an_app(kit)
    session = kit.login()["session"]

    wrong = [answered(kit, session, "000000") for _ in range(5)]
    late = answered(kit, session, now(kit, app))

    assert [a.status_code for a in wrong] == [401] * 5
    assert (late.status_code, late.json()["code"]) == (410, "session_expired")
    other = kit.login()["session"]
    kit.clock.advance(600_000)
    assert answered(kit, other, now(kit, app)).status_code == 410
    assert answered(kit, "crc_nonsense", "000000").status_code == 401


def test_many_challenges_do_not_give_many_tries(kit: Kit) -> None:
    a_user_with_an_app(kit)

    statuses = [answered(kit, kit.login()["session"], "000000").status_code for _ in range(12)]

    assert statuses == [401] * 10 + [429] * 2


def test_a_recovery_code_stands_in_once(kit: Kit) -> None:
    _, codes = a_user_with_an_app(kit)
    assert len(set(codes)) == 10

    first = answered(kit, kit.login()["session"], codes[3].lower())
    second = answered(kit, kit.login()["session"], codes[3])

    assert (first.status_code, second.status_code) == (200, 401)


def test_enrolment_ends_other_sessions_and_cannot_be_replaced(kit: Kit) -> None:
    kit.user()
    stolen, own = kit.login(), kit.login()
    bearer = f"Bearer {own['accessToken']}"
    enrolled(kit, bearer)

    assert kit.as_user("GET", "/v1/jobs", f"Bearer {stolen['accessToken']}").status_code == 401
    assert kit.as_user("GET", "/v1/jobs", bearer).status_code == 200
    assert kit.as_user("POST", "/v1/auth/mfa/enrol", bearer).status_code == 409


def test_a_factor_can_be_removed_where_none_is_required(kit: Kit) -> None:
    kit.user()
    bearer = f"Bearer {kit.login()['accessToken']}"
    enrolled(kit, bearer)

    kit.patch("/v1/tenant", {"mfaRequired": True})
    refused = kit.as_user("DELETE", "/v1/auth/mfa", bearer)
    kit.patch("/v1/tenant", {"mfaRequired": False})
    removed = kit.as_user("DELETE", "/v1/auth/mfa", bearer)

    assert (refused.status_code, refused.json()["code"]) == (409, "mfa_required")
    assert removed.status_code == 204
    assert "accessToken" in kit.login()


@pytest.mark.parametrize("by", ["tenant", "user"])
def test_who_needs_a_factor_may_do_nothing_but_enrol(kit: Kit, by: str) -> None:
    user = kit.user()
    if by == "tenant":
        kit.patch("/v1/tenant", {"mfaRequired": True})
    else:
        kit.patch(f"/v1/users/{user.id}", {"mfaRequired": True})

    tokens = kit.login()
    bearer = f"Bearer {tokens['accessToken']}"
    before = kit.as_user("GET", "/v1/jobs", bearer)
    enrolled(kit, bearer)

    assert tokens["mfaEnrolmentRequired"]
    assert (before.status_code, before.json()["code"]) == (403, "mfa_enrolment_required")
    assert kit.as_user("GET", "/v1/jobs", bearer).status_code == 200


def test_an_admin_can_remove_a_lost_factor(kit: Kit) -> None:
    a_user_with_an_app(kit)

    kit.patch("/v1/users/by-email/admin@example.com", {"resetMfa": True})

    assert "accessToken" in kit.login(password=PASSWORD)


def test_the_secret_is_sealed_at_rest(kit: Kit) -> None:
    user = kit.user()
    bearer = f"Bearer {kit.login()['accessToken']}"
    app, codes = enrolled(kit, bearer)

    with kit.gateway.catalog.read() as tx:
        state = tx.factors.state(user.tenant_id, user.id)

    assert state.sealed is not None
    assert app.secret not in state.sealed
    assert app.secret not in repr(state)
    assert codes[0] not in state.sealed
