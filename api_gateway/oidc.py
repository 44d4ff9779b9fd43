"""OpenID Connect: discovery, the way there with PKCE, the way back, log-out; uses Authlib and
joserfc, and reaches a provider through the egress alone."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import quote, urlencode, urlsplit

from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from api_gateway.cache import Cache
from connectors.egress import Answer, Egress, Limits
from schemas.base import Value
from schemas.errors import AccessDenied, InvalidCommand, SourceUnavailable

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
SCOPE = "openid email profile"
_BELIEVED_MS = 10 * 60_000
_LEEWAY_S = 60
# How long after it was signed a word of log-out is taken; its id is remembered for longer.
LOGOUT_FRESH_S = 600
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_LOGOUT_TYPES = frozenset({"", "jwt", "logout+jwt", "application/logout+jwt"})
_MAX_BYTES = 256 * 1024
_MAX_TOKEN = 64 * 1024
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_LIMITS = Limits(total_timeout_s=15.0, header_timeout_s=10.0)


class Provider(Value):
    """What a provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None = None
    auth_methods: tuple[str, ...] = ("client_secret_basic",)


class Client(NamedTuple):
    """Who we are at a provider."""

    client_id: str
    secret: str | None
    redirect_uri: str


class Departure(NamedTuple):
    """A visitor on the way to a provider: where to, and what proves the way back."""

    url: str
    state: str
    nonce: str
    verifier: str


class Logout(NamedTuple):
    """What a provider says has ended: one of its sessions, or all of a subject."""

    id: str
    subject: str | None
    session: str | None


