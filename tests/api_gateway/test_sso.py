"""Sign-on at a real OpenID provider: the way there, the way back, roles, log-out."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx
import pytest

from api_gateway.oidc import Oidc
from connectors.egress import Egress
from tests.gateway_kit import Kit, a_kit
from tests.redis_server import free_port

ROBIN = {
    "sub": "robin",
    "email": "robin@example.com",
    "email_verified": True,
    "name": "Robin",
    "groups": ["newsroom", "staff"],
}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    people = [
        ROBIN,
        {**ROBIN, "sub": "boss", "email": "boss@example.com", "groups": ["newsroom", "chiefs"]},
        {**ROBIN, "sub": "guest", "email": "guest@example.com", "groups": []},
        {**ROBIN, "sub": "impostor", "email": "admin@example.com", "email_verified": False},
        {**ROBIN, "sub": "admin", "email": "admin@example.com", "groups": "newsroom"},
        {**ROBIN, "sub": "nameless", "email": "no address"},
    ]
    given = [word for person in people for word in ("--user-claims", json.dumps(person))]
    argv = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *given]
    log = (tmp_path_factory.mktemp("provider") / "log").open("wb")
    running = subprocess.Popen(argv, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while True:
        try:
            httpx.get(f"{url}/.well-known/openid-configuration")
            break
        except httpx.TransportError:
            assert time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.05)
    yield url
    running.terminate()
    running.wait(10)
    log.close()


@pytest.fixture
def kit(tmp_path: Path, issuer: str) -> Iterator[Kit]:
    with a_kit(tmp_path) as made:
        # The provider lives in our time.
        made.clock.now_ms = time.time_ns() // 1_000_000
        made.gateway.env = replace_egress(made)
        made.gateway.oidc = Oidc(made.gateway.env.egress, made.clock)
        made.user()
        setting = {
            "issuer": issuer,
            "clientId": "cuttingroom",
            "clientSecret": "very secret",
            "roles": {"newsroom": "editor", "chiefs": "admin"},
        }
        assert made.ask("PUT", "/v1/tenant/sso", json=setting).status_code == 200
        yield made


def replace_egress(kit: Kit) -> Any:
    egress = Egress(allow_cidrs=("127.0.0.0/8",))
    return replace(kit.gateway.env, egress=egress)


def departed(kit: Kit) -> httpx.Response:
    return kit.get(f"/v1/auth/sso/{kit.mine.tenant_id}/start", key=None)


def consented(url: str, subject: str) -> dict[str, str]:
    """What the provider sends the browser back with."""
    answer = httpx.post(url, data={"sub": subject})
    assert answer.status_code == 302, answer.text
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


def arrived(kit: Kit, query: dict[str, str], cookie: str | None, tenant: str = "") -> Any:
    headers = {} if cookie is None else {"Cookie": cookie}
    where = tenant or kit.mine.tenant_id
    path = f"/v1/auth/sso/{where}/callback?{urlencode(query)}"
    return kit.get(path, key=None, headers=headers)


def cookie_of(answer: httpx.Response) -> str:
    return str(answer.headers["set-cookie"]).partition(";")[0]


def sign_on(kit: Kit, subject: str) -> Any:
    leaving = departed(kit)
    query = consented(leaving.headers["location"], subject)
    return arrived(kit, query, cookie_of(leaving))


def role_of(kit: Kit, email: str) -> str:
    with kit.gateway.catalog.read() as tx:
        return tx.users.by_email(kit.mine.tenant_id, email).role


def test_the_way_there_carries_a_challenge_and_ties_the_browser(kit: Kit, issuer: str) -> None:
    shown = kit.get("/v1/auth/sso?tenant=mine", key=None).json()
    leaving = departed(kit)

    asked = {k: v[0] for k, v in parse_qs(urlsplit(leaving.headers["location"]).query).items()}
    assert shown["authorizeUrl"].endswith(f"/v1/auth/sso/{kit.mine.tenant_id}/start")
    assert (shown["protocol"], shown["issuer"]) == ("oidc", issuer)
    assert leaving.status_code == 302
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43
    assert asked["redirect_uri"].endswith("/callback")
    assert {"state", "nonce", "scope", "response_type", "client_id"} <= asked.keys()
    cookie = leaving.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_a_user_is_made_at_the_first_sign_on(kit: Kit) -> None:
    first, second = sign_on(kit, "robin"), sign_on(kit, "robin")

    assert first.status_code == 200, first.text
    bearer = f"Bearer {first.json()['accessToken']}"
    assert kit.as_user("POST", "/v1/connectors", bearer, json={}).status_code == 422
    assert kit.as_user("GET", "/v1/users", bearer).status_code == 403
    assert second.status_code == 200
    assert role_of(kit, "robin@example.com") == "editor"
    assert len(kit.get("/v1/users").json()["items"]) == 2


def test_the_highest_group_gives_the_role_and_it_follows_the_provider(kit: Kit) -> None:
    sign_on(kit, "boss")
    before = role_of(kit, "boss@example.com")
    kit.ask("PUT", "/v1/tenant/sso", json={**shown_settings(kit), "roles": {"newsroom": "viewer"}})

    sign_on(kit, "boss")

    assert (before, role_of(kit, "boss@example.com")) == ("admin", "viewer")


def shown_settings(kit: Kit) -> dict[str, Any]:
    shown = kit.get("/v1/tenant/sso").json()
    ours = {"protocol", "redirectUri", "backchannelLogoutUri"}
    return {k: v for k, v in shown.items() if k not in ours}


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        ("guest", "sso_no_role"),
        ("impostor", "email_unverified"),
        ("nameless", "sso_no_email"),
    ],
)
def test_who_has_no_right_to_be_here_is_refused(kit: Kit, subject: str, code: str) -> None:
    answer = sign_on(kit, subject)

    assert (answer.status_code, answer.json()["code"]) == (403, code)


def test_a_verified_address_is_the_user_who_was_there_and_the_last_admin_stays(kit: Kit) -> None:
    done = sign_on(kit, "admin")

    assert done.status_code == 200
    assert role_of(kit, "admin@example.com") == "admin"
    assert len(kit.get("/v1/users").json()["items"]) == 1


def test_a_disabled_user_stays_out(kit: Kit) -> None:
    sign_on(kit, "robin")
    kit.patch("/v1/users/by-email/robin@example.com", {"enabled": False})

    assert sign_on(kit, "robin").json()["code"] == "user_disabled"


def test_the_way_back_is_good_once_in_this_browser(kit: Kit) -> None:
    leaving = departed(kit)
    query = consented(leaving.headers["location"], "robin")
    other = cookie_of(departed(kit))

    without = arrived(kit, query, None)
    anothers = arrived(kit, query, other)
    elsewhere = arrived(kit, query, cookie_of(leaving), kit.theirs.tenant_id)
    first = arrived(kit, query, cookie_of(leaving))
    again = arrived(kit, query, cookie_of(leaving))

    assert [a.status_code for a in (without, anothers, elsewhere)] == [400, 400, 404]
    assert first.status_code == 200
    assert (again.status_code, again.json()["code"]) == (400, "state_invalid")


def test_a_code_of_another_sign_on_fails_at_its_nonce(kit: Kit) -> None:
    first, second = departed(kit), departed(kit)
    stolen = consented(first.headers["location"], "boss")["code"]
    own = consented(second.headers["location"], "robin")

    answer = arrived(kit, {**own, "code": stolen}, cookie_of(second))

    assert (answer.status_code, answer.json()["code"]) == (422, "sso_refused")


def test_a_refusal_of_the_provider_is_told(kit: Kit) -> None:
    leaving = departed(kit)
    state = parse_qs(urlsplit(leaving.headers["location"]).query)["state"][0]

    answer = arrived(kit, {"state": state, "error": "access_denied"}, cookie_of(leaving))

    assert (answer.status_code, answer.json()["code"]) == (403, "sso_refused")


def test_logging_out_says_where_to_end_the_session_too(kit: Kit, issuer: str) -> None:
    tokens = sign_on(kit, "robin").json()

    out = kit.as_user("POST", "/v1/auth/logout", f"Bearer {tokens['accessToken']}").json()

    assert out["endedSessions"] == 1
    assert out["logoutUrl"].startswith(f"{issuer}/oauth2/end_session?id_token_hint=")
    assert httpx.get(out["logoutUrl"]).status_code in {200, 302}


def test_the_secret_is_shown_to_nobody_and_kept_for_its_issuer_only(kit: Kit) -> None:
    shown = kit.get("/v1/tenant/sso")
    kept = kit.ask("PUT", "/v1/tenant/sso", json=shown_settings(kit))
    moved = kit.ask(
        "PUT", "/v1/tenant/sso", json={**shown_settings(kit), "issuer": "https://evil.example"}
    )

    assert "very secret" not in shown.text
    assert kept.json()["clientSecret"] == "***"
    assert moved.json()["clientSecret"] is None


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ("http://10.0.0.1/issuer", 422),
        ("https://user:pw@login.example.com", 422),
        ("ftp://login.example.com", 422),
    ],
)
def test_a_provider_is_reached_safely_or_not_at_all(kit: Kit, bad: str, status: int) -> None:
    answer = kit.ask("PUT", "/v1/tenant/sso", json={"issuer": bad, "clientId": "c"})

    assert answer.status_code == status


def test_an_open_and_a_closed_port_inside_look_the_same(tmp_path: Path, issuer: str) -> None:
    told = []
    with a_kit(tmp_path) as kit:
        for inside in (issuer, f"http://127.0.0.1:{free_port()}"):
            setting = {"issuer": inside, "clientId": "c", "defaultRole": "viewer"}
            kit.ask("PUT", "/v1/tenant/sso", json=setting)
            answer = departed(kit)
            told.append((answer.status_code, answer.json()["code"], answer.json()["detail"]))

    assert told[0] == told[1]
    assert told[0][:2] == (422, "access_denied")


def test_a_tenant_without_sign_on_looks_like_none(kit: Kit) -> None:
    paths = [f"/v1/auth/sso?tenant={name}" for name in ("theirs", "nobody")]
    answers = [kit.get(path, key=None) for path in paths]

    assert {a.text for a in answers} == {
        '{"enabled":false,"protocol":null,"issuer":null,"authorizeUrl":null}'
    }
    kit.ask("DELETE", "/v1/tenant/sso")
    assert departed(kit).status_code == 404
