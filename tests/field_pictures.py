"""Streams whose frames are coded as two fields, one PES unit each (PAFF), as DVB encoders do.

No encoder at hand writes them, so their fields are written here, macroblock by macroblock, as
I_PCM (ITU-T H.264, 7.3.5): every sample is exact and both fields carry the frame's number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tests.marks import Array, picture
from tests.streams import Sample, Stream, StreamSpec, build

SPEC = StreamSpec(
    seconds=6, size=(96, 64), interlaced="tff", durations_ticks=(3600,), gop=25, bframes=0
)
"""25 frames a second; its timebase is fine enough for fields."""
_FRAME_NUM_BITS, _POC_BITS = 4, 8
_PREVENTED = re.compile(rb"\0\0(?=[\0-\3])")


@dataclass(frozen=True)
class Fields:
    """How fields are laid out: `open_gop` begins all GOPs but the first without an IDR."""

    open_gop: bool = False
    bottom_first: bool = False


@lru_cache(maxsize=4)
def in_fields(spec: StreamSpec = SPEC, how: Fields | None = None) -> Stream:
    """The stream a spec describes, its pictures coded as pairs of fields."""
    stream, how = build(spec), how or Fields()
    samples = tuple(_samples(spec, how))
    return replace(stream, tracks=(replace(stream.video, samples=samples), *stream.tracks[1:]))


def _samples(spec: StreamSpec, how: Fields) -> Iterator[Sample]:
    width, height = spec.size
    times, begun = spec.frame_times, 0
    for index in range(spec.frame_count):
        key = index in spec.key_indices
        idr = key and (index == 0 or not how.open_gop)
        begun = index if idr else begun
        planes = picture(width, height, spec.first_number + index, interlaced=True)
        half = (times[index + 1] - times[index]) / 2
        for second in (False, True):
            bottom = second != how.bottom_first
            data = _delimiter(key and not second) + (_sets(spec) if key and not second else b"")
            if key and not second and not idr:
                data += _nal(b"\x06", "00000110" + "00000001" + "11100100")  # recovery at once
            data += _field(planes, bottom, key and not second, idr, second, index - begun)
            at = times[index] + half * second
            yield Sample(data, at, at, half, key and not second)


def _delimiter(key: bool) -> bytes:
    return _nal(b"\x09", "000" if key else "001")


def _sets(spec: StreamSpec) -> bytes:
    """SPS and PPS: Main, CAVLC, fields allowed, POC counted, deblocking left to the slices."""
    width, height = spec.size
    sps = "01001101" + "00000000" + "00011110" + _ue(0) + _ue(_FRAME_NUM_BITS - 4) + _ue(0)
    sps += _ue(_POC_BITS - 4) + _ue(1) + "0" + _ue(width // 16 - 1) + _ue(height // 32 - 1)
    sps += "0" + "0" + "1" + "0" + "0"
    pps = _ue(0) + _ue(0) + "00" + _ue(0) + _ue(0) + _ue(0) + "000" + _ue(0) * 3 + "100"
    return _nal(b"\x67", sps) + _nal(b"\x68", pps)


def _field(
    planes: Array, bottom: bool, intra: bool, idr: bool, second: bool, since_idr: int
) -> bytes:
    """One slice with a whole field, after its header (7.3.3)."""
    first_idr = idr and not second
    header = _ue(0) + _ue(7 if intra else 5) + _ue(0)
    header += format(since_idr % (1 << _FRAME_NUM_BITS), f"0{_FRAME_NUM_BITS}b")
    header += "1" + str(int(bottom)) + (_ue(0) if first_idr else "")
    poc = 2 * since_idr + second
    header += format(poc % (1 << _POC_BITS), f"0{_POC_BITS}b")
    header += "" if intra else "00"
    header += "00" if first_idr else "0"
    header += _ue(0) + _ue(1)
    return _nal(b"\x65" if first_idr else b"\x61", header, _macroblocks(planes, bottom, intra))


def _macroblocks(planes: Array, bottom: bool, intra: bool) -> list[bytes]:
    """Every macroblock of a field: 256 luma and 128 chroma samples."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    luma = planes[:height][int(bottom) :: 2]
    blue, red = planes[height:].reshape(2, height // 2, width // 2)[:, int(bottom) :: 2]
    return [
        b"".join(
            np.ascontiguousarray(part).tobytes()
            for part in (
                luma[y : y + 16, x : x + 16],
                blue[y // 2 : y // 2 + 8, x // 2 : x // 2 + 8],
                red[y // 2 : y // 2 + 8, x // 2 : x // 2 + 8],
            )
        )
        for y in range(0, height // 2, 16)
        for x in range(0, width, 16)
    ]


def _nal(head: bytes, bits: str, blocks: list[bytes] | None = None) -> bytes:
    """A NAL unit behind its start code: bits, then I_PCM macroblocks, then the stop bit."""
    body = b""
    intra = head == b"\x65" or bits.startswith(_ue(0) + _ue(7))
    for block in blocks or []:
        bits += ("" if intra else _ue(0)) + _ue(25 if intra else 30)
        bits += "0" * (-len(bits) % 8)
        body, bits = body + _bytes(bits) + block, ""
    bits += "1"
    body += _bytes(bits + "0" * (-len(bits) % 8))
    return b"\0\0\0\1" + head + _PREVENTED.sub(b"\0\0\3", body)


def _bytes(bits: str) -> bytes:
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _ue(value: int) -> str:
    """Exp-Golomb (9.1)."""
    coded = format(value + 1, "b")
    return "0" * (len(coded) - 1) + coded
