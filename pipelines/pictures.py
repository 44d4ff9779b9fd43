"""The pictures of a run: which of them a range keeps, what is copied of them, what re-encoded."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from pipelines.clock import MICRO, WallClock, wall_clock
from schemas.cuts import CopiedSpan, EncodedSpan, MediaIndex, PacketAt, PictureSpan, Run
from schemas.errors import CorruptMedia


@dataclass(frozen=True, slots=True)
class Pictures:
    """A run's pictures laid flat: PTS in decode order, and in display order what can be shown."""

    number: int
    run: Run
    clock: WallClock
    pts: tuple[int, ...]
    keys: tuple[int, ...]
    idrs: frozenset[int]
    firsts: tuple[int, ...]
    shown: tuple[int, ...]
    frame_ticks: int

    def place(self, packet: int) -> PacketAt:
        """Where a packet, counted in the run, lies among its segments."""
        segment = max(bisect_left(self.firsts, packet + 1) - 1, 0)
        return PacketAt(segment=segment, packet=packet - self.firsts[segment])

    def end_of(self, pts: int) -> int:
        """Where a shown frame ends: at the next one, or a usual frame later."""
        after = bisect_left(self.shown, pts + 1)
        return self.shown[after] if after < len(self.shown) else pts + self.frame_ticks


def pictures_of(number: int, run: Run, index: MediaIndex) -> Pictures:
    """A run's pictures, those before its first place to start left out."""
    facts = run.pictures
    if facts is None:
        raise CorruptMedia("a stretch of segments holds no pictures")
    frame_us = facts.frame_ticks * facts.timebase * MICRO
    clock = wall_clock(run, index.anchors, frame_us)
    counts = [len(segment.pts) for segment in run.segments]
    firsts = tuple(accumulate(counts, initial=0))[:-1]
    pts = tuple(p for segment in run.segments for p in segment.pts)
    keys = _flat(run, firsts, "keys")
    shown = sorted(p for p in pts[keys[0] :] if p >= pts[keys[0]]) if keys else []
    if run.torso_pts is not None:
        shown = [p for p in shown if p < run.torso_pts]
    if len(set(shown)) != len(shown):
        raise CorruptMedia("two pictures bear one PTS")
    idrs = frozenset(_flat(run, firsts, "idrs"))
    return Pictures(
        number, run, clock, pts, keys, idrs, firsts, tuple(shown), max(facts.frame_ticks, 1)
    )


