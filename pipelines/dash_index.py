"""The segment index (`sidx`) of a file on demand: which bytes hold which time."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from struct import unpack_from

from schemas.errors import CorruptMedia, TooLarge, UnsupportedMedia
from schemas.media import ByteRange

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Indexed:
    """A subsegment: where it starts and how long it lasts, in ticks, and its bytes."""

    start: int
    duration: int
    timescale: int
    span: ByteRange


def subsegments(data: bytes, offset: int, most: int) -> tuple[Indexed, ...]:
    """What an index lists; `offset` is where its bytes begin in the file.

    An index of indexes is followed as far as those lie in the same bytes.
    """
    reader = _Reader(data, offset, most)
    try:
        first = next(reader.boxes(0), None)
        if first is None:
            raise CorruptMedia("the index range holds no sidx box")
        return tuple(reader.listed(first, 1))
    except struct.error as error:
        raise CorruptMedia("the segment index ends before its time") from error


class _Reader:
    """Reads boxes out of the bytes of an index, and no more references than allowed."""

    def __init__(self, data: bytes, offset: int, most: int) -> None:
        self._data, self._offset, self._most = data, offset, most
        self._seen = 0

    def boxes(self, at: int) -> Iterator[tuple[int, int]]:
        """Start and end of each sidx box from a place on."""
        data = self._data
        while at + 8 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            if size < 8 or at + size > len(data):
                raise CorruptMedia("a box of the index range does not fit into it")
            if data[at + 4 : at + 8] == b"sidx":
                yield at, at + size
            at += size

    def listed(self, box: tuple[int, int], depth: int) -> Iterator[Indexed]:
        """What one sidx box lists."""
        (start, end), data = box, self._data
        scale: int = unpack_from(">I", data, start + 16)[0]
        wide = data[start + 8] != 0
        time, first = unpack_from(">QQ" if wide else ">II", data, start + 20)
        at = start + (36 if wide else 28)
        count: int = unpack_from(">H", data, at + 2)[0]
        if scale == 0 or at + 4 + 12 * count > end:
            raise CorruptMedia("the segment index lists more than it holds")
        # Its first reference begins behind the box itself.
        byte = self._offset + end + first
        for entry in range(at + 4, at + 4 + 12 * count, 12):
            self._spend()
            word, duration = unpack_from(">II", data, entry)
            size = word & 0x7FFF_FFFF
            if word >> 31:
                yield from self.listed(self._nested(byte, depth), depth + 1)
            elif size:
                yield Indexed(time, duration, scale, ByteRange(offset=byte, length=size))
            time, byte = time + duration, byte + size

    def _spend(self) -> None:
        self._seen += 1
        if self._seen > self._most:
            raise TooLarge(f"the index lists more than {self._most} segments")

    def _nested(self, byte: int, depth: int) -> tuple[int, int]:
        place = byte - self._offset
        if depth >= MAX_DEPTH:
            raise CorruptMedia("indexes are nested too deep")
        box = next(self.boxes(place), None) if 0 < place < len(self._data) else None
        if box is None or box[0] != place:
            raise UnsupportedMedia("an index of indexes that lie elsewhere is not read")
        return box
