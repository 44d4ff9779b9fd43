"""Pictures for a gap: black, or a neighbouring frame held still."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import av

from media.cut import edges
from media.cut.edges import Encoded, Recipe
from media.cut.reading import Segments
from schemas.cuts import FilledSpan, PictureFacts
from schemas.errors import CorruptMedia


def fill_piece(
    span: FilledSpan, facts: PictureFacts, recipe: Recipe, segments: Segments
) -> Encoded:
    """The made frames of a gap, encoded; their PTS are output ticks."""
    still = _held(span, facts, segments) if span.still else _black(facts, recipe)
    return edges.piece(_repeated(still, span), replace(recipe), span.frames)


def _held(span: FilledSpan, facts: PictureFacts, segments: Segments) -> Any:
    if span.still is None:
        raise CorruptMedia("no frame to hold")
    still = span.still
    pictures = segments.pictures(still.run, still.first, still.stop)
    wanted = edges.decoded(pictures, facts, lambda pts: still.from_pts <= pts < still.to_pts)
    found = next(iter(list(wanted)), None)
    if found is None:
        raise CorruptMedia("the frame to hold does not decode")
    return found


def _black(facts: PictureFacts, recipe: Recipe) -> Any:
    """A black frame in limited range."""
    frame = av.VideoFrame(facts.width, facts.height, "yuv420p")
    for number, plane in enumerate(frame.planes):
        plane.update(bytes([16 if number == 0 else 128]) * plane.buffer_size)
    return frame if recipe.pixel_format == "yuv420p" else frame.reformat(format=recipe.pixel_format)


def _repeated(still: Any, span: FilledSpan) -> Iterator[Any]:
    for number in range(span.frames):
        still.pts = span.first_ticks + number * span.frame_ticks
        yield still
