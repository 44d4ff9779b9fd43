"""Opaque tokens: random handles of which only the SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple


class Minted(NamedTuple):
    """A new token and what is stored of it."""

    token: str
    hash: str


def mint(prefix: str) -> Minted:
    """A token of 256 random bits; its prefix tells a leak from noise."""
    token = f"{prefix}_{secrets.token_urlsafe(32)}"
    return Minted(token, digest(token))


def digest(token: str) -> str:
    """What is stored of a token: it is random, so a plain SHA-256 is enough."""
    return hashlib.sha256(token.encode()).hexdigest()
