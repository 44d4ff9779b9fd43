"""Range and index of what is held -> copied spans, re-encoded edges and sound pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

from pipelines.clock import MICRO, Hole, WallClock, wall_clock
from pipelines.pictures import (
    Kept,
    Pictures,
    counted,
    encoded,
    kept,
    picture_spans,
    pictures_of,
    snapped,
)
from pipelines.sounds import Under, sound_holes, sound_tracks
from schemas.cuts import (
    Clock,
    CopiedSound,
    CopiedSpan,
    CutPlan,
    CutRequest,
    EncodedSpan,
    FilledSpan,
    Gap,
    GapPolicy,
    IndexedSound,
    Mapping,
    MediaIndex,
    PictureSpan,
    Run,
    RunFile,
    RunFiles,
)
from schemas.errors import FieldInvalid, FormatChange, MissingSegments
from schemas.media import HeldTrack

# Where a playlist announces a discontinuity, clocks may disagree by this much and nothing is lost.
JOIN_SLACK_US = 500_000


def wanted_us(request: CutRequest) -> tuple[Fraction, Fraction]:
    """The wanted wall clock in microseconds."""
    wanted = request.wanted
    start_us, end_us = request.span_us or (wanted.start_ms * 1000, wanted.end_ms * 1000)
    return Fraction(start_us), Fraction(end_us)


# --- placing runs in the output


@dataclass(frozen=True, slots=True)
class Stretch:
    """Kept frames and where they lie in the output: from `at` to `end`, in output ticks."""

    cut: Kept
    at: int
    end: int
    offset: int


def _kept_runs(request: CutRequest, index: MediaIndex) -> list[Kept]:
    """What each run delivers, earlier runs giving way where a later one begins."""
    main = _main_number(request.tracks)
    found: list[Pictures] = []
    for number, run in enumerate(index.runs):
        if run.track != main or run.pictures is None or not _starts(run):
            continue
        source = pictures_of(number, run, index)
        if found and not source.clock.stated and request.tracks[main].clock == "estimated":
            source = _chained(found[-1], source)
        found.append(source)
    start, end = wanted_us(request)
    cuts = []
    for source, following in zip(found, (*found[1:], None), strict=False):
        begin, limit = _shown_between(request, source.run, start, end)
        if following is not None and following.shown:
            begins = following.clock.at(following.shown[0])
            limit = min(limit, _shown_between(request, following.run, begins, end)[0])
        cut = kept(source, begin, limit)
        if cut is not None:
            cuts.append(cut)
    if request.span_us is not None and len(cuts) == 1:
        return [counted(cuts[0], end - start)]
    return cuts


def _shown_between(
    request: CutRequest, run: Run, start: Fraction, end: Fraction
) -> tuple[Fraction, Fraction]:
    """The part of a stretch of wall clock in which a run's region is shown at all."""
    stated = request.tracks[run.track].pts_clock(run.discontinuity_sequence)
    if stated is None:
        return start, end
    last = end if stated.end_us is None else min(end, Fraction(stated.end_us))
    return max(start, Fraction(stated.start_us)), last


def _covered(request: CutRequest, index: MediaIndex) -> bool:
    """Whether some run has frames both before and after the range: it lies between two frames."""
    start, _ = wanted_us(request)
    sources = (
        pictures_of(number, run, index)
        for number, run in enumerate(index.runs)
        if run.track == _main_number(request.tracks) and run.pictures and _starts(run)
    )
    return any(s.clock.at(s.shown[0]) < start < s.clock.at(s.shown[-1]) for s in sources)


def leans_back(request: CutRequest, index: MediaIndex) -> bool:
    """Whether the range begins with pictures whose keyframe lies before all that is held."""
    main = _main_number(request.tracks)
    number, run = next(((n, r) for n, r in enumerate(index.runs) if r.track == main), (0, None))
    if run is None or run.pictures is None or run.segments[0].number:
        return False
    source = pictures_of(number, run, index)
    key = source.keys[0] if source.keys else len(source.pts)
    start, _ = wanted_us(request)
    return any(source.clock.at(pts) >= start for pts in source.pts[:key])


