"""SMPTE timecode: read from a decoded frame, written as a timecode track."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from struct import pack, unpack_from
from typing import Any

from media.cut.mp4 import Track
from media.cut.sound import box

_DROPS = 1 << 30


@dataclass(frozen=True, slots=True)
class Timecode:
    """A label, never elapsed time; `drop` counts drop-frame."""

    hours: int
    minutes: int
    seconds: int
    frames: int
    drop: bool

    def __str__(self) -> str:
        separator = ";" if self.drop else ":"
        return f"{self.hours:02}:{self.minutes:02}:{self.seconds:02}{separator}{self.frames:02}"

    def count(self, rate: int) -> int:
        """How many frames a counter that began at midnight has counted."""
        minutes = self.hours * 60 + self.minutes
        frames = (minutes * 60 + self.seconds) * rate + self.frames
        return frames - (rate // 15) * (minutes - minutes // 10) if self.drop else frames


def timecode_of(frame: Any) -> Timecode | None:
    """The first label among a frame's data (SMPTE ST 12-1, packed as libav packs it)."""
    for data in frame.side_data:
        if data.type.name == "S12M_TIMECODE":
            raw = bytes(data)
            if len(raw) >= 8 and unpack_from("<I", raw)[0]:
                return _unpacked(unpack_from("<I", raw, 4)[0])
    return None


def _unpacked(packed: int) -> Timecode | None:
    found = Timecode(
        _decimal(packed & 0x3F),
        _decimal(packed >> 8 & 0x7F),
        _decimal(packed >> 16 & 0x7F),
        _decimal(packed >> 24 & 0x3F),
        bool(packed & _DROPS),
    )
    return found if found.hours < 24 and found.minutes < 60 and found.seconds < 60 else None


def _decimal(packed: int) -> int:
    return (packed >> 4) * 10 + (packed & 15)


def nominal(rate: Fraction) -> Fraction:
    """The broadcast rate a measured one stands for: 29.97 is 30000/1001.

    >>> nominal(Fraction(90000, 3003))
    Fraction(30000, 1001)
    """
    whole = ceil(rate - Fraction(1, 1000))
    slow = Fraction(whole * 1000, 1001)
    return slow if abs(rate - slow) < abs(rate - whole) else Fraction(whole)


def timecode_track(label: Timecode, rate: Fraction, shown_ticks: int) -> tuple[Track, bytes]:
    """A timecode track, and its one sample: the count at the first frame."""
    whole = ceil(rate)
    flags = 2 | int(label.drop)
    entry = box(
        b"tmcd",
        bytes(6) + pack(">HI", 1, 0),
        pack(">III", flags, rate.numerator, rate.denominator) + bytes((whole, 0)),
    )
    track = Track("tmcd", rate.numerator, entry=entry, shown_ticks=shown_ticks)
    track.durations = [max(1, round(shown_ticks * rate.numerator / 90_000))]
    return track, pack(">I", label.count(whole))
