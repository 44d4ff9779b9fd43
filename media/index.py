"""What is held, as facts: pictures, places to start, sound and anchors of every segment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median_low

import av  # noqa: F401  preloaded for the warm parent of jailed children

from media.cut.edges import decodes_cleanly
from media.cut.facts import parameter_sets, picture_facts, sets_clash
from media.cut.keys import keys
from media.cut.reading import Picture
from media.cut.source import Opener, OpenSegment, Read
from media.cut.ts import WRAP, unwrapped
from schemas.cuts import (
    Anchor,
    CutRequest,
    IndexedSegment,
    IndexedSound,
    MediaIndex,
    PictureFacts,
    Run,
    SoundSpan,
)
from schemas.errors import CorruptMedia
from schemas.media import HeldSegment, HeldTrack

Report = Callable[[int, int], None]


def index_tracks(
    request: CutRequest, workspace: Path, report: Report, read: Read = Path.read_bytes
) -> MediaIndex:
    """The facts of all that a request holds; `report(done, total)` counts segments."""
    opener = partial(Opener, workspace, read=read)
    total = sum(len(track.segments) + len(track.anchors) for track in request.tracks)
    tolerant = request.gaps != "fail"
    runs: list[Run] = []
    anchors: list[Anchor] = []
    done = 0

    def opened(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        report(done, total)

    for number, track in enumerate(request.tracks):
        for builder in _builders(number, track, opener, opened, tolerant=tolerant):
            runs.extend(builder.runs())
            anchors.extend(_stated(track, builder.anchors()))
        anchors.extend(_outside(number, track, opener))
        opened(len(track.anchors))
    return MediaIndex(runs=tuple(runs), anchors=tuple(anchors))


@dataclass(slots=True)
class _Found:
    """A segment opened and boiled down to facts."""

    held: HeldSegment
    entry: IndexedSegment
    sounds: dict[int, tuple[IndexedSound, list[int]]]
    whole: bool
    counters: dict[int, tuple[int, int]]
    timebase: Fraction = Fraction(1)
    frame_ticks: int = 0
    regular: bool = True
    pid_of_pictures: int = -1
    ends_full: bool = False

    @property
    def first_pts(self) -> int | None:
        """The PTS that PDT speaks of: the first picture's as it is stored, else the first sound's.

        That is the keyframe a segment begins with; one that begins elsewhere is dated all the same.
        """
        if self.entry.pts:
            return self.entry.pts[0]
        return next((pts[0] for _, pts in self.sounds.values() if pts), None)


def _builders(
    number: int,
    track: HeldTrack,
    opener: Callable[[], Opener],
    opened: Callable[[int], None],
    *,
    tolerant: bool,
) -> Iterator[_RunBuilder]:
    """One builder for each stretch of segments without a break that the playlist tells of."""
    builder: _RunBuilder | None = None
    for at, held in enumerate(track.segments):
        opened(1)
        if builder is not None and (held.gap or not builder.takes(held)):
            yield builder
            builder = None
        if held.gap:
            continue
        builder = builder or _RunBuilder(number, opener, partial(_later_sets, track, at, opener))
        if not builder.add(at, held, tolerant=tolerant):
            yield builder
            builder = None
    if builder is not None:
        yield builder


class _RunBuilder:
    """Takes in segments in a row and finds where they do not really join."""

    def __init__(
        self,
        track: int,
        opener: Callable[[], Opener],
        later_sets: Callable[[], tuple[bytes, ...]],
    ) -> None:
        self._track = track
        self._reopen = opener
        self._opener = opener()
        self._later_sets = later_sets
        self._found: list[_Found] = []
        self._facts: list[PictureFacts | None] = []

    def takes(self, held: HeldSegment) -> bool:
        """Whether a segment goes on where this run stands."""
        if not self._found:
            return True
        last = self._found[-1].held
        return (
            held.discontinuity_sequence == last.discontinuity_sequence
            and held.init_name == last.init_name
            and held.sequence == last.sequence + 1
        )

    def add(self, number: int, held: HeldSegment, *, tolerant: bool) -> bool:
        """Take in one segment; False where it is unusable and that is tolerated."""
        try:
            found = self._opener.open(held.name or "", held.init_name)
            boiled = _boiled(number, held, found, self._near())
            facts = picture_facts(found.pictures, boiled.entry.keys, self._known_sets)
        except CorruptMedia:
            if tolerant:
                return False
            raise
        if not found.whole and not tolerant:
            raise CorruptMedia(f"segment {held.sequence} has lost bytes on its way")
        self._found.append(boiled)
        self._facts.append(facts)
        return found.whole

    def _known_sets(self) -> tuple[bytes, ...]:
        """Parameter sets for a segment that brings none: those before it, else after it."""
        last = self._facts[-1] if self._facts else None
        return tuple(map(bytes.fromhex, last.sets)) if last else self._later_sets()

    def _near(self) -> int | None:
        if not self._found:
            return None
        last = self._found[-1]
        return last.entry.pts[-1] if last.entry.pts else last.first_pts

    def anchors(self) -> Iterator[Anchor]:
        """The anchors the held segments give."""
        for found in self._found:
            anchor = _anchor(self._track, found.held, found, found.entry.number)
            if anchor is not None:
                yield anchor

    def runs(self) -> Iterator[Run]:
        """The runs these segments really make."""
        start = 0
        breaks = self._breaks()
        for stop in [*sorted(breaks), len(self._found)]:
            if stop > start:
                yield self._run(start, stop, breaks.get(stop))
            start = stop

    def _breaks(self) -> dict[int, str]:
        """Before which segments the media does not go on, and why."""
        found: dict[int, str] = {}
        for at in range(1, len(self._found)):
            why = _break(self._found[at - 1], self._found[at])
            if why:
                found[at] = why
            elif not _same_format(self._facts[at - 1], self._facts[at]):
                # Nothing is missing, but each side keeps parameter sets of its own.
                found[at] = ""
        for at in _counter_breaks(self._found):
            found.setdefault(at, "packets are missing at its end")
        return found

    def _run(self, start: int, stop: int, why: str | None) -> Run:
        members = self._found[start:stop]
        facts = _joined_facts(self._facts[start:stop], members)
        entries = [member.entry for member in members]
        damaged, last = why or None, members[-1]
        if last.ends_full and last.whole and not damaged and facts:
            # One whole picture in 184 fills its last packet by chance.
            last.ends_full = not self._ends_whole(last, facts)
        if not last.whole or _ends_early(members, facts):
            damaged = damaged or "it ends before its time"
        torn = last.entry.pts and (last.ends_full or not last.whole)
        return Run(
            track=self._track,
            discontinuity_sequence=members[0].held.discontinuity_sequence,
            segments=tuple(entries),
            pictures=facts,
            sounds=tuple(_joined_sounds(members)),
            damaged=damaged,
            torso_pts=last.entry.pts[-1] if damaged and torn else None,
        )

    def _ends_whole(self, last: _Found, facts: PictureFacts) -> bool:
        """Whether the last picture of a segment decodes, from the last keyframe on.

        Only H.264 tells: an HEVC decoder passes over what is missing without a word.
        """
        if facts.codec != "h264" or not last.entry.keys:
            return False
        pictures = self._reopen().open(last.held.name or "", last.held.init_name).pictures
        if pictures is None:
            return False
        members = range(last.entry.keys[-1], len(pictures.pts))
        return decodes_cleanly(
            (Picture(pictures.pts[index], pictures, index) for index in members), facts
        )


def _anchor(track: int, held: HeldSegment, found: _Found, number: int | None) -> Anchor | None:
    """What a segment says of the wall clock: its PDT, or only the playlist's estimate."""
    pts = found.first_pts
    if pts is None:
        return None
    return Anchor(
        track=track,
        discontinuity_sequence=held.discontinuity_sequence,
        pts=pts,
        timebase=found.timebase,
        wall_us=held.start_us if held.pdt_us is None else held.pdt_us,
        start_us=held.start_us,
        held=number,
        stated=held.pdt_us is not None,
    )