def _starts(run: Run) -> bool:
    return any(segment.keys for segment in run.segments)


def _main_number(tracks: Sequence[HeldTrack]) -> int:
    return next((n for n, track in enumerate(tracks) if track.role == "main"), 0)


def _chained(before: Pictures, source: Pictures) -> Pictures:
    """A run without a PDT of its own goes on where the run before ended, if it follows directly."""
    if source.run.segments[0].number != before.run.segments[-1].number + 1:
        return source
    if source.run.discontinuity_sequence == before.run.discontinuity_sequence:
        return source
    end = before.clock.at(before.shown[-1]) + before.frame_ticks * before.clock.timebase * MICRO
    return replace(source, clock=source.clock.moved(end - source.clock.at(source.shown[0])))


def _holes(request: CutRequest, cuts: Sequence[Kept]) -> list[Hole]:
    """Where wanted time has no frame that should be there."""
    start, end = wanted_us(request)
    if not cuts:
        return [Hole(start, end, "absent", -1)]
    found = []
    first, last = cuts[0], cuts[-1]
    opens = _shown_between(request, first.source.run, start, end)[0] > start
    if first.start_us - start >= first.frame_us and (opens or first.first == first.source.shown[0]):
        found.append(Hole(start, first.start_us, "absent", -1))
    for at, (before, after) in enumerate(pairwise(cuts)):
        if after.start_us - before.end_us >= _slack(before, after):
            found.append(Hole(before.end_us, after.start_us, _reason(before), at))
    closes = _shown_between(request, last.source.run, start, end)[1] < end
    short = end - last.end_us > max(_last_doubt_us(last), _end_doubt_us(request, last))
    if short and (closes or last.last == last.source.shown[-1]):
        found.append(Hole(last.end_us, end, _reason(last), len(cuts) - 1))
    return found


def _last_doubt_us(last: Kept) -> Fraction:
    """How much longer than usual a run's last frame may last: nothing behind it tells."""
    facts = last.source.run.pictures
    if facts is None or facts.regular or last.source.run.damaged:
        return last.frame_us / 2
    longest = max((b - a for a, b in pairwise(last.source.shown)), default=0) * last.tick_us
    return max(last.frame_us / 2, longest)


def _end_doubt_us(request: CutRequest, last: Kept) -> Fraction:
    """How far before the range's end the last run may end and nothing is missing."""
    track = request.tracks[last.source.run.track]
    ends = last.source.run.segments[-1].number == len(track.segments) - 1
    return Fraction(track.end_doubt_us if ends else 0)


def _slack(before: Kept, after: Kept) -> Fraction:
    """How long a hole between two runs may be before something counts as missing."""
    joined = after.source.run.segments[0].number == before.source.run.segments[-1].number + 1
    changed = after.source.run.discontinuity_sequence != before.source.run.discontinuity_sequence
    announced = joined and changed and before.source.run.damaged is None
    return Fraction(JOIN_SLACK_US) if announced else before.frame_us / 2


def _reason(cut: Kept) -> str:
    return "truncated" if cut.source.run.damaged else "absent"


def _refuse_holes(holes: Sequence[Hole], policy: GapPolicy) -> None:
    if holes and policy == "fail":
        spans = tuple((floor(h.start_us / 1000), ceil(h.end_us / 1000)) for h in holes)
        first = holes[0]
        raise MissingSegments(
            f"{len(holes)} stretch(es) of the range have no media, the first of "
            f"{float((first.end_us - first.start_us) / MICRO):.3f} s; "
            "allow gaps (skip, black or hold) to cut around them",
            gaps=spans,
        )


