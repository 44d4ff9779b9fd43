"""The wall clock of a run: PTS to time and back, and the time for which nothing is held."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from schemas.cuts import Anchor, Run
from schemas.errors import CorruptMedia, FormatChange

MICRO = 1_000_000
WRAP_S = Fraction(1 << 33, 90_000)
TS_TIMEBASE = Fraction(1, 90_000)


@dataclass(frozen=True, slots=True)
class WallClock:
    """Turns PTS of one run into wall clock: pieces of `(from_pts, pts, wall_us)`, in order."""

    timebase: Fraction
    pieces: tuple[tuple[int, int, Fraction], ...]
    stated: bool

    def at(self, pts: int) -> Fraction:
        """The wall clock of a PTS, in exact microseconds."""
        for from_pts, base, wall in reversed(self.pieces):
            if pts >= from_pts:
                return wall + (pts - base) * self.timebase * MICRO
        _, base, wall = self.pieces[0]
        return wall + (pts - base) * self.timebase * MICRO

    def seconds_at(self, wall_us: Fraction) -> Fraction:
        """The PTS, in seconds, of an instant of wall clock."""
        _, base, wall = next((p for p in reversed(self.pieces) if p[2] <= wall_us), self.pieces[0])
        return base * self.timebase + (wall_us - wall) / MICRO

    def moved(self, by_us: Fraction) -> WallClock:
        """The same clock, set later."""
        return replace(self, pieces=tuple((f, p, wall + by_us) for f, p, wall in self.pieces))


def wall_clock(run: Run, anchors: Iterable[Anchor], frame_us: Fraction) -> WallClock:
    """The clock of a run: its first PDT, and later ones that depart by over half a frame."""
    numbers = {segment.number for segment in run.segments}
    region = [
        a
        for a in anchors
        if a.track == run.track and a.discontinuity_sequence == run.discontinuity_sequence
    ]
    # The whole region speaks for its clock, so that runs of one region agree to the tick.
    held = sorted((a for a in region if a.held is not None), key=lambda a: a.held or 0)
    here = next((a for a in held if a.held in numbers), None)
    if here is None:
        raise CorruptMedia("a stretch of segments holds no place to start from")
    base = _base(held, [a for a in region if a.held is None]) or here
    pts = _unwrapped(base, here)
    first = held[0].pts if not base.stated else pts
    pieces = [(first, pts, Fraction(base.wall_us))]
    clock = WallClock(here.timebase, tuple(pieces), base.stated)
    for later in (a for a in held if a.stated and (a.held or 0) > (base.held or -1)):
        clock = _reanchored(clock, replace_pts(later, _unwrapped(later, here)), frame_us)
    return clock


def replace_pts(anchor: Anchor, pts: int) -> Anchor:
    """An anchor with another reading of its PTS."""
    return anchor if pts == anchor.pts else anchor.model_copy(update={"pts": pts})


def _base(held: Sequence[Anchor], outside: Sequence[Anchor]) -> Anchor | None:
    stated = [a for a in held if a.stated]
    return next(iter(stated), None) or max(outside, key=lambda a: a.start_us, default=None)


def _unwrapped(anchor: Anchor, here: Anchor) -> int:
    """An anchor's PTS, read so that it lies where the playlist places it next to `here`."""
    if anchor.timebase != here.timebase:
        raise FormatChange("the timebase changes inside a region")
    if anchor.timebase != TS_TIMEBASE:
        return anchor.pts
    expected = Fraction(anchor.start_us - here.start_us, MICRO)
    turns = round((expected - (anchor.pts - here.pts) * anchor.timebase) / WRAP_S)
    return anchor.pts + turns * (1 << 33)


def _reanchored(clock: WallClock, anchor: Anchor, frame_us: Fraction) -> WallClock:
    running = clock.at(anchor.pts)
    if abs(anchor.wall_us - running) <= frame_us / 2 or anchor.pts <= clock.pieces[-1][0]:
        return clock
    # Wall time never runs back: frames already placed keep their place.
    wall = max(Fraction(anchor.wall_us), running - frame_us / 2)
    piece = (anchor.pts, anchor.pts, wall)
    return replace(clock, pieces=(*clock.pieces, piece))


@dataclass(frozen=True, slots=True)
class Hole:
    """Wanted time without media, and its place in the output where it keeps it."""

    start_us: Fraction
    end_us: Fraction
    reason: str
    after: int
