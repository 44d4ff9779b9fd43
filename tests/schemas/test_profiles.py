"""Recipes: rates as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from pydantic import ValidationError

from schemas.profiles import VideoRecipe


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("29.97", Fraction(2997, 100)),
        ("23.976", Fraction(2997, 125)),
        ("12.5", Fraction(25, 2)),
        ("25", Fraction(25)),
        ('"30000/1001"', Fraction(30000, 1001)),
    ],
)
def test_a_rate_is_read_as_it_is_written(written: str, meant: Fraction) -> None:
    text = f'{{"codec":"h264","fps":{written}}}'

    assert VideoRecipe.model_validate_json(text, strict=True).fps == meant
    assert VideoRecipe.model_validate_json(text).fps == meant


@pytest.mark.parametrize("written", ["0", "-1.5", "240.5", "1e-9", "true", '"fast"', '"1/0"'])
def test_what_is_no_rate_is_refused(written: str) -> None:
    text = f'{{"codec":"h264","fps":{written}}}'

    with pytest.raises(ValidationError):
        VideoRecipe.model_validate_json(text, strict=True)
