"""Passwords: generated, hashed with argon2id, verified; only importer of argon2."""

from __future__ import annotations

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()


def generate() -> str:
    """A password nobody will guess, to be changed by its owner."""
    return secrets.token_urlsafe(18)


def hashed(password: str) -> str:
    """The argon2id hash to store."""
    return _HASHER.hash(password)


def matches(stored: str | None, password: str) -> bool:
    """Whether a password is the stored one; an absent hash costs the same time and says no."""
    try:
        return _HASHER.verify(stored or _DECOY, password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


_DECOY = hashed(generate())
