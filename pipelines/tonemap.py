"""HDR to SDR as a table of colours: written down once, looked up by any ffmpeg."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

Transfer = Literal["smpte2084", "arib-std-b67"]
SIDE = 33
# BT.2408: diffuse white of HDR is 203 cd/m2; masters mostly peak at 1000.
WHITE_NITS = 203.0
PEAK_NITS = 1000.0
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_TO_709 = (
    (1.6605, -0.5876, -0.0728),
    (-0.1246, 1.1329, -0.0083),
    (-0.0182, -0.1006, 1.1187),
)
_LUMA_2020 = (0.2627, 0.6780, 0.0593)


def pq_nits(code: float) -> float:
    """The light of a PQ code value, BT.2100.

    >>> round(pq_nits(1.0)), round(pq_nits(0.58))
    (10000, 202)
    """
    power = max(code, 0.0) ** (1 / _M2)
    return float(10000.0 * (max(power - _C1, 0.0) / (_C2 - _C3 * power)) ** (1 / _M1))


def pq_code(nits: float) -> float:
    """The PQ code value of a light, BT.2100."""
    power = (max(nits, 0.0) / 10000.0) ** _M1
    return float(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


def rolled_off(nits: float) -> float:
    """The light on an SDR display whose white is diffuse white: BT.2390, applied in PQ."""
    peak = pq_code(PEAK_NITS)
    given, most = min(pq_code(nits) / peak, 1.0), pq_code(WHITE_NITS) / peak
    knee = 1.5 * most - 0.5
    if given < knee:
        return nits
    t = (given - knee) / (1 - knee)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee
        + (t**3 - 2 * t**2 + t) * (1 - knee)
        + (-2 * t**3 + 3 * t**2) * most
    )
    return pq_nits(bent * peak)


@lru_cache(maxsize=2)
def cube(transfer: Transfer) -> str:
    """The table as a .cube text: BT.2020 code values in, BT.709 code values out."""
    steps = [n / (SIDE - 1) for n in range(SIDE)]
    lines = [f"LUT_3D_SIZE {SIDE}"]
    for blue in steps:
        for green in steps:
            for red in steps:
                mapped = _mapped((red, green, blue), transfer)
                lines.append(f"{mapped[0]:.5f} {mapped[1]:.5f} {mapped[2]:.5f}")
    return "\n".join(lines) + "\n"


def _mapped(code: tuple[float, float, float], transfer: Transfer) -> tuple[float, float, float]:
    light = _pq_light(code) if transfer == "smpte2084" else _hlg_light(code)
    brightest = max(light)
    gain = rolled_off(brightest) / brightest / WHITE_NITS if brightest > 0 else 0.0
    linear = [part * gain for part in light]
    red, green, blue = (
        _encoded(sum(k * part for k, part in zip(row, linear, strict=True))) for row in _TO_709
    )
    return red, green, blue


def _pq_light(code: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = (pq_nits(part) for part in code)
    return red, green, blue


def _hlg_light(code: tuple[float, float, float]) -> tuple[float, float, float]:
    scene = [_hlg_scene(part) for part in code]
    luminance = sum(k * part for k, part in zip(_LUMA_2020, scene, strict=True))
    # The system gamma of a 1000 cd/m2 display, BT.2100 table 5.
    gain = PEAK_NITS * luminance**0.2 if luminance > 0 else 0.0
    return scene[0] * gain, scene[1] * gain, scene[2] * gain


def _hlg_scene(code: float) -> float:
    if code <= 0.5:
        return code * code / 3
    return float((2.718281828459045 ** ((code - 0.55991073) / 0.17883277) + 0.28466892) / 12)


def _encoded(linear: float) -> float:
    """BT.1886 the other way round: what an SDR display of gamma 2.4 shows as this light."""
    return float(min(max(linear, 0.0), 1.0) ** (1 / 2.4))
