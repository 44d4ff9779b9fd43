"""Plans of single ranges -> one plan of all, in the order given, sound never drifting away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import ceil, lcm

from schemas.cuts import (
    CopiedSound,
    CutPlan,
    DeliveredPart,
    EncodedSpan,
    FilledSpan,
    MediaIndex,
    PictureFacts,
    PictureSpan,
    Silence,
    SoundTrack,
)
from schemas.errors import FormatChange, InvalidCommand
from schemas.times import TimeRange

# Above that a tick is no longer a time a container can write.
MAX_TIMESCALE = 10_000_000

Piece = CopiedSound | Silence


@dataclass(frozen=True, slots=True)
class Planned:
    """One range with its plan, and the index the plan was made from.

    A pause shows frames that were made, and is none of the parts.
    """

    plan: CutPlan
    index: MediaIndex
    channel_id: str = ""
    pause: bool = False


def joined(parts: Sequence[Planned], output: str, tags: dict[str, str]) -> CutPlan:
    """One plan that makes all parts follow each other; raises FormatChange where they cannot."""
    plans = [part.plan for part in parts]
    _check_alike(plans)
    scale = lcm(*(plan.timescale for plan in plans))
    if scale > MAX_TIMESCALE:
        raise FormatChange("the ranges count time in ways that do not go into one file")
    ends = [plan.end_ticks * (scale // plan.timescale) for plan in plans]
    begins = list(accumulate(ends, initial=0))
    firsts = list(accumulate((len(plan.runs) for plan in plans), initial=0))
    frames = list(accumulate((plan.frames for plan in plans), initial=0))
    shown = [part.plan for part in parts if not part.pause]
    first, last = shown[0], shown[-1]
    length_ms = sum(plan.wanted.length_ms for plan in plans)
    start_ms = first.wanted.start_ms
    return first.model_copy(
        update={
            "output": output,
            "wanted": TimeRange(start_ms=start_ms, end_ms=start_ms + length_ms),
            "clock": "estimated" if any(p.clock == "estimated" for p in plans) else "pdt",
            "runs": tuple(run for plan in plans for run in plan.runs),
            "mappings": tuple(
                m.model_copy(update={"run": m.run + at})
                for plan, at in zip(plans, firsts, strict=False)
                for m in plan.mappings
            ),
            "timescale": scale,
            "pictures": tuple(
                _moved(span, run, begin, scale // plan.timescale)
                for plan, run, begin in zip(plans, firsts, begins, strict=False)
                for span in plan.pictures
            ),
            "sounds": _sounds(parts, firsts, [Fraction(at, scale) for at in begins]),
            "end_ticks": begins[-1],
            "end_us": last.end_us,
            "last_pts": last.last_pts,
            "frames": frames[-1],
            "copied_frames": sum(plan.copied_frames for plan in plans),
            "gaps": tuple(gap for plan in plans for gap in plan.gaps),
            "notes": tuple(dict.fromkeys(note for plan in plans for note in plan.notes)),
            "tags": tags,
            "frame_rate": frame_rate(first),
            "parts": tuple(
                DeliveredPart(
                    channel_id=part.channel_id,
                    start_ms=round(part.plan.start_us / 1000),
                    end_ms=round(part.plan.end_us / 1000),
                    first_frame=at,
                    frames=part.plan.frames,
                )
                for part, at in zip(parts, frames, strict=False)
                if not part.pause
            ),
        }
    )


def frame_rate(plan: CutPlan) -> Fraction | None:
    """Pictures a second as they usually come; None where there are none.

    Distances are written in whole ticks, so broadcast rates are told from what they round to.
    """
    facts = _facts(plan)
    if facts is None or facts.frame_ticks <= 0:
        return None
    measured = 1 / (facts.frame_ticks * facts.timebase)
    whole = ceil(measured - Fraction(1, 1000))
    slow = Fraction(whole * 1000, 1001)
    near = slow if abs(measured - slow) < abs(measured - whole) else Fraction(whole)
    return near if abs(measured - near) < measured / 500 else measured.limit_denominator(1001)


def with_languages(plan: CutPlan, languages: Sequence[str] | None) -> CutPlan:
    """The plan with only the sound that is wanted, in the order wanted; all for None.

    A name of a track, or its language, however long its tag is written, is what it is known by.
    """
    if languages is None:
        return plan
    found = [track for wanted in languages for track in plan.sounds if is_called(track, wanted)]
    for wanted in languages:
        if not any(is_called(track, wanted) for track in plan.sounds):
            known = ", ".join(sorted({t.language or "und" for t in plan.sounds})) or "no sound"
            raise InvalidCommand(
                f"no sound is in {wanted!r}; there is {known}", code="track_unknown"
            )
    kept = {id(track): track for track in found}
    return plan.model_copy(update={"sounds": tuple(kept.values())})


def is_called(track: SoundTrack, wanted: str) -> bool:
    """Whether a track is known by a name or language."""
    return wanted.casefold() == track.name.casefold() or same_language(track.language, wanted)


def same_language(tag: str | None, wanted: str) -> bool:
    """Whether two tags speak of one language: `en`, `eng` and `en-GB` do.

    >>> same_language("eng", "en-GB"), same_language("de", "en")
    (True, False)
    """
    one, other = _primary(tag or "und"), _primary(wanted)
    return _THREE.get(one, one) == _THREE.get(other, other)


def _primary(tag: str) -> str:
    return tag.casefold().replace("_", "-").partition("-")[0]


# ISO 639-1 to 639-2/T of the languages broadcast most, and the older 639-2/B spellings.
_SPELLINGS = """
en:eng de:deu ger:deu fr:fra fre:fra es:spa it:ita pt:por nl:nld dut:nld sv:swe no:nor nb:nob
nn:nno da:dan fi:fin is:isl ice:isl pl:pol cs:ces cze:ces sk:slk slo:slk hu:hun ro:ron rum:ron
bg:bul el:ell gre:ell tr:tur ru:rus uk:ukr ar:ara he:heb fa:fas per:fas hi:hin bn:ben ta:tam te:tel
ur:urd th:tha vi:vie id:ind ms:msa may:msa zh:zho chi:zho ja:jpn ko:kor ca:cat eu:eus baq:eus gl:glg
ga:gle cy:cym wel:cym hr:hrv sr:srp sl:slv lt:lit lv:lav et:est mt:mlt sq:sqi alb:sqi mk:mkd mac:mkd
"""
_THREE = {short: long for short, _, long in (p.partition(":") for p in _SPELLINGS.split())}


# --- pictures


def _facts(plan: CutPlan) -> PictureFacts | None:
    if not plan.pictures:
        return None
    span = plan.pictures[0]
    return plan.runs[span.like if isinstance(span, FilledSpan) else span.run].pictures


def _check_alike(plans: Sequence[CutPlan]) -> None:
    if len({bool(plan.pictures) for plan in plans}) > 1:
        raise FormatChange("some of the ranges have pictures, others have not")
    found = [facts for facts in map(_facts, plans) if facts is not None]
    shapes = {(facts.codec, facts.geometry) for facts in found}
    if len(shapes) > 1:
        told = ", ".join(sorted(f"{codec} {shape}" for codec, shape in shapes))
        raise FormatChange(
            f"the ranges differ in their pictures ({told}); name a renditionId to make them alike"
        )
    if len({plan.mode == "encode" for plan in plans}) > 1:
        raise FormatChange("some of the ranges must be re-encoded as a whole, others must not")


def _moved(span: PictureSpan, run: int, by: int, ratio: int) -> PictureSpan:
    """A span with its run's new number, `by` ticks later, its ticks `ratio` times as many."""
    if isinstance(span, FilledSpan):
        still = span.still
        return span.model_copy(
            update={
                "like": span.like + run,
                "first_ticks": span.first_ticks * ratio + by,
                "frame_ticks": span.frame_ticks * ratio,
                "still": still and _renumbered(still, run, by, ratio),
            }
        )
    return span.model_copy(
        update={"run": span.run + run, "offset_ticks": span.offset_ticks * ratio + by}
    )