class Oidc:
    """Providers, asked at most every ten minutes for what they say of themselves; blocking."""

    def __init__(self, egress: Egress, clock: Callable[[], int]) -> None:
        self._egress, self._clock = egress, clock
        self._known: Cache[Provider] = Cache(_BELIEVED_MS, 256, clock)

    def provider(self, issuer: str) -> Provider:
        """The provider at an issuer's address, which has to say that it is that issuer."""
        held = self._known.get(issuer)
        if held is not None:
            return held[0]
        check_address(issuer)
        found = self._json("GET", issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != issuer:
            raise AccessDenied("the provider says it is another issuer", code="sso_issuer")
        return self._known.put(_provider(found), issuer)

    def departure(self, provider: Provider, client: Client) -> Departure:
        """The address that begins a sign-on, with a challenge that only we can answer."""
        state, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        verifier = secrets.token_urlsafe(48)
        url: str = prepare_grant_uri(
            provider.authorization_endpoint,
            client.client_id,
            "code",
            client.redirect_uri,
            SCOPE,
            state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return Departure(url, state, nonce, verifier)

    def id_token(self, provider: Provider, client: Client, code: str, verifier: str) -> str:
        """The ID token a code is worth."""
        body: str = prepare_token_request(
            "authorization_code", "", client.redirect_uri, code=code, code_verifier=verifier
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if client.secret is None:
            body += "&" + urlencode({"client_id": client.client_id})
        elif "client_secret_basic" in provider.auth_methods:
            headers["Authorization"] = _basic(client.client_id, client.secret)
        else:
            given = {"client_id": client.client_id, "client_secret": client.secret}
            body += "&" + urlencode(given)
        found = self._json("POST", provider.token_endpoint, body.encode(), headers)
        token = found.get("id_token")
        if not isinstance(token, str) or len(token) > _MAX_TOKEN:
            raise AccessDenied("the provider answered without an ID token", code="sso_refused")
        return token

    def claims(self, provider: Provider, client: Client, token: str, nonce: str) -> dict[str, Any]:
        """What an ID token says, once signature, issuer, audience, time and nonce are right."""
        try:
            keys = KeySet.import_key_set(self._json("GET", provider.jwks_uri))  # type: ignore[arg-type]  # any JSON object: it is checked by this call
            decoded = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {"iss": {"value": provider.issuer}, "aud": {"value": client.client_id}},
                {"nonce": nonce, "client_id": client.client_id},
            )
            claims.validate(now=self._clock() // 1000, leeway=_LEEWAY_S)
        except (JoseError, OAuth2Error, ValueError, KeyError, TypeError) as error:
            detail = f"the ID token is not good: {type(error).__name__}"
            raise AccessDenied(detail, code="sso_refused") from error
        return dict(claims)

    def logout(self, provider: Provider, client_id: str, token: str) -> Logout:
        """What a logout token says, once everything is right that OpenID Connect Back-Channel
        Logout asks for; whether it was shown before is for the caller to know."""
        if len(token) > _MAX_TOKEN:
            raise AccessDenied("the logout token is too long", code="sso_refused")
        try:
            keys = KeySet.import_key_set(self._json("GET", provider.jwks_uri))  # type: ignore[arg-type]  # any JSON object: it is checked by this call
            decoded = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
            wrong = _wrong_logout(decoded.header, decoded.claims, provider, client_id)
        except (JoseError, ValueError, KeyError, TypeError) as error:
            wrong = type(error).__name__
        else:
            wrong = wrong or self._wrong_time(decoded.claims)
        if wrong:
            raise AccessDenied(f"the logout token is not good: {wrong}", code="sso_refused")
        claims = decoded.claims
        return Logout(claims["jti"], claims.get("sub"), claims.get("sid"))

    def _wrong_time(self, claims: dict[str, Any]) -> str | None:
        now_s, signed, ends = self._clock() / 1000, claims.get("iat"), claims.get("exp")
        if not _is_number(signed) or not -_LEEWAY_S <= now_s - signed <= LOGOUT_FRESH_S:
            return "iat"
        # Providers of before the final text send no exp: then iat alone bounds it.
        if ends is not None and not (_is_number(ends) and now_s - _LEEWAY_S < ends):
            return "exp"
        return None

    def _json(
        self,
        method: str,
        url: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        check_address(url)
        given = {"Accept": "application/json", **(headers or {})}
        answer = self._egress.request(
            method, url, data=data, headers=given, max_bytes=_MAX_BYTES, limits=_LIMITS
        )
        return _object(answer)


def _wrong_logout(
    header: dict[str, Any], claims: dict[str, Any], provider: Provider, client_id: str
) -> str | None:
    """The first claim of a logout token that is not as it has to be."""
    audience, events = claims.get("aud"), claims.get("events")
    named = [claims[name] for name in ("sub", "sid") if claims.get(name) is not None]
    good = {
        "typ": str(header.get("typ", "")).lower() in _LOGOUT_TYPES,
        "iss": claims.get("iss") == provider.issuer,
        "aud": client_id in (audience if isinstance(audience, list) else [audience]),
        "events": isinstance(events, dict) and isinstance(events.get(_LOGOUT_EVENT), dict),
        # An ID token, which everybody on the way may have seen, has one.
        "nonce": "nonce" not in claims,
        "jti": _is_name(claims.get("jti")),
        "sub or sid": bool(named) and all(_is_name(name) for name in named),
    }
    return next((name for name, right in good.items() if not right), None)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 255


def check_address(url: str) -> None:
    """Refuse an address of a provider that anybody on the way could answer for."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        host, parts = "", urlsplit("")
    plain = parts.scheme == "http" and host in _LOOPBACK
    if not host or not (parts.scheme == "https" or plain) or parts.username is not None:
        raise InvalidCommand("a provider is reached by https://", code="sso_issuer")


def logout_address(provider: Provider, client_id: str, id_token: str, back_to: str) -> str | None:
    """Where a browser ends its session at the provider too (RP-initiated log-out)."""
    if provider.end_session_endpoint is None:
        return None
    query = urlencode(
        {"id_token_hint": id_token, "client_id": client_id, "post_logout_redirect_uri": back_to}
    )
    joined = "&" if "?" in provider.end_session_endpoint else "?"
    return f"{provider.end_session_endpoint}{joined}{query}"


def _provider(found: dict[str, Any]) -> Provider:
    names = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
    if not all(isinstance(found.get(name), str) for name in names):
        raise AccessDenied("the provider's discovery document is incomplete", code="sso_issuer")
    ends = found.get("end_session_endpoint")
    methods = found.get("token_endpoint_auth_methods_supported")
    for url in (found["authorization_endpoint"], *([ends] if isinstance(ends, str) else [])):
        check_address(url)
    return Provider(
        **{name: found[name] for name in names},
        end_session_endpoint=ends if isinstance(ends, str) else None,
        auth_methods=tuple(str(m) for m in methods)
        if isinstance(methods, list) and methods
        else ("client_secret_basic",),
    )


def _object(answer: Answer) -> dict[str, Any]:
    if answer.status >= 500:
        raise SourceUnavailable("the sign-on provider does not answer", code="upstream")
    try:
        found = json.loads(answer.data)
    except (ValueError, RecursionError):
        found = None
    if answer.status != 200 or not isinstance(found, dict):
        raise AccessDenied(f"the provider refused: HTTP {answer.status}", code="sso_refused")
    return found


def _basic(client_id: str, secret: str) -> str:
    # RFC 6749 2.3.1: both are form-encoded before they are joined.
    joined = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return f"Basic {b64encode(joined.encode()).decode()}"