def _outside(number: int, track: HeldTrack, opener: Callable[[], Opener]) -> Iterator[Anchor]:
    """Anchors from segments outside the range; one that cannot be read is left out."""
    for held in track.anchors:
        if held.gap or held.pdt_us is None:
            continue
        try:
            found = opener().open(held.name or "", held.init_name)
            anchor = _anchor(number, held, _boiled(0, held, found, None), None)
        except CorruptMedia:
            continue
        if anchor is not None:
            yield anchor


def _stated(track: HeldTrack, anchors: Iterable[Anchor]) -> Iterator[Anchor]:
    """The anchors, on the clock the manifest states of their region's PTS, where it states one."""
    for anchor in anchors:
        clock = track.pts_clock(anchor.discontinuity_sequence)
        if clock is None:
            yield anchor
            continue
        wall_us = clock.zero_us + anchor.pts * anchor.timebase * 1_000_000
        yield anchor.model_copy(update={"wall_us": wall_us, "stated": True})


def _later_sets(track: HeldTrack, at: int, opener: Callable[[], Opener]) -> tuple[bytes, ...]:
    """The first parameter sets that come after a segment, within its region."""
    region = track.segments[at].discontinuity_sequence
    for held in track.segments[at + 1 :]:
        if held.gap or held.discontinuity_sequence != region:
            break
        pictures = opener().open(held.name or "", held.init_name).pictures
        sets = parameter_sets(pictures, keys(pictures)[0]) if pictures else ()
        if sets:
            return sets
    return ()


