"""HDR pictures for SDR screens: the curve that renditions are mapped with, over whole pictures.

`pipelines.tonemap` writes the same curve as a table for ffmpeg; a test holds the two together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Pixels = np.ndarray[Any, np.dtype[np.float64]]
# What a frame says of its transfer (ISO/IEC 23091-2).
PQ, HLG = 16, 18
# Large pictures are mapped a few lines at a time: the steps between take many times their room.
LINES = 64
_WHITE_NITS, _PEAK_NITS = 203.0, 1000.0
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_TO_709 = np.array(
    ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    dtype=np.float64,
)
_LUMA_2020 = np.array((0.2627, 0.6780, 0.0593), dtype=np.float64)


def is_hdr(transfer: int) -> bool:
    """Whether a picture is coded for HDR."""
    return transfer in {PQ, HLG}


def to_sdr(
    codes: np.ndarray[Any, np.dtype[np.uint16]], transfer: int
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """BT.2020 code values of 16 bits in, BT.709 code values of 8 bits out."""
    made = np.empty(codes.shape, np.uint8)
    for top in range(0, codes.shape[0], LINES):
        part = codes[top : top + LINES].astype(np.float64) / 65535
        mapped = _mapped(part, transfer)
        made[top : top + LINES] = np.rint(mapped * 255).astype(np.uint8)
    return made


def _mapped(code: Pixels, transfer: int) -> Pixels:
    light = _nits(code) if transfer == PQ else _hlg_light(code)
    brightest = light.max(axis=-1, keepdims=True)
    gain = _rolled_off(brightest) / np.maximum(brightest, 1e-6) / _WHITE_NITS
    linear = (light * gain) @ _TO_709.T
    mapped: Pixels = np.clip(linear, 0, 1) ** (1 / 2.4)
    return mapped


def _nits(code: Pixels) -> Pixels:
    power = np.maximum(code, 0) ** (1 / _M2)
    light: Pixels = 10000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** np.float32(
        1 / _M1
    )
    return light


def _code(nits: Pixels) -> Pixels:
    power = (np.maximum(nits, 0) / 10000) ** _M1
    code: Pixels = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return code


def _rolled_off(nits: Pixels) -> Pixels:
    """BT.2390, applied in PQ: highlights bend below diffuse white, the rest stays."""
    peak = float(_code(np.array(_PEAK_NITS)))
    most = float(_code(np.array(_WHITE_NITS))) / peak
    given = np.minimum(_code(nits) / peak, 1)
    knee = 1.5 * most - 0.5
    t = (given - knee) / (1 - knee)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    rolled: Pixels = np.where(given < knee, nits, _nits(bent * peak))
    return rolled


def _hlg_light(code: Pixels) -> Pixels:
    low = code * code / 3
    high = (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene = np.where(code <= 0.5, low, high)
    luminance = (scene @ _LUMA_2020)[..., np.newaxis]
    light: Pixels = scene * (_PEAK_NITS * np.maximum(luminance, 0) ** 0.2)
    return light
