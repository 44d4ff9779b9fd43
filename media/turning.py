"""The flag that turns and mirrors a picture: read of a frame, written where encoders leave it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from schemas.errors import CorruptMedia

_MAX_HEADER_BYTES = 256 * 1024 * 1024
_ONE, _LAST = 1 << 16, 1 << 30
# As libav holds it: nine numbers of the machine's own order.
_MATRIX = struct.Struct("=9i")
# Counter-clockwise degrees, as a probe tells them, to the first four terms of the matrix.
_TURNS = {
    0: (_ONE, 0, 0, _ONE),
    90: (0, -_ONE, _ONE, 0),
    180: (-_ONE, 0, 0, -_ONE),
    270: (0, _ONE, -_ONE, 0),
}


def quarter_turn(degrees: int) -> int:
    """The quarter turn that is meant; none where it is none.

    >>> quarter_turn(-90), quarter_turn(89), quarter_turn(45)
    (270, 90, 0)
    """
    nearest = round(degrees / 90) * 90
    return nearest % 360 if abs(degrees - nearest) <= 1 else 0


def is_mirrored(frame: Any) -> bool:
    """Whether a decoded picture is flagged to be shown as in a mirror."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None or len(bytes(matrix)) != _MATRIX.size:
        return False
    a, b, _, c, d, *_ = _MATRIX.unpack(bytes(matrix))
    return bool(a * d - b * c < 0)


def turn(path: Path, degrees: int, *, mirrored: bool = False) -> None:
    """Flag the picture of an MP4 as turned, upside down before that where it is mirrored.

    Its frames stay as they are.
    """
    with path.open("r+b") as file:
        for kind, at, size in _boxes(file, path.stat().st_size):
            if kind != b"moov" or size > _MAX_HEADER_BYTES:
                continue
            file.seek(at)
            header = bytearray(file.read(size))
            _turn_header(header, degrees, mirrored=mirrored)
            file.seek(at)
            file.write(header)
            return
    raise CorruptMedia("the output has no header to write its rotation into")


def _turn_header(header: bytearray, degrees: int, *, mirrored: bool) -> None:
    a, b, c, d = _TURNS[round(degrees / 90) * 90 % 360]
    c, d = (-c, -d) if mirrored else (c, d)
    for kind, at, size in _within(header, 0, len(header)):
        if kind != b"trak" or b"vide" not in header[at : at + size]:
            continue
        for inner, start, _ in _within(header, at, at + size):
            if inner == b"tkhd":
                matrix = start + (52 if header[start] == 1 else 40)
                packed = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, _LAST)
                header[matrix : matrix + 36] = packed


def _within(data: bytearray, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8:
            return
        yield bytes(data[at + 4 : at + 8]), at + 8, size - 8
        at += size


def _boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int]]:
    at = 0
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, skip = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, skip = int.from_bytes(head[8:16], "big"), 16
        if size < skip:
            return
        yield head[4:8], at + skip, size - skip
        at += size
