"""Access tokens: JWTs of one algorithm, and the keys they are signed with; uses joserfc."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from catalog.engine import Catalog
from catalog.service import SigningKeys
from connectors.sealing import Sealer
from schemas.accounts import Role, Session, SigningKey
from schemas.errors import StoreUnavailable

ALGORITHM = "ES256"
AUDIENCE = "cuttingroom"
TYPE = "at+jwt"
SERVICE = "service"
SEALED_FIELD = "jwk"
MAX_TOKEN = 4096
# A key signs for a month and is believed for an hour after, four times an access token's life.
SIGNS_MS = 30 * 24 * 3600_000
BELIEVED_MS = 3600_000
_RELOAD_MS = 60_000
_ASK_AGAIN_MS = 1_000


class Claims(NamedTuple):
    """What a believed token says; whether its session lives is asked elsewhere."""

    session_id: str
    user_id: str
    tenant_id: str
    expires_ms: int


class _Held(NamedTuple):
    key: ECKey
    value: SigningKey


class AccessTokens:
    """Signs and judges access tokens; keys come from the catalogue and are believed a minute."""

    def __init__(
        self,
        catalog: Catalog,
        sealer: Sealer,
        clock: Callable[[], int],
        *,
        issuer: str,
        lives_s: int,
    ) -> None:
        self._catalog, self._sealer, self._clock = catalog, sealer, clock
        self._issuer, self.lives_s = issuer, lives_s
        self._held: dict[str, _Held] = {}
        self._loaded_ms = 0
        self._lock = threading.Lock()

    def issue(self, session: Session, role: Role) -> str:
        """A token for a session; blocking."""
        now_s = self._clock() // 1000
        signer = self._signer()
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": session.user_id,
            "tid": session.tenant_id,
            "sid": session.id,
            "role": role,
            "iat": now_s,
            "exp": now_s + self.lives_s,
            "jti": secrets.token_urlsafe(12),
        }
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": signer.value.kid}
        return jwt.encode(header, claims, signer.key, algorithms=[ALGORITHM])

    def judge(self, token: str) -> Claims | None:
        """What a token says, where it is one of ours and in time; blocking where its key is new."""
        if len(token) > MAX_TOKEN or not token.isascii():
            return None
        try:
            header = jws.extract_compact(token.encode()).headers()
            held = self._key(header.get("kid"))
            if header.get("typ") != TYPE or header.get("alg") != ALGORITHM or held is None:
                return None
            claims = jwt.decode(token, held.key, algorithms=[ALGORITHM]).claims
            self._rules().validate(claims)
            return _claims(claims)
        except (JoseError, ValueError, KeyError, TypeError):
            return None

    def knows(self, token: str) -> bool:
        """Whether judging this token needs no catalogue; a first look, believing nothing."""
        try:
            kid = jws.extract_compact(token.encode()).headers().get("kid")
        except (JoseError, ValueError):
            return True
        return kid in self._held and self._clock() - self._loaded_ms < _RELOAD_MS

    def jwks(self) -> dict[str, Any]:
        """The public keys, for whoever wants to judge tokens by himself; blocking."""
        self._signer()
        return {
            "keys": [
                {**held.value.public, "kid": kid, "use": "sig", "alg": ALGORITHM}
                for kid, held in self._held.items()
            ]
        }

    def _rules(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=lambda: self._clock() // 1000,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            iat={"essential": True},
        )

    def _key(self, kid: object) -> _Held | None:
        if not isinstance(kid, str):
            return None
        age_ms = self._clock() - self._loaded_ms
        if age_ms >= _RELOAD_MS or (kid not in self._held and age_ms >= _ASK_AGAIN_MS):
            self._load()
        return self._held.get(kid)

    def _signer(self) -> _Held:
        if self._clock() - self._loaded_ms >= _RELOAD_MS:
            self._load()
        newest = self._newest()
        if newest is None:
            with self._catalog.write() as tx:
                # Another process may have been faster: look again, with the door closed.
                if self._aged(tx.signing_keys.living(self._believed_since())):
                    make_signing_key(tx.signing_keys, self._sealer)
            self._load()
            newest = self._newest()
        if newest is None:
            raise StoreUnavailable("there is no key to sign access tokens with")
        return newest

    def _newest(self) -> _Held | None:
        since = self._clock() - SIGNS_MS
        living = [h for h in self._held.values() if h.value.retired_ms is None]
        fresh = [h for h in living if h.value.created_ms > since]
        return max(fresh, key=lambda h: h.value.created_ms, default=None)

    def _aged(self, found: tuple[SigningKey, ...]) -> bool:
        since = self._clock() - SIGNS_MS
        return not any(key.retired_ms is None and key.created_ms > since for key in found)

    def _believed_since(self) -> int:
        return self._clock() - BELIEVED_MS

    def _load(self) -> None:
        with self._lock:
            with self._catalog.read() as tx:
                found = tx.signing_keys.living(self._believed_since())
            self._held = {value.kid: _Held(self._opened(value), value) for value in found}
            self._loaded_ms = self._clock()

    def _opened(self, value: SigningKey) -> ECKey:
        held = self._held.get(value.kid)
        if held is not None:
            return held.key
        secret = self._sealer.open(SERVICE, value.kid, SEALED_FIELD, value.sealed)
        return ECKey.import_key({**value.public, "d": secret.get_secret_value()})


def make_signing_key(keys: SigningKeys, sealer: Sealer) -> str:
    """A new key that signs from now on; older ones are believed for an hour. Answers its id."""
    made, kid = ECKey.generate_key("P-256", private=True), f"sig_{secrets.token_hex(12)}"
    public = {name: str(value) for name, value in made.as_dict(private=False).items()}
    private = str(made.as_dict(private=True)["d"])
    keys.add(kid, sealer.seal(SERVICE, kid, SEALED_FIELD, private), public)
    return kid


def _claims(claims: dict[str, Any]) -> Claims:
    return Claims(
        session_id=str(claims["sid"]),
        user_id=str(claims["sub"]),
        tenant_id=str(claims["tid"]),
        expires_ms=int(claims["exp"]) * 1000,
    )
