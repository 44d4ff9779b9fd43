"""Thumbnails: which pictures are wanted of which media, where they were found, how they lie."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import Field

from schemas.base import Value, WireValue

PictureFormat = Literal["jpg", "webp"]
ThumbnailKind = Literal["poster", "sprite"]
Seek = Literal["exact", "keyframe"]
MAX_PICTURES = 5_000
MAX_SPRITE_WIDTH = 640
MAX_POSTER_WIDTH = 3_840


class Wanted(Value):
    """One picture: its number among all, and its time from the source's first moment."""

    number: int = Field(ge=0)
    at_us: int


class PictureSource(Value):
    """One piece of media in the workspace: files joined in order, and what is wanted of it.

    Where `joined` is False it is a whole file with an end, which can be searched; joined segments
    count time from their first keyframe and are read through.
    """

    names: tuple[str, ...] = Field(min_length=1)
    joined: bool = False
    wanted: tuple[Wanted, ...] = Field(min_length=1)


class Grid(Value):
    """How pictures lie on a sheet: `columns` by `rows` cells of this size, row by row."""

    columns: int = Field(ge=1, le=64)
    rows: int = Field(ge=1, le=64)
    width: int = Field(ge=2, le=8192)
    height: int = Field(ge=2, le=8192)

    @property
    def cells(self) -> int:
        """How many pictures fit."""
        return self.columns * self.rows

    def place(self, number: int) -> tuple[int, int, int]:
        """The sheet of a picture, and the left and top of its cell there."""
        sheet, cell = divmod(number, self.cells)
        row, column = divmod(cell, self.columns)
        return sheet, column * self.width, row * self.height

    def sheets(self, pictures: int) -> int:
        """How many sheets so many pictures take."""
        return -(-pictures // self.cells)

    def size(self, pictures: int) -> tuple[int, int]:
        """The size of a sheet that holds so many: the last one is no larger than it must be."""
        held = min(pictures, self.cells)
        rows = -(-held // self.columns)
        return min(held, self.columns) * self.width, rows * self.height


class Shot(Value):
    """A picture as it was found: its own time, counted like the wanted one's."""

    number: int
    at_us: int
    key: bool = False


class Pictures(Value):
    """What was taken: the sheets that were written, and every picture on them, in order.

    With `seek` keyframe a picture is taken once, however many times it is the nearest one of.
    """

    sheets: tuple[str, ...]
    shots: tuple[Shot, ...]


class Cue(WireValue):
    """A stretch of time and the picture that stands for it; `at_ms` is the picture's own time."""

    start_ms: int
    end_ms: int
    at_ms: int
    sheet: int
    x: int
    y: int
    w: int
    h: int


class Storyboard(WireValue):
    """Sprite sheets with a cue for every picture; the JSON form beside the WebVTT one.

    `start_ms` is the wall clock of time zero where the media came from a channel.
    """

    version: int = Field(default=1, ge=1, le=1)
    duration_ms: int
    start_ms: int | None = None
    times: Seek
    tile_width: int
    tile_height: int
    columns: int
    rows: int
    sheets: tuple[str, ...]
    cues: tuple[Cue, ...]


class PictureSize(Value):
    """A picture as it is shown: square pixels, turned the right way up."""

    width: Fraction
    height: Fraction


class PublishedPicture(WireValue):
    """A file of the result, as it was read back."""

    name: str
    key: str
    url: str
    size: int
    sha256: str


class ThumbnailResult(WireValue):
    """The result of the job: what lies where, and how true the times are."""

    type: ThumbnailKind
    destination: str
    files: tuple[PublishedPicture, ...]
    duration_ms: int
    pictures: int
    width: int
    height: int
    at_ms: int | None = None
    largest_error_ms: int = 0
    notes: tuple[str, ...] = ()
