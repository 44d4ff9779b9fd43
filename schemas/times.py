"""Wall-clock time: half-open ranges in epoch milliseconds, and the ways clients spell them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from pydantic import StrictInt, field_validator, model_validator

from schemas.base import Value, WireValue
from schemas.errors import FieldInvalid

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_EPOCH_MS = 10**14 - 1
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:?\d{2})", re.ASCII
)
_TIMERANGE = re.compile(r"\[(\d{1,12}):(\d{1,9})_(\d{1,12}):(\d{1,9})\)", re.ASCII)


class TimeRange(Value):
    """A half-open span of wall-clock time in epoch milliseconds: start is in, end is out."""

    start_ms: int
    end_ms: int

    @model_validator(mode="after")
    def _runs_forward(self) -> TimeRange:
        if self.end_ms <= self.start_ms:
            raise ValueError(f"range ends at {self.end_ms}, not after its start {self.start_ms}")
        return self

    @property
    def length_ms(self) -> int:
        """How long the range is, in milliseconds."""
        return self.end_ms - self.start_ms

    def overlaps(self, other: TimeRange) -> bool:
        """Whether any instant lies in both."""
        return self.start_ms < other.end_ms and other.start_ms < self.end_ms


def parse_rfc3339_us(text: str) -> int:
    """Epoch microseconds of an RFC 3339 instant; an offset is required.

    >>> parse_rfc3339_us("1970-01-01T00:00:01.5Z")
    1500000
    """
    if not _RFC3339.fullmatch(text):
        hint = " (a bare number goes in startMs/endMs)" if re.fullmatch(r"[\d.]+", text) else ""
        raise FieldInvalid(f"{text[:40]!r} is not an RFC 3339 time with an offset{hint}")
    # Python reads at most six fractional digits; the rest cannot matter to a frame.
    trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text.upper().replace(" ", "T"))
    try:
        moment = datetime.fromisoformat(trimmed)
        return (moment - EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError) as error:
        raise FieldInvalid(f"{text[:40]!r} is not a time that exists") from error


def parse_rfc3339(text: str) -> int:
    """Epoch milliseconds of an RFC 3339 instant, rounded to the nearest.

    >>> parse_rfc3339("2022-02-04T06:44:06Z")
    1643957046000
    """
    return (parse_rfc3339_us(text) + 500) // 1000


def rfc3339(epoch_ms: int) -> str:
    """The instant as RFC 3339 in UTC with milliseconds.

    >>> rfc3339(1643957046000)
    '2022-02-04T06:44:06.000Z'
    """
    moment = EPOCH + timedelta(milliseconds=epoch_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"


def parse_timerange(text: str) -> TimeRange:
    """A range from its TAMS spelling, `[seconds:nanoseconds_seconds:nanoseconds)`.

    >>> parse_timerange("[1:0_2:500000000)").length_ms
    1500
    """
    match = _TIMERANGE.fullmatch(text)
    if match is None:
        raise FieldInvalid(f"{text[:60]!r} is not a [s:ns_s:ns) timerange", code="range_invalid")
    start_s, start_ns, end_s, end_ns = (int(part) for part in match.groups())
    return time_range(start_s * 1000 + start_ns // 10**6, end_s * 1000 + end_ns // 10**6)


def time_range(start_ms: int, end_ms: int) -> TimeRange:
    """A range from two instants, refused with `range_invalid` where it does not run forward."""
    if end_ms <= start_ms:
        raise FieldInvalid(
            f"range ends at {end_ms}, not after its start {start_ms}", code="range_invalid"
        )
    if start_ms < 0 or end_ms > MAX_EPOCH_MS:
        raise FieldInvalid(
            f"range {start_ms} to {end_ms} leaves 0 to {MAX_EPOCH_MS}, the epoch milliseconds "
            "that are known",
            code="range_invalid",
        )
    return TimeRange(start_ms=start_ms, end_ms=end_ms)


class RangeBody(WireValue):
    """A range as a request body spells it: exactly one of the three styles."""

    start: str | None = None
    end: str | None = None
    start_ms: StrictInt | None = None
    end_ms: StrictInt | None = None
    timerange: str | None = None

    @field_validator("start", "end", mode="before")
    @classmethod
    def _is_no_bare_number(cls, value: object) -> object:
        if isinstance(value, int | float):
            raise ValueError("a bare number has no unit: epoch milliseconds go in startMs/endMs")
        return value

    def resolved(self) -> TimeRange:
        """The range meant, or `range_invalid` naming what is wrong."""
        given = [pair for pair in self._styles() if any(part is not None for part in pair)]
        if len(given) != 1 or any(part is None for part in given[0]):
            raise FieldInvalid(
                "give exactly one of start+end, startMs+endMs, timerange", code="range_invalid"
            )
        if self.timerange is not None:
            return parse_timerange(self.timerange)
        if self.start is not None and self.end is not None:
            return time_range(_instant(self.start), _instant(self.end))
        return time_range(self.start_ms or 0, self.end_ms or 0)

    def _styles(self) -> tuple[tuple[str | int | None, ...], ...]:
        return ((self.start, self.end), (self.start_ms, self.end_ms), (self.timerange,))


def _instant(text: str) -> int:
    try:
        return parse_rfc3339(text)
    except FieldInvalid as error:
        raise FieldInvalid(error.message, code="range_invalid") from error