def _placed(
    cuts: Sequence[Kept], holes: Sequence[Hole], policy: GapPolicy, scale: int
) -> list[Stretch]:
    """Where each run's frames lie in the output: gaps keep their time unless they are skipped."""
    opening = next((h for h in holes if h.after == -1), None)
    keeps = policy in {"black", "hold"}
    origin = opening.start_us if opening and keeps else cuts[0].start_us
    found: list[Stretch] = []
    skipped = Fraction(0)
    for at, cut in enumerate(cuts):
        hole = next((h for h in holes if h.after == at - 1 and at), None)
        if hole is not None and not keeps:
            skipped += hole.end_us - hole.start_us
        begin = round((cut.start_us - origin - skipped) * scale / MICRO)
        begin = max(begin, found[-1].end if found and not _loose(found[-1], begin) else begin)
        first = _scaled(cut, cut.first, scale)
        end = begin + _scaled(cut, cut.last + cut.last_ticks, scale) - first
        found.append(Stretch(cut, begin, end, begin - first))
    return found


def _loose(before: Stretch, begin: int) -> bool:
    return begin >= before.end


def _scaled(cut: Kept, pts: int, scale: int) -> int:
    """A source PTS in output ticks."""
    return round(pts * cut.source.clock.timebase * scale)


def _filled(
    stretches: Sequence[Stretch], holes: Sequence[Hole], policy: GapPolicy, scale: int, end: int
) -> dict[int, FilledSpan]:
    """Made frames for the holes that keep their time, by the stretch they follow."""
    found: dict[int, FilledSpan] = {}
    if policy != "black" and policy != "hold":
        return found
    for hole in holes:
        begin = stretches[hole.after].end if hole.after >= 0 else 0
        stop = stretches[hole.after + 1].at if hole.after + 1 < len(stretches) else end
        near = stretches[max(hole.after, 0)]
        step = max(1, _scaled(near.cut, near.cut.source.frame_ticks, scale))
        frames = max(0, ceil(Fraction(stop - begin, step) - Fraction(1, 2)))
        if frames:
            found[hole.after] = FilledSpan(
                like=near.cut.source.number,
                treatment=policy,
                first_ticks=begin,
                frame_ticks=step,
                frames=frames,
                still=_still(near, first=hole.after < 0) if policy == "hold" else None,
            )
    return found


def _still(near: Stretch, *, first: bool) -> EncodedSpan:
    """The frame to hold: the last before the hole, or the first after it."""
    cut = near.cut
    pts = cut.first if first else cut.last
    return encoded(cut, pts, pts + 1, near.offset)


# --- the plan


def plan(request: CutRequest, index: MediaIndex) -> CutPlan:
    """What to copy and what to re-encode for the wanted range."""
    main = _main_number(request.tracks)
    if not any(run.pictures for run in index.runs if run.track == main):
        return _sound_only(request, index, main)
    cuts = _kept_runs(request, index)
    if not cuts and _covered(request, index):
        raise FieldInvalid(
            f"no frame begins within the {request.wanted.length_ms} ms of the range",
            code="range_invalid",
        )
    holes = _holes(request, cuts)
    _refuse_holes(holes, request.gaps)
    if not cuts:
        raise MissingSegments(
            "nothing of the range is held",
            gaps=((request.wanted.start_ms, request.wanted.end_ms),),
        )
    _same_geometry(cuts)
    cuts = _to_keyframes(request, cuts)
    reason = next((c.source.run.pictures.uncopyable for c in cuts if c.source.run.pictures
                   and c.source.run.pictures.uncopyable), None)  # fmt: skip
    return _assembled(request, index, cuts, holes, reason)


def _to_keyframes(request: CutRequest, cuts: list[Kept]) -> list[Kept]:
    """The kept frames as they are delivered: a copy without re-encoding ends on keyframes."""
    if request.mode != "copy":
        return cuts
    return [snapped(cut) if _at_edge(cuts, cut) else cut for cut in cuts]


def _at_edge(cuts: Sequence[Kept], cut: Kept) -> bool:
    return cut is cuts[0] or cut is cuts[-1]


