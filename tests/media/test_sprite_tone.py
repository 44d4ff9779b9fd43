"""HDR pictures look the same as stills and as renditions."""

from __future__ import annotations

from typing import Any, Literal

import av
import numpy as np
import pytest

from media.sprite_image import still
from media.sprite_tone import HLG, PQ, to_sdr
from pipelines import tonemap
from tests import sources


@pytest.mark.parametrize(("name", "transfer"), [("smpte2084", PQ), ("arib-std-b67", HLG)])
def test_stills_are_mapped_by_the_curve_of_renditions(
    name: Literal["smpte2084", "arib-std-b67"], transfer: int
) -> None:
    lines = tonemap.cube(name).splitlines()[1:]
    expected = np.array([[float(word) for word in line.split()] for line in lines]) * 255
    step = np.linspace(0, 65535, tonemap.SIDE)
    blue, green, red = np.meshgrid(step, step, step, indexing="ij")
    codes = np.stack([red, green, blue], axis=-1).reshape(-1, 1, 3).round().astype(np.uint16)

    found = to_sdr(codes, transfer).reshape(-1, 3).astype(float)

    assert np.abs(found - expected).max() <= 2.5


def test_diffuse_white_is_nearly_white_and_black_is_black() -> None:
    white = round(tonemap.pq_code(203) * 65535)
    codes = np.array([[[0, 0, 0], [white] * 3, [65535] * 3]], np.uint16)

    black, diffuse, peak = to_sdr(codes, PQ)[0].tolist()

    assert black == [0, 0, 0]
    assert min(diffuse) > 190
    assert min(peak) >= 254


def test_an_hdr_frame_becomes_a_bright_still() -> None:
    frame = first_frame()

    image = still(frame, (64, 48))

    plain: Any = frame.reformat(width=64, height=48, format="rgb24").to_ndarray()
    assert image.size == (64, 48)
    # Unmapped, PQ looks grey: everything up to diffuse white lies below 58 % of its codes.
    assert np.asarray(image).std() > plain.std() * 1.05


def first_frame() -> av.VideoFrame:
    """A frame of a PQ film."""
    with av.open(str(sources.made("HDR, perceptual quantizer"))) as film:
        return next(film.decode(video=0))
