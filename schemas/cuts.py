"""A cut as data: what is asked of held segments, the plan for it, and what came out.

The request and the report are fixed; the plan between them belongs to `pipelines/spans.py` and
`media/cut`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from schemas.base import Value, WireValue
from schemas.media import HeldTrack
from schemas.times import TimeRange

Mode = Literal["exact", "copy", "encode"]
GapPolicy = Literal["fail", "skip", "black", "hold"]
FuturePolicy = Literal["wait", "reject"]
Clock = Literal["pdt", "estimated"]


class CutRequest(Value):
    """What to cut from what is held in the workspace, into one MP4 named `output`."""

    wanted: TimeRange
    mode: Mode = "exact"
    gaps: GapPolicy = "fail"
    tracks: tuple[HeldTrack, ...]
    output: str
    tags: dict[str, str] = {}


class DeliveredTrack(WireValue):
    """One track of the delivered file."""

    kind: Literal["video", "audio"]
    codec: str
    language: str | None = None
    name: str = ""
    frames: int
    av_offset_ms: float = 0.0
    copied: bool


class Gap(WireValue):
    """A stretch of the wanted range for which there is no media, and what was done about it."""

    start_ms: int
    end_ms: int
    reason: str = "absent"
    treatment: GapPolicy


class CutReport(Value):
    """What a cut really made: stands next to what was asked.

    `start_ms`/`end_ms` are the wall-clock bounds of the delivered frames (end of the last frame).
    `first_pts`/`last_pts` are source PTS in `timebase` ticks. `mode` is the mode really carried
    out (`encode` where an exact copy could not be made, with the reason in `notes`).
    """

    start_ms: int
    end_ms: int
    first_pts: int
    last_pts: int
    timebase: Fraction
    frames: int
    duration_ms: int
    mode: Mode
    clock: Clock
    reencoded_ms: int
    copied_frames: int
    encoded_frames: int
    av_offset_ms: float
    coverage: float
    gaps: tuple[Gap, ...] = ()
    tracks: tuple[DeliveredTrack, ...] = ()
    start_timecode: str | None = None
    notes: tuple[str, ...] = ()


class CutPlan(Value):
    """What will be copied, what re-encoded; filled out by `pipelines.spans`."""

    output: str
