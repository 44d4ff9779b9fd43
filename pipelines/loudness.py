"""What the first pass of EBU R128 says, read from the end of ffmpeg's own words."""

from __future__ import annotations

import json
import re

from pydantic import ValidationError

from schemas.errors import CorruptMedia
from schemas.renditions import Loudness

_OBJECT = re.compile(r"\{[^{}]{20,2000}\}", re.S)
_FIELDS = {
    "input_i": "integrated_lufs",
    "input_lra": "range_lu",
    "input_tp": "true_peak_dbtp",
    "input_thresh": "threshold_lufs",
    "target_offset": "offset_lu",
}


def loudness(said: str) -> Loudness | None:
    """The measurement in the last JSON object of a text; None where there was only silence.

    >>> loudness('{"input_i": "-inf", "input_tp": "-inf", "input_lra": "0.00"}')
    """
    objects = _OBJECT.findall(said[-16_384:])
    try:
        told = json.loads(objects[-1]) if objects else None
    except ValueError:
        told = None
    if not isinstance(told, dict) or "input_i" not in told:
        raise CorruptMedia("ffmpeg measured the loudness but did not say it")
    if "inf" in str(told["input_i"]):
        return None
    try:
        return Loudness.model_validate(
            {ours: float(str(told[theirs])[:20]) for theirs, ours in _FIELDS.items()}
        )
    except (KeyError, ValueError, ValidationError) as error:
        raise CorruptMedia("the measured loudness makes no sense") from error
