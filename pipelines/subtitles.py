"""Subtitles beside a cut: which WebVTT segments it needs, and their cues on the cut's own clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipelines import locate, refresh, variants, webvtt, window
from pipelines.clock import MICRO, WRAP_S, WallClock
from pipelines.joins import same_language
from pipelines.spans import Shown
from pipelines.webvtt import Cue, TextDocument
from schemas.base import Value
from schemas.errors import CuttingRoomError
from schemas.media import MediaPlaylist, MultivariantPlaylist, Segment, SubtitleRendition
from schemas.plans import Fetch
from schemas.times import TimeRange

MAX_RENDITIONS = 16
MAX_SEGMENT_BYTES = 8 * 1024 * 1024
MAX_CUES = 200_000
TICKS = 90_000
# What a playlist lags behind the others is waited for so many target durations, no longer.
LAG_TARGETS = 3
# A cue further away from its segment than that was not placed by any clock we know.
ASTRAY_US = 30 * MICRO
# Cues that are repeated from segment to segment are one, where no more than this lies between.
SEAM_MS = 40
_SPOKEN_AS_WELL = ("describes-music-and-sound", "transcribes-spoken-dialog")


class TextSource(Value):
    """A subtitle rendition to follow; its files are named after `prefix`."""

    uri: str
    prefix: str
    rendition: SubtitleRendition
    variables: dict[str, str] = {}


class TextReading(Value):
    """What every reading of a source has listed, since when its edge stands still, and what is
    wrong with it where it cannot be read."""

    source: TextSource
    playlist: MediaPlaylist | None = None
    moved_ms: int = 0
    problem: str = ""


class Texts(Value):
    """The subtitles of one channel: None while nothing is known of them."""

    readings: tuple[TextReading, ...] | None = None
    problem: str = ""


class Track(Value):
    """One file of subtitles: of a language, and whether of forced or of descriptive ones."""

    language: str | None = None
    forced: bool = False
    descriptive: bool = False


class Written(Value):
    """One finished file of subtitles: how its key ends, and what it says."""

    ending: str
    text: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One range of a cut: what it shows, where it begins in the file, and its channel's texts."""

    shown: Sequence[Shown]
    begin: Fraction
    span: TimeRange
    main: MediaPlaylist
    texts: Texts


# --- following the playlists


def sources(top: MediaPlaylist | MultivariantPlaylist, prefix: str) -> tuple[TextSource, ...]:
    """The subtitle renditions beside the best variant."""
    if isinstance(top, MediaPlaylist):
        return ()
    found = variants.subtitles_of(top, variants.best(top))
    return tuple(
        TextSource(uri=r.uri, prefix=f"{prefix}t{number}", rendition=r, variables=top.variables)
        for number, r in enumerate(found[:MAX_RENDITIONS])
    )


def updated(before: TextReading, fresh: MediaPlaylist, now_ms: int) -> TextReading:
    """The reading after one more look."""
    known = before.playlist
    if known is None:
        changes = {"playlist": fresh, "moved_ms": now_ms, "problem": ""}
        return before.model_copy(update=changes)
    merged = refresh.merged(known, fresh)
    moved = merged.ended or _edge_us(merged) != _edge_us(known)
    moved_ms = now_ms if moved else before.moved_ms
    return before.model_copy(update={"playlist": merged, "moved_ms": moved_ms, "problem": ""})


def fetches(texts: Texts, span: TimeRange, main: MediaPlaylist, now_ms: int) -> tuple[Fetch, ...]:
    """What to fetch for a range; nothing of a rendition that is protected."""
    return tuple(
        fetch
        for reading in texts.readings or ()
        for fetch in _fetched(reading, _chosen(reading, span, main), now_ms)[0]
    )


def _fetched(
    reading: TextReading, segments: Sequence[Segment], now_ms: int
) -> tuple[tuple[Fetch, ...], str]:
    """The steps for segments, or what keeps us from them."""
    try:
        return tuple(_fetch(reading, segment, now_ms) for segment in segments), ""
    except CuttingRoomError as error:
        return (), error.message


def _fetch(reading: TextReading, segment: Segment, now_ms: int) -> Fetch:
    """A segment of text; no failure to fetch it fails the job."""
    playlist = reading.playlist
    fresh_us = LAG_TARGETS * (playlist.target_duration_us if playlist else 0)
    grows = playlist is not None and not playlist.ended
    young = grows and (now_ms - reading.moved_ms) * 1000 <= fresh_us
    return locate.fetch_of(segment, _name(reading, segment)).model_copy(
        update={
            "optional": True,
            "spare": True,
            "max_bytes": MAX_SEGMENT_BYTES,
            "patience_ms": fresh_us // 1000 if young and _is_last(playlist, segment) else 0,
        }
    )


