"""What both video standards say of display in the same words (E.2.1 in H.264 and in H.265)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from media.cut.bits import BitReader

Colour = tuple[int | None, int | None, int | None, bool | None]
_EXTENDED_SAR: Final = 255
_SAR: Final = (
    (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11),
    (80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Display:
    """Shape of a sample and meaning of its colours; absent fields are None."""

    sar: tuple[int, int] | None = None
    full_range: bool | None = None
    primaries: int | None = None
    transfer: int | None = None
    matrix: int | None = None

    @property
    def aspect(self) -> Fraction | None:
        """How much wider than high a sample is."""
        return Fraction(*self.sar) if self.sar else None

    @property
    def colour(self) -> Colour:
        """Primaries, transfer and matrix as numbers of the standards, and the range."""
        return self.primaries, self.transfer, self.matrix, self.full_range


def read_display(bits: BitReader) -> Display:
    """The fields VUI parameters begin with, up to where chroma samples lie."""
    sar = _aspect(bits) if bits.flag() else None
    if bits.flag():
        bits.skip(1)
    colour = _colour(bits) if bits.flag() else (None, None, None, None)
    if bits.flag():
        bits.ue(5)
        bits.ue(5)
    return Display(sar, *colour)


def _aspect(bits: BitReader) -> tuple[int, int] | None:
    idc = bits.read(8)
    if idc == _EXTENDED_SAR:
        ratio = bits.read(16), bits.read(16)
        return ratio if all(ratio) else None
    return _SAR[idc - 1] if 0 < idc <= len(_SAR) else None


def _colour(bits: BitReader) -> tuple[bool, int | None, int | None, int | None]:
    bits.skip(3)
    full_range = bits.flag()
    if not bits.flag():
        return full_range, None, None, None
    return full_range, bits.read(8), bits.read(8), bits.read(8)