def _renumbered(span: EncodedSpan, run: int, by: int, ratio: int) -> EncodedSpan:
    return span.model_copy(
        update={"run": span.run + run, "offset_ticks": span.offset_ticks * ratio + by}
    )


# --- sound


def _sounds(
    parts: Sequence[Planned], firsts: Sequence[int], begins: Sequence[Fraction]
) -> tuple[SoundTrack, ...]:
    """Every track of the first part that has sound, going on in the others."""
    model = next((part.plan.sounds for part in parts if part.plan.sounds), ())
    return tuple(_sound(number, track, parts, firsts, begins) for number, track in enumerate(model))


def _sound(
    number: int,
    track: SoundTrack,
    parts: Sequence[Planned],
    firsts: Sequence[int],
    begins: Sequence[Fraction],
) -> SoundTrack:
    strip = _Strip(track.sample_rate_hz, track.frame_samples)
    for at, part in enumerate(parts):
        begin, end = begins[at], begins[at + 1]
        like = _counterpart(track, number, part.plan.sounds)
        if like is not None:
            _check_sound(track, like)
            strip.add_part(like, part.index, firsts[at], begin, first=at == 0)
        strip.close(end, last=at + 1 == len(parts))
    return track.model_copy(update={"pieces": tuple(strip.pieces)})


