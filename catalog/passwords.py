"""Passwords: generated, hashed with argon2id, verified; only importer of argon2."""

from __future__ import annotations

import secrets
from functools import cached_property

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError


class Passwords:
    """Argon2id at one price; an operator sets it, and log-in moves old hashes to it."""

    def __init__(self, memory_kib: int = 65_536, rounds: int = 3) -> None:
        lanes = min(4, max(1, memory_kib // 8))
        self._hasher = PasswordHasher(time_cost=rounds, memory_cost=memory_kib, parallelism=lanes)

    def hashed(self, password: str) -> str:
        """The argon2id hash to store."""
        return self._hasher.hash(password)

    def matches(self, stored: str | None, password: str) -> bool:
        """Whether a password is the stored one; an absent hash costs the same time and says no."""
        try:
            return self._hasher.verify(stored or self._decoy, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False

    def is_dated(self, stored: str) -> bool:
        """Whether a stored hash was made at another price."""
        return self._hasher.check_needs_rehash(stored)

    @cached_property
    def _decoy(self) -> str:
        return self.hashed(generate())


def generate() -> str:
    """A password nobody will guess, to be changed by its owner."""
    return secrets.token_urlsafe(18)


_STANDARD = Passwords()
hashed = _STANDARD.hashed
matches = _STANDARD.matches
