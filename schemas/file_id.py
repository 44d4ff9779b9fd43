"""The fileId of a clip from a stream: one grammar, one canonical spelling."""

from __future__ import annotations

import re
from datetime import timedelta

from schemas.base import Value
from schemas.errors import FieldInvalid
from schemas.times import EPOCH, TimeRange, time_range

_GRAMMAR = re.compile(
    r"(?P<channel>.+)/(?P<y>\d{4})/(?P<m>\d{2})/(?P<d>\d{2})/range-"
    r"(?P<start>[^-/]+)-(?P<end>[^-/]+)-(?:clip-)*(?P<clip>[A-Za-z0-9_-]{1,64})",
    re.ASCII | re.DOTALL,
)
_TIME = re.compile(r"(\d{1,16})(?:\.(\d{1,3}))?(ms|s)?", re.ASCII)
# Controls of both sets, line separators, the backslash, and halves of characters.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\]")
_MAX_LENGTH = 512
SMALLEST_BARE_MS = 10**11


class ClipFileId(Value):
    """A parsed clip address: which channel, which range, which clip."""

    channel_id: str
    range: TimeRange
    clip_id: str

    @property
    def canonical(self) -> str:
        """The one spelling under which it is stored and deduplicated."""
        day = (EPOCH + timedelta(milliseconds=self.range.start_ms)).strftime("%Y/%m/%d")
        # Below 10^11 a bare number would be read as seconds again: there the suffix stays.
        unit = "ms" if self.range.start_ms < SMALLEST_BARE_MS else ""
        span = f"range-{self.range.start_ms:013d}{unit}-{self.range.end_ms:013d}{unit}"
        return f"{self.channel_id}/{day}/{span}-clip-{self.clip_id}"


def parse(text: str) -> ClipFileId:
    """The address a fileId spells, decoded once already.

    Raises FieldInvalid with `file_id_invalid`, `timestamp_unit`, `mixed_units`, `range_invalid`
    or `date_mismatch`.

    >>> parse("c1/2022/02/04/range-1643957046-1643957106-clip-7").canonical
    'c1/2022/02/04/range-1643957046000-1643957106000-clip-7'
    """
    check_path(text)
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise FieldInvalid(
            "a clip fileId reads channel/yyyy/mm/dd/range-start-end-clip-id",
            code="file_id_invalid",
        )
    start_unit, start_ms = _instant(match["start"])
    end_unit, end_ms = _instant(match["end"])
    if start_unit != end_unit:
        raise FieldInvalid(
            f"start is in {start_unit} and end in {end_unit}; use one unit", code="mixed_units"
        )
    wanted = time_range(start_ms, end_ms)
    _check_date(f"{match['y']}-{match['m']}-{match['d']}", start_ms)
    return ClipFileId(channel_id=match["channel"], range=wanted, clip_id=match["clip"])


def is_clip(text: str) -> bool:
    """Whether a fileId is meant as a clip of a stream."""
    return "/range-" in text


def check_path(text: str) -> None:
    """Refuse a fileId with control characters, empty segments, `.` or `..`."""
    why = _unfit(text)
    if why is not None:
        raise FieldInvalid(why, code="file_id_invalid")


def _unfit(text: str) -> str | None:
    if not 1 <= len(text) <= _MAX_LENGTH:
        return f"a fileId has 1 to {_MAX_LENGTH} characters"
    if "\\" in text:
        return "a fileId has no backslash"
    if _FORBIDDEN.search(text):
        return "a fileId has no control characters, as a line feed is one"
    if any(part in {"", ".", ".."} for part in text.split("/")):
        return "a fileId is names joined by single slashes, none of them . or .."
    return None


def _instant(text: str) -> tuple[str, int]:
    match = _TIME.fullmatch(text)
    if match is None:
        raise FieldInvalid(f"{text[:20]!r} is not a time", code="file_id_invalid")
    whole, fraction, suffix = int(match[1]), match[2], match[3]
    unit = suffix or ("s" if fraction or whole < SMALLEST_BARE_MS else "ms")
    if suffix is None and not fraction and whole >= 10**14:
        raise FieldInvalid(
            f"{whole} is neither epoch seconds nor milliseconds", code="timestamp_unit"
        )
    if unit == "ms":
        return unit, whole
    return unit, whole * 1000 + int((fraction or "0").ljust(3, "0"))


def _check_date(written: str, start_ms: int) -> None:
    if written == (today := _day(start_ms, 0)):
        return
    if written not in {_day(start_ms, -1), _day(start_ms, 1)}:
        raise FieldInvalid(
            f"the path says {written} but start lies on {today} UTC", code="date_mismatch"
        )


def _day(start_ms: int, shift: int) -> str:
    return (EPOCH + timedelta(milliseconds=start_ms, days=shift)).strftime("%Y-%m-%d")
