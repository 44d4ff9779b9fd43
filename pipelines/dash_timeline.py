"""When and where the segments of a DASH track are: the arithmetic of templates and timelines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipelines.dash import Addressing, Mpd, Period, Repeat, Resource, Track, resolved
from pipelines.dash_index import Indexed
from pipelines.hls_scan import MAX_INTEGER, Line
from schemas.errors import CorruptMedia, TooLarge

MICRO = 1_000_000
MAX_SEGMENTS = 100_000
NEIGHBOURS = 3
MAX_SEGMENT_US = 24 * 3600 * MICRO
MAX_URI_TOTAL_CHARS = 64 * 1024 * 1024
_IDENTIFIER = re.compile(r"\$(?:(RepresentationID|Number|Time|Bandwidth)(?:%0(\d{1,2})d)?)?\$")


@dataclass(frozen=True, slots=True)
class Listed:
    """A segment of a track: its number, its media time in ticks, and where it lies."""

    number: int
    start: int
    duration: int
    place: Resource


@dataclass(frozen=True, slots=True)
class Stretch:
    """`count` segments of one length in a row, the first with this number and media time."""

    number: int
    start: int
    duration: int
    count: int

    @property
    def end(self) -> int:
        """Where the last one ends."""
        return self.start + self.duration * self.count


def zero_us(mpd: Mpd, period: Period, addressing: Addressing) -> Fraction:
    """The wall clock of media time 0: availability start + period start - time offset."""
    since = Fraction(addressing.offset * MICRO, addressing.timescale)
    return (mpd.zero_us or 0) + period.start_us - since


def listed(
    mpd: Mpd,
    period: Period,
    track: Track,
    now_us: int,
    most: int,
    indexed: Sequence[Indexed] | None = None,
    around_us: tuple[int, int] | None = None,
) -> tuple[Listed, ...]:
    """What there is of a track in a period by now, at most so many segments.

    Of a live presentation the newest are kept, of one on demand more is refused. `indexed` is what
    a file with its own index lists. Of `around_us`, a stretch of wall clock, all is listed; beside
    it the first and the last segment alone, which is enough to know what there is.
    """
    addressing = track.addressing
    if addressing.index is not None:
        return tuple(_of_index(period, addressing, indexed or ()))
    begin, end = _bounds(period, addressing)
    if addressing.timeline is not None and not period.cut_off:
        end = None
    stretches = _within(_stretches(mpd, period, addressing, now_us), (begin, end))
    if around_us is not None:
        zero = zero_us(mpd, period, addressing)
        low, high = (int((us - zero) * addressing.timescale // MICRO) for us in around_us)
        stretches = tuple(_around(stretches, low, high))
    total = sum(stretch.count for stretch in stretches)
    if total > most:
        if not mpd.dynamic:
            raise TooLarge(f"the manifest lists {total} segments, over {most}")
        stretches = _newest(stretches, most)
    return tuple(_materialized(track, stretches))


def _of_index(
    period: Period, addressing: Addressing, indexed: Sequence[Indexed]
) -> Iterator[Listed]:
    """What a file's own index lists of a period, which may show a part of the file."""
    uri = addressing.index.uri if addressing.index else ""
    scale = addressing.timescale
    begin, end = _bounds(period, addressing)
    for at, one in enumerate(indexed):
        start = one.start * scale // one.timescale
        stop = (one.start + one.duration) * scale // one.timescale
        if stop > begin and (end is None or not period.cut_off or start < end):
            yield Listed(at, start, stop - start, Resource(uri, one.span))


