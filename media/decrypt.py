"""AES-128-CBC segments, decrypted as HLS encrypts them: whole files with PKCS7 padding.

One of the two modules that know `cryptography`; `connectors.sealing` uses it to seal secrets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from schemas.errors import CorruptMedia, DiskFull, Encrypted

KEY_BYTES = 16
CHUNK_BYTES = 1024 * 1024


def decrypt_file(source: Path, target: Path, *, key: bytes, iv_hex: str) -> int:
    """Decrypt a whole file into another and answer the new size; nothing is left on failure.

    Raises Encrypted where the key does not fit, CorruptMedia where the file was cut short.
    """
    _check(key, source.stat().st_size)
    try:
        with source.open("rb") as encrypted, target.open("wb") as plain:
            chunks = iter(lambda: encrypted.read(CHUNK_BYTES), b"")
            return sum(plain.write(piece) for piece in _plain(chunks, key, iv_hex))
    except OSError as error:
        target.unlink(missing_ok=True)
        raise DiskFull(f"{target.name} could not be written: {error.strerror}") from error
    except Encrypted:
        target.unlink(missing_ok=True)
        raise


def decrypt_bytes(data: bytes, *, key: bytes, iv_hex: str) -> bytes:
    """Decrypt a small resource in memory; raises as `decrypt_file`."""
    _check(key, len(data))
    return b"".join(_plain(iter((data,)), key, iv_hex))


def _check(key: bytes, size: int) -> None:
    if len(key) != KEY_BYTES:
        raise Encrypted(f"the key has {len(key)} bytes; an AES-128 key has {KEY_BYTES}")
    if size == 0 or size % KEY_BYTES:
        raise CorruptMedia(f"{size} bytes are not a whole AES-128 segment")


def _plain(chunks: Iterator[bytes], key: bytes, iv_hex: str) -> Iterator[bytes]:
    decryptor = Cipher(algorithms.AES(key), modes.CBC(bytes.fromhex(iv_hex))).decryptor()
    padding = PKCS7(algorithms.AES.block_size).unpadder()
    try:
        for chunk in chunks:
            yield padding.update(decryptor.update(chunk))
        yield padding.update(decryptor.finalize()) + padding.finalize()
    except ValueError as error:
        raise Encrypted("the key does not open the segment (its padding is wrong)") from error
