"""A provider that checks PKCE, and its word that somebody has logged out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc.jwk import RSAKey

from api_gateway.oidc import Oidc
from connectors.egress import Egress
from tests.gateway_kit import Kit, a_kit
from tests.oidc_peer import LOGOUT_EVENT, Provider, form, oidc_peer

PEOPLE = {
    name: {"sub": name, "email": f"{name}@example.com", "email_verified": True, "groups": ["all"]}
    for name in ("robin", "kim")
}


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with oidc_peer(PEOPLE) as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[Kit]:
    with a_kit(tmp_path_factory.mktemp("gateway")) as made:
        egress = Egress(allow_cidrs=("127.0.0.0/8",))
        made.gateway.env = replace(made.gateway.env, egress=egress)
        made.gateway.oidc = Oidc(egress, made.clock)
        setting = {"issuer": provider.issuer, "clientId": "cuttingroom", "defaultRole": "viewer"}
        assert made.ask("PUT", "/v1/tenant/sso", json=setting).status_code == 200
        yield made


@pytest.fixture
def kit(whole: Kit, provider: Provider) -> Kit:
    """The provider lives in our time."""
    whole.clock.now_ms = time.time_ns() // 1_000_000
    provider.sessions = True
    provider.refusals.clear()
    return whole


def departed(kit: Kit) -> tuple[str, str]:
    """Where a browser is sent, and its cookie."""
    leaving = kit.get(f"/v1/auth/sso/{kit.mine.tenant_id}/start", key=None)
    return leaving.headers["location"], str(leaving.headers["set-cookie"]).partition(";")[0]


def arrived(kit: Kit, query: dict[str, str], cookie: str) -> Any:
    path = f"/v1/auth/sso/{kit.mine.tenant_id}/callback?{urlencode(query)}"
    return kit.get(path, key=None, headers={"Cookie": cookie})


def sign_on(kit: Kit, provider: Provider, subject: str) -> tuple[str, str]:
    """The bearer of a new session, and the provider's id of it."""
    url, cookie = departed(kit)
    query = provider.consent(url, subject)
    sid = provider.codes[query["code"]]["sid"]
    answer = arrived(kit, query, cookie)
    assert answer.status_code == 200, answer.text
    return f"Bearer {answer.json()['accessToken']}", sid


def told(kit: Kit, token: str, tenant: str | None = None) -> Any:
    where = tenant or kit.mine.tenant_id
    path = f"/v1/auth/sso/{where}/backchannel-logout"
    return kit.ask("POST", path, key=None, **form(logout_token=token))


def alive(kit: Kit, bearer: str) -> bool:
    return kit.as_user("GET", "/v1/jobs", bearer).status_code == 200


def test_the_verifier_is_the_one_that_was_challenged(kit: Kit, provider: Provider) -> None:
    sign_on(kit, provider, "robin")

    assert provider.refusals == []


def test_a_wrong_verifier_is_refused_by_the_provider(kit: Kit, provider: Provider) -> None:
    url, _ = departed(kit)
    stolen = provider.consent(url, "robin")["code"]
    other_url, cookie = departed(kit)
    own = parse_qs(urlsplit(other_url).query)["state"][0]

    answer = arrived(kit, {"code": stolen, "state": own}, cookie)

    assert (answer.status_code, answer.json()["code"]) == (422, "sso_refused")
    assert provider.refusals == ["invalid_grant"]


def test_every_departure_has_a_challenge_of_its_own(kit: Kit) -> None:
    asked = [parse_qs(urlsplit(departed(kit)[0]).query)["code_challenge"][0] for _ in range(5)]

    assert len(set(asked)) == 5


def test_the_address_to_register_is_shown(kit: Kit) -> None:
    shown = kit.get("/v1/tenant/sso").json()["backchannelLogoutUri"]

    assert shown.endswith(f"/v1/auth/sso/{kit.mine.tenant_id}/backchannel-logout")


def test_one_session_ends_by_its_id(kit: Kit, provider: Provider) -> None:
    first, sid = sign_on(kit, provider, "robin")
    second, _ = sign_on(kit, provider, "robin")
    assert alive(kit, first)

    answer = told(kit, provider.signed(provider.logout_token(sid=sid), typ="logout+jwt"))

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert (alive(kit, first), alive(kit, second)) == (False, True)


def test_everything_of_a_subject_ends_and_of_nobody_else(kit: Kit, provider: Provider) -> None:
    robins = [sign_on(kit, provider, "robin")[0] for _ in range(2)]
    kims, _ = sign_on(kit, provider, "kim")

    told(kit, provider.signed(provider.logout_token(sub="robin")))

    assert [alive(kit, one) for one in robins] == [False, False]
    assert alive(kit, kims)


def test_both_names_end_the_one_session_they_both_name(kit: Kit, provider: Provider) -> None:
    first, sid = sign_on(kit, provider, "robin")
    second, _ = sign_on(kit, provider, "robin")
    kims, _ = sign_on(kit, provider, "kim")

    told(kit, provider.signed(provider.logout_token(sub="robin", sid=sid)))

    assert [alive(kit, one) for one in (first, second, kims)] == [False, True, True]


