"""Pauses of a timeline: frames that are made where it shows nothing, between two parts."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from pipelines.joins import Planned, frame_rate
from pipelines.pictures import Kept, encoded, pictures_of
from schemas.cuts import (
    CutPlan,
    EncodedSpan,
    FilledSpan,
    GapPolicy,
    MediaIndex,
    PictureFacts,
    PictureSpan,
)
from schemas.times import TimeRange

MICRO = 1_000_000


def pause(pause_us: int, before: Planned | None, after: Planned, gaps: GapPolicy) -> Planned | None:
    """The frames of a pause, coded like its neighbours; None where it is shorter than half a frame.

    With `hold` the frame before it stands still, or the first one after it; else it is black.
    """
    like = before if before is not None and gaps == "hold" else after
    made = _seen if like.plan.pictures else _heard
    plan = made(pause_us, like, hold=gaps == "hold", first=before is None)
    return None if plan is None else Planned(plan, like.index, pause=True)


def _seen(pause_us: int, like: Planned, *, hold: bool, first: bool) -> CutPlan | None:
    number, facts = _format(like.plan)
    rate = frame_rate(like.plan)
    frames = round(Fraction(pause_us, MICRO) * rate) if rate else 0
    if frames < 1 or rate is None:
        return None
    scale = like.plan.timescale
    step = max(1, round(facts.frame_ticks * facts.timebase * scale))
    span = FilledSpan(
        like=number,
        treatment="hold" if hold else "black",
        first_ticks=0,
        frame_ticks=step,
        frames=frames,
        still=_still(like.plan, like.index, first=first) if hold else None,
    )
    return _empty(like.plan, pause_us, frames, step * frames, (span,))


def _heard(pause_us: int, like: Planned, *, hold: bool, first: bool) -> CutPlan | None:
    """Silence, where there is sound alone; it cannot be held."""
    track = next(iter(like.plan.sounds), None)
    if track is None:
        return None
    frames = round(Fraction(pause_us * track.sample_rate_hz, MICRO * track.frame_samples))
    ticks = round(Fraction(pause_us, MICRO) * like.plan.timescale)
    return _empty(like.plan, pause_us, frames, ticks, ()) if frames else None


def _empty(
    like: CutPlan, pause_us: int, frames: int, ticks: int, pictures: tuple[PictureSpan, ...]
) -> CutPlan:
    """A plan of the same format without any of its media."""
    length_ms = max(1, ceil(pause_us / 1000))
    return like.model_copy(
        update={
            "wanted": TimeRange(start_ms=0, end_ms=length_ms),
            "mappings": (),
            "pictures": pictures,
            "sounds": tuple(track.model_copy(update={"pieces": ()}) for track in like.sounds),
            "end_ticks": ticks,
            "frames": frames,
            "copied_frames": 0,
            "gaps": (),
        }
    )


def _format(plan: CutPlan) -> tuple[int, PictureFacts]:
    """The run whose geometry made frames take, and what it is."""
    span = plan.pictures[0]
    number = span.like if isinstance(span, FilledSpan) else span.run
    facts = plan.runs[number].pictures
    if facts is None:
        raise ValueError("a run of pictures has their facts")
    return number, facts


def _still(plan: CutPlan, index: MediaIndex, *, first: bool) -> EncodedSpan | None:
    """The frame to hold: the last that is shown, or the first; None where that was made itself."""
    span = plan.pictures[0 if first else -1]
    if isinstance(span, FilledSpan):
        return span.still
    source = pictures_of(span.run, index.runs[span.run], index)
    pts = plan.first_pts if first else plan.last_pts
    alone = Kept(source, pts, pts + 1, pts, pts, 1)
    return encoded(alone, pts, pts + 1, 0)