# --- one segment


def _boiled(number: int, held: HeldSegment, opened: OpenSegment, near: int | None) -> _Found:
    pictures = opened.pictures
    pts: list[int] = []
    starts: list[int] = []
    idrs: list[int] = []
    timebase = Fraction(1)
    if pictures is not None and pictures.pts:
        pts = _straight(pictures.pts, near, wraps=not opened.tracks)
        starts, idrs = keys(pictures)
        timebase, near = Fraction(1, pictures.timescale), pts[0]
    sounds = _sounds(opened, near)
    if not pts and sounds:
        timebase = next(iter(sounds.values()))[0].timebase
    entry = IndexedSegment(
        number=number,
        name=held.name or "",
        init_name=held.init_name,
        pts=tuple(pts),
        keys=tuple(starts),
        idrs=tuple(idrs),
        continues=bool(opened.lead) and near is not None and number > 0,
    )
    steps = [b - a for a, b in pairwise(sorted(pts))]
    usual = median_low(steps) if steps else 0
    regular = all(0 < step <= usual * 3 // 2 for step in steps)
    return _Found(
        held, entry, sounds, opened.whole, opened.counters, timebase, usual, regular,
        pid_of_pictures=next((p for p in opened.counters if p not in opened.sounds), -1),
        ends_full=opened.ends_full,
    )  # fmt: skip


def _straight(raw: list[int], near: int | None, *, wraps: bool) -> list[int]:
    """PTS with the 33-bit wraps of MPEG-TS taken out."""
    if not wraps:
        return list(raw)
    base = raw[0] if near is None else near
    if min(raw) >= base - WRAP // 4 and max(raw) <= base + WRAP // 4:
        return list(raw)
    found = []
    for pts in raw:
        base = unwrapped(pts, base)
        found.append(base)
    return found


def _sounds(opened: OpenSegment, near: int | None) -> dict[int, tuple[IndexedSound, list[int]]]:
    found = {}
    for key, heard in opened.sounds.items():
        sound = IndexedSound(
            stream_id=key,
            codec=heard.format.codec,
            timebase=Fraction(1, heard.timescale),
            sample_rate_hz=heard.format.sample_rate_hz,
            frame_samples=heard.format.frame_samples,
            channels=heard.format.channels,
            language=heard.language,
            entry=heard.entry().hex(),
            spans=(),
        )
        found[key] = sound, _straight(heard.pts, near, wraps=not opened.tracks)
    return found


# --- joins


def _break(before: _Found, after: _Found) -> str:
    """Why the media does not go on from one segment to the next, or nothing."""
    if not before.whole:
        return "it is cut short"
    if before.entry.pts and after.entry.pts and before.regular and before.frame_ticks:
        hole = min(after.entry.pts) - max(before.entry.pts) - before.frame_ticks
        if hole > before.frame_ticks // 2:
            return "pictures are missing at its end"
        if hole < -(before.frame_ticks * len(before.entry.pts)):
            return "its timestamps jump back"
    return _sound_break(before, after)


def _sound_break(before: _Found, after: _Found) -> str:
    for key, (sound, pts) in before.sounds.items():
        if key not in after.sounds or not pts or not after.sounds[key][1]:
            continue
        step = Fraction(sound.frame_samples, sound.sample_rate_hz) / sound.timebase
        if after.sounds[key][1][0] - pts[-1] > step * 3 / 2:
            return "sound is missing at its end"
    return ""


def _counter_breaks(found: list[_Found]) -> list[int]:
    """Joins where continuity counters jump, in a stream whose other counters run on."""
    pairs = [segment.counters.get(segment.pid_of_pictures) for segment in found]
    known = [pair for pair in pairs if pair is not None]
    if len(known) < len(pairs):
        return []
    jumps = [at for at in range(1, len(known)) if (known[at - 1][1] + 1) & 15 != known[at][0]]
    if len(jumps) == len(known) - 1:
        # Counters start anew with each segment, or there is but one join: stuffing must tell.
        resets = len({first for first, _ in known}) == 1
        return [] if resets else [at for at in jumps if found[at - 1].ends_full]
    return jumps


def _ends_early(members: list[_Found], facts: PictureFacts | None) -> bool:
    """Whether the last segment's pictures stop short of its EXTINF, where EXTINFs are exact."""
    if facts is None:
        return False
    if members[-1].ends_full or _sound_ends_early(members):
        return True
    if not facts.regular:
        return False
    frame = float(facts.frame_ticks * facts.timebase)
    short = [_shortage(member, frame) for member in members if member.entry.pts]
    if not short or short[-1] <= 1.5 * frame:
        return False
    others = short[:-1]
    return short[-1] > 0.5 if not others else max(abs(s) for s in others) <= 1.5 * frame


def _sound_ends_early(members: list[_Found]) -> bool:
    """Whether sound lags behind the pictures more at the end of the last segment than elsewhere."""
    for key, (sound, _) in members[-1].sounds.items():
        lags = [_lag(member, key) for member in members if key in member.sounds]
        if len(lags) > 1 and lags[-1] - max(lags[:-1]) > 1.5 * sound.frame_samples / (
            sound.sample_rate_hz
        ):
            return True
    return False


def _lag(member: _Found, key: int) -> float:
    """Seconds by which the last picture begins later than the last sound frame."""
    sound, pts = member.sounds[key]
    last = max(member.entry.pts) * member.timebase if member.entry.pts else 0
    return float(last - pts[-1] * sound.timebase)


def _shortage(member: _Found, frame_s: float) -> float:
    """Seconds by which a segment's pictures last less than its EXTINF."""
    pts = member.entry.pts
    lasts = float((max(pts) - min(pts)) * member.timebase) + frame_s
    return member.held.duration_us / 1e6 - lasts


# --- a run


def _same_format(before: PictureFacts | None, after: PictureFacts | None) -> bool:
    if before is None or after is None:
        return before is after
    return before.geometry == after.geometry and not sets_clash(before, after)


def _joined_facts(
    facts: Iterable[PictureFacts | None], members: list[_Found]
) -> PictureFacts | None:
    """The facts of a run: those of its first segment with every segment's parameter sets."""
    known = [fact for fact in facts if fact is not None]
    if not known:
        return None
    sets = tuple(dict.fromkeys(nal for fact in known for nal in fact.sets))
    steps = [member.frame_ticks for member in members if member.frame_ticks]
    usual = median_low(steps) if steps else round(Fraction(1, 25) / known[0].timebase)
    regular = all(member.regular for member in members)
    return known[0].model_copy(
        update={
            "sets": sets,
            "frame_ticks": usual,
            "regular": regular,
            "uncopyable": next((f.uncopyable for f in known if f.uncopyable), None),
        }
    )


def _joined_sounds(members: list[_Found]) -> Iterator[IndexedSound]:
    """Each stream of sound with its frames over the whole run."""
    for key in dict.fromkeys(key for member in members for key in member.sounds):
        pieces = [
            (at, *member.sounds[key]) for at, member in enumerate(members) if key in member.sounds
        ]
        first = pieces[0][1]
        if any(sound.entry[:8] != first.entry[:8] for _, sound, _ in pieces):
            raise CorruptMedia("the sound changes its codec inside a region")
        spans = tuple(_spans(first, [(at, pts) for at, _, pts in pieces]))
        yield first.model_copy(update={"spans": spans})


def _spans(sound: IndexedSound, pieces: list[tuple[int, list[int]]]) -> Iterator[SoundSpan]:
    """Frames that follow each other within half a frame of where counting puts them."""
    # In whole numbers: `unit` of them make a tick, `step` a frame.
    unit = sound.sample_rate_hz * sound.timebase.numerator
    step = sound.frame_samples * sound.timebase.denominator
    half, span, first, count = step // 2, None, 0, 0
    for at, every in pieces:
        for pts in every:
            if span is not None and -half <= (pts - first) * unit - count * step <= half:
                count += 1
                continue
            if span is not None:
                yield span.model_copy(update={"frames": count})
            span, first, count = SoundSpan(segment=at, first_pts=pts, frames=1), pts, 1
    if span is not None:
        yield span.model_copy(update={"frames": count})
