"""SMPTE labels: frame counts as timecode and back, drop-frame where the rate asks for it."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

from schemas.base import Value

_LABEL = re.compile(r"(\d\d):(\d\d):(\d\d)([:;])(\d\d\d?)", re.ASCII)
DAY_S = 24 * 3600


class Rate(Value):
    """A frame rate as labels count it: `whole` labels a second, some dropped where `drop`."""

    exact: Fraction
    whole: int
    drop: bool

    @property
    def day_frames(self) -> int:
        """How many frames a day of labels has."""
        return count_of(24, 0, 0, 0, self)


def rate_of(exact: Fraction, *, drop: bool | None = None) -> Rate:
    """The rate's labels; drop-frame for 29.97 and 59.94 unless a source says otherwise.

    >>> rate_of(Fraction(30000, 1001)).drop, rate_of(Fraction(24000, 1001)).drop
    (True, False)
    """
    whole = ceil(exact)
    may_drop = exact.denominator == 1001 and whole % 30 == 0
    return Rate(exact=exact, whole=whole, drop=may_drop if drop is None else drop and may_drop)


def label(frames: int, rate: Rate) -> str:
    """The label of the frame after so many; a day begins anew.

    >>> label(1800, rate_of(Fraction(30000, 1001)))
    '00:01:00;02'
    """
    frames %= rate.day_frames
    if rate.drop:
        skipped = rate.whole // 15
        a_minute = 60 * rate.whole - skipped
        tens, rest = divmod(frames, 10 * a_minute + skipped)
        frames += 9 * skipped * tens
        if rest >= 60 * rate.whole:
            frames += skipped * (1 + (rest - 60 * rate.whole) // a_minute)
    seconds, frame = divmod(frames, rate.whole)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    mark, digits = ";" if rate.drop else ":", 2 if rate.whole <= 100 else 3
    return f"{hour:02}:{minute:02}:{second:02}{mark}{frame:0{digits}}"


def count_of(hours: int, minutes: int, seconds: int, frames: int, rate: Rate) -> int:
    """How many frames lie before a label."""
    minutes += hours * 60
    count = (minutes * 60 + seconds) * rate.whole + frames
    return count - rate.whole // 15 * (minutes - minutes // 10) if rate.drop else count


def count(text: str, rate: Rate) -> int | None:
    """The frames before a label as it is written; None where it is none."""
    match = _LABEL.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds, frames = (int(match[n]) for n in (1, 2, 3, 5))
    return count_of(hours, minutes, seconds, frames, rate)


def is_drop(text: str) -> bool:
    """Whether a label is written as drop-frame."""
    return ";" in text


def of_day(epoch_ms: int, rate: Rate) -> int:
    """The frames since midnight UTC of an instant, as a clock that labels frames counts them."""
    seconds = Fraction(epoch_ms % (DAY_S * 1000), 1000)
    if not rate.drop and rate.exact.denominator != 1:
        # Labels without drops run slow: they are set by the wall clock, then count on.
        whole = int(seconds)
        return whole * rate.whole + int((seconds - whole) * rate.exact)
    return int(seconds * rate.exact)