def _counterpart(track: SoundTrack, number: int, others: Sequence[SoundTrack]) -> SoundTrack | None:
    """The track of another part that goes on where one ends: of its language, else of its place."""
    alike = [o for o in others if same_language(o.language, track.language or "und")]
    named = [o for o in alike if o.name == track.name]
    placed = others[number] if number < len(others) else None
    if placed is not None and placed in (named or alike):
        return placed
    return next(iter(named or alike), placed)


def _check_sound(track: SoundTrack, other: SoundTrack) -> None:
    if _shape(track) != _shape(other):
        raise FormatChange(
            f"the ranges differ in their sound ({_told(track)}, {_told(other)}); "
            "name a renditionId to make them alike"
        )


def _shape(track: SoundTrack) -> tuple[str, int, int, int, str]:
    # The kind of the sample entry stands behind its length, in hex.
    kind = track.entry[8:16]
    return track.codec, track.sample_rate_hz, track.frame_samples, track.channels, kind


def _told(track: SoundTrack) -> str:
    return f"{track.codec} at {track.sample_rate_hz} Hz in {track.channels} channels"


class _Strip:
    """The pieces of one track so far.

    Each part's sound begins with the frame nearest to where all frames before it, counted, end:
    so neither a player that goes by times nor one that counts frames is ever a frame off, however
    many parts there are.
    """

    def __init__(self, rate: int, step: int) -> None:
        self._rate = rate
        self._step = step
        self._counted: int | None = None
        self.pieces: list[Piece] = []

    def add_part(
        self, track: SoundTrack, index: MediaIndex, run: int, begin: Fraction, *, first: bool
    ) -> None:
        """Append the pieces of a part that begins at `begin` seconds."""
        by = round(begin * self._rate)
        for piece in track.pieces:
            moved = piece.model_copy(update={"at_sample": piece.at_sample + by})
            if isinstance(moved, CopiedSound):
                tick = _tick(index, moved)
                moved = moved.model_copy(update={"run": moved.run + run})
                self._append(self._behind(moved, tick, first=first))
            else:
                self._append(self._behind(moved, None, first=first))

    def close(self, end: Fraction, *, last: bool) -> None:
        """End a part at `end` seconds: what is over goes, what is short is silence."""
        stop = end * self._rate
        while not last and self.pieces and self._end() > stop + self._step / 2:
            self._drop_one()
        at = self._end() if self.pieces else 0
        missing = (stop - at) / self._step
        count = ceil(missing) if last else round(missing)
        if count > 0:
            self._append(Silence(frames=count, at_sample=at))

    def _behind(self, piece: Piece, tick: Fraction | None, *, first: bool) -> Piece:
        """The piece without the frames that lie before what is there already."""
        if self._counted is None or (first and not self.pieces):
            return piece
        early = round(Fraction(self._counted - piece.at_sample, self._step))
        early = min(max(early, 0), piece.frames)
        # Two frames may not share an instant.
        last = self._end() - self._step
        if early < piece.frames and piece.at_sample + early * self._step <= last:
            early += 1
        changes = {
            "frames": piece.frames - early,
            "at_sample": piece.at_sample + early * self._step,
        }
        if isinstance(piece, CopiedSound) and tick is not None:
            skipped = Fraction(early * self._step, self._rate) / tick
            changes["first_pts"] = round(piece.first_pts + skipped)
        return piece.model_copy(update=changes)

    def _append(self, piece: Piece) -> None:
        if piece.frames <= 0:
            return
        if self._counted is None:
            self._counted = piece.at_sample
        else:
            hole = Fraction(piece.at_sample - self._end(), self._step)
            if hole >= 1:
                self._append(Silence(frames=int(hole), at_sample=self._end()))
        self.pieces.append(piece)
        self._counted += piece.frames * self._step

    def _end(self) -> int:
        piece = self.pieces[-1]
        return piece.at_sample + piece.frames * self._step

    def _drop_one(self) -> None:
        piece = self.pieces.pop()
        self._counted = (self._counted or 0) - self._step
        if piece.frames > 1:
            self.pieces.append(piece.model_copy(update={"frames": piece.frames - 1}))


def _tick(index: MediaIndex, piece: CopiedSound) -> Fraction:
    sounds = index.runs[piece.run].sounds
    return next(sound.timebase for sound in sounds if sound.stream_id == piece.stream_id)
