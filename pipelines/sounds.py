"""Sound under the pictures of a cut: which frames are copied where, and where silence stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from pipelines.clock import MICRO, TS_TIMEBASE, WRAP_S, Hole, WallClock
from schemas.cuts import (
    CopiedSound,
    CutPlan,
    CutRequest,
    DeliveredPart,
    IndexedSound,
    MediaIndex,
    Recoding,
    Run,
    Silence,
    SoundSpan,
    SoundTrack,
)
from schemas.errors import FormatChange
from schemas.media import HeldTrack

# Sound of the last pictures may lie in the next segment, which need not be held.
SOUND_SLACK_S = Fraction(1, 4)
# What browsers do not play; AAC and Opus go as they are.
RECODED = frozenset({"ac3", "eac3", "mp2", "mp3"})
_AAC_HZ = frozenset({
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
})  # fmt: skip
_AAC_CHANNELS = frozenset({1, 2, 3, 4, 5, 6})
_CHANNEL_BPS = 96_000


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


def sound_tracks(
    request: CutRequest,
    index: MediaIndex,
    stretches: Sequence[Under],
    clocks: Mapping[int, WallClock],
    end: Fraction,
) -> tuple[SoundTrack, ...]:
    tracks: list[SoundTrack] = []
    for number, held in enumerate(request.tracks):
        for place in range(_sound_count(index, number)):
            heard = _heard(request.tracks, index, (number, place), stretches, clocks)
            if heard:
                tracks.append(_sound_track(number, held, heard, end, place))
    return tuple(tracks)


@dataclass(frozen=True, slots=True)
class Under:
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
    tracks: Sequence[HeldTrack],
    index: MediaIndex,
    which: tuple[int, int],
    stretches: Sequence[Under],
    clocks: Mapping[int, WallClock],
) -> list[_Heard]:
    """The sound under each stretch: that of its own region, and a neighbour's where that lacks.

    A rendition has its own segment grid, so near a discontinuity its sound may still, or already,
    lie on the neighbouring region's timeline.
    """
    found: list[_Heard] = []
    track, place = which
    for under in stretches:
        runs = [
            (number, run)
            for number, run in enumerate(index.runs)
            if run.track == track and place < len(run.sounds)
        ]
        if track == under.run.track and under.run.pictures is not None:
            runs = [(number, run) for number, run in runs if number == under.number]
        found.extend(_under_one(tracks, under, runs, place, clocks))
    return found


def _under_one(
    tracks: Sequence[HeldTrack],
    under: Under,
    runs: Sequence[tuple[int, Run]],
    place: int,
    clocks: Mapping[int, WallClock],
) -> list[_Heard]:
    region = under.run.discontinuity_sequence
    own = [
        _Heard(
            n,
            run.sounds[place],
            _zero(under, run.sounds[place], n, _apart(tracks, under, run)),
            under.at,
            under.end,
        )
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
        zero = clock.seconds_at(under.wall_us) - under.at + _apart(tracks, under, run)
        if run.discontinuity_sequence < region:
            before.append(_Heard(n, run.sounds[place], zero, under.at, min(begin, under.end)))
        else:
            after.append(_Heard(n, run.sounds[place], zero, max(stop, under.at), under.end))
    return [h for h in (*before, *own, *after) if h.at < h.end]


def _apart(tracks: Sequence[HeldTrack], under: Under, run: Run) -> Fraction:
    """Seconds by which a track's PTS are ahead of the pictures', where the manifest tells both."""
    region = run.discontinuity_sequence
    pictures = tracks[under.run.track].pts_clock(region)
    own = tracks[run.track].pts_clock(region)
    if pictures is None or own is None:
        return Fraction(0)
    return (pictures.zero_us - own.zero_us) / MICRO


def _zero(under: Under, sound: IndexedSound, number: int, apart: Fraction) -> Fraction:
    """The PTS, in seconds, that sounds when the output is at 0; read near the pictures' PTS."""
    zero = under.seconds - under.at + apart
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


def sound_holes(
    tracks: Sequence[SoundTrack], stretches: Sequence[Under], end: Fraction
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


# --- sound that is encoded again


def as_aac(plan: CutPlan) -> CutPlan:
    """The plan of a cut that encodes all: sound browsers do not play becomes AAC."""
    end_s = Fraction(plan.end_ticks, plan.timescale)
    sounds = tuple(_recoded(track, end_s) for track in plan.sounds)
    changed = plan.model_copy(update={"sounds": sounds})
    first = sounds[0].recoding if sounds else None
    return changed if plan.pictures or first is None else _counted_anew(changed, first)


def _recoded(track: SoundTrack, end_s: Fraction) -> SoundTrack:
    if track.codec not in RECODED:
        return track
    # The track may count time otherwise than in samples: its entry tells the real rate.
    hertz = int.from_bytes(bytes.fromhex(track.entry)[32:34], "big")
    hertz = hertz if hertz in _AAC_HZ else 48_000
    channels = track.channels if track.channels in _AAC_CHANNELS else 2
    made = Recoding(
        sample_rate_hz=hertz, channels=channels, bitrate_bps=channels * _CHANNEL_BPS, frames=1
    )
    # One frame more than the samples fill: the first holds what the encoder begins with.
    frames = ceil(round(end_s * hertz) / Fraction(made.frame_samples)) + 1
    return track.model_copy(update={"recoding": made.model_copy(update={"frames": frames})})


def _counted_anew(plan: CutPlan, made: Recoding) -> CutPlan:
    """A plan of sound alone, which counts frames of sound, in those that will be written."""
    ratio = Fraction(made.frames, max(plan.frames, 1))
    return plan.model_copy(
        update={
            "mode": "encode",
            "frames": made.frames,
            "copied_frames": 0,
            "parts": tuple(_part_in(part, ratio) for part in plan.parts),
        }
    )


def _part_in(part: DeliveredPart, ratio: Fraction) -> DeliveredPart:
    first = round(part.first_frame * ratio)
    frames = round((part.first_frame + part.frames) * ratio) - first
    return part.model_copy(update={"first_frame": first, "frames": frames})