def test_a_session_without_the_providers_id_ends_with_its_subject(
    kit: Kit, provider: Provider
) -> None:
    provider.sessions = False
    bearer, sid = sign_on(kit, provider, "robin")

    told(kit, provider.signed(provider.logout_token(sub="robin", sid=sid)))

    assert not alive(kit, bearer)


def test_log_ins_by_password_are_none_of_the_providers(kit: Kit, provider: Provider) -> None:
    sign_on(kit, provider, "robin")
    kit.user("password@example.com")
    bearer = f"Bearer {kit.login('password@example.com')['accessToken']}"

    told(kit, provider.signed(provider.logout_token(sub="robin")))

    assert alive(kit, bearer)


def test_a_token_is_good_once(kit: Kit, provider: Provider) -> None:
    token = provider.signed(provider.logout_token(sub="robin"))
    first = told(kit, token)
    bearer, _ = sign_on(kit, provider, "robin")

    again = told(kit, token)

    assert first.status_code == 200
    assert (again.status_code, again.json()["code"]) == (400, "logout_token_invalid")
    assert alive(kit, bearer)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"aud": "another client"},
        {"aud": ["another", "client"]},
        {"aud": None},
        {"iat": None},
        {"iat": "now"},
        {"iat": True},
        {"iat": 1_000_000_000},
        {"iat": 9_000_000_000},
        {"exp": 1_000_000_000},
        {"exp": "later"},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": "x" * 256},
        {"events": None},
        {"events": {}},
        {"events": {LOGOUT_EVENT: None}},
        {"events": [LOGOUT_EVENT]},
        {"events": {"http://schemas.openid.net/event/other": {}}},
        {"nonce": "n"},
        {"sub": None},
        {"sub": ""},
        {"sub": ["robin"]},
        {"sid": 7},
    ],
    ids=str,
)
def test_a_token_that_is_not_right_ends_nothing(
    kit: Kit, provider: Provider, changes: dict[str, Any]
) -> None:
    bearer, _ = sign_on(kit, provider, "robin")

    answer = told(kit, provider.signed(provider.logout_token(**{"sub": "robin", **changes})))

    assert (answer.status_code, answer.json()["code"]) == (400, "logout_token_invalid")
    assert alive(kit, bearer)


def test_a_token_of_somebody_elses_key_ends_nothing(kit: Kit, provider: Provider) -> None:
    bearer, _ = sign_on(kit, provider, "robin")
    forged = RSAKey.generate_key(2048, {"kid": "peer"}, auto_kid=False)
    claims = provider.logout_token(sub="robin")
    header, body, _ = provider.signed(claims).split(".")
    unsigned = f"eyJhbGciOiJub25lIn0.{body}."

    answers = [
        told(kit, provider.signed(claims, forged)),
        told(kit, unsigned),
        told(kit, f"{header}.{body}.AAAA"),
        told(kit, "not a token"),
        told(kit, "x" * 70_000),
    ]

    assert [answer.status_code for answer in answers] == [400] * 5
    assert alive(kit, bearer)


def test_an_id_token_is_no_logout_token(kit: Kit, provider: Provider) -> None:
    bearer, _ = sign_on(kit, provider, "robin")
    now = int(time.time())
    claims = {
        **PEOPLE["robin"],
        "iss": provider.issuer,
        "aud": "cuttingroom",
        "iat": now,
        "exp": now + 300,
        "jti": "1",
    }

    answer = told(kit, provider.signed(claims))

    assert answer.status_code == 400
    assert alive(kit, bearer)


def test_a_token_without_exp_is_good_while_it_is_fresh(kit: Kit, provider: Provider) -> None:
    bearer, _ = sign_on(kit, provider, "robin")

    answer = told(kit, provider.signed(provider.logout_token(sub="robin", exp=None)))

    assert answer.status_code == 200
    assert not alive(kit, bearer)


@pytest.mark.parametrize(
    "body",
    ["", "logout_token", "other=1", "logout_token=a&logout_token=b", "logout_token=%ff", "\u00e9"],
)
def test_a_form_without_one_token_is_refused(kit: Kit, body: str) -> None:
    path = f"/v1/auth/sso/{kit.mine.tenant_id}/backchannel-logout"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = kit.ask("POST", path, key=None, content=body.encode(), headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "logout_token_invalid")


def test_json_is_no_form(kit: Kit) -> None:
    path = f"/v1/auth/sso/{kit.mine.tenant_id}/backchannel-logout"

    answer = kit.post(path, {"logout_token": "x"}, key=None)

    assert answer.status_code == 415


def test_a_tenant_without_sign_on_has_nobody_to_log_out(kit: Kit, provider: Provider) -> None:
    token = provider.signed(provider.logout_token(sub="robin"))

    answers = [told(kit, token, tenant) for tenant in (kit.theirs.tenant_id, "nobody")]

    assert [answer.status_code for answer in answers] == [404, 404]


def test_the_audit_log_says_who_was_logged_out(kit: Kit, provider: Provider) -> None:
    _, sid = sign_on(kit, provider, "robin")

    told(kit, provider.signed(provider.logout_token(sub="robin", sid=sid)))

    newest = kit.get("/v1/audit?action=backchannelLogout").json()["items"][0]
    assert (newest["subject"], newest["target"]) == ("provider", "robin")
    assert newest["detail"] == {"endedSessions": "1"}
