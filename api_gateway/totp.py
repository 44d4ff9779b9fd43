"""Second factors: TOTP secrets, their QR code, the step a code belongs to; uses pyotp and segno."""

from __future__ import annotations

import hmac

import pyotp
import segno

STEP_S = 30
_AROUND = (0, -1, 1)


def new_secret() -> str:
    """A secret of 160 random bits, as an authenticator app spells it."""
    return pyotp.random_base32()


def uri(secret: str, *, account: str, issuer: str) -> str:
    """The otpauth URI of a secret."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)


def qr(text: str) -> str:
    """A text as a QR code: an SVG in a data URI."""
    return segno.make_qr(text, error="m").svg_data_uri(scale=4, border=2)


def step_of(secret: str, code: str, now_ms: int) -> int | None:
    """The 30 s step a code belongs to: this one, the one before or the one after; else None."""
    now, found = now_ms // 1000 // STEP_S, None
    maker = pyotp.TOTP(secret)
    given = code.strip().encode()
    for step in (now + around for around in _AROUND):
        # Every step is compared, so that the time tells nothing.
        if hmac.compare_digest(maker.at(step * STEP_S).encode(), given) and found is None:
            found = step
    return found
