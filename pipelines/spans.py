"""Range and index of what is held -> copied spans, re-encoded edges and sound pieces."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from collections.abc import Mapping as Mapping_
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil, floor

from schemas.cuts import (
    Anchor,
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
    PacketAt,
    PictureSpan,
    Run,
    RunFile,
    RunFiles,
    Silence,
    SoundSpan,
    SoundTrack,
)
from schemas.errors import CorruptMedia, FieldInvalid, FormatChange, MissingSegments
from schemas.media import HeldTrack

MICRO = 1_000_000
WRAP_S = Fraction(1 << 33, 90_000)
TS_TIMEBASE = Fraction(1, 90_000)
# Where a playlist announces a discontinuity, clocks may disagree by this much and nothing is lost.
JOIN_SLACK_US = 500_000
# Sound of the last pictures may lie in the next segment, which need not be held.
SOUND_SLACK_S = Fraction(1, 4)


# --- the wall clock of a run


@dataclass(frozen=True, slots=True)
class WallClock:
    """Turns PTS of one run into wall clock: pieces of `(from_pts, pts, wall_us)`, in order."""

    timebase: Fraction
    pieces: tuple[tuple[int, int, Fraction], ...]
    stated: bool

    def at(self, pts: int) -> Fraction:
        """The wall clock of a PTS, in exact microseconds."""
        for from_pts, base, wall in reversed(self.pieces):
            if pts >= from_pts:
                return wall + (pts - base) * self.timebase * MICRO
        _, base, wall = self.pieces[0]
        return wall + (pts - base) * self.timebase * MICRO

    def seconds_at(self, wall_us: Fraction) -> Fraction:
        """The PTS, in seconds, of an instant of wall clock."""
        _, base, wall = next((p for p in reversed(self.pieces) if p[2] <= wall_us), self.pieces[0])
        return base * self.timebase + (wall_us - wall) / MICRO

    def moved(self, by_us: Fraction) -> WallClock:
        """The same clock, set later."""
        return replace(self, pieces=tuple((f, p, wall + by_us) for f, p, wall in self.pieces))


def wall_clock(run: Run, anchors: Iterable[Anchor], frame_us: Fraction) -> WallClock:
    """The clock of a run: its first PDT, and later ones that depart by over half a frame."""
    numbers = {segment.number for segment in run.segments}
    region = [
        a
        for a in anchors
        if a.track == run.track and a.discontinuity_sequence == run.discontinuity_sequence
    ]
    # The whole region speaks for its clock, so that runs of one region agree to the tick.
    held = sorted((a for a in region if a.held is not None), key=lambda a: a.held or 0)
    here = next((a for a in held if a.held in numbers), None)
    if here is None:
        raise CorruptMedia("a stretch of segments holds no place to start from")
    base = _base(held, [a for a in region if a.held is None]) or here
    pts = _unwrapped(base, here)
    first = held[0].pts if not base.stated else pts
    pieces = [(first, pts, Fraction(base.wall_us))]
    clock = WallClock(here.timebase, tuple(pieces), base.stated)
    for later in (a for a in held if a.stated and (a.held or 0) > (base.held or -1)):
        clock = _reanchored(clock, replace_pts(later, _unwrapped(later, here)), frame_us)
    return clock


def replace_pts(anchor: Anchor, pts: int) -> Anchor:
    """An anchor with another reading of its PTS."""
    return anchor if pts == anchor.pts else anchor.model_copy(update={"pts": pts})


def _base(held: Sequence[Anchor], outside: Sequence[Anchor]) -> Anchor | None:
    stated = [a for a in held if a.stated]
    return next(iter(stated), None) or max(outside, key=lambda a: a.start_us, default=None)


def _unwrapped(anchor: Anchor, here: Anchor) -> int:
    """An anchor's PTS, read so that it lies where the playlist places it next to `here`."""
    if anchor.timebase != here.timebase:
        raise FormatChange("the timebase changes inside a region")
    if anchor.timebase != TS_TIMEBASE:
        return anchor.pts
    expected = Fraction(anchor.start_us - here.start_us, MICRO)
    turns = round((expected - (anchor.pts - here.pts) * anchor.timebase) / WRAP_S)
    return anchor.pts + turns * (1 << 33)