def _same_geometry(cuts: Sequence[Kept]) -> None:
    shapes = {c.source.run.pictures.geometry for c in cuts if c.source.run.pictures}
    if len(shapes) > 1:
        raise FormatChange(f"the picture changes inside the range: {', '.join(sorted(shapes))}")


def _assembled(
    request: CutRequest,
    index: MediaIndex,
    cuts: Sequence[Kept],
    holes: Sequence[Hole],
    reason: str | None,
) -> CutPlan:
    scale = max(cut.source.clock.timebase.denominator for cut in cuts)
    stretches = _placed(cuts, holes, request.gaps, scale)
    end = _end(request, stretches, holes, scale)
    fills = _filled(stretches, holes, request.gaps, scale, end)
    whole = request.mode == "encode" or reason is not None
    spans: list[PictureSpan] = [fills[-1]] if -1 in fills else []
    for at, stretch in enumerate(stretches):
        spans.extend(picture_spans(stretch.cut, stretch.offset, whole=whole))
        spans.extend([fills[at]] if at in fills else [])
    under = [_under(s, scale) for s in stretches]
    clocks = {c.source.run.discontinuity_sequence: c.source.clock for c in cuts}
    sounds = sound_tracks(request, index, under, clocks, Fraction(end, scale))
    _refuse_holes(sound_holes(sounds, under, Fraction(end, scale)), request.gaps)
    first, last = cuts[0], cuts[-1]
    return CutPlan(
        output=request.output,
        wanted=request.wanted,
        mode="encode" if whole else request.mode,
        asked=request.mode,
        clock=_clock(request, cuts),
        runs=tuple(_run_files(run) for run in index.runs),
        mappings=tuple(m for cut in cuts for m in _mappings(cut)),
        timescale=scale,
        pictures=tuple(spans),
        sounds=sounds,
        end_ticks=end,
        start_us=first.start_us,
        end_us=last.end_us,
        first_pts=first.first,
        last_pts=last.last,
        timebase=first.source.clock.timebase,
        frames=sum(span.frames for span in spans),
        copied_frames=sum(s.frames for s in spans if isinstance(s, CopiedSpan)),
        gaps=tuple(_gap(hole, request.gaps) for hole in holes),
        start_timecode=index.start_timecode,
        reason=reason,
        notes=_notes(request, reason),
        tags=request.tags,
    )


def _end(
    request: CutRequest, stretches: Sequence[Stretch], holes: Sequence[Hole], scale: int
) -> int:
    """Where the output ends, in output ticks: behind a last gap that keeps its time."""
    end = stretches[-1].end
    if request.gaps in {"black", "hold"} and any(h.after == len(stretches) - 1 for h in holes):
        end += round((holes[-1].end_us - holes[-1].start_us) * scale / MICRO)
    return end


def _notes(request: CutRequest, reason: str | None) -> tuple[str, ...]:
    """What a reader of the result should know."""
    found = []
    if reason is not None:
        found.append(f"the whole was re-encoded: {reason}")
    elif request.mode == "copy":
        found.append("copied without re-encoding: the ends lie on the keyframes around the range")
    return tuple(found)


def _under(stretch: Stretch, scale: int) -> Under:
    source = stretch.cut.source
    return Under(
        source.run,
        source.number,
        stretch.cut.first * source.clock.timebase,
        stretch.cut.start_us,
        Fraction(stretch.at, scale),
        Fraction(stretch.end, scale),
    )


def _clock(request: CutRequest, cuts: Sequence[Kept]) -> Clock:
    main = request.tracks[_main_number(request.tracks)]
    stated = all(cut.source.clock.stated for cut in cuts)
    # A manifest may state how PTS lie to one another, and not when that was.
    if main.clock == "estimated" and (main.pts_clocks or not stated):
        return "estimated"
    return "pdt"


