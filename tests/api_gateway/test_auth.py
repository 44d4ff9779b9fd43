"""Log-in, tokens, recovery and log-out: what works, what is refused, and in which words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from api_gateway import accesstokens
from tests.gateway_kit import PASSWORD, Kit, a_kit

NEW = "another horse, another battery"


def login(kit: Kit, email: str = "admin@example.com", password: str = PASSWORD, **more: str) -> Any:
    body = {"email": email, "password": password, **more}
    return kit.post("/v1/auth/token", body, key=None)


def refresh(kit: Kit, token: str) -> Any:
    return kit.post("/v1/auth/refresh", {"refreshToken": token}, key=None)


def recover(kit: Kit, email: str = "admin@example.com") -> Any:
    return kit.post("/v1/auth/password/recover", {"email": email}, key=None)


def confirm(kit: Kit, code: str, email: str = "admin@example.com", password: str = NEW) -> Any:
    body = {"email": email, "code": code, "newPassword": password}
    return kit.post("/v1/auth/password/confirm", body, key=None)


def mailed_code(kit: Kit) -> str:
    found = re.findall(r"Recovery code: (\S+)", kit.letters()[-1])
    return str(found[0])


def jobs(kit: Kit, token: str) -> int:
    return kit.as_user("GET", "/v1/jobs", f"Bearer {token}").status_code


def test_a_password_opens_everything_its_role_may(kit: Kit) -> None:
    kit.user()

    tokens = kit.login()

    assert (tokens["tokenType"], tokens["expiresIn"]) == ("Bearer", 600)
    assert jobs(kit, tokens["accessToken"]) == 200
    assert kit.as_user("GET", "/v1/api-keys", f"Bearer {tokens['accessToken']}").status_code == 200


@pytest.mark.parametrize(
    ("role", "expected"),
    [("viewer", [200, 403, 403]), ("editor", [200, 422, 403]), ("admin", [200, 422, 200])],
)
def test_a_role_is_a_set_of_scopes(kit: Kit, role: Any, expected: list[int]) -> None:
    bearer = kit.bearer(role)

    found = [
        kit.as_user("GET", "/v1/connectors", bearer).status_code,
        kit.as_user("POST", "/v1/connectors", bearer, json={}).status_code,
        kit.as_user("GET", "/v1/api-keys", bearer).status_code,
    ]

    assert found == expected


@pytest.mark.parametrize(
    "given",
    [
        {"email": "nobody@example.com"},
        {"password": "wrong password"},
        {"tenant": "no such tenant"},
        {"email": "disabled@example.com"},
        {"email": "sso@example.com"},
    ],
    ids=["unknown address", "wrong password", "unknown tenant", "disabled", "only sign-on"],
)
def test_every_wrong_log_in_is_told_the_same(kit: Kit, given: dict[str, str]) -> None:
    kit.user()
    disabled = kit.user("disabled@example.com", "viewer")
    kit.user("sso@example.com", "viewer", password=None)
    with kit.gateway.catalog.write() as tx:
        tx.users.change(disabled.tenant_id, disabled.id, enabled=False)

    answer = login(kit, **{"email": "admin@example.com", "password": PASSWORD, **given})

    assert answer.status_code == 401
    body = answer.json()
    assert (body["code"], body["detail"]) == (
        "credentials_invalid",
        "the mail address or the password is wrong",
    )


def test_a_tenant_is_asked_for_only_after_the_password_matched(kit: Kit) -> None:
    kit.user()
    kit.user(of="theirs")

    wrong, right = login(kit, password="wrong password"), login(kit)
    chosen = login(kit, tenant="theirs")

    assert (wrong.status_code, "tenants" in wrong.json()) == (401, False)
    assert (right.status_code, right.json()["code"]) == (409, "tenant_required")
    assert [t["name"] for t in right.json()["tenants"]] == ["mine", "theirs"]
    verified = kit.as_user("GET", "/v1/auth/verify", f"Bearer {chosen.json()['accessToken']}")
    assert verified.json()["tenant"] == kit.theirs.tenant_id


@pytest.mark.parametrize("email", ["admin@example.com", "nobody@example.com"])
def test_wrong_passwords_lock_known_and_unknown_addresses_alike(kit: Kit, email: str) -> None:
    kit.user()

    answers = [login(kit, email, "wrong password") for _ in range(12)]

    assert [a.status_code for a in answers] == [401] * 10 + [429] * 2
    assert answers[-1].json()["code"] == "locked"
    assert int(answers[-1].headers["retry-after"]) == 900
    assert login(kit, email).status_code == 429
    kit.clock.advance(900_000)
    assert login(kit, email).status_code == (200 if email.startswith("admin") else 401)


def test_the_lock_and_the_rate_follow_the_peer_not_a_header(tmp_path: Path) -> None:
    with a_kit(tmp_path, login_rate_per_minute=5) as kit:
        answers = [
            kit.post(
                "/v1/auth/token",
                {"email": f"{n}@example.com", "password": "x"},
                key=None,
                headers={"X-Forwarded-For": f"203.0.113.{n}", "Forwarded": f"for=203.0.113.{n}"},
            )
            for n in range(7)
        ]

    assert [a.status_code for a in answers] == [401] * 5 + [429] * 2
    assert "retry-after" in answers[-1].headers


def test_a_dated_hash_is_made_anew_at_log_in(kit: Kit) -> None:
    user = kit.user()
    from catalog.passwords import Passwords

    dated = Passwords(16, 2).hashed(PASSWORD)
    with kit.gateway.catalog.write() as tx:
        tx.users.rehash(user.tenant_id, user.id, dated)

    kit.login()

    with kit.gateway.catalog.read() as tx:
        stored = tx.users.password_hash(user.tenant_id, user.email)
    assert stored is not None
    assert stored != dated
    assert not kit.gateway.passwords.is_dated(stored)


def test_refresh_tokens_rotate_and_reuse_ends_the_family(kit: Kit) -> None:
    kit.user()
    first = kit.login()
    second = refresh(kit, first["refreshToken"]).json()
    kit.clock.advance(11_000)

    reused = refresh(kit, first["refreshToken"])

    assert reused.status_code == 401
    assert refresh(kit, second["refreshToken"]).status_code == 401
    assert jobs(kit, second["accessToken"]) == 401


def test_a_lost_answer_is_given_again_within_the_grace(kit: Kit) -> None:
    kit.user()
    first = kit.login()
    refresh(kit, first["refreshToken"])

    again = refresh(kit, first["refreshToken"])

    assert again.status_code == 200
    assert jobs(kit, again.json()["accessToken"]) == 200


def test_an_access_token_dies_with_its_time_its_session_and_its_user(kit: Kit) -> None:
    user = kit.user()
    kit.user("second@example.com")
    first, second = kit.login(), kit.login()
    out = kit.as_user("POST", "/v1/auth/logout", f"Bearer {first['accessToken']}", json={})

    assert out.json() == {"endedSessions": 1, "logoutUrl": None}
    assert jobs(kit, first["accessToken"]) == 401
    assert refresh(kit, first["refreshToken"]).status_code == 401
    assert jobs(kit, second["accessToken"]) == 200
    with kit.gateway.catalog.write() as tx:
        tx.users.change(user.tenant_id, user.id, enabled=False)
    kit.clock.advance(5_000)
    assert jobs(kit, second["accessToken"]) == 401
    other = kit.login("second@example.com")
    kit.clock.advance(600_000)
    assert jobs(kit, other["accessToken"]) == 401


def test_log_out_everywhere_ends_every_session(kit: Kit) -> None:
    kit.user()
    sessions = [kit.login() for _ in range(3)]

    bearer = f"Bearer {sessions[0]['accessToken']}"
    out = kit.as_user("POST", "/v1/auth/logout", bearer, json={"everywhere": True})

    assert out.json()["endedSessions"] == 3
    assert [jobs(kit, s["accessToken"]) for s in sessions] == [401] * 3


def forged(kit: Kit, **changes: Any) -> str:
    """A token made from a good one, signed by a key of ours unless said otherwise."""
    good = kit.login()["accessToken"]
    header, claims = (json.loads(_decoded(part)) for part in good.split(".")[:2])
    ring = kit.gateway.tokens
    key: Any = changes.pop("key", None) or ring._held[header["kid"]].key
    header = {k: v for k, v in (header | changes.pop("header", {})).items() if v is not None}
    claims |= changes
    return jwt.encode(header, {k: v for k, v in claims.items() if v is not None}, key,
                      algorithms=[header["alg"]])  # fmt: skip


def _decoded(part: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(
    "changes",
    [
        {"key": ECKey.generate_key("P-256", private=True)},
        {"header": {"kid": "sig_unknown"}},
        {"header": {"kid": None}},
        {"header": {"typ": "JWT"}},
        {"header": {"alg": "HS256"}, "key": OctKey.generate_key(256)},
        {"iss": "https://elsewhere.example"},
        {"aud": "elsewhere"},
        {"aud": None},
        {"exp": None},
        {"exp": 1},
        {"iat": 9_999_999_999},
        {"sid": "ses_unknown"},
        {"sub": "usr_somebody"},
        {"sid": None},
    ],
    ids=lambda changes: ",".join(f"{k}" for k in changes),
)
def test_a_forged_token_is_refused(kit: Kit, changes: dict[str, Any]) -> None:
    kit.user()
    assert jobs(kit, forged(kit)) == 200

    assert jobs(kit, forged(kit, **changes)) == 401


@pytest.mark.parametrize(
    "token", ["", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x" * 10_000, "..", "e30.e30.e30"]
)
def test_noise_is_refused_as_a_token(kit: Kit, token: str) -> None:
    assert jobs(kit, token) == 401
    verified = kit.as_user("GET", "/v1/auth/verify", f"Bearer {token}")
    assert verified.json() == {
        "valid": False, "subject": None, "tenant": None, "expiresAt": None,
    }  # fmt: skip


def test_another_scheme_is_no_credential(kit: Kit) -> None:
    answer = kit.as_user("GET", "/v1/jobs", "Basic YTpi")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_credential_can_be_verified(kit: Kit) -> None:
    user = kit.user()
    token = kit.login()["accessToken"]

    by_token = kit.as_user("GET", "/v1/auth/verify", f"Bearer {token}").json()
    by_key = kit.get("/v1/auth/verify").json()

    assert (by_token["valid"], by_token["subject"]) == (True, f"user:{user.id}")
    assert by_token["expiresAt"] == "2022-02-04T07:43:20.000Z"
    assert by_key["subject"] == f"key:{kit.mine.key_id}"
    assert kit.get("/v1/auth/verify", key=None).json()["valid"] is False


def test_keys_rotate_and_older_tokens_are_believed_an_hour(kit: Kit) -> None:
    kit.user()
    old = kit.login()["accessToken"]
    with kit.gateway.catalog.write() as tx:
        accesstokens.make_signing_key(tx.signing_keys, kit.gateway.sealer)
    kit.clock.advance(60_000)

    new = kit.login()["accessToken"]
    listed = kit.get("/.well-known/jwks.json", key=None).json()["keys"]

    kids = [json.loads(_decoded(token.split(".")[0]))["kid"] for token in (old, new)]
    assert {key["kid"] for key in listed} == set(kids)
    assert len(set(kids)) == 2
    assert all("d" not in key and key["alg"] == "ES256" for key in listed)
    assert [jobs(kit, token) for token in (old, new)] == [200, 200]
    kit.clock.advance(accesstokens.BELIEVED_MS)
    kit.login()
    assert len(kit.get("/.well-known/jwks.json", key=None).json()["keys"]) == 1


def test_a_published_key_judges_our_tokens(kit: Kit) -> None:
    user = kit.user()
    token = kit.login()["accessToken"]
    published = kit.get("/.well-known/jwks.json", key=None).json()["keys"][0]

    claims = jwt.decode(token, ECKey.import_key(published), algorithms=["ES256"]).claims

    assert (claims["sub"], claims["tid"]) == (user.id, user.tenant_id)


def test_a_password_is_recovered_by_mail(kit: Kit) -> None:
    kit.user()
    before = kit.login()

    asked = recover(kit)
    done = confirm(kit, mailed_code(kit))

    assert (asked.status_code, done.status_code) == (202, 204)
    assert jobs(kit, before["accessToken"]) == 401
    assert login(kit).status_code == 401
    assert login(kit, password=NEW).status_code == 200
    assert confirm(kit, mailed_code(kit)).status_code == 400


def test_recovery_says_the_same_of_every_address(kit: Kit) -> None:
    kit.user()
    known, unknown = recover(kit), recover(kit, "nobody@example.com")

    assert (known.status_code, known.json()) == (unknown.status_code, unknown.json())
    assert len(kit.letters()) == 1
    tries = [
        [confirm(kit, "WRONGWRONG", email).status_code for _ in range(6)]
        for email in ("admin@example.com", "nobody@example.com")
    ]
    assert tries[0] == tries[1] == [400] * 5 + [410]


def test_a_code_runs_out(kit: Kit) -> None:
    kit.user()
    recover(kit)
    kit.clock.advance(30 * 60_000)

    late = confirm(kit, mailed_code(kit))

    assert (late.status_code, late.json()["code"]) == (410, "code_expired")


def test_letters_to_one_address_are_few(kit: Kit) -> None:
    statuses = {
        email: [recover(kit, email).status_code for _ in range(6)]
        for email in (kit.user().email, "nobody@example.com")
    }

    assert set(map(tuple, statuses.values())) == {(202, 202, 202, 202, 202, 429)}


def test_recovery_unlocks(kit: Kit) -> None:
    kit.user()
    for _ in range(11):
        login(kit, password="wrong password")
    recover(kit)

    confirm(kit, mailed_code(kit))

    assert login(kit, password=NEW).status_code == 200


@pytest.mark.parametrize(
    "password",
    ["short", "a" * 20, "administrator1234", "my-admin-password", "ababababababab"],
)
def test_a_weak_password_is_refused(kit: Kit, password: str) -> None:
    kit.user()
    recover(kit)

    answer = confirm(kit, mailed_code(kit), password=password)

    assert (answer.status_code, answer.json()["code"]) == (422, "password_policy")
    assert password not in answer.text


def a_temporary(kit: Kit) -> None:
    until_ms = kit.clock() + 1000
    kit.user(password="temporary secret", temporary_until_ms=until_ms)


def change(kit: Kit, given: str = "temporary secret", wanted: str = NEW) -> Any:
    body = {"email": "admin@example.com", "temporaryPassword": given, "newPassword": wanted}
    return kit.post("/v1/auth/password/temporary", body, key=None)


def test_a_temporary_password_is_exchanged_once(kit: Kit) -> None:
    a_temporary(kit)

    asked = login(kit, password="temporary secret").json()
    same = change(kit, wanted="temporary secret")
    done = change(kit)

    assert asked["challenge"] == "newPassword"
    assert same.status_code == 422
    assert jobs(kit, done.json()["accessToken"]) == 200
    assert change(kit).status_code == 401
    assert change(kit, NEW, "third horse, third battery").json()["code"] == "not_temporary"


def test_a_temporary_password_runs_out_and_is_mailed_anew(kit: Kit) -> None:
    a_temporary(kit)
    kit.clock.advance(1000)

    late = change(kit)
    recover(kit)
    mailed = re.findall(r"Temporary password: (\S+)", kit.letters()[-1])[0]

    assert (late.status_code, late.json()["code"]) == (401, "temporary_expired")
    assert change(kit, mailed).status_code == 200


def test_a_wrong_log_in_takes_as_long_as_the_floor(tmp_path: Path) -> None:
    import time

    with a_kit(tmp_path, answer_floor_ms=150) as kit:
        started = time.monotonic()
        login(kit)

        assert time.monotonic() - started >= 0.15


def test_no_password_is_ever_told(kit: Kit) -> None:
    kit.user()
    answers = [
        login(kit, password="a wrong secret"),
        kit.post("/v1/auth/token", {"email": "x", "password": "a wrong secret"}, key=None),
        kit.post("/v1/auth/token", {"email": "a@b", "password": ["a wrong secret"]}, key=None),
    ]

    assert [a.status_code for a in answers] == [401, 422, 422]
    assert not any("a wrong secret" in a.text for a in answers)
