"""What a finished job answers: what was asked next to what was delivered."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from pydantic import field_serializer

from schemas.base import WireValue
from schemas.connectors import Published
from schemas.cuts import Clock, CutReport, DeliveredPart, DeliveredTrack, Gap, Mode


class Delivered(WireValue):
    """The delivered frames: wall-clock bounds, and source PTS in `timebase` ticks."""

    start_ms: int
    end_ms: int
    first_pts: int
    last_pts: int
    timebase: Fraction
    frames: int

    @field_serializer("timebase")
    def _as_text(self, timebase: Fraction) -> str:
        return f"{timebase.numerator}/{timebase.denominator}"


class DeliveredFile(WireValue):
    """The file as it was read back at its destination; `url` carries no credentials."""

    destination: str
    key: str
    url: str
    size: int
    sha256: str
    duration_ms: int


class ClipResult(WireValue):
    """The result of a clip or an export (the contract's section 4)."""

    requested: dict[str, Any]
    delivered: Delivered
    coverage: float
    gaps: tuple[Gap, ...]
    clock: Clock
    mode: Mode
    reencoded_ms: int
    av_offset_ms: float
    tracks: tuple[DeliveredTrack, ...]
    start_timecode: str | None = None
    notes: tuple[str, ...] = ()
    file: DeliveredFile
    sidecars: tuple[DeliveredFile, ...] = ()
    parts: tuple[DeliveredPart, ...] = ()


def clip_result(requested: dict[str, Any], report: CutReport, published: Published) -> ClipResult:
    """The answer for a cut that was published."""
    return ClipResult(
        requested=requested,
        delivered=Delivered(
            start_ms=report.start_ms,
            end_ms=report.end_ms,
            first_pts=report.first_pts,
            last_pts=report.last_pts,
            timebase=report.timebase,
            frames=report.frames,
        ),
        coverage=report.coverage,
        gaps=report.gaps,
        clock=report.clock,
        mode=report.mode,
        reencoded_ms=report.reencoded_ms,
        av_offset_ms=report.av_offset_ms,
        tracks=report.tracks,
        start_timecode=report.start_timecode,
        notes=report.notes,
        file=DeliveredFile(
            destination=published.destination,
            key=published.key,
            url=published.url,
            size=published.size,
            sha256=published.sha256,
            duration_ms=report.duration_ms,
        ),
    )