def _mappings(cut: Kept) -> Iterable[Mapping]:
    for from_pts, pts, wall in cut.source.clock.pieces:
        yield Mapping(
            run=cut.source.number,
            from_pts=from_pts,
            pts=pts,
            timebase=cut.source.clock.timebase,
            wall_us=wall,
        )


def _run_files(run: Run) -> RunFiles:
    files = tuple(
        RunFile(
            name=segment.name,
            init_name=segment.init_name,
            first_pts=segment.pts[0] if segment.pts else None,
            pictures=len(segment.pts),
            continues=segment.continues,
        )
        for segment in run.segments
    )
    return RunFiles(track=run.track, files=files, pictures=run.pictures)


def _gap(hole: Hole, policy: GapPolicy) -> Gap:
    return Gap(
        start_ms=round(hole.start_us / 1000),
        end_ms=round(hole.end_us / 1000),
        reason=hole.reason,
        treatment=policy,
    )


# --- sound alone


@dataclass(frozen=True, slots=True)
class _Audible:
    """What a run without pictures delivers: wall clock from `start_us` to `end_us`."""

    number: int
    run: Run
    clock: WallClock
    start_us: Fraction
    end_us: Fraction


def _sound_only(request: CutRequest, index: MediaIndex, main: int) -> CutPlan:
    """The plan where no pictures are held: frames of sound are what counts."""
    audible = _audible(request, index, main)
    holes = _silent_holes(request, audible)
    _refuse_holes(holes, request.gaps)
    if not audible:
        _refuse_holes(holes, "fail")
    first = audible[0].run.sounds[0]
    scale = first.sample_rate_hz
    under, end = _laid_out(request, audible, holes)
    clocks = {a.run.discontinuity_sequence: a.clock for a in audible}
    sounds = sound_tracks(request, index, under, clocks, end)
    frames = sum(piece.frames for piece in sounds[0].pieces)
    copied = [piece for piece in sounds[0].pieces if isinstance(piece, CopiedSound)]
    estimated = request.tracks[main].clock == "estimated"
    return CutPlan(
        output=request.output,
        wanted=request.wanted,
        mode="copy" if request.mode == "copy" else "exact",
        asked=request.mode,
        clock="estimated" if estimated else "pdt",
        runs=tuple(_run_files(run) for run in index.runs),
        mappings=(),
        timescale=scale,
        pictures=(),
        sounds=sounds,
        end_ticks=round(end * scale),
        start_us=audible[0].start_us,
        end_us=audible[-1].end_us,
        first_pts=copied[0].first_pts,
        last_pts=_last_pts(copied[-1], first),
        timebase=first.timebase,
        frames=frames,
        copied_frames=sum(piece.frames for piece in copied),
        gaps=tuple(_gap(hole, request.gaps) for hole in holes),
        start_timecode=index.start_timecode,
        tags=request.tags,
    )


def _last_pts(piece: CopiedSound, sound: IndexedSound) -> int:
    step = Fraction(sound.frame_samples, sound.sample_rate_hz) / sound.timebase
    return round(piece.first_pts + (piece.frames - 1) * step)


def _audible(request: CutRequest, index: MediaIndex, main: int) -> list[_Audible]:
    start, end = wanted_us(request)
    found: list[_Audible] = []
    for number, run in enumerate(index.runs):
        if run.track != main or not run.sounds or not run.sounds[0].spans:
            continue
        sound = run.sounds[0]
        frame_us = Fraction(sound.frame_samples * MICRO, sound.sample_rate_hz)
        clock = wall_clock(run, index.anchors, frame_us)
        last = sound.spans[-1]
        begin = clock.at(sound.spans[0].first_pts)
        stop = clock.at(last.first_pts) + last.frames * frame_us
        if found:
            found[-1] = replace(found[-1], end_us=min(found[-1].end_us, begin))
        shown_from, shown_to = _shown_between(request, run, start, end)
        begin, stop = max(begin, shown_from), min(stop, shown_to)
        if begin < stop:
            found.append(_Audible(number, run, clock, begin, stop))
    return found


