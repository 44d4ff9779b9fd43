"""What the examples of the account operations need before they can work: users, codes, tokens."""

from __future__ import annotations

import copy
import re
from typing import Any

import pyotp

from tests.gateway_kit import PASSWORD, Kit

SSO = {"issuer": "https://login.example.com", "clientId": "cuttingroom"}


def ready(kit: Kit, operation_id: str, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The example with what was mailed or shown just now filled in, and the credential for it
    (a key's name, or `Bearer …`)."""
    if operation_id in _FILLED:
        return _FILLED[operation_id](kit, example)
    return example, "mine"


def an_app(kit: Kit, email: str) -> tuple[pyotp.TOTP, str]:
    """The app of a user who is enrolling, and the access token."""
    bearer = f"Bearer {kit.login(email)['accessToken']}"
    uri = kit.as_user("POST", "/v1/auth/mfa/enrol", bearer).json()["otpauthUri"]
    app = pyotp.parse_uri(uri)
    assert isinstance(app, pyotp.TOTP)
    return app, bearer


def code(kit: Kit, app: pyotp.TOTP) -> str:
    """What the app shows now."""
    return app.at(kit.clock() // 1000)


def _login(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    kit.user(example["email"], password=example["password"])
    return example, ""


def _temporary(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    until_ms = kit.clock() + 1000
    password = example["temporaryPassword"]
    kit.user(example["email"], password=password, temporary_until_ms=until_ms)
    return example, ""


def _mailed(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    kit.user("forgetful@example.com")
    kit.post("/v1/auth/password/recover", {"email": "forgetful@example.com"}, key=None)
    found = re.findall(r"Recovery code: (\S+)", kit.letters()[-1])
    return {**example, "email": "forgetful@example.com", "code": found[0]}, ""


def _refresh(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    kit.user("refresh@example.com")
    return {**example, "refreshToken": kit.login("refresh@example.com")["refreshToken"]}, ""


def _confirm(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    kit.user("confirm@example.com")
    app, bearer = an_app(kit, "confirm@example.com")
    return {**example, "code": code(kit, app)}, bearer


def _answer(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    kit.user("answer@example.com")
    app, bearer = an_app(kit, "answer@example.com")
    body = {"code": code(kit, app)}
    kit.as_user("POST", "/v1/auth/mfa/enrol/confirm", bearer, json=body)
    kit.clock.advance(30_000)
    session = kit.login("answer@example.com", PASSWORD)["session"]
    return {"session": session, "code": code(kit, app)}, ""


def _of_a_connector(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    body = copy.deepcopy(example)
    named = body["tracks"]["children"][0]["children"][0]["metadata"]["cuttingroom"]
    named["connectorId"] = kit.connector(f"Shown {len(kit.get('/v1/connectors').json()['items'])}")
    return body, "mine"


def _own_session(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    return example, kit.bearer()


def _invited(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    with kit.gateway.catalog.write() as tx:
        return {**example, "invitation": tx.invitations.make(None, 60_000)}, ""


def _a_guide(kit: Kit, example: dict[str, Any]) -> tuple[dict[str, Any], str]:
    config = {"url": "http://127.0.0.1:9/guide.xml"}
    guide = kit.connector("A guide", type="xmltv", config=config)
    return {**example, "epgConnectorId": guide}, "mine"


_FILLED: dict[str, Any] = {
    "setChannelStation": _a_guide,
    "createProject": _of_a_connector,
    "replaceTimeline": _of_a_connector,
    "authenticate": _login,
    "changeTemporaryPassword": _temporary,
    "confirmRecoverPassword": _mailed,
    "refreshToken": _refresh,
    "confirmMfa": _confirm,
    "answerMfa": _answer,
    "logout": _own_session,
    "createTenant": _invited,
}