def _is_last(playlist: MediaPlaylist | None, segment: Segment) -> bool:
    return playlist is not None and playlist.segments[-1] == segment


def look_again_ms(texts: Texts, span: TimeRange, main: MediaPlaylist, now_ms: int) -> int | None:
    """When a playlist that only lags behind is worth another look; None where none is."""
    times = []
    for reading in texts.readings or ():
        playlist = reading.playlist
        if playlist is None or playlist.ended:
            continue
        edge_us = (_edge_us(playlist) or 0) + _shift_us(playlist, main)
        lags = edge_us + window.INSTANT_US < span.end_ms * 1000
        if lags and (now_ms - reading.moved_ms) * 1000 <= LAG_TARGETS * playlist.target_duration_us:
            wait_us = max(window.SHORTEST_WAIT_US, playlist.target_duration_us // 2)
            times.append(now_ms + wait_us // 1000)
    return min(times, default=None)


def _chosen(reading: TextReading, span: TimeRange, main: MediaPlaylist) -> tuple[Segment, ...]:
    """The segments that can hold a cue of the range, where the playlist of pictures says it is.

    Not every packager repeats a cue in the next segment, and a copy begins and ends on keyframes:
    the neighbours of the range are read too.
    """
    playlist = reading.playlist
    if playlist is None:
        return ()
    shift_us = _shift_us(playlist, main)
    margin_us = playlist.target_duration_us
    start_us, end_us = span.start_ms * 1000 - margin_us, span.end_ms * 1000 + margin_us
    return tuple(
        p.segment.model_copy(update={"start_us": p.segment.start_us + shift_us})
        for p in window.placed(playlist)
        if p.overlaps(start_us - shift_us, end_us - shift_us) and not p.segment.gap
    )


def _shift_us(playlist: MediaPlaylist, main: MediaPlaylist) -> int:
    """How much later a playlist without dates lies, so that it agrees with that of pictures."""
    if not _estimated(playlist) or not playlist.segments or not main.segments:
        return 0
    if playlist.ended and main.ended:
        return main.segments[0].start_us - playlist.segments[0].start_us
    return main.segments[-1].end_us - playlist.segments[-1].end_us


def _estimated(playlist: MediaPlaylist) -> bool:
    return any(region.clock == "estimated" for region in playlist.regions)


def _edge_us(playlist: MediaPlaylist) -> int | None:
    return playlist.segments[-1].end_us if playlist.segments else None


def _name(reading: TextReading, segment: Segment) -> str:
    where = f"{segment.discontinuity_sequence}-{segment.sequence:06d}"
    return f"{reading.source.prefix}-{where}.vtt"


def _called(reading: TextReading) -> str:
    rendition = reading.source.rendition
    return (rendition.name or rendition.language or "und")[:60]


# --- what they say, in the file's own time


def names(pieces: Iterable[Piece]) -> tuple[str, ...]:
    """Every segment's file that the pieces need."""
    found = dict.fromkeys(
        _name(reading, segment)
        for piece in pieces
        for reading in piece.texts.readings or ()
        for segment in _chosen(reading, piece.span, piece.main)
    )
    return tuple(found)


def files(
    pieces: Sequence[Piece], documents: Mapping[str, TextDocument]
) -> tuple[tuple[Written, ...], tuple[str, ...]]:
    """One file a language, of whatever arrived of it, and what a reader should know of them."""
    tracks = dict.fromkeys(
        _track(reading) for piece in pieces for reading in piece.texts.readings or ()
    )
    grouped = _grouped(tuple(tracks))
    notes = dict.fromkeys(note for piece in pieces for note in _notes(piece, documents))
    written: list[Written] = []
    for track in grouped:
        text = _Text(track)
        for piece in pieces:
            text.add(piece, documents)
        notes |= dict.fromkeys(text.notes)
        ending = _ending(track, [w.ending for w in written])
        written.append(Written(ending=ending, text=webvtt.written(text.document())))
    return tuple(written), tuple(notes)


def _grouped(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """Every track once, whichever way a channel spells its language."""
    found: list[Track] = []
    for track in tracks:
        if not any(_alike(track, other) for other in found):
            found.append(track)
    return tuple(found)


def _alike(one: Track, other: Track) -> bool:
    kinds = (one.forced, one.descriptive) == (other.forced, other.descriptive)
    return kinds and same_language(one.language, other.language or "und")


def _track(reading: TextReading) -> Track:
    rendition = reading.source.rendition
    told = rendition.characteristics or ""
    return Track(
        language=rendition.language,
        forced=rendition.forced,
        descriptive=any(word in told for word in _SPOKEN_AS_WELL),
    )


def _ending(track: Track, taken: Sequence[str]) -> str:
    """How the key of a file of subtitles ends, in the way players look for it."""
    language = "".join(
        c for c in track.language or "und" if c.isascii() and (c.isalnum() or c == "-")
    )
    kind = ".forced" if track.forced else ".sdh" if track.descriptive else ""
    stem = f".{language[:35] or 'und'}{kind}"
    turn = next(n for n in range(1, len(taken) + 2) if _numbered(stem, n) not in taken)
    return _numbered(stem, turn)


def _numbered(stem: str, turn: int) -> str:
    return f"{stem}.vtt" if turn == 1 else f"{stem}-{turn}.vtt"


def _notes(piece: Piece, documents: Mapping[str, TextDocument]) -> list[str]:
    """What is not there of a piece's subtitles."""
    if piece.texts.problem:
        return [piece.texts.problem]
    found = [] if piece.texts.readings else ["the stream lists no subtitles"]
    for reading in piece.texts.readings or ():
        called = _called(reading)
        wanted = _chosen(reading, piece.span, piece.main)
        problem = reading.problem or _fetched(reading, wanted, 0)[1]
        if problem:
            found.append(f"the subtitles {called!r} cannot be read: {problem}")
            continue
        inside = [s for s in wanted if _within(s, piece.span)]
        absent = sum(_name(reading, segment) not in documents for segment in inside)
        if absent:
            found.append(
                f"{absent} of {len(inside)} segments of the subtitles {called!r} are missing "
                "or no WebVTT"
            )
        elif not inside:
            found.append(f"the subtitles {called!r} list nothing of the range")
    return found


def _within(segment: Segment, span: TimeRange) -> bool:
    return segment.start_us < span.end_ms * 1000 and span.start_ms * 1000 < segment.end_us


class _Text:
    """One track's cues so far, on the file's clock."""

    def __init__(self, track: Track) -> None:
        self._track = track
        self._cues: list[Cue] = []
        self._blocks: dict[str, None] = {}
        self.notes: list[str] = []

    def add(self, piece: Piece, documents: Mapping[str, TextDocument]) -> None:
        """Take in what a piece shows of the track."""
        reading = next(
            (r for r in piece.texts.readings or () if _alike(_track(r), self._track)), None
        )
        if reading is None or not piece.shown:
            return
        cues: list[Cue] = []
        astray = 0
        for segment in _chosen(reading, piece.span, piece.main):
            document = documents.get(_name(reading, segment), TextDocument())
            self._blocks |= dict.fromkeys(document.blocks)
            if not document.cues or _is_foreign(segment, piece):
                continue
            clock = _clock_of(document, segment, piece)
            astray += clock is None
            cues += _on_output(document, clock, piece) if clock else []
        if astray:
            self.notes.append(
                f"{astray} segments of the subtitles {_called(reading)!r} say times that are not "
                "those of the pictures, and were left out"
            )
        self._cues += _merged(cues)[: max(0, MAX_CUES - len(self._cues))]

    def document(self) -> TextDocument:
        """All of it; an id that another cue has already is not given twice."""
        taken: set[str] = set()
        named = []
        for cue in self._cues:
            again = cue.id in taken
            taken.add(cue.id)
            named.append(cue.model_copy(update={"id": ""}) if again else cue)
        return TextDocument(cues=tuple(named), blocks=tuple(self._blocks))


@dataclass(frozen=True, slots=True)
class _Placing:
    """How a document's clock becomes wall clock."""

    document: TextDocument
    clock: WallClock
    turns: int = 0
    from_us: Fraction | None = None

    def wall_us(self, ms: int) -> Fraction:
        """The wall clock of a time of the document."""
        if self.from_us is not None:
            return self.from_us + ms * 1000
        seconds = _seconds(self.document, ms) + self.turns * WRAP_S
        return self.clock.at(round(seconds / self.clock.timebase))


def _seconds(document: TextDocument, ms: int) -> Fraction:
    """A time of a document on the stream's timeline; unmapped, its zero is that one's."""
    ticks = (document.mpegts or 0) % (1 << 33)
    return Fraction(ticks, TICKS) + Fraction(ms - document.local_ms, 1000)


def _clock_of(document: TextDocument, segment: Segment, piece: Piece) -> _Placing | None:
    """The clock by which a segment's cues lie where the playlist places the segment.

    Not all packagers announce discontinuities in subtitles, so every clock of the range is tried.
    """
    ranked = sorted(piece.shown, key=lambda one: _apart(one, segment))
    tried = [_placing(document, segment, one.clock) for one in ranked]
    best = min(tried, key=lambda placing: _off_us(placing, segment))
    if _off_us(best, segment) <= ASTRAY_US:
        return best
    # Without a map, times are also found that begin anew with each segment.
    relative = _Placing(document, best.clock, from_us=Fraction(segment.start_us))
    last_ms = document.cues[-1].end_ms
    fits = document.mpegts is None and last_ms * 1000 <= segment.duration_us + ASTRAY_US
    return relative if fits else None


def _is_foreign(segment: Segment, piece: Piece) -> bool:
    """Whether a segment only lies beside what is shown, on a timeline that nothing of it has."""
    near = min(piece.shown, key=lambda one: _apart(one, segment))
    if _apart(near, segment) < 0:
        return False
    return _region(segment, piece.main) != near.discontinuity_sequence


def _region(segment: Segment, main: MediaPlaylist) -> int | None:
    """The region of the pictures in whose time a segment lies."""
    middle_us = segment.start_us + segment.duration_us // 2
    found = (s for s in main.segments if s.start_us <= middle_us < s.end_us)
    return next((s.discontinuity_sequence for s in found), None)


def _apart(one: Shown, segment: Segment) -> Fraction:
    """How far a segment lies from what is shown; negative is how much they share."""
    begin = max(one.start_us, Fraction(segment.start_us))
    return begin - min(one.end_us, Fraction(segment.end_us))


def _placing(document: TextDocument, segment: Segment, clock: WallClock) -> _Placing:
    """The reading of a 33-bit count that is nearest to where the segment lies."""
    expected = clock.seconds_at(Fraction(segment.start_us))
    first = _seconds(document, document.cues[0].start_ms)
    return _Placing(document, clock, round((expected - first) / WRAP_S))


def _off_us(placing: _Placing, segment: Segment) -> Fraction:
    """How far the cues lie from their segment; a second is nothing to speak of."""
    cues = placing.document.cues
    start_us, end_us = placing.wall_us(cues[0].start_ms), placing.wall_us(cues[-1].end_ms)
    off_us = max(start_us - segment.end_us, segment.start_us - end_us)
    return max(Fraction(0), off_us - MICRO)


def _on_output(document: TextDocument, placing: _Placing, piece: Piece) -> list[Cue]:
    found: list[Cue] = []
    for cue in document.cues:
        start_us, end_us = placing.wall_us(cue.start_ms), placing.wall_us(cue.end_ms)
        for one in piece.shown:
            if start_us < one.end_us and one.start_us < end_us:
                found += _clipped(cue, start_us, end_us, one, piece.begin)
    return found


def _clipped(
    cue: Cue, start_us: Fraction, end_us: Fraction, one: Shown, begin: Fraction
) -> list[Cue]:
    start, end = (round((begin + one.at(at)) * 1000) for at in (start_us, end_us))
    if end <= start:
        return []
    # Where the cue would begin if nothing of it were cut off: times inside it count from there.
    early_us = max(Fraction(0), one.start_us - start_us)
    by_ms = start - round(early_us / 1000) - cue.start_ms
    text = webvtt.retimed(cue.text, by_ms, start, end)
    return [cue.model_copy(update={"start_ms": start, "end_ms": end, "text": text})]


def _merged(cues: Iterable[Cue]) -> list[Cue]:
    """Cues in order of time, those that only repeat or continue another made one with it."""
    found: list[Cue] = []
    last: dict[tuple[str, str], int] = {}
    for cue in sorted(cues, key=lambda cue: (cue.start_ms, cue.end_ms)):
        key = (cue.text, cue.settings)
        at = last.get(key)
        if at is not None and cue.start_ms <= found[at].end_ms + SEAM_MS:
            end_ms = max(found[at].end_ms, cue.end_ms)
            found[at] = found[at].model_copy(update={"end_ms": end_ms})
            continue
        last[key] = len(found)
        found.append(cue)
    return found