def _reanchored(clock: WallClock, anchor: Anchor, frame_us: Fraction) -> WallClock:
    running = clock.at(anchor.pts)
    if abs(anchor.wall_us - running) <= frame_us / 2 or anchor.pts <= clock.pieces[-1][0]:
        return clock
    # Wall time never runs back: frames already placed keep their place.
    wall = max(Fraction(anchor.wall_us), running - frame_us / 2)
    piece = (anchor.pts, anchor.pts, wall)
    return replace(clock, pieces=(*clock.pieces, piece))


# --- the pictures of a run


@dataclass(frozen=True, slots=True)
class Pictures:
    """A run's pictures laid flat: PTS in decode order, and in display order what can be shown."""

    number: int
    run: Run
    clock: WallClock
    pts: tuple[int, ...]
    keys: tuple[int, ...]
    idrs: frozenset[int]
    firsts: tuple[int, ...]
    shown: tuple[int, ...]
    frame_ticks: int

    def place(self, packet: int) -> PacketAt:
        """Where a packet, counted in the run, lies among its segments."""
        segment = max(bisect_left(self.firsts, packet + 1) - 1, 0)
        return PacketAt(segment=segment, packet=packet - self.firsts[segment])

    def end_of(self, pts: int) -> int:
        """Where a shown frame ends: at the next one, or a usual frame later."""
        after = bisect_left(self.shown, pts + 1)
        return self.shown[after] if after < len(self.shown) else pts + self.frame_ticks


def pictures_of(number: int, run: Run, index: MediaIndex) -> Pictures:
    """A run's pictures, those before its first place to start left out."""
    facts = run.pictures
    if facts is None:
        raise CorruptMedia("a stretch of segments holds no pictures")
    frame_us = facts.frame_ticks * facts.timebase * MICRO
    clock = wall_clock(run, index.anchors, frame_us)
    counts = [len(segment.pts) for segment in run.segments]
    firsts = tuple(accumulate(counts, initial=0))[:-1]
    pts = tuple(p for segment in run.segments for p in segment.pts)
    keys = _flat(run, firsts, "keys")
    shown = sorted(p for p in pts[keys[0] :] if p >= pts[keys[0]]) if keys else []
    if run.torso_pts is not None:
        shown = [p for p in shown if p < run.torso_pts]
    if len(set(shown)) != len(shown):
        raise CorruptMedia("two pictures bear one PTS")
    idrs = frozenset(_flat(run, firsts, "idrs"))
    return Pictures(
        number, run, clock, pts, keys, idrs, firsts, tuple(shown), max(facts.frame_ticks, 1)
    )


