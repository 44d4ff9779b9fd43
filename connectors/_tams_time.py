"""Time as a TAMS store spells it: nanoseconds on a timeline that counts TAI, or Unix time."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import UTC, datetime
from typing import Literal

from schemas.base import Value
from schemas.errors import CorruptMedia
from schemas.times import TimeRange

Timescale = Literal["tai", "unix"]
SECOND = 10**9
_STAMP = r"-?\d{1,15}:\d{1,9}"
_RANGE = re.compile(rf"([\[(])?({_STAMP})?(_)?({_STAMP})?([\])])?", re.ASCII)
# From the first of these months on TAI is 10 s ahead of UTC, and one second more at each later one
# (IERS Bulletin C). Before them no clock was set by atoms: such a timeline is somebody's own.
_JANUARIES = (1972, *range(1973, 1981), 1988, 1990, 1991, 1996, 1999, 2006, 2009, 2017)
_JULIES = (1972, 1981, 1982, 1983, 1985, 1992, 1993, 1994, 1997, 2012, 2015)
_UTC_S = sorted(
    int(datetime(year, month, 1, tzinfo=UTC).timestamp())
    for years, month in ((_JANUARIES, 1), (_JULIES, 7))
    for year in years
)
_TAI_S = [second + 10 + number for number, second in enumerate(_UTC_S)]


class Span(Value):
    """A stretch of a timeline in nanoseconds; None where it has no such end."""

    start_ns: int | None = None
    end_ns: int | None = None


def parse_stamp(text: str) -> int:
    """Nanoseconds of a timestamp.

    >>> parse_stamp("-1:500000000")
    -1500000000
    """
    if not re.fullmatch(_STAMP, text, re.ASCII):
        raise CorruptMedia(f"the store names a timestamp {text[:40]!r}")
    seconds, _, ns = text.partition(":")
    size = abs(int(seconds)) * SECOND + int(ns)
    return -size if text.startswith("-") else size


def parse_span(text: str) -> Span:
    """The stretch a timerange names; whether an end belongs to it is below our resolution.

    >>> parse_span("[10:0_20:5)")
    Span(start_ns=10000000000, end_ns=20000000005)
    >>> parse_span("[10:0]"), parse_span("_")
    (Span(start_ns=10000000000, end_ns=10000000000), Span(start_ns=None, end_ns=None))
    """
    if text == "()":
        return Span(start_ns=0, end_ns=0)
    found = _RANGE.fullmatch(text)
    if found is None:
        raise CorruptMedia(f"the store names a timerange {text[:60]!r}")
    start = parse_stamp(found[2]) if found[2] else None
    end = parse_stamp(found[4]) if found[4] else None
    return Span(start_ns=start, end_ns=end if found[3] else start)


def spelled(start_ns: int, end_ns: int) -> str:
    """A half-open stretch as a timerange.

    >>> spelled(-1_500_000_000, 0)
    '[-1:500000000_0:0)'
    """
    return f"[{_stamp(start_ns)}_{_stamp(end_ns)})"


def spelled_stamp(ns: int) -> str:
    """Nanoseconds as a timestamp."""
    return _stamp(ns)


def _stamp(ns: int) -> str:
    sign = "-" if ns < 0 else ""
    return f"{sign}{abs(ns) // SECOND}:{abs(ns) % SECOND}"


def wall_ns(timeline_ns: int, scale: Timescale) -> int:
    """The Unix time of an instant of the timeline.

    >>> wall_ns(1694429247 * SECOND, "tai") // SECOND
    1694429210
    """
    if scale == "unix":
        return timeline_ns
    return timeline_ns - _ahead(bisect_right(_TAI_S, timeline_ns // SECOND)) * SECOND


def timeline_ns(unix_ns: int, scale: Timescale) -> int:
    """The instant of the timeline at a Unix time."""
    if scale == "unix":
        return unix_ns
    return unix_ns + _ahead(bisect_right(_UTC_S, unix_ns // SECOND)) * SECOND


def _ahead(leaps: int) -> int:
    return 9 + leaps if leaps else 0


def on_timeline(wanted: TimeRange, scale: Timescale) -> tuple[int, int]:
    """A range of wall clock on the timeline."""
    return (
        timeline_ns(wanted.start_ms * 10**6, scale),
        timeline_ns(wanted.end_ms * 10**6, scale),
    )