def _silent_holes(request: CutRequest, audible: Sequence[_Audible]) -> list[Hole]:
    start, end = wanted_us(request)
    if not audible:
        return [Hole(start, end, "absent", -1)]
    slack = Fraction(50_000)
    edges = [start, *(a.end_us for a in audible)]
    begins = [*(a.start_us for a in audible), end]
    return [
        Hole(begin, stop, "absent", at - 1)
        for at, (begin, stop) in enumerate(zip(edges, begins, strict=True))
        if stop - begin > slack
    ]


def _laid_out(
    request: CutRequest, audible: Sequence[_Audible], holes: Sequence[Hole]
) -> tuple[list[Under], Fraction]:
    """Each run's place in the output, in seconds, and where the output ends."""
    keeps = request.gaps in {"black", "hold"}
    opening = holes and holes[0].after == -1
    origin = Fraction(request.wanted.start_ms * 1000) if opening and keeps else audible[0].start_us
    skipped, found = Fraction(0), []
    for at, one in enumerate(audible):
        hole = next((h for h in holes if h.after == at - 1 and at), None)
        skipped += hole.end_us - hole.start_us if hole and not keeps else 0
        begin = (one.start_us - origin - skipped) / MICRO
        stop = begin + (one.end_us - one.start_us) / MICRO
        seconds = one.clock.seconds_at(one.start_us)
        found.append(Under(one.run, one.number, seconds, one.start_us, begin, stop))
    closing = holes and holes[-1].after == len(audible) - 1
    tail = (holes[-1].end_us - holes[-1].start_us) / MICRO if closing and keeps else Fraction(0)
    return found, found[-1].end + tail


# --- what lies where, for what is timed by the wall clock


@dataclass(frozen=True, slots=True)
class Shown:
    """A stretch of wall clock in the output: from `begin` to `end`, in seconds of it.

    `first_s` is the source's time of its first frame, in seconds of the source's own timeline.
    """

    discontinuity_sequence: int
    clock: WallClock
    start_us: Fraction
    end_us: Fraction
    first_s: Fraction
    begin: Fraction
    end: Fraction

    def at(self, wall_us: Fraction) -> Fraction:
        """Where an instant of wall clock lies in the output, held within the stretch."""
        found = self.begin + self.clock.seconds_at(wall_us) - self.first_s
        return min(self.end, max(self.begin, found))


def shown(request: CutRequest, index: MediaIndex) -> tuple[tuple[Shown, ...], Fraction]:
    """What the plan of a request shows of the wall clock, and how many seconds it lasts."""
    main = _main_number(request.tracks)
    if not any(run.pictures for run in index.runs if run.track == main):
        return _heard(request, index, main)
    cuts = _kept_runs(request, index)
    holes = _holes(request, cuts)
    cuts = _to_keyframes(request, cuts)
    scale = max(cut.source.clock.timebase.denominator for cut in cuts)
    stretches = _placed(cuts, holes, request.gaps, scale)
    found = (
        Shown(
            s.cut.source.run.discontinuity_sequence,
            s.cut.source.clock,
            s.cut.start_us,
            s.cut.end_us,
            s.cut.first * s.cut.source.clock.timebase,
            Fraction(s.at, scale),
            Fraction(s.end, scale),
        )
        for s in stretches
    )
    return tuple(found), Fraction(_end(request, stretches, holes, scale), scale)


def _heard(request: CutRequest, index: MediaIndex, main: int) -> tuple[tuple[Shown, ...], Fraction]:
    audible = _audible(request, index, main)
    under, end = _laid_out(request, audible, _silent_holes(request, audible))
    found = (
        Shown(
            one.run.discontinuity_sequence,
            one.clock,
            one.start_us,
            one.end_us,
            one.clock.seconds_at(one.start_us),
            place.at,
            place.end,
        )
        for one, place in zip(audible, under, strict=True)
    )
    return tuple(found), end