def _flat(run: Run, firsts: Sequence[int], name: str) -> tuple[int, ...]:
    return tuple(
        first + at
        for first, segment in zip(firsts, run.segments, strict=True)
        for at in getattr(segment, name)
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """The frames of a run that are delivered: those with `lo <= pts < hi`, `count` of them."""

    source: Pictures
    lo: int
    hi: int
    first: int
    last: int
    count: int

    @property
    def start_us(self) -> Fraction:
        """Wall clock of the first frame."""
        return self.source.clock.at(self.first)

    @property
    def end_us(self) -> Fraction:
        """Wall clock of the end of the last frame."""
        return self.source.clock.at(self.last) + self.last_ticks * self.tick_us

    @property
    def last_ticks(self) -> int:
        """How long the last frame lasts."""
        return self.source.end_of(self.last) - self.last

    @property
    def tick_us(self) -> Fraction:
        """Microseconds a tick."""
        return self.source.clock.timebase * MICRO

    @property
    def frame_us(self) -> Fraction:
        """How long a frame usually lasts."""
        return self.source.frame_ticks * self.tick_us


def kept(source: Pictures, start_us: Fraction, end_us: Fraction) -> Kept | None:
    """The frames whose wall clock lies in `[start_us, end_us)`; None where there is none."""
    low = bisect_left(source.shown, start_us, key=source.clock.at)
    high = bisect_left(source.shown, end_us, key=source.clock.at)
    return _kept_between(source, low, high)


def _kept_between(source: Pictures, low: int, high: int) -> Kept | None:
    if high <= low:
        return None
    last = source.shown[high - 1]
    hi = source.shown[high] if high < len(source.shown) else last + 1
    return Kept(source, source.shown[low], hi, source.shown[low], last, high - low)


def snapped(cut: Kept) -> Kept:
    """The same cut grown outward to places to start, for copying without re-encoding."""
    source = cut.source
    start = _key_for(source, cut.lo)
    stop = next((k for k in source.keys if k > start and _all_before(source, k, cut.hi)), None)
    members = source.pts[start:stop]
    low = bisect_left(source.shown, source.pts[start])
    high = bisect_left(source.shown, max(members) + 1)
    return _kept_between(source, low, high) or cut


def _all_before(source: Pictures, key: int, hi: int) -> bool:
    """Whether no picture from a key on is wanted, its leading pictures included."""
    following = next((k for k in source.keys if k > key), len(source.pts))
    return min(source.pts[key:following]) >= hi


# --- spans of pictures


def picture_spans(cut: Kept, offset: int, *, whole: bool) -> tuple[PictureSpan, ...]:
    """Copied span and re-encoded edges of one run's kept frames."""
    source = cut.source
    start = next((k for k in source.keys if cut.lo <= source.pts[k] < cut.hi), None)
    if whole or start is None:
        return (_encoded(cut, cut.lo, cut.hi, offset),)
    stop, tail_lo = _copy_stop(source, start, cut.hi)
    if stop <= start:
        return (_encoded(cut, cut.lo, cut.hi, offset),)
    floor_pts = source.pts[start]
    alone = sum(p >= floor_pts for p in source.pts[start:stop]) == 1
    if alone and start not in source.idrs and _is_hevc(source):
        # libav loses an IDR right behind a broken link: the references it makes up clash with it.
        return (_encoded(cut, cut.lo, cut.hi, offset),)
    found: list[PictureSpan] = []
    if cut.lo < floor_pts and any(cut.lo <= p < floor_pts for p in source.shown):
        found.append(_encoded(cut, cut.lo, floor_pts, offset))
    found.append(_copied(source, start, stop, offset))
    if tail_lo is not None:
        found.append(_encoded(cut, tail_lo, cut.hi, offset))
    return tuple(found)


def _is_hevc(source: Pictures) -> bool:
    return source.run.pictures is not None and source.run.pictures.codec == "hevc"


def _copy_stop(source: Pictures, start: int, hi: int) -> tuple[int, int | None]:
    """Where copying ends, and the PTS from which the tail is re-encoded.

    The copy is a decode-order prefix, which always decodes. A tail frame must follow every copied
    one in display order, because the tail begins with an IDR.
    """
    floor_pts = source.pts[start]
    stop = next((n for n in range(start, len(source.pts)) if source.pts[n] >= hi), len(source.pts))
    tail = [p for p in source.pts[stop:] if floor_pts <= p < hi]
    while tail:
        lowest = min(tail)
        back = next((n for n in range(start, stop) if source.pts[n] > lowest), stop)
        if back == stop:
            return stop, lowest
        tail += [p for p in source.pts[back:stop] if floor_pts <= p < hi]
        stop = back
    return stop, None


def _copied(source: Pictures, start: int, stop: int, offset: int) -> CopiedSpan:
    floor_pts = source.pts[start]
    return CopiedSpan(
        run=source.number,
        first=source.place(start),
        stop=source.place(stop),
        floor_pts=floor_pts,
        frames=sum(p >= floor_pts for p in source.pts[start:stop]),
        offset_ticks=offset,
        to_idr=start not in source.idrs,
    )


def _encoded(cut: Kept, from_pts: int, to_pts: int, offset: int) -> EncodedSpan:
    """Frames to re-encode, and all that must be decoded for them."""
    source = cut.source
    low, high = bisect_left(source.shown, from_pts), bisect_left(source.shown, to_pts)
    members = frozenset(source.shown[low:high])
    start = _key_for(source, source.shown[low])
    stop = 1 + max(n for n in range(start, len(source.pts)) if source.pts[n] in members)
    return EncodedSpan(
        run=source.number,
        first=source.place(start),
        stop=source.place(stop),
        from_pts=from_pts,
        to_pts=to_pts,
        frames=high - low,
        offset_ticks=offset,
    )


def _key_for(source: Pictures, pts: int) -> int:
    """The last place to start from which a frame can be decoded."""
    return max((k for k in source.keys if source.pts[k] <= pts), default=source.keys[0])


# --- placing runs in the output


@dataclass(frozen=True, slots=True)
class Stretch:
    """Kept frames and where they lie in the output: from `at` to `end`, in output ticks."""

    cut: Kept
    at: int
    end: int
    offset: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Wanted time without media, and its place in the output where it keeps it."""

    start_us: Fraction
    end_us: Fraction
    reason: str
    after: int


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
    start, end = (Fraction(t * 1000) for t in (request.wanted.start_ms, request.wanted.end_ms))
    cuts = []
    for source, following in zip(found, [*found[1:], None], strict=True):
        limit = end
        if following is not None and following.shown:
            limit = min(end, following.clock.at(following.shown[0]))
        cut = kept(source, start, limit)
        if cut is not None:
            cuts.append(cut)
    return cuts


def _covered(request: CutRequest, index: MediaIndex) -> bool:
    """Whether some run has frames both before and after the range: it lies between two frames."""
    start = Fraction(request.wanted.start_ms * 1000)
    sources = (
        pictures_of(number, run, index)
        for number, run in enumerate(index.runs)
        if run.track == _main_number(request.tracks) and run.pictures and _starts(run)
    )
    return any(s.clock.at(s.shown[0]) < start < s.clock.at(s.shown[-1]) for s in sources)


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
    start, end = (Fraction(t * 1000) for t in (request.wanted.start_ms, request.wanted.end_ms))
    if not cuts:
        return [Hole(start, end, "absent", -1)]
    found = []
    first, last = cuts[0], cuts[-1]
    if first.start_us - start >= first.frame_us and first.first == first.source.shown[0]:
        found.append(Hole(start, first.start_us, "absent", -1))
    for at, (before, after) in enumerate(pairwise(cuts)):
        if after.start_us - before.end_us >= _slack(before, after):
            found.append(Hole(before.end_us, after.start_us, _reason(before), at))
    if end - last.end_us > last.frame_us / 2 and last.last == last.source.shown[-1]:
        found.append(Hole(last.end_us, end, _reason(last), len(cuts) - 1))
    return found


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
    return _encoded(cut, pts, pts + 1, near.offset)


# --- sound


@dataclass(frozen=True, slots=True)
class _Heard:
    """A stream of sound of a run, next to the stretch of output it sounds under.

    `zero` is the PTS, in seconds, that sounds when the output is at 0.
    """

    number: int
    sound: IndexedSound
    zero: Fraction
    at: Fraction
    end: Fraction


def _sound_tracks(
    request: CutRequest,
    index: MediaIndex,
    stretches: Sequence[_Under],
    clocks: Mapping_[int, WallClock],
    end: Fraction,
) -> tuple[SoundTrack, ...]:
    tracks: list[SoundTrack] = []
    for number, held in enumerate(request.tracks):
        for place in range(_sound_count(index, number)):
            heard = _heard(index, number, place, stretches, clocks)
            if heard:
                tracks.append(_sound_track(number, held, heard, end, place))
    return tuple(tracks)


@dataclass(frozen=True, slots=True)
class _Under:
    """A stretch of output as sound sees it: its region, and which PTS second lies at its start."""

    run: Run
    number: int
    seconds: Fraction
    wall_us: Fraction
    at: Fraction
    end: Fraction


def _sound_count(index: MediaIndex, track: int) -> int:
    return max((len(run.sounds) for run in index.runs if run.track == track), default=0)


def _heard(
    index: MediaIndex,
    track: int,
    place: int,
    stretches: Sequence[_Under],
    clocks: Mapping_[int, WallClock],
) -> list[_Heard]:
    """The sound under each stretch: that of its own region, and a neighbour's where that lacks.

    A rendition has its own segment grid, so near a discontinuity its sound may still, or already,
    lie on the neighbouring region's timeline.
    """
    found: list[_Heard] = []
    for under in stretches:
        runs = [
            (number, run)
            for number, run in enumerate(index.runs)
            if run.track == track and place < len(run.sounds)
        ]
        if track == under.run.track and under.run.pictures is not None:
            runs = [(number, run) for number, run in runs if number == under.number]
        found.extend(_under_one(under, runs, place, clocks))
    return found


def _under_one(
    under: _Under,
    runs: Sequence[tuple[int, Run]],
    place: int,
    clocks: Mapping_[int, WallClock],
) -> list[_Heard]:
    region = under.run.discontinuity_sequence
    own = [
        _Heard(n, run.sounds[place], _zero(under, run.sounds[place], n), under.at, under.end)
        for n, run in runs
        if run.discontinuity_sequence == region
    ]
    begin = min((_begin(h) for h in own), default=under.end)
    stop = max((_stop(h) for h in own), default=under.end)
    before, after = [], []
    for n, run in runs:
        clock = clocks.get(run.discontinuity_sequence)
        if run.discontinuity_sequence == region or clock is None:
            continue
        zero = clock.seconds_at(under.wall_us) - under.at
        if run.discontinuity_sequence < region:
            before.append(_Heard(n, run.sounds[place], zero, under.at, min(begin, under.end)))
        else:
            after.append(_Heard(n, run.sounds[place], zero, max(stop, under.at), under.end))
    return [h for h in (*before, *own, *after) if h.at < h.end]


def _zero(under: _Under, sound: IndexedSound, number: int) -> Fraction:
    """The PTS, in seconds, that sounds when the output is at 0; read near the pictures' PTS."""
    zero = under.seconds - under.at
    if number == under.number or sound.timebase != TS_TIMEBASE or not sound.spans:
        return zero
    turns = round((sound.spans[0].first_pts * TS_TIMEBASE - zero) / WRAP_S)
    return zero + turns * WRAP_S


def _begin(heard: _Heard) -> Fraction:
    first = heard.sound.spans[0].first_pts if heard.sound.spans else 0
    return first * heard.sound.timebase - heard.zero


def _stop(heard: _Heard) -> Fraction:
    span, sound = heard.sound.spans[-1], heard.sound
    lasts = Fraction(span.frames * sound.frame_samples, sound.sample_rate_hz)
    return span.first_pts * sound.timebase - heard.zero + lasts


def _sound_track(
    number: int, held: HeldTrack, heard: Sequence[_Heard], end: Fraction, place: int
) -> SoundTrack:
    first = heard[0].sound
    if any(h.sound.entry[8:16] != first.entry[8:16] or _shape(h.sound) != _shape(first)
           for h in heard):  # fmt: skip
        raise FormatChange("the sound changes its codec, rate or channels inside the range")
    pieces: list[CopiedSound | Silence] = []
    cursor: int | None = None
    for one in heard:
        for span in one.sound.spans:
            cursor = _add_sound(pieces, one, span, cursor)
    total = ceil(end * first.sample_rate_hz)
    if cursor is not None:
        _add_silence(pieces, cursor, total, first.frame_samples, at_end=True)
    return SoundTrack(
        track=number,
        stream_id=first.stream_id,
        codec=first.codec,
        sample_rate_hz=first.sample_rate_hz,
        frame_samples=first.frame_samples,
        channels=first.channels,
        entry=first.entry,
        language=held.language if held.role == "audio" and held.language else first.language,
        name=held.name,
        default=held.default or (place == 0 and held.role == "main"),
        pieces=tuple(pieces),
    )


def _sound_holes(
    tracks: Sequence[SoundTrack], stretches: Sequence[_Under], end: Fraction
) -> list[Hole]:
    """Where pictures have no sound although their stream does: more than joins explain."""
    found = []
    for track in tracks:
        copied = [piece for piece in track.pieces if isinstance(piece, CopiedSound)]
        rate = track.sample_rate_hz
        ends = [Fraction(p.at_sample + p.frames * track.frame_samples, rate) for p in copied]
        begins = [Fraction(p.at_sample, rate) for p in copied]
        silent = zip([Fraction(0), *ends], [*begins, end], strict=True)
        for begin, stop in silent:
            for under in stretches:
                low, high = max(begin, under.at), min(stop, under.end)
                inner = begin > under.at and stop < under.end
                slack = Fraction(track.frame_samples, 2 * rate)
                if not inner:
                    slack = 2 * slack if under.run.damaged else SOUND_SLACK_S
                if high - low > slack:
                    wall = under.wall_us + (low - under.at) * MICRO
                    found.append(Hole(wall, wall + (high - low) * MICRO, "sound", -2))
    return found


def _shape(sound: IndexedSound) -> tuple[str, int, int, int]:
    return sound.codec, sound.sample_rate_hz, sound.frame_samples, sound.channels


def _add_sound(
    pieces: list[CopiedSound | Silence], heard: _Heard, span: SoundSpan, cursor: int | None
) -> int | None:
    """Add the frames of a span that sound under a stretch; answers where sound then stands."""
    sound, rate, step = heard.sound, heard.sound.sample_rate_hz, heard.sound.frame_samples
    origin = (span.first_pts * sound.timebase - heard.zero) * rate
    stop = min(span.frames, ceil((heard.end * rate - origin) / step))
    if cursor is None:
        # One frame more in front warms the decoder up; the edit list starts behind it.
        start = max(0, floor((heard.at * rate - origin) / step) - 1)
    else:
        # The nearest frame, so that a player that only counts frames stays within half of one.
        start = max(0, round((cursor - origin) / step))
    if stop <= start or (cursor is None and origin + step * stop <= heard.at * rate):
        return cursor
    place = round(origin + start * step)
    before = cursor if cursor is not None else 0
    if place - before >= step and (cursor is not None or place > 0):
        place = max(place, _add_silence(pieces, before, place, step, at_end=False))
    pieces.append(
        CopiedSound(
            run=heard.number,
            stream_id=sound.stream_id,
            segment=span.segment,
            first_pts=round(span.first_pts + start * step / (sound.timebase * rate)),
            frames=stop - start,
            at_sample=place,
        )
    )
    return place + (stop - start) * step


def _add_silence(
    pieces: list[CopiedSound | Silence], start: int, stop: int, step: int, *, at_end: bool
) -> int:
    """Add whole frames of silence between two samples; answers where they end."""
    count = ceil((stop - start) / step) if at_end else (stop - start) // step
    if count > 0:
        pieces.append(Silence(frames=count, at_sample=start))
    return start + max(count, 0) * step


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
    if request.mode == "copy":
        cuts = [snapped(cut) if _at_edge(cuts, cut) else cut for cut in cuts]
    reason = next((c.source.run.pictures.uncopyable for c in cuts if c.source.run.pictures
                   and c.source.run.pictures.uncopyable), None)  # fmt: skip
    return _assembled(request, index, cuts, holes, reason)


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
    end = stretches[-1].end
    if request.gaps in {"black", "hold"} and any(h.after == len(cuts) - 1 for h in holes):
        end += round((holes[-1].end_us - holes[-1].start_us) * scale / MICRO)
    fills = _filled(stretches, holes, request.gaps, scale, end)
    whole = request.mode == "encode" or reason is not None
    spans: list[PictureSpan] = [fills[-1]] if -1 in fills else []
    for at, stretch in enumerate(stretches):
        spans.extend(picture_spans(stretch.cut, stretch.offset, whole=whole))
        spans.extend([fills[at]] if at in fills else [])
    under = [_under(s, scale) for s in stretches]
    clocks = {c.source.run.discontinuity_sequence: c.source.clock for c in cuts}
    sounds = _sound_tracks(request, index, under, clocks, Fraction(end, scale))
    _refuse_holes(_sound_holes(sounds, under, Fraction(end, scale)), request.gaps)
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


def _notes(request: CutRequest, reason: str | None) -> tuple[str, ...]:
    """What a reader of the result should know."""
    found = []
    if reason is not None:
        found.append(f"the whole was re-encoded: {reason}")
    elif request.mode == "copy":
        found.append("copied without re-encoding: the ends lie on the keyframes around the range")
    return tuple(found)


def _under(stretch: Stretch, scale: int) -> _Under:
    source = stretch.cut.source
    return _Under(
        source.run,
        source.number,
        stretch.cut.first * source.clock.timebase,
        stretch.cut.start_us,
        Fraction(stretch.at, scale),
        Fraction(stretch.end, scale),
    )


def _clock(request: CutRequest, cuts: Sequence[Kept]) -> Clock:
    main = request.tracks[_main_number(request.tracks)]
    if main.clock == "estimated" and not all(cut.source.clock.stated for cut in cuts):
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
    sounds = _sound_tracks(request, index, under, clocks, end)
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
    start, end = (Fraction(t * 1000) for t in (request.wanted.start_ms, request.wanted.end_ms))
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
        begin, stop = max(begin, start), min(stop, end)
        if begin < stop:
            found.append(_Audible(number, run, clock, begin, stop))
    return found


def _silent_holes(request: CutRequest, audible: Sequence[_Audible]) -> list[Hole]:
    start, end = (Fraction(t * 1000) for t in (request.wanted.start_ms, request.wanted.end_ms))
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
) -> tuple[list[_Under], Fraction]:
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
        found.append(_Under(one.run, one.number, seconds, one.start_us, begin, stop))
    closing = holes and holes[-1].after == len(audible) - 1
    tail = (holes[-1].end_us - holes[-1].start_us) / MICRO if closing and keeps else Fraction(0)
    return found, found[-1].end + tail
