"""Marks a machine can read back: a frame's number in its picture, its time in the sound."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

CELLS = 24
_NUMBER_BITS = 18
MAX_NUMBER = (1 << _NUMBER_BITS) - 1
_DARK, _BRIGHT = 30, 220
_MIN_CONTRAST = 40
_BANDS = 7
SLOT_S = 0.25
CHIRP_S = 0.08


def _crc5(value: int) -> int:
    register = 0x1F
    for bit in range(_NUMBER_BITS, -1, -1):
        top = (register >> 4) ^ (value >> bit & 1)
        register = (register << 1 & 0x1F) ^ (0x05 if top else 0)
    return register


@lru_cache(maxsize=16384)
def code(number: int, field: int) -> Array:
    """The 24 bits (18 number, 1 field, 5 check) of one field of one frame."""
    value = number << 1 | field
    word = value << 5 | _crc5(value)
    return np.array([word >> shift & 1 for shift in range(CELLS - 1, -1, -1)], dtype=np.uint8)


def decoded(bits: Array) -> tuple[int, int] | None:
    """The (number, field) some bits spell, or None where the check fails."""
    word = int("".join(str(int(bit)) for bit in bits), 2)
    value, check = word >> 5, word & 0x1F
    return (value >> 1, value & 1) if _crc5(value) == check else None


def _cell_row(bits: Array, width: int) -> Array:
    columns = np.arange(width) * CELLS // width
    return np.where(bits[columns] > 0, _BRIGHT, _DARK).astype(np.uint8)


@lru_cache(maxsize=8)
def _background(width: int, height: int) -> Array:
    rng = np.random.default_rng(7)
    coarse = rng.integers(40, 200, (height // 8 + 2, width // 4 + 2)).astype(np.float32)
    fine = np.kron(coarse, np.ones((8, 8), dtype=np.float32))[: height + 8, : width * 2]
    shifts = [(dy, dx) for dy in (0, 2, 4) for dx in (0, 2, 4)]
    smooth = np.mean([np.roll(fine, shift, (0, 1)) for shift in shifts], axis=0)
    wide = np.zeros((height, width * 2), dtype=np.uint8)
    wide[:, : smooth.shape[1]] = smooth[:height]
    return wide


def _field_luma(width: int, height: int, number: int, field: int, phase: int) -> Array:
    """The whole picture as this field would show it (its lines are picked by the caller)."""
    band = height // _BANDS
    scene = _background(width, height)
    left = phase % width
    luma = scene[:, left : left + width].copy()
    bits = code(number, field)
    luma[:band] = _cell_row(bits, width)
    luma[band : 2 * band] = _cell_row(1 - bits, width)
    return luma


def luma_of(width: int, height: int, number: int, *, interlaced: bool = False) -> Array:
    """The luma plane of frame `number`."""
    luma = _field_luma(width, height, number, 0, number * 2)
    if interlaced:
        luma[1::2] = _field_luma(width, height, number, 1, number * 2 + 1)[1::2]
    return luma


def picture(width: int, height: int, number: int, *, interlaced: bool = False) -> Array:
    """Frame `number` as yuv420p in one array of height*3/2 rows."""
    planes = np.empty((height * 3 // 2, width), dtype=np.uint8)
    planes[:height] = luma_of(width, height, number, interlaced=interlaced)
    chroma = planes[height:].reshape(2, -1)
    chroma[0] = 128 + 30 * np.sin(number / 9)
    chroma[1] = 128 + 30 * np.cos(number / 7)
    return planes


def _field_bits(lines: Array, height: float) -> Array | None:
    """The bits of one field's lines, or None where the contrast is gone."""
    width = lines.shape[1]
    band = height / _BANDS
    rows = [
        lines[int(band * (r + 0.25)) : max(int(band * (r + 0.75)), int(band * (r + 0.25)) + 1)]
        for r in (0, 1)
    ]
    difference = rows[0].mean(axis=0) - rows[1].mean(axis=0)
    means = difference @ _centres(width)
    return (means > 0).astype(np.uint8) if np.abs(means).min() >= _MIN_CONTRAST else None


@lru_cache(maxsize=8)
def _centres(width: int) -> Array:
    """Weights that average the middle of each cell."""
    cell = width / CELLS
    weights = np.zeros((width, CELLS), dtype=np.float32)
    for index in range(CELLS):
        low = int(cell * (index + 0.3))
        high = max(int(cell * (index + 0.7)), low + 1)
        weights[low:high, index] = 1 / (high - low)
    return weights


def read_fields(luma: Array) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """What each field's lines say: (number, field) or None; luma scaled to 8 bits."""
    values = luma[: luma.shape[0] * 3 // _BANDS]
    values = values.astype(np.float32)
    top, bottom = (_field_bits(values[f::2], luma.shape[0] / 2) for f in (0, 1))
    return (
        None if top is None else decoded(top),
        None if bottom is None else decoded(bottom),
    )


def _slot_tones(slot: int, track: int) -> tuple[float, float]:
    """Start and end frequency of a slot's chirp: neighbours and tracks differ widely."""
    rng = np.random.default_rng([slot & 0xFFFFFFFF, track])
    low, high = 400 + 1200 * rng.random(), 2600 + 2400 * rng.random()
    return (low, high) if rng.random() < 0.5 else (high, low)


def sound(track: int, rate: int, first_sample: int, count: int) -> Array:
    """The samples of a track: sample s sounds at s / rate seconds after frame 0's time."""
    out = np.zeros(count, dtype=np.float32)
    slot_samples, chirp_samples = SLOT_S * rate, int(CHIRP_S * rate)
    first_slot = int(first_sample // slot_samples) - 1
    last_slot = int((first_sample + count) // slot_samples) + 1
    for slot in range(first_slot, last_slot + 1):
        _add_chirp(out, slot, track, rate, round(slot * slot_samples) - first_sample, chirp_samples)
    return out


def _add_chirp(out: Array, slot: int, track: int, rate: int, at: int, length: int) -> None:
    begin, end = max(at, 0), min(at + length, out.size)
    if slot < 0 or begin >= end:
        return
    begin_hz, end_hz = _slot_tones(slot, track)
    t = np.arange(begin - at, end - at) / rate
    phase = 2 * np.pi * (begin_hz * t + (end_hz - begin_hz) * t * t / (2 * CHIRP_S))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * t / CHIRP_S)
    out[begin:end] += (0.5 * window * np.sin(phase)).astype(np.float32)