def _bounds(period: Period, addressing: Addressing) -> tuple[int, int | None]:
    """Media time at which a period starts and ends, in ticks."""
    if period.end_us is None:
        return addressing.offset, None
    length = Fraction((period.end_us - period.start_us) * addressing.timescale, MICRO)
    return addressing.offset, addressing.offset + -(-length.numerator // length.denominator)


def _stretches(
    mpd: Mpd, period: Period, addressing: Addressing, now_us: int
) -> tuple[Stretch, ...]:
    if addressing.timeline is not None:
        return _of_timeline(mpd, period, addressing, now_us)
    if addressing.duration is None:
        return _of_one(mpd, period, addressing, now_us)
    return _of_duration(mpd, period, addressing, now_us)


def _of_one(mpd: Mpd, period: Period, addressing: Addressing, now_us: int) -> tuple[Stretch, ...]:
    """A list of a single segment lasts as long as its period."""
    start, end = _bounds(period, addressing)
    if end is None:
        raise CorruptMedia("nothing says how long the only segment of a period lasts")
    return (Stretch(addressing.start_number, start, end - start, 1),)


def _of_duration(
    mpd: Mpd, period: Period, addressing: Addressing, now_us: int
) -> tuple[Stretch, ...]:
    """Segment k lies nominally at k times the duration from the period's start."""
    duration, scale = addressing.duration or 1, addressing.timescale
    first, last = 0, _last_of_period(period, addressing)
    if mpd.dynamic:
        since_us = now_us - (mpd.zero_us or 0) - period.start_us
        if addressing.early_us is not None:
            ready = (since_us + addressing.early_us) * scale // (duration * MICRO) - 1
            last = ready if last is None else min(last, ready)
        elif last is None:
            last = since_us * scale // (duration * MICRO)
        if mpd.depth_us is not None:
            first = max(0, (since_us - mpd.depth_us) * scale // (duration * MICRO))
    if last is None:
        raise CorruptMedia("nothing says where a presentation on demand ends")
    if last < first:
        return ()
    return (
        Stretch(
            addressing.start_number + first,
            addressing.offset + first * duration,
            duration,
            last - first + 1,
        ),
    )


def _last_of_period(period: Period, addressing: Addressing) -> int | None:
    """The index of the last segment a period has room and names for."""
    found: list[int] = []
    start, end = _bounds(period, addressing)
    if end is not None:
        found.append(-(-(end - start) // (addressing.duration or 1)) - 1)
    if addressing.end_number is not None:
        found.append(addressing.end_number - addressing.start_number)
    if addressing.urls:
        found.append(len(addressing.urls) - 1)
    return min(found, default=None)


def _of_timeline(
    mpd: Mpd, period: Period, addressing: Addressing, now_us: int
) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    number, repeats = addressing.start_number, addressing.timeline or ()
    for at, one in enumerate(repeats):
        after = repeats[at + 1].start if at + 1 < len(repeats) else None
        count = _count(mpd, period, addressing, one, after, now_us)
        if count > 0:
            found.append(Stretch(number, one.start, one.duration, count))
            number += count
        if max(number, one.start + one.duration * count) > MAX_INTEGER:
            raise CorruptMedia("the times of a SegmentTimeline pass 2^63")
    room = _named(addressing)
    return _first(tuple(found), room) if room is not None else tuple(found)


def _count(
    mpd: Mpd,
    period: Period,
    addressing: Addressing,
    one: Repeat,
    after: int | None,
    now_us: int,
) -> int:
    if one.count is not None:
        return one.count
    if after is not None:
        return -(-(after - one.start) // one.duration)
    _, end = _bounds(period, addressing)
    fits = None if end is None else -(-(end - one.start) // one.duration)
    if not mpd.dynamic or (addressing.early_us is None and fits is not None):
        if fits is None:
            raise CorruptMedia("nothing says how often the last segment of a timeline repeats")
        return fits
    # Repeated for good: what has ended by now is there.
    since = (now_us + (addressing.early_us or 0) - zero_us(mpd, period, addressing)) / MICRO
    ready = (since * addressing.timescale - one.start) // one.duration
    return ready if fits is None else min(fits, ready)


def _named(addressing: Addressing) -> int | None:
    """How many segments there are names for, where that is limited."""
    if addressing.urls:
        return len(addressing.urls)
    if addressing.end_number is not None:
        return addressing.end_number - addressing.start_number + 1
    return None


def _first(stretches: Sequence[Stretch], most: int) -> tuple[Stretch, ...]:
    kept: list[Stretch] = []
    for one in stretches:
        count = min(one.count, most)
        if count > 0:
            kept.append(Stretch(one.number, one.start, one.duration, count))
        most -= one.count
    return tuple(kept)


def _newest(stretches: Sequence[Stretch], most: int) -> tuple[Stretch, ...]:
    kept: list[Stretch] = []
    for one in reversed(stretches):
        count = min(one.count, most)
        if count > 0:
            kept.append(_without(one, one.count - count))
        most -= count
    return tuple(reversed(kept))


def _without(one: Stretch, skipped: int) -> Stretch:
    """A stretch without its first segments."""
    return _part(one, skipped, one.count)


def _within(stretches: Sequence[Stretch], bounds: tuple[int, int | None]) -> tuple[Stretch, ...]:
    """Only segments that lie at least partly in the period."""
    begin, end = bounds
    kept: list[Stretch] = []
    for one in stretches:
        skipped = max(0, (begin - one.start) // one.duration) if one.start < begin else 0
        one = _without(one, min(skipped, one.count))
        if end is not None and one.end > end:
            count = max(0, -(-(end - one.start) // one.duration))
            one = Stretch(one.number, one.start, one.duration, min(count, one.count))
        if one.count > 0:
            kept.append(one)
    return tuple(kept)


def _around(stretches: Sequence[Stretch], low: int, high: int) -> Iterator[Stretch]:
    """The segments near a span of media time, and the very first and last of all."""
    for at, one in enumerate(stretches):
        begin = (low - one.start) // one.duration - NEIGHBOURS
        end = -(-(high - one.start) // one.duration) + NEIGHBOURS
        wanted = [(max(0, begin), min(one.count, end))]
        wanted += [(one.count - 1, one.count)] if at == len(stretches) - 1 else []
        done = 0
        for first, stop in [(0, 1), *wanted] if at == 0 else wanted:
            if max(first, done) < stop:
                yield _part(one, max(first, done), stop)
                done = stop


def _part(one: Stretch, begin: int, end: int) -> Stretch:
    """Some segments of a stretch, by their index in it."""
    start = one.start + begin * one.duration
    return Stretch(one.number + begin, start, one.duration, end - begin)


def _materialized(track: Track, stretches: Sequence[Stretch]) -> Iterator[Listed]:
    addressing, chars = track.addressing, 0
    place = _places(track)
    for one in stretches:
        if one.duration * MICRO > MAX_SEGMENT_US * addressing.timescale:
            raise CorruptMedia("a segment is said to last longer than a day")
        for at in range(one.count):
            number, start = one.number + at, one.start + at * one.duration
            found = place(number, start)
            chars += len(found.uri)
            if chars > MAX_URI_TOTAL_CHARS:
                raise TooLarge(f"the manifest's URIs are over {MAX_URI_TOTAL_CHARS} characters")
            yield Listed(number, start, one.duration, found)


def _places(track: Track) -> Callable[[int, int], Resource]:
    """Where a segment of a number and time lies."""
    addressing, line = track.addressing, Line(track.line, "Representation", "")
    if addressing.urls:
        urls, first = addressing.urls, addressing.start_number
        return lambda number, _start: urls[number - first]
    media = Template(addressing.media or "", track)

    def place(number: int, start: int) -> Resource:
        return Resource(resolved(track.base, media.filled(number, start), line))

    return place


def init_of(track: Track) -> Resource | None:
    """Where the initialisation section of a track lies, if it has one."""
    template = track.addressing.init_template
    if template is None:
        return track.addressing.init
    line = Line(track.line, "Representation", "")
    return Resource(resolved(track.base, Template(template, track).filled(0, 0), line))


class Template:
    """A URL template of a track: `$Number%05d$`, `$Time$` and the like, filled in."""

    def __init__(self, text: str, track: Track) -> None:
        self._parts: list[tuple[str, int] | str] = []
        at = 0
        for match in _IDENTIFIER.finditer(text):
            self._literal(text[at : match.start()])
            self._identifier(match[1], int(match[2] or 1), track)
            at = match.end()
        self._literal(text[at:])

    def _literal(self, text: str) -> None:
        if "$" in text:
            raise CorruptMedia("a URL template has an identifier that is not known")
        self._parts.append(text)

    def _identifier(self, name: str | None, width: int, track: Track) -> None:
        match name:
            case None:
                self._parts.append("$")
            case "RepresentationID":
                self._parts.append(track.id)
            case "Bandwidth":
                self._parts.append(f"{track.bandwidth_bps:0{width}d}")
            case _:
                self._parts.append((name, width))

    def filled(self, number: int, time: int) -> str:
        """The reference of the segment of this number and time."""
        return "".join(
            part
            if isinstance(part, str)
            else f"{number if part[0] == 'Number' else time:0{part[1]}d}"
            for part in self._parts
        )
