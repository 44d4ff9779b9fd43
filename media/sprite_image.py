"""A decoded picture as a small still: scaled by area, the right way up, one field, in SDR."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace, Interpolation
from PIL import Image

from media.sprite_tone import is_hdr, to_sdr
from media.turning import is_mirrored, quarter_turn

_UNSPECIFIED = 2
_HD_LINES = 720
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


def still(frame: Any, size: tuple[int, int]) -> Image.Image:
    """The frame as it is shown, filling `size`."""
    turn = quarter_turn(int(frame.rotation))
    width, height = (size[1], size[0]) if turn % 180 else size
    # Two fields are two moments: where lines would comb, only the first field is shown.
    hdr = is_hdr(frame.color_trc) and not frame.interlaced_frame
    shown = _first_field(frame) if frame.interlaced_frame else frame
    small = shown.reformat(
        width=width,
        height=height,
        format="rgb48le" if hdr else "rgb24",
        src_colorspace=_matrix(frame),
        interpolation=Interpolation.AREA,
        threads=1,
    )
    pixels = small.to_ndarray()
    image = Image.fromarray(to_sdr(pixels, frame.color_trc) if hdr else pixels)
    if is_mirrored(frame):
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image.transpose(_TURNS[turn]) if turn else image


def _matrix(frame: Any) -> Colorspace | None:
    """What an untagged picture means by convention: BT.709 from 720 lines on, BT.2020 in HDR."""
    if frame.colorspace != _UNSPECIFIED:
        return None
    if is_hdr(frame.color_trc):
        return Colorspace.BT2020
    return Colorspace.ITU709 if frame.height >= _HD_LINES else Colorspace.ITU601


def _first_field(frame: Any) -> Any:
    plain = frame.reformat(format="yuv420p", threads=1)
    width, height = plain.width // 2 * 2, plain.height // 4 * 4
    planes = [
        _lines(plane, across, down)[::2]
        for plane, across, down in zip(
            plain.planes,
            (width, width // 2, width // 2),
            (height, height // 2, height // 2),
            strict=True,
        )
    ]
    packed = np.concatenate([plane.reshape(-1) for plane in planes])
    field = av.VideoFrame.from_ndarray(packed.reshape(-1, width), format="yuv420p")
    field.color_range = frame.color_range
    return field


def _lines(plane: Any, width: int, height: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    lines = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return np.ascontiguousarray(lines[:height, :width])
