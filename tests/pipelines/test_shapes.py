"""How a picture of one size becomes one of another: even sides, no more pixels than there are."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from pipelines.shapes import shape, shown_size
from schemas.media import StreamInfo
from schemas.profiles import VideoRecipe

HD = (1920, 1080)


@pytest.mark.parametrize(
    ("source", "recipe", "made"),
    [
        (HD, {}, (1920, 1080)),
        (HD, {"height": 720}, (1280, 720)),
        (HD, {"width": 640}, (640, 360)),
        (HD, {"height": 480}, (854, 480)),
        (HD, {"width": 1280, "height": 1280}, (1280, 720)),
        ((1080, 1920), {"width": 1280, "height": 720}, (404, 720)),
        (HD, {"height": 2160}, (1920, 1080)),
        (HD, {"height": 2160, "upscale": True}, (3840, 2160)),
        ((129, 97), {}, (128, 96)),
        ((1919, 1079), {"height": 720}, (1280, 720)),
        ((1, 1), {}, (2, 2)),
        (HD, {"width": 1080, "height": 1080, "fit": "crop"}, (1080, 1080)),
        (HD, {"width": 1080, "height": 1920, "fit": "crop"}, (608, 1080)),
        (HD, {"width": 1080, "height": 1920, "fit": "crop", "upscale": True}, (1080, 1920)),
        (HD, {"width": 1080, "height": 1920, "fit": "pad"}, (1080, 1920)),
        ((640, 360), {"width": 1080, "height": 1920, "fit": "pad"}, (640, 1138)),
        (HD, {"width": 640, "height": 640, "fit": "stretch"}, (640, 640)),
        ((320, 240), {"width": 640, "height": 640, "fit": "stretch"}, (320, 320)),
    ],
)
def test_a_picture_takes_the_size_of_its_recipe(
    source: tuple[int, int], recipe: dict[str, Any], made: tuple[int, int]
) -> None:
    wanted = VideoRecipe.model_validate({"codec": "h264"} | recipe)

    found = shape((Fraction(source[0]), Fraction(source[1])), wanted)

    assert found.made == made
    assert all(side % 2 == 0 for side in (*found.made, *found.scaled))


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(
    "source", [(1920, 1080), (1080, 1920), (641, 480), (999, 1001), (16, 2000)]
)
@pytest.mark.parametrize("target", [(1080, 1080), (1080, 1920), (256, 144)])
def test_cropping_and_padding_never_distort(
    fit: str, source: tuple[int, int], target: tuple[int, int]
) -> None:
    recipe = {"codec": "h264", "width": target[0], "height": target[1], "fit": fit}

    found = shape((Fraction(source[0]), Fraction(source[1])), VideoRecipe.model_validate(recipe))

    across, down = found.scaled[0] / source[0], found.scaled[1] / source[1]
    assert abs(across - down) * min(source) <= 2
    over = [a - b for a, b in zip(found.scaled, found.made, strict=True)]
    assert min(over) >= 0 if fit == "crop" else max(over) <= 0
    assert (found.cropped, found.padded) == (
        (found.made, None)
        if found.scaled != found.made and fit == "crop"
        else (None, found.made)
        if found.scaled != found.made
        else (None, None)
    )


@pytest.mark.parametrize(
    ("changes", "turned", "size"),
    [
        ({}, True, (720, 576)),
        ({"sample_aspect": Fraction(16, 15)}, True, (768, 576)),
        ({"rotation_deg": 90}, True, (576, 720)),
        ({"rotation_deg": 90}, False, (720, 576)),
        ({"rotation_deg": 180}, True, (720, 576)),
    ],
)
def test_a_picture_is_as_large_as_it_is_shown(
    changes: dict[str, Any], turned: bool, size: tuple[int, int]
) -> None:
    stream = StreamInfo(index=0, kind="video", codec="h264", width=720, height=576, **changes)

    assert shown_size(stream, turned=turned) == (Fraction(size[0]), Fraction(size[1]))
