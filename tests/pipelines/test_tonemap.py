"""The table from HDR to SDR: grey stays grey, white is diffuse white, nothing leaves the range."""

from __future__ import annotations

import pytest

from pipelines.tonemap import PEAK_NITS, SIDE, WHITE_NITS, cube, pq_code, pq_nits, rolled_off


@pytest.mark.parametrize("nits", [0.0, 0.1, 1.0, 100.0, 203.0, 1000.0, 10_000.0])
def test_pq_there_and_back(nits: float) -> None:
    assert pq_nits(pq_code(nits)) == pytest.approx(nits, rel=1e-6, abs=1e-4)


def test_dark_light_is_left_alone_and_bright_light_bends() -> None:
    levels = [rolled_off(nits) for nits in range(0, 1001, 10)]

    assert rolled_off(20.0) == pytest.approx(20.0, rel=0.01)
    assert levels == sorted(levels)
    assert levels[-1] == pytest.approx(WHITE_NITS)
    assert rolled_off(4 * PEAK_NITS) == pytest.approx(WHITE_NITS)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_a_table_is_whole_and_keeps_grey_grey(transfer: str) -> None:
    head, *rows = cube(transfer).splitlines()

    table = [tuple(float(part) for part in row.split()) for row in rows]
    greys = [table[n * (SIDE * SIDE + SIDE + 1)] for n in range(SIDE)]
    assert head == f"LUT_3D_SIZE {SIDE}"
    assert len(table) == SIDE**3
    assert all(0 <= part <= 1 for row in table for part in row)
    assert all(max(grey) - min(grey) < 0.002 for grey in greys)
    assert [g[1] for g in greys] == sorted(g[1] for g in greys)
    assert greys[0] == (0, 0, 0)
    assert greys[-1][1] > 0.99
