"""A small OpenID provider on loopback that checks PKCE, ties sessions by `sid`, and logs people out
over the back channel with tokens signed by its own keys."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Provider:
    """The provider; `people` are claims by subject."""

    def __init__(self, people: dict[str, dict[str, Any]]) -> None:
        self.people = people
        self.key = RSAKey.generate_key(2048, {"kid": "peer"}, auto_kid=False)
        self.codes: dict[str, dict[str, str]] = {}
        self.refusals: list[str] = []
        self.sessions = True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"

    def consent(self, url: str, subject: str) -> dict[str, str]:
        """What the browser comes back with once a person has agreed."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = {**asked, "sub": subject, "sid": secrets.token_hex(8)}
        return {"code": code, "state": asked["state"]}

    def signed(self, claims: dict[str, Any], key: RSAKey | None = None, **header: str) -> str:
        """A token of the provider's."""
        return jwt.encode({"alg": "RS256", "kid": "peer", **header}, claims, key or self.key)

    def logout_token(self, **changes: Any) -> dict[str, Any]:
        """The claims of a good one; a change to None leaves a claim out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "cuttingroom",
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {LOGOUT_EVENT: {}},
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def _discovery(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
        }

    def _token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        held = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if held is None or held["code_challenge"] != challenge:
            self.refusals.append("invalid_grant")
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            **self.people[held["sub"]],
            "iss": self.issuer,
            "aud": held["client_id"],
            "iat": now,
            "exp": now + 300,
            "nonce": held["nonce"],
            **({"sid": held["sid"]} if self.sessions else {}),
        }
        token = self.signed(claims)
        return 200, {"access_token": "at", "token_type": "Bearer", "id_token": token}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = {
                    "/.well-known/openid-configuration": outer._discovery(),
                    "/jwks": {"keys": [outer.key.as_dict(private=False)]},
                }
                self._answer(200, found[urlsplit(self.path).path])

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self._answer(*outer._token(form))

            def _answer(self, status: int, value: dict[str, Any]) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def __enter__(self) -> Provider:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def oidc_peer(people: dict[str, dict[str, Any]]) -> Iterator[Provider]:
    """A running provider."""
    with Provider(people) as made:
        yield made


def form(**fields: str) -> dict[str, Any]:
    """What httpx needs to send a form."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return {"content": urlencode(fields), "headers": headers}
