"""AES-128 segments open with their key, and with no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from media.decrypt import CHUNK_BYTES, decrypt_bytes, decrypt_file
from schemas.errors import CorruptMedia, Encrypted

KEY = bytes(range(16))
IV = "000102030405060708090a0b0c0d0e0f"


def encrypted(plain: bytes, *, padding: bytes | None = None) -> bytes:
    short = 16 - len(plain) % 16
    whole = plain + (bytes([short]) * short if padding is None else padding)
    cipher = Cipher(algorithms.AES(KEY), modes.CBC(bytes.fromhex(IV))).encryptor()
    return cipher.update(whole) + cipher.finalize()


@pytest.mark.parametrize(
    "size",
    [0, 1, 15, 16, 17, 188, 1000, CHUNK_BYTES - 16, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1],
)
def test_what_was_encrypted_comes_back(tmp_path: Path, size: int) -> None:
    plain = bytes(i * 7 % 256 for i in range(size))
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(encrypted(plain))

    written = decrypt_file(source, target, key=KEY, iv_hex=IV)

    assert target.read_bytes() == plain
    assert written == size
    assert decrypt_bytes(source.read_bytes(), key=KEY, iv_hex=IV) == plain


def test_a_wrong_key_is_said_to_be_one_and_leaves_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(encrypted(b"G" * 188))

    with pytest.raises(Encrypted, match="does not open"):
        decrypt_file(source, target, key=b"\xff" * 16, iv_hex=IV)

    assert not target.exists()


@pytest.mark.parametrize("size", [0, 8, 15, 17, 32])
def test_a_key_has_sixteen_bytes(size: int) -> None:
    with pytest.raises(Encrypted, match=f"has {size} bytes"):
        decrypt_bytes(encrypted(b"x"), key=b"k" * size, iv_hex=IV)


@pytest.mark.parametrize("size", [0, 1, 31, 33])
def test_a_segment_cut_short_is_not_whole(tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(encrypted(b"G" * 188)[:size])

    with pytest.raises(CorruptMedia, match=f"{size} bytes"):
        decrypt_file(source, target, key=KEY, iv_hex=IV)

    assert not target.exists()


@pytest.mark.parametrize(
    "padding", [b"\x00" * 16, b"\x11" * 16, b"\x01" * 14 + b"\x03\x02"], ids=lambda p: p.hex()
)
def test_padding_must_be_pkcs7(padding: bytes) -> None:
    with pytest.raises(Encrypted):
        decrypt_bytes(encrypted(b"G" * 16, padding=padding), key=KEY, iv_hex=IV)