def _flat(run: Run, firsts: Sequence[int], name: str) -> tuple[int, ...]:
    return tuple(
        first + at
        for first, segment in zip(firsts, run.segments, strict=True)
        for at in getattr(segment, name)
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """The frames of a run that are delivered: those with `lo <= pts < hi`, `count` of them."""

    source: Pictures
    lo: int
    hi: int
    first: int
    last: int
    count: int

    @property
    def start_us(self) -> Fraction:
        """Wall clock of the first frame."""
        return self.source.clock.at(self.first)

    @property
    def end_us(self) -> Fraction:
        """Wall clock of the end of the last frame."""
        return self.source.clock.at(self.last) + self.last_ticks * self.tick_us

    @property
    def last_ticks(self) -> int:
        """How long the last frame lasts."""
        return self.source.end_of(self.last) - self.last

    @property
    def tick_us(self) -> Fraction:
        """Microseconds a tick."""
        return self.source.clock.timebase * MICRO

    @property
    def frame_us(self) -> Fraction:
        """How long a frame usually lasts."""
        return self.source.frame_ticks * self.tick_us


def kept(source: Pictures, start_us: Fraction, end_us: Fraction) -> Kept | None:
    """The frames whose wall clock lies in `[start_us, end_us)`; None where there is none."""
    low = bisect_left(source.shown, start_us, key=source.clock.at)
    high = bisect_left(source.shown, end_us, key=source.clock.at)
    return _kept_between(source, low, high)


def counted(cut: Kept, length_us: Fraction) -> Kept:
    """The cut with as many frames as its length holds at the run's own pace.

    Dates are rounded: a frame on the edge may be taken for one beside it, but is counted right.
    """
    shown, clock = cut.source.shown, cut.source.clock
    facts = cut.source.run.pictures
    if len(shown) < 2 or facts is None or not facts.regular:
        return cut
    pace_us = (clock.at(shown[-1]) - clock.at(shown[0])) / (len(shown) - 1)
    count = round(length_us / pace_us)
    low = bisect_left(shown, cut.first)
    if abs(count - cut.count) != 1 or low + count > len(shown):
        return cut
    return _kept_between(cut.source, low, low + count) or cut


def _kept_between(source: Pictures, low: int, high: int) -> Kept | None:
    if high <= low:
        return None
    last = source.shown[high - 1]
    hi = source.shown[high] if high < len(source.shown) else last + 1
    return Kept(source, source.shown[low], hi, source.shown[low], last, high - low)


def snapped(cut: Kept) -> Kept:
    """The same cut grown outward to places to start, for copying without re-encoding."""
    source = cut.source
    start = _key_for(source, cut.lo)
    stop = next((k for k in source.keys if k > start and _all_before(source, k, cut.hi)), None)
    members = source.pts[start:stop]
    low = bisect_left(source.shown, source.pts[start])
    high = bisect_left(source.shown, max(members) + 1)
    return _kept_between(source, low, high) or cut


def _all_before(source: Pictures, key: int, hi: int) -> bool:
    """Whether no picture from a key on is wanted, its leading pictures included."""
    following = next((k for k in source.keys if k > key), len(source.pts))
    return min(source.pts[key:following]) >= hi


# --- spans of pictures


def picture_spans(cut: Kept, offset: int, *, whole: bool) -> tuple[PictureSpan, ...]:
    """Copied span and re-encoded edges of one run's kept frames."""
    source = cut.source
    start = next((k for k in source.keys if cut.lo <= source.pts[k] < cut.hi), None)
    if whole or start is None:
        return (encoded(cut, cut.lo, cut.hi, offset),)
    stop, tail_lo = _copy_stop(source, start, cut.hi)
    if stop <= start:
        return (encoded(cut, cut.lo, cut.hi, offset),)
    floor_pts = source.pts[start]
    alone = sum(p >= floor_pts for p in source.pts[start:stop]) == 1
    if alone and start not in source.idrs and _is_hevc(source):
        # libav loses an IDR right behind a broken link: the references it makes up clash with it.
        return (encoded(cut, cut.lo, cut.hi, offset),)
    found: list[PictureSpan] = []
    if cut.lo < floor_pts and any(cut.lo <= p < floor_pts for p in source.shown):
        found.append(encoded(cut, cut.lo, floor_pts, offset))
    found.append(_copied(source, start, stop, offset))
    if tail_lo is not None:
        found.append(encoded(cut, tail_lo, cut.hi, offset))
    return tuple(found)


def _is_hevc(source: Pictures) -> bool:
    return source.run.pictures is not None and source.run.pictures.codec == "hevc"


def _copy_stop(source: Pictures, start: int, hi: int) -> tuple[int, int | None]:
    """Where copying ends, and the PTS from which the tail is re-encoded.

    The copy is a decode-order prefix, which always decodes. A tail frame must follow every copied
    one in display order, because the tail begins with an IDR.
    """
    floor_pts = source.pts[start]
    stop = next((n for n in range(start, len(source.pts)) if source.pts[n] >= hi), len(source.pts))
    tail = [p for p in source.pts[stop:] if floor_pts <= p < hi]
    while tail:
        lowest = min(tail)
        back = next((n for n in range(start, stop) if source.pts[n] > lowest), stop)
        if back == stop:
            return stop, lowest
        tail += [p for p in source.pts[back:stop] if floor_pts <= p < hi]
        stop = back
    return stop, None


def _copied(source: Pictures, start: int, stop: int, offset: int) -> CopiedSpan:
    floor_pts = source.pts[start]
    return CopiedSpan(
        run=source.number,
        first=source.place(start),
        stop=source.place(stop),
        floor_pts=floor_pts,
        frames=sum(p >= floor_pts for p in source.pts[start:stop]),
        offset_ticks=offset,
        to_idr=start not in source.idrs,
    )


def encoded(cut: Kept, from_pts: int, to_pts: int, offset: int) -> EncodedSpan:
    """Frames to re-encode, and all that must be decoded for them."""
    source = cut.source
    low, high = bisect_left(source.shown, from_pts), bisect_left(source.shown, to_pts)
    members = frozenset(source.shown[low:high])
    start = _key_for(source, source.shown[low])
    stop = 1 + max(n for n in range(start, len(source.pts)) if source.pts[n] in members)
    return EncodedSpan(
        run=source.number,
        first=source.place(start),
        stop=source.place(stop),
        from_pts=from_pts,
        to_pts=to_pts,
        frames=high - low,
        offset_ticks=offset,
    )


def _key_for(source: Pictures, pts: int) -> int:
    """The last place to start from which a frame can be decoded."""
    return max((k for k in source.keys if source.pts[k] <= pts), default=source.keys[0])
