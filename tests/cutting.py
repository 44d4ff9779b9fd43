"""Cuts presentations made by tests/media_builder.py as a worker would, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from typing import Any

from media.cut.child import cut
from media.index import index_tracks
from pipelines.clip import cut_plan
from schemas.cuts import CutPlan, CutReport, CutRequest
from schemas.media import HeldSegment, HeldTrack
from schemas.times import TimeRange
from tests.hls_builder import HlsAsset, MediaSegment


@dataclass(frozen=True)
class Clip:
    """A clip that was made: its file, its plan and its report."""

    path: Path
    plan: CutPlan
    report: CutReport
    start_ms: int
    end_ms: int

    @property
    def lossless(self) -> float:
        """The share of frames that were copied."""
        return self.report.copied_frames / self.report.frames


def held_tracks(asset: HlsAsset, folder: Path, *, clock: str = "pdt") -> tuple[HeldTrack, ...]:
    """Everything of a presentation as held tracks, its segments written into a folder."""
    names = sorted(asset.playlists, key=lambda name: (name != "main.m3u8", name))
    return tuple(_track(asset, name, number, folder, clock) for number, name in enumerate(names))


def _track(asset: HlsAsset, name: str, number: int, folder: Path, clock: str) -> HeldTrack:
    listed = asset.playlist(name).segments
    starts = _placements(listed, asset.epoch_ms)
    segments = tuple(
        _held(asset, part, f"t{number}-{at}", start, folder)
        for at, (part, start) in enumerate(zip(listed, starts, strict=True))
    )
    spec = asset.streams[0].spec.audio
    language = spec[number - 1].language if number and number <= len(spec) else None
    return HeldTrack.model_validate(
        {
            "role": "audio" if number else "main",
            "segments": segments,
            "language": language,
            "clock": clock,
        }
    )


def _placements(listed: Sequence[MediaSegment], epoch_ms: int) -> list[int]:
    """Where a playlist places its segments, in epoch microseconds."""
    known = {at: part.pdt_ms * 1000 for at, part in enumerate(listed) if part.pdt_ms is not None}
    known = known or {0: epoch_ms * 1000}
    found: list[int] = []
    for at, part in enumerate(listed):
        if at in known:
            found.append(known[at])
        elif at:
            found.append(found[-1] + round(listed[at - 1].duration_s * 1_000_000))
        else:
            first = min(known)
            before = sum((p.duration_s for p in listed[:first]), Fraction(0))
            found.append(known[first] - round(before * 1_000_000))
        del part
    return found


def _held(
    asset: HlsAsset, part: MediaSegment, stem: str, start_us: int, folder: Path
) -> HeldSegment:
    data = None if part.gap else _bytes(asset, part.name, part.byte_range)
    init = None
    if data is not None:
        (folder / stem).write_bytes(data)
    if part.init is not None and data is not None:
        init = "init-" + "".join(c if c.isalnum() else "-" for c in str(part.init))
        (folder / init).write_bytes(_bytes(asset, *part.init) or b"")
    return HeldSegment(
        name=stem if data is not None else None,
        init_name=init,
        sequence=part.sequence,
        discontinuity_sequence=part.region,
        duration_us=round(part.duration_s * 1_000_000),
        start_us=start_us,
        pdt_us=None if part.pdt_ms is None else part.pdt_ms * 1000,
        size=len(data or b""),
    )


def _bytes(asset: HlsAsset, name: str, span: tuple[int, int] | None) -> bytes | None:
    data = asset.files.get(name)
    return data if data is None or span is None else data[span[1] : span[1] + span[0]]


def overlapping(track: HeldTrack, wanted: TimeRange, *, extra: int = 1) -> HeldTrack:
    """Only the segments a worker would hold: those of the range and so many more at each end."""
    start, end = wanted.start_ms * 1000, wanted.end_ms * 1000
    inside = [
        at
        for at, s in enumerate(track.segments)
        if s.start_us < end and start < s.start_us + s.duration_us
    ]
    if not inside:
        return track.model_copy(update={"segments": ()})
    first = max(0, inside[0] - extra)
    kept = track.segments[first : inside[-1] + 1 + extra]
    anchors = () if any(s.pdt_us for s in kept) else _anchors(track, kept)
    return track.model_copy(update={"segments": kept, "anchors": anchors})


def _anchors(track: HeldTrack, kept: Sequence[HeldSegment]) -> tuple[HeldSegment, ...]:
    regions = {s.discontinuity_sequence for s in kept}
    return tuple(
        s
        for s in track.segments
        if s.pdt_us is not None and s.discontinuity_sequence in regions and s not in kept
    )


def clip(
    asset: HlsAsset,
    folder: Path,
    start_ms: float | Fraction,
    end_ms: float | Fraction,
    *,
    tracks: tuple[HeldTrack, ...] | None = None,
    everything: bool = False,
    clock: str = "pdt",
    **request: Any,
) -> Clip:
    """A clip of `[start_ms, end_ms)`, whole milliseconds."""
    wanted = TimeRange(start_ms=floor(start_ms), end_ms=ceil(end_ms))
    held = tracks or held_tracks(asset, folder, clock=clock)
    if not everything:
        held = tuple(overlapping(track, wanted) for track in held)
    asked = CutRequest(wanted=wanted, tracks=held, output="clip.mp4", **request)
    index = index_tracks(asked, folder, lambda done, total: None)
    planned = cut_plan(asked, index)
    report = cut(planned, folder, lambda done, total: None)
    return Clip(folder / "clip.mp4", planned, report, wanted.start_ms, wanted.end_ms)
