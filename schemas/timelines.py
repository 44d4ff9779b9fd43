"""Timelines as editors write them, boiled down to what can be shown: edits on a common clock.

Every time is a `Fraction` of seconds: editors count in rates of their own.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from schemas.base import Value, WireValue


class Warned(WireValue):
    """Something of a timeline that is kept but not rendered, or that a format cannot say."""

    code: str
    message: str
    pointer: str = ""


class MediaRef(Value):
    """What a clip shows: a file of a connector, or a channel.

    A channel's media time counts from `start_ms`, epoch milliseconds: from 1970 on where none is
    named, so that times are wall clock.
    """

    connector_id: str
    file_id: str | None = None
    channel_id: str | None = None
    start_ms: int | None = None


class Marker(Value):
    """A marker of a clip, `at` on the clip's own clock."""

    name: str
    color: str = ""
    at: Fraction
    duration: Fraction = Fraction(0)


class Edit(Value):
    """A clip, or the part of one that is seen: from `at` on the timeline, `start` in its media.

    `available` is where the media itself begins on the clip's clock and how long it is, where the
    editor said so. `target` is the address the editor knew the media by.
    """

    name: str
    pointer: str
    at: Fraction
    duration: Fraction
    start: Fraction
    rate: Fraction
    media: MediaRef | None = None
    target: str = ""
    available: tuple[Fraction, Fraction] | None = None
    markers: tuple[Marker, ...] = ()

    @property
    def end(self) -> Fraction:
        """Where it ends on the timeline."""
        return self.at + self.duration


class Timeline(Value):
    """What is seen and heard, in order and without overlap; between edits there is a gap.

    `kind` is what the edits are of. `sounds` are the tracks of sound that are laid out by
    themselves. `start` is the time of day the timeline begins at, where the editor set one.
    `connectors` are all that any clip names, seen or not, with the place of the first.
    """

    name: str
    kind: Literal["video", "audio"]
    rate: Fraction
    start: Fraction | None = None
    edits: tuple[Edit, ...]
    sounds: tuple[tuple[Edit, ...], ...] = ()
    tracks: int
    clips: int
    loose_markers: int = 0
    connectors: dict[str, str] = {}
    warnings: tuple[Warned, ...] = ()

    @property
    def length(self) -> Fraction:
        """Where the last edit ends."""
        return self.edits[-1].end if self.edits else Fraction(0)
