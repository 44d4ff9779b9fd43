"""Posters and sprites through the whole engine, in this process, and their pictures read back."""

from __future__ import annotations

import io
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from cli.sprite import Asked, make
from schemas.jobs import Job
from schemas.settings import Settings
from schemas.thumbnails import Storyboard
from tests.marks import read_fields

WIDTH = 192
LOOPBACK = ("127.0.0.0/8",)


def sprite(source: Path | str, output: Path, **asked: Any) -> Job:
    """The finished job of a sprite whose pictures are as wide as the streams of the tests."""
    return _made(source, output, {"type": "sprite", "width": WIDTH, **asked})


def poster(source: Path | str, output: Path, **asked: Any) -> Job:
    """The finished job of a poster."""
    return _made(source, output, {"type": "poster", **asked})


def _made(source: Path | str, output: Path, asked: dict[str, Any]) -> Job:
    settings = Settings(fetch_connections=4, allow_cidrs=LOOPBACK)
    wanted = Asked(source=str(source), output=output, **asked)
    return make(wanted, settings, Console(file=StringIO()), 1)


def board_in(folder: Path) -> Storyboard:
    """The storyboard's JSON as it was written."""
    return Storyboard.model_validate(json.loads((folder / "sprite.json").read_text("utf-8")))


def tiles_in(folder: Path) -> list[Image.Image]:
    """The picture of every cue, cut out of its sheet as a player would."""
    board = board_in(folder)
    sheets = [Image.open(io.BytesIO((folder / name).read_bytes())) for name in board.sheets]
    return [
        sheets[cue.sheet].crop((cue.x, cue.y, cue.x + cue.w, cue.y + cue.h)) for cue in board.cues
    ]


def numbers_in(folder: Path) -> list[int | None]:
    """The frame number every cue's picture shows."""
    return [number_of(tile) for tile in tiles_in(folder)]


def number_of(image: Image.Image) -> int | None:
    """The frame number a picture shows, or None where it cannot be read."""
    top, bottom = read_fields(np.asarray(image.convert("L")))
    return top[0] if top and top == (bottom or top) else None
