"""How a source's picture becomes one of a recipe's size: even sides, the aspect kept or changed."""

from __future__ import annotations

from fractions import Fraction

from schemas.base import Value
from schemas.media import StreamInfo
from schemas.profiles import VideoRecipe

LEAST_SIDE = 2


class Shape(Value):
    """Scale to `scaled`, then crop or pad to `made`; `shrunk` where the source has fewer pixels."""

    scaled: tuple[int, int]
    made: tuple[int, int]
    shrunk: bool = False

    @property
    def cropped(self) -> tuple[int, int] | None:
        """What is kept of the scaled picture, or None where all of it is."""
        return self.made if self.scaled != self.made and self._covers else None

    @property
    def padded(self) -> tuple[int, int] | None:
        """The canvas around the scaled picture, or None where there is no room around it."""
        return self.made if self.scaled != self.made and not self._covers else None

    @property
    def _covers(self) -> bool:
        return self.scaled[0] >= self.made[0] and self.scaled[1] >= self.made[1]


def shown_size(stream: StreamInfo, *, turned: bool) -> tuple[Fraction, Fraction]:
    """The picture's size in square pixels, after its rotation where it is applied."""
    width = Fraction(stream.width or LEAST_SIDE) * (stream.sample_aspect or 1)
    height = Fraction(stream.height or LEAST_SIDE)
    return (height, width) if turned and stream.rotation_deg % 180 else (width, height)


def shape(source: tuple[Fraction, Fraction], recipe: VideoRecipe) -> Shape:
    """The shape a source of this size takes by a recipe."""
    if recipe.fit == "contain":
        return _contained(source, recipe)
    width, height = Fraction(recipe.width or 0), Fraction(recipe.height or 0)
    across, down = source[0] / width, source[1] / height
    limit = min(across, down) if recipe.fit == "crop" else max(across, down)
    factor = Fraction(1) if recipe.upscale else min(Fraction(1), limit)
    made = (_even(width * factor), _even(height * factor))
    return Shape(scaled=_scaled(source, made, recipe), made=made, shrunk=factor < 1)


def _scaled(
    source: tuple[Fraction, Fraction], made: tuple[int, int], recipe: VideoRecipe
) -> tuple[int, int]:
    across, down = made[0] / source[0], made[1] / source[1]
    match recipe.fit:
        case "crop":
            factor = max(across, down)
            sides = (_even(source[0] * factor), _even(source[1] * factor))
            return max(sides[0], made[0]), max(sides[1], made[1])
        case "pad":
            factor = min(across, down)
            sides = (_even(source[0] * factor), _even(source[1] * factor))
            return min(sides[0], made[0]), min(sides[1], made[1])
    return made


def _contained(source: tuple[Fraction, Fraction], recipe: VideoRecipe) -> Shape:
    factors = [
        wanted / held
        for wanted, held in zip((recipe.width, recipe.height), source, strict=True)
        if wanted is not None
    ]
    wanted_factor = min(factors, default=Fraction(1))
    factor = wanted_factor if recipe.upscale else min(Fraction(1), wanted_factor)
    made = (_even(source[0] * factor), _even(source[1] * factor))
    if factor == wanted_factor:
        # Rounding never misses a side the recipe names.
        made = _named(recipe.width, made[0]), _named(recipe.height, made[1])
    return Shape(scaled=made, made=made, shrunk=factor < wanted_factor)


def _named(side: int | None, found: int) -> int:
    return side if side is not None and abs(side - found) <= LEAST_SIDE else found


def _even(side: Fraction) -> int:
    return max(LEAST_SIDE, 2 * round(side / 2))
