"""Times as people type them: RFC 3339, epoch, or seconds from the start of the window."""

from __future__ import annotations

import re
from decimal import Decimal

from schemas.base import Value
from schemas.errors import FieldInvalid
from schemas.times import MAX_EPOCH_MS, TimeRange, parse_rfc3339, time_range

# A DVR window is shorter than three years, an epoch in seconds longer.
_LARGEST_OFFSET_S = 10**8
_SMALLEST_EPOCH_MS = 10**11
_NUMBER = re.compile(r"\d{1,16}(\.\d{1,9})?", re.ASCII)
_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,3}):(\d{1,2}(?:\.\d{1,9})?)", re.ASCII)


class Moment(Value):
    """An instant in milliseconds: since the epoch, or since the start of the DVR window."""

    ms: int
    from_window_start: bool = False

    def resolved(self, window_start_ms: int) -> int:
        """Epoch milliseconds, once the window's start is known."""
        return self.ms + window_start_ms if self.from_window_start else self.ms


def parse(text: str) -> Moment:
    """The moment a command line spells.

    >>> parse("90.5")
    Moment(ms=90500, from_window_start=True)
    >>> parse("1:30").ms, parse("1643957046").ms, parse("1643957046000").ms
    (90000, 1643957046000, 1643957046000)
    """
    if match := _CLOCK.fullmatch(text):
        hours, minutes, seconds = match.groups()
        whole = (int(hours or 0) * 60 + int(minutes)) * 60 + Decimal(seconds)
        return Moment(ms=_ms(whole), from_window_start=True)
    if not _NUMBER.fullmatch(text):
        return Moment(ms=parse_rfc3339(text))
    number = Decimal(text)
    if number < _LARGEST_OFFSET_S:
        return Moment(ms=_ms(number), from_window_start=True)
    epoch_ms = int(number) if number >= _SMALLEST_EPOCH_MS else _ms(number)
    if epoch_ms > MAX_EPOCH_MS:
        raise FieldInvalid(f"{text} is neither seconds nor milliseconds", code="timestamp_unit")
    return Moment(ms=epoch_ms)


def between(start: Moment, end: Moment, window_start_ms: int) -> TimeRange:
    """The range two moments span, or `range_invalid`."""
    return time_range(start.resolved(window_start_ms), end.resolved(window_start_ms))


def _ms(seconds: Decimal) -> int:
    return int((seconds * 1000).to_integral_value())
