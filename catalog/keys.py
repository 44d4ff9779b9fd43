"""API key secrets: how one is made, recognised without a look-up, and hashed."""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib

from schemas.base import Value

PREFIX = "cr_live_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LENGTH, _RANDOM_LENGTH, _CRC_LENGTH = 8, 43, 6
_LENGTH = len(PREFIX) + _ID_LENGTH + _RANDOM_LENGTH + _CRC_LENGTH + 2


class NewSecret(Value):
    """A minted secret: its public part, itself, and what is stored of it."""

    public_id: str
    secret: str
    hash: str


def mint(public_id: str | None = None) -> NewSecret:
    """A new secret `cr_live_<8 id>_<43 random>_<6 crc>`; a rotated key keeps its public part."""
    name = public_id or _random(_ID_LENGTH)
    body = f"{PREFIX}{name}_{_random(_RANDOM_LENGTH)}"
    secret = f"{body}_{_crc(body)}"
    return NewSecret(public_id=name, secret=secret, hash=digest(secret))


def public_id(secret: str) -> str | None:
    """The public part of a well-formed secret; None where the form or checksum is wrong."""
    if len(secret) != _LENGTH or not secret.startswith(PREFIX) or not secret.isascii():
        return None
    body, _, crc = secret.rpartition("_")
    if crc != _crc(body):
        return None
    return secret[len(PREFIX) : len(PREFIX) + _ID_LENGTH]


def digest(secret: str) -> str:
    """What is stored of a secret: it has 256 random bits, so a plain SHA-256 is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _crc(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), []
    for _ in range(_CRC_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
