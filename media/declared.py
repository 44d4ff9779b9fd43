"""How many bytes a container declares that its file does not hold: it was cut off."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

# Where a writer did not know yet it wrote something above; others miscount their own header.
_MOST_RIFF, _SLOPPY_BYTES = 0x7FFF_0000, 64
_TAG, _FILESIZE = struct.Struct(">B3s7s"), b"\x00\x08filesize\x00"
_SCRIPT, _MAX_SCRIPT_BYTES, _MAX_TAGS = 18, 1024 * 1024, 4_000_000
_COUNT_BYTES, _MOST_BYTES = 4, 1 << 50
# What stands before the place of the last partition: two versions, a grid, two other places.
_MXF_KEY_BYTES, _MXF_FOOTER_AT, _MXF_HEAD_BYTES = 16, 24, 64


def lacking_bytes(container: str, path: Path, size: int) -> int:
    """What a file of this size lacks, as far as its container tells; 0 where it does not."""
    tells = _TELLING.get(container)
    if tells is None:
        return 0
    with path.open("rb") as file:
        return tells(file, size)


def _of_riff(file: BinaryIO, size: int) -> int:
    """Writers to a pipe declare nothing, or the most."""
    declared = int.from_bytes(file.read(8)[4:8], "little")
    lacking = declared + 8 - size
    return lacking if declared < _MOST_RIFF and lacking > _SLOPPY_BYTES else 0


def _of_mxf(file: BinaryIO, size: int) -> int:
    """Its first partition tells where the last one begins; nothing where it was not closed."""
    head = file.read(_MXF_HEAD_BYTES)
    footer_at = _MXF_KEY_BYTES + 1 + _ber_bytes(head[_MXF_KEY_BYTES:]) + _MXF_FOOTER_AT
    footer = int.from_bytes(head[footer_at : footer_at + 8], "big")
    if not 0 < footer < _MOST_BYTES:
        return 0
    file.seek(footer)
    length = file.read(_MXF_HEAD_BYTES)[_MXF_KEY_BYTES:]
    held = _MXF_KEY_BYTES + 1 + _ber_bytes(length) + _ber(length)
    return max(0, footer + held - size)


def _ber(data: bytes) -> int:
    """A length as MXF spells it: itself, or how many bytes of it follow."""
    if not data or data[0] < 0x80:
        return data[0] if data else 0
    return int.from_bytes(data[1 : 1 + _ber_bytes(data)], "big")


def _ber_bytes(data: bytes) -> int:
    return min(8, data[0] & 0x7F) if data and data[0] >= 0x80 else 0


def _of_flv(file: BinaryIO, size: int) -> int:
    """Its first tag may tell the whole size, and each tag its own."""
    begin = int.from_bytes(file.read(9)[5:9], "big") + _COUNT_BYTES
    declared = _declared_flv(file, begin)
    return max(0, declared - size, _tags_end(file, begin, size) - size)


def _declared_flv(file: BinaryIO, at: int) -> int:
    kind, length = _tag(file, at)
    if kind != _SCRIPT:
        return 0
    script = file.read(min(length, _MAX_SCRIPT_BYTES))
    _, found, value = script.partition(_FILESIZE)
    if not found or len(value) < 8:
        return 0
    (told,) = struct.unpack(">d", value[:8])
    return int(told) if 0 < told < _MOST_BYTES else 0


def _tags_end(file: BinaryIO, begin: int, size: int) -> int:
    """Where the last tag that begins in the file ends; 0 where its end is right, or is no tag's."""
    if _ends_with_a_tag(file, size):
        return 0
    at = begin
    for _ in range(_MAX_TAGS):
        kind, length = _tag(file, at)
        if not kind:
            return 0
        at += _TAG.size + length + _COUNT_BYTES
        if at >= size:
            return at
    return 0


def _ends_with_a_tag(file: BinaryIO, size: int) -> bool:
    """Behind each tag stands its length."""
    if size < _COUNT_BYTES:
        return False
    file.seek(size - _COUNT_BYTES)
    length = int.from_bytes(file.read(_COUNT_BYTES), "big")
    at = size - _COUNT_BYTES - length
    return at > 0 and _tag(file, at)[1] + _TAG.size == length


def _tag(file: BinaryIO, at: int) -> tuple[int, int]:
    """The kind of a tag and the bytes it holds; kind 0 where there is none."""
    file.seek(at)
    head = file.read(_TAG.size)
    if len(head) < _TAG.size or head[0] & 0x1F not in {8, 9, _SCRIPT}:
        return 0, 0
    kind, length, _ = _TAG.unpack(head)
    return kind & 0x1F, int.from_bytes(length, "big")


_TELLING: dict[str, Callable[[BinaryIO, int], int]] = {
    "wav": _of_riff,
    "avi": _of_riff,
    "flv": _of_flv,
    "mxf": _of_mxf,
}
