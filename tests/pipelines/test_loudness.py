"""The words of the first pass, read with distrust."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.loudness import loudness
from schemas.errors import CorruptMedia

SAID: dict[str, Any] = {
    "input_i": "-21.75",
    "input_tp": "-18.06",
    "input_lra": "0.00",
    "input_thresh": "-31.75",
    "output_i": "-22.95",
    "normalization_type": "dynamic",
    "target_offset": "-0.05",
}


def words(**changes: Any) -> str:
    return f"[loudnorm @ 0x1]\n{json.dumps(SAID | changes, indent=1)}\n[out] audio:1125KiB\n"


def test_the_last_measurement_counts() -> None:
    found = loudness(words(input_i="-9.0") + words())

    assert found is not None
    assert (found.integrated_lufs, found.offset_lu) == (-21.75, -0.05)


def test_silence_has_no_loudness() -> None:
    assert loudness(words(input_i="-inf", input_tp="-inf")) is None


@pytest.mark.parametrize(
    "said",
    [
        "",
        "nothing of the kind",
        words().replace('"input_i"', '"other"'),
        words(input_i="nan"),
        words(input_i="900"),
        words(input_lra="-3"),
        words(input_tp="loud"),
        "{" * 5000,
        '{"input_i": "-20", "input_tp": }',
    ],
)
def test_words_that_make_no_sense_are_refused(said: str) -> None:
    with pytest.raises(CorruptMedia):
        loudness(said)
