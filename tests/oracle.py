"""Judges a media file the way a strict player would, from marks in its picture and sound.

    seen = inspect(path)                       # one pass over the picture
    seen.numbers                               # presented frame numbers, in display order
    seen.hidden                                # frames in the track that the edit list hides
    seen.errors                                # what libav complained of; () is clean
    read_frames(path)                          # just seen.frames
    check_exact(path, asset, start_ms, end_ms) # every way a clip can be wrong, as sentences
    audio_offsets(path, asset.times)[0].worst_ms   # sound against picture, per track
    copied_packets(asset, path).share          # byte-identical share of the video packets
    quality(path, asset).min_psnr_db           # against the decoded source frames
    layout(path)                               # boxes: tags, edits, faststart, timescales

Times are seconds on the presentation timeline as exact Fractions.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.hls_builder import HlsAsset, annexb_units, boxes
from tests.marks import CHIRP_S, SLOT_S, Array, read_fields, sound
from tests.streams import Stream

ERROR_LEVEL = av.logging.ERROR


# ---- boxes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """One entry of an edit list: duration in movie ticks, media time in track ticks (-1 empty)."""

    duration: int
    media_time: int


@dataclass(frozen=True)
class TrackLayout:
    """What the boxes say about one track."""

    track_id: int
    handler: str
    tag: str
    timescale: int
    language: str
    edits: tuple[Edit, ...]
    sync_samples: tuple[int, ...]  # () where every sample is one
    sample_count: int


@dataclass(frozen=True)
class Layout:
    """What the boxes say about the file."""

    movie_timescale: int
    duration_s: Fraction
    faststart: bool
    fragmented: bool
    tracks: tuple[TrackLayout, ...]

    @property
    def video(self) -> TrackLayout:
        """The first picture track."""
        return next(t for t in self.tracks if t.handler == "vide")

    @property
    def sounds(self) -> tuple[TrackLayout, ...]:
        """The sound tracks."""
        return tuple(t for t in self.tracks if t.handler == "soun")


def layout(path: Path | str) -> Layout:
    """The box structure of an MP4."""
    data = Path(path).read_bytes()
    top = [(kind, at) for kind, at, _ in boxes(data)]
    order = [kind for kind, _ in top]
    moov = next((at, stop) for kind, at, stop in boxes(data) if kind == "moov")
    head = next(_inside(data, ("mvhd",), *moov))[0]
    scale, length = _scale_and_duration(data, head)
    tracks = tuple(_track_layout(data, *span) for span in _inside(data, ("trak",), *moov))
    return Layout(
        scale,
        Fraction(length, scale),
        "mdat" not in order or order.index("moov") < order.index("mdat"),
        "moof" in order,
        tracks,
    )


def _inside(data: bytes, path: tuple[str, ...], start: int, end: int) -> Iterator[tuple[int, int]]:
    for kind, at, stop in boxes(data, start + 8, end):
        if kind != path[0]:
            continue
        if len(path) == 1:
            yield at, stop
        else:
            yield from _inside(data, path[1:], at, stop)


def _scale_and_duration(data: bytes, at: int) -> tuple[int, int]:
    if data[at + 8] == 1:
        scale, length = struct.unpack_from(">IQ", data, at + 28)
    else:
        scale, length = struct.unpack_from(">II", data, at + 20)
    return scale, length


def _track_layout(data: bytes, start: int, end: int) -> TrackLayout:
    tkhd = next(_inside(data, ("tkhd",), start, end))[0]
    mdhd = next(_inside(data, ("mdia", "mdhd"), start, end))[0]
    hdlr = next(_inside(data, ("mdia", "hdlr"), start, end))[0]
    stbl = next(_inside(data, ("mdia", "minf", "stbl"), start, end))
    stsd = next(_inside(data, ("stsd",), *stbl))[0]
    packed = struct.unpack_from(">H", data, mdhd + (40 if data[mdhd + 8] else 28))[0]
    letters = [(packed >> shift & 0x1F) + 0x60 for shift in (10, 5, 0)]
    return TrackLayout(
        struct.unpack_from(">I", data, tkhd + (28 if data[tkhd + 8] else 20))[0],
        data[hdlr + 16 : hdlr + 20].decode("latin-1"),
        data[stsd + 20 : stsd + 24].decode("latin-1"),
        _scale_and_duration(data, mdhd)[0],
        bytes(letters).decode("latin-1"),
        tuple(_edits(data, start, end)),
        _sync_samples(data, stbl),
        _sample_count(data, stbl),
    )


def _edits(data: bytes, start: int, end: int) -> Iterator[Edit]:
    for at, _ in _inside(data, ("edts", "elst"), start, end):
        wide = data[at + 8] == 1
        count = struct.unpack_from(">I", data, at + 12)[0]
        for turn in range(count):
            if wide:
                yield Edit(*struct.unpack_from(">Qq", data, at + 16 + 20 * turn))
            else:
                yield Edit(*struct.unpack_from(">Ii", data, at + 16 + 12 * turn))


def _sync_samples(data: bytes, stbl: tuple[int, int]) -> tuple[int, ...]:
    for at, _ in _inside(data, ("stss",), *stbl):
        count = struct.unpack_from(">I", data, at + 12)[0]
        return struct.unpack_from(f">{count}I", data, at + 16)
    return ()


def _sample_count(data: bytes, stbl: tuple[int, int]) -> int:
    for at, _ in _inside(data, ("stsz",), *stbl):
        return int(struct.unpack_from(">I", data, at + 16)[0])
    return 0


def continuity_errors(data: bytes) -> int:
    """How often a transport stream's counters do not go on as they should."""
    errors = 0
    last: dict[int, int] = {}
    for at in range(0, len(data), 188):
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        if pid == 0x1FFF or not data[at + 3] & 0x10:
            continue
        count = data[at + 3] & 0x0F
        errors += pid in last and count != (last[pid] + 1) & 0x0F
        last[pid] = count
    return errors


# ---- decoding -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FrameSeen:
    """One decoded frame; `time` is None where the edit list hides it."""

    number: int | None  # None: unreadable, or its fields disagree
    fields: tuple[tuple[int, int] | None, tuple[int, int] | None]
    pts: int  # in track ticks, before edits
    time: Fraction | None
    corrupt: bool
    key: bool
    luma: Array | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Seen:
    """The picture track of a file, decoded."""

    frames: tuple[FrameSeen, ...]  # presented, in display order
    hidden: tuple[FrameSeen, ...]  # decoded but never presented
    errors: tuple[str, ...]
    packets: int

    @property
    def numbers(self) -> list[int | None]:
        """The presented frame numbers, in display order."""
        return [f.number for f in self.frames]

    @property
    def clean(self) -> bool:
        """Whether nothing at all went wrong while decoding."""
        return not self.errors and not any(f.corrupt for f in (*self.frames, *self.hidden))


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What libav logs at error level or worse in this thread."""
    before = av.logging.get_level()
    av.logging.set_level(ERROR_LEVEL)
    found: list[str] = []
    try:
        with av.logging.Capture(local=True) as entries:
            yield found
        found += [
            f"{name}: {text.strip()}" for level, name, text in entries if level <= ERROR_LEVEL
        ]
    finally:
        av.logging.set_level(before)


def _is_mp4(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(12)[4:8] in {b"ftyp", b"styp", b"moov"}


def _open(path: Path, *, raw: bool) -> Any:
    options = {"ignore_editlist": "1"} if raw and _is_mp4(path) else {}
    return av.open(str(path), options=options)


def _timeline(path: Path, kind: str, index: int) -> tuple[tuple[Edit, ...], int, int]:
    """Edits, movie timescale and track timescale of a track; no edits where the file has none."""
    if not _is_mp4(path):
        return (), 1, 1
    boxes_of = layout(path)
    tracks = [t for t in boxes_of.tracks if t.handler == kind]
    return tracks[index].edits, boxes_of.movie_timescale, tracks[index].timescale


def _presented(
    at: Fraction, length: Fraction, edits: Sequence[Edit], movie: int, track: int
) -> list[Fraction]:
    """When a sample at media time `at` is presented (seconds), once for every edit showing it."""
    if not edits:
        return [at]
    shown, clock = [], Fraction(0)
    for edit in edits:
        span = Fraction(edit.duration, movie)
        start = Fraction(edit.media_time, track)
        # Zero duration means "to the end" in fragmented files.
        inside = at + length > start and (not span or at < start + span)
        if edit.media_time >= 0 and inside:
            shown.append(clock + at - start)
        clock += span
    return shown


def inspect(path: Path | str, *, keep_luma: bool = False) -> Seen:
    """Decode the first picture track and lay it on the presentation timeline."""
    path = Path(path)
    stat = path.stat()
    return _inspected(path, stat.st_mtime_ns, stat.st_size, keep_luma)


@lru_cache(maxsize=16)
def _inspected(path: Path, _mtime_ns: int, _size: int, keep_luma: bool) -> Seen:
    edits, movie, track = _timeline(path, "vide", 0)
    shown: list[FrameSeen] = []
    hidden: list[FrameSeen] = []
    with _complaints() as errors:
        decoded, packets = _decode_video(path, errors)
        for frame, key in decoded:
            for seen in _frames_seen(frame, key, edits, movie, track, keep_luma):
                (hidden if seen.time is None else shown).append(seen)
    shown.sort(key=lambda f: f.time or 0)
    return Seen(tuple(shown), tuple(hidden), tuple(errors), packets)


def _decode_video(path: Path, errors: list[str]) -> tuple[list[tuple[Any, bool]], int]:
    decoded: list[tuple[Any, bool]] = []
    packets = 0
    with _open(path, raw=True) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            packets += packet.size > 0
            try:
                decoded += [(frame, frame.key_frame) for frame in packet.decode()]
            except av.error.FFmpegError as error:
                errors.append(f"packet {packets}: {error}")
    return decoded, packets


def _frames_seen(
    frame: Any, key: bool, edits: Sequence[Edit], movie: int, track: int, keep: bool
) -> Iterator[FrameSeen]:
    luma = luma_of_frame(frame)
    fields = read_fields(luma)
    top, bottom = fields
    agree = top is not None and bottom is not None and top[0] == bottom[0]
    base = frame.time_base
    length = Fraction(frame.duration or 1) * base
    times = _presented(frame.pts * base, length, edits, movie, track)
    shown: list[Fraction | None] = [*times] or [None]
    for time in shown:
        yield FrameSeen(
            top[0] if agree and top else None,
            fields,
            frame.pts,
            time,
            bool(frame.is_corrupt),
            key,
            luma if keep else None,
        )


def luma_of_frame(frame: Any) -> Array:
    """The luma plane of a decoded frame, scaled to 8 bits."""
    plane = frame.planes[0]
    deep = frame.format.components[0].bits > 8
    kind = np.dtype("<u2") if deep else np.dtype("u1")
    rows = np.frombuffer(plane, dtype=kind).reshape(plane.height, -1)[:, : plane.width]
    bits = frame.format.components[0].bits
    return (rows >> (bits - 8)).astype(np.uint8) if deep else rows.copy()


def read_frames(path: Path | str) -> list[FrameSeen]:
    """The frames a player shows, in display order."""
    return list(inspect(path).frames)


def libav_numbers(path: Path | str) -> list[int | None]:
    """The frame numbers libav itself presents, with its own reading of the edit list."""
    found: list[int | None] = []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            top, bottom = read_fields(luma_of_frame(frame))
            agree = top and bottom and top[0] == bottom[0]
            found.append(top[0] if agree and top else None)
    return found


def timecodes(path: Path | str) -> list[tuple[int, int, int, int] | None]:
    """The timecode label in each presented frame's own data (rates up to 30)."""
    found: list[tuple[int, int, int, int] | None] = []
    with av.open(str(path), "r") as container:
        container.streams.video[0].codec_context.thread_count = 1
        for frame in container.decode(video=0):
            data: Any = frame.side_data.get("S12M_TIMECODE")
            found.append(_label(int.from_bytes(bytes(data)[4:8], "little")) if data else None)
    return found


def _label(word: int) -> tuple[int, int, int, int]:
    """SMPTE 12M: two decimal digits a field, hours in the lowest byte."""
    masks = ((0, 0x3F), (8, 0x7F), (16, 0x7F), (24, 0x3F))
    hours, minutes, seconds, frames = (word >> shift & mask for shift, mask in masks)
    return tuple(10 * (v >> 4) + (v & 15) for v in (hours, minutes, seconds, frames))  # type: ignore[return-value]


# ---- sound --------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoundSeen:
    """A sound track on the presentation timeline."""

    rate: int
    channels: int
    codec: str
    language: str
    samples: Array = field(repr=False)  # mono mix
    first_s: Fraction  # presentation time of samples[0]
    holes: int  # samples inside the track that no packet filled
    errors: tuple[str, ...]

    @property
    def end_s(self) -> Fraction:
        """Presentation time just past the last sample."""
        return self.first_s + Fraction(len(self.samples), self.rate)


@dataclass(frozen=True)
class Offsets:
    """Where each mark of a sound track stands against the picture: positive is late."""

    marks: tuple[tuple[Fraction, float], ...]  # (stream time of the mark, offset in ms)
    lost: tuple[Fraction, ...]  # marks the picture has and the sound does not
    clean: bool

    @property
    def worst_ms(self) -> float:
        """The largest offset, by size; infinite where a mark is lost or none was found."""
        if self.lost or not self.marks:
            return float("inf")
        return max((offset for _, offset in self.marks), key=abs)

    @property
    def median_ms(self) -> float:
        """The offset of the middle mark."""
        return float(np.median([offset for _, offset in self.marks])) if self.marks else np.inf


def sounds(path: Path | str) -> list[SoundSeen]:
    """Every sound track, decoded and laid on the presentation timeline."""
    path = Path(path)
    with av.open(str(path)) as container:
        count = len(container.streams.audio)
    return [_sound(path, index) for index in range(count)]


def _sound(path: Path, index: int) -> SoundSeen:
    edits, movie, track = _timeline(path, "soun", index)
    with _complaints() as errors, _open(path, raw=True) as container:
        stream = container.streams.audio[index]
        stream.codec_context.flags2 |= av.codec.context.Flags2.skip_manual
        codec, language = stream.codec_context.name, stream.language or "und"
        frames = []
        for packet in container.demux(stream):
            try:
                frames += packet.decode()
            except av.error.FFmpegError as error:
                errors.append(str(error))
    rate, channels = frames[0].sample_rate, frames[0].layout.nb_channels
    samples, first, holes = _laid_out(frames, rate, edits, movie, track)
    return SoundSeen(rate, channels, codec, language, samples, first, holes, tuple(errors))


def _laid_out(
    frames: Sequence[Any], rate: int, edits: Sequence[Edit], movie: int, track: int
) -> tuple[Array, Fraction, int]:
    """The samples at their presentation places, cut to what the edits show."""
    placed: list[tuple[int, Array]] = []
    for frame in frames:
        wave = _mono(frame)
        at, length = frame.pts * frame.time_base, Fraction(len(wave), rate)
        shown = _presented(at, length, edits, movie, track)
        placed += [(round(time * rate), wave) for time in shown]
    low = min(at for at, _ in placed)
    high = max(at + len(wave) for at, wave in placed)
    if edits:
        low = max(low, 0)
        span = sum((Fraction(e.duration, movie) for e in edits), Fraction(0))
        high = min(high, round(span * rate)) if span else high
    line, filled = np.zeros(high - low, np.float32), np.zeros(high - low, bool)
    for at, wave in placed:
        begin, end = max(at, low), min(at + len(wave), high)
        if begin < end:
            line[begin - low : end - low] = wave[begin - at : end - at]
            filled[begin - low : end - low] = True
    return line, Fraction(low, rate), int((~filled).sum())


def _mono(frame: Any) -> Array:
    wave = frame.to_ndarray()
    if not frame.format.is_planar:
        wave = wave.reshape(-1, frame.layout.nb_channels).T
    if wave.dtype.kind == "i":
        wave = wave.astype(np.float32) / float(np.iinfo(wave.dtype).max)
    return np.asarray(wave[:2].mean(axis=0), dtype=np.float32)


def audio_offsets(
    path: Path | str, times: Mapping[int, Fraction], *, tracks: Sequence[int] | None = None
) -> list[Offsets]:
    """Every sound track against the picture; `times` is stream time by frame number.

    `tracks` names which source track each one should be (default: the same order).
    """
    frames = [f for f in inspect(path).frames if f.number is not None]
    found = sounds(path)
    names = range(len(found)) if tracks is None else tracks
    return [_offsets(s, name, frames, times) for s, name in zip(found, names, strict=True)]


def audio_offset_ms(path: Path | str, times: Mapping[int, Fraction], track: int = 0) -> float:
    """The worst offset of one track in milliseconds; positive is sound late, inf is lost."""
    return audio_offsets(path, times)[track].worst_ms


def _offsets(
    heard: SoundSeen, track: int, frames: Sequence[FrameSeen], times: Mapping[int, Fraction]
) -> Offsets:
    marks: list[tuple[Fraction, float]] = []
    absent: list[tuple[Fraction, int]] = []
    for mark, at in _marks(frames, times):
        begin, length = _spot(heard, at), int(CHIRP_S * heard.rate)
        if begin < 0 or begin + length > len(heard.samples):
            continue
        slot_sample = round(mark * heard.rate)
        offset = _located(heard, sound(track, heard.rate, slot_sample, length), begin)
        if offset is None:
            absent.append((mark, begin))
        else:
            marks.append((mark, offset - _fraction_ms(heard, at)))
    lost = _really_lost(heard, absent, [ms for _, ms in marks])
    return Offsets(tuple(marks), lost, not heard.errors and not heard.holes)


def _really_lost(
    heard: SoundSeen, absent: Sequence[tuple[Fraction, int]], offsets_ms: Sequence[float]
) -> tuple[Fraction, ...]:
    """The absent marks that the sound should hold whole, shifted as it is."""
    shift = round(float(np.median(offsets_ms)) * heard.rate / 1000) if offsets_ms else 0
    room = len(heard.samples) - int(CHIRP_S * heard.rate)
    return tuple(mark for mark, begin in absent if 0 <= begin + shift <= room)


def _spot(heard: SoundSeen, at: Fraction) -> int:
    return round((at - heard.first_s) * heard.rate)


def _fraction_ms(heard: SoundSeen, at: Fraction) -> float:
    """What rounding the expected place to a sample took away, in ms."""
    exact = (at - heard.first_s) * heard.rate
    return float((exact - round(exact)) * 1000 / heard.rate)


def _marks(
    frames: Sequence[FrameSeen], times: Mapping[int, Fraction]
) -> Iterator[tuple[Fraction, Fraction]]:
    """(stream time, presentation time) of every chirp wholly under frames that run on."""
    for run in _runs(frames, times):
        first, last = run[0], run[-1]
        begin, end = times[first.number or 0], times[last.number or 0]
        shift = (first.time or 0) - begin
        slot = -int(-begin / Fraction(SLOT_S))
        while Fraction(SLOT_S) * slot + Fraction(CHIRP_S) <= end:
            mark = Fraction(SLOT_S) * slot
            if mark >= begin:
                yield mark, mark + shift
            slot += 1


def _runs(frames: Sequence[FrameSeen], times: Mapping[int, Fraction]) -> Iterator[list[FrameSeen]]:
    """Runs of frames whose presentation time and stream time go on together."""
    run: list[FrameSeen] = []
    for frame in frames:
        if run and abs(_shift(frame, times) - _shift(run[0], times)) > Fraction(2, 1000):
            yield run
            run = []
        run.append(frame)
    if run:
        yield run


def _shift(frame: FrameSeen, times: Mapping[int, Fraction]) -> Fraction:
    return (frame.time or Fraction(0)) - times[frame.number or 0]


def _located(heard: SoundSeen, chirp: Array, begin: int) -> float | None:
    """How late a chirp is, in ms: near its place first, then within a second and a half."""
    for reach_s in (0.1, 1.5):
        reach = int(reach_s * heard.rate)
        low = begin - reach
        part = _stretch(heard.samples, low, begin + len(chirp) + reach)
        place, likeness = _best_match(part, chirp)
        if likeness > 0.8:
            return (low + place - begin) * 1000 / heard.rate
    return None


def _stretch(samples: Array, low: int, high: int) -> Array:
    """The samples [low, high), silence where there are none."""
    part = samples[max(low, 0) : max(high, 0)]
    return np.pad(part, (max(-low, 0), high - max(low, 0) - len(part)))


def _best_match(part: Array, chirp: Array) -> tuple[float, float]:
    """Where a chirp fits best (fractional sample) and how alike it is there, 0 to 1."""
    size = 1 << (len(part) + len(chirp) - 1).bit_length()
    product = np.fft.rfft(part, size) * np.conj(np.fft.rfft(chirp, size))
    scores = np.fft.irfft(product, size)[: len(part) - len(chirp) + 1]
    squares = np.concatenate([[0.0], np.cumsum(part.astype(np.float64) ** 2)])
    power = squares[len(chirp) :] - squares[: len(scores)]
    likeness = scores / np.sqrt(np.maximum(power, 1e-4) * float((chirp**2).sum()) + 1e-9)
    best = int(np.argmax(likeness))
    return best + _parabola(scores, best), float(likeness[best])


def _parabola(scores: Array, best: int) -> float:
    if not 0 < best < len(scores) - 1:
        return 0.0
    left, middle, right = scores[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float(0.5 * (left - right) / bend) if bend else 0.0


# ---- verdicts -----------------------------------------------------------------------------


def check_exact(
    path: Path | str,
    asset: HlsAsset,
    start_ms: Fraction | float,
    end_ms: Fraction | float,
    *,
    offset_ms: float = 1.0,
    cover_ms: float = 50.0,
) -> list[str]:
    """Every way the clip [start, end) is wrong, as sentences; [] is an exact clip.

    `offset_ms` is how far sound may stand off; it begins with the picture and may end `cover_ms`
    before it (the last packets of a live edge).
    """
    expected = asset.numbers_between(start_ms, end_ms)
    seen = inspect(path)
    problems = number_problems(seen.numbers, expected)
    if _is_mp4(Path(path)) and libav_numbers(path) != seen.numbers:
        problems.append("libav reads the edit list otherwise than a strict player")
    problems += [f"{len(seen.hidden)} frames hide behind the edit list"] if seen.hidden else []
    problems += [f"decoder: {text}" for text in seen.errors[:3]]
    problems += [f"corrupt frame {f.number}" for f in seen.frames if f.corrupt][:3]
    problems += _time_problems(seen, asset)
    wanted, found = len(asset.streams[0].spec.audio), sounds(path)
    if len(found) != wanted:
        return [*problems, f"{len(found)} sound tracks, not {wanted}"]
    shown = [f.time for f in seen.frames if f.time is not None]
    end = (max(shown) if shown else Fraction(0)) - Fraction(cover_ms) / 1000
    for index, heard in enumerate(found):
        if heard.first_s > Fraction(1, 1000):
            problems.append(f"sound {index} begins {float(heard.first_s):.3f} s late")
        if shown and heard.end_s > _picture_end(shown) + Fraction(cover_ms) / 1000:
            late = float(heard.end_s - _picture_end(shown))
            problems.append(f"sound {index} goes on {late:.3f} s after the picture")
        if heard.end_s < end:
            problems.append(f"sound {index} ends {float(end - heard.end_s):.3f} s too early")
    for index, offsets in enumerate(audio_offsets(path, asset.times)):
        if offsets.lost or any(abs(ms) > offset_ms for _, ms in offsets.marks):
            problems.append(f"sound {index} is off by {offsets.worst_ms} ms, lost {offsets.lost}")
        if not offsets.clean:
            problems.append(f"sound {index} has holes or errors: {found[index].errors[:2]}")
    return problems


def _picture_end(shown: Sequence[Fraction]) -> Fraction:
    """About when the last frame's time is over: it lasts as long as the one before."""
    times = sorted(shown)
    return times[-1] + (times[-1] - times[-2] if len(times) > 1 else Fraction(1, 20))


def number_problems(seen: Sequence[int | None], expected: Sequence[int]) -> list[str]:
    """What is missing, doubled, foreign, unreadable or out of order."""
    readable = [n for n in seen if n is not None]
    missing = sorted(set(expected) - set(readable))
    foreign = sorted(set(readable) - set(expected))
    doubled = sorted({n for n in readable if readable.count(n) > 1})
    problems = [
        f"{name}: {found}"
        for name, found in (("missing", missing), ("not asked for", foreign), ("doubled", doubled))
        if found
    ]
    if len(readable) != len(seen):
        problems.append(f"unreadable: {len(seen) - len(readable)} frames")
    if not problems and list(seen) != list(expected):
        problems.append("out of order")
    return problems


def _time_problems(seen: Seen, asset: HlsAsset) -> list[str]:
    """Frames whose spacing differs from the source's by more than half a millisecond."""
    problems = []
    if seen.frames and (seen.frames[0].time or 0) != 0:
        problems.append(f"first frame at {seen.frames[0].time} s, not 0")
    shown = [f for f in seen.frames if f.number is not None and f.time is not None]
    for before, after in itertools.pairwise(shown):
        wanted = (asset.wall_ms(after.number or 0) - asset.wall_ms(before.number or 0)) / 1000
        real = (after.time or 0) - (before.time or 0)
        if abs(real - wanted) > Fraction(1, 2000):
            problems.append(f"frame {after.number} comes {float(real - wanted):+.4f} s off")
    return problems[:4]


# ---- lossless share and quality -----------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """How much of the picture is the source's own bytes."""

    copied: int
    total: int
    foreign: tuple[int, ...]  # decode-order indices of packets that are not the source's

    @property
    def share(self) -> float:
        """Copied packets over all packets."""
        return self.copied / self.total if self.total else 0.0


def copied_packets(source: HlsAsset | Stream, path: Path | str) -> Share:
    """Which video packets of the output carry byte-identical slices of the source."""
    streams = source.streams if isinstance(source, HlsAsset) else (source,)
    hevc = streams[0].spec.codec == "hevc"
    known = {
        _slices(annexb_units(sample.data), hevc=hevc)
        for stream in streams
        for sample in stream.video.samples
    }
    foreign, total = [], 0
    with _open(Path(path), raw=True) as container:
        stream = container.streams.video[0]
        sized = not _starts_annexb(stream.codec_context.extradata or b"\0\0\1")
        for packet in container.demux(stream):
            if packet.size:
                units = sized_units(bytes(packet)) if sized else annexb_units(bytes(packet))
                if _slices(units, hevc=hevc) not in known:
                    foreign.append(total)
                total += 1
    return Share(total - len(foreign), total, tuple(foreign))


def _starts_annexb(data: bytes) -> bool:
    return data.startswith((b"\0\0\1", b"\0\0\0\1"))


def sized_units(data: bytes) -> list[bytes]:
    """NAL units with four-byte lengths."""
    units, at = [], 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        units.append(data[at + 4 : at + 4 + size].rstrip(b"\0"))
        at += 4 + size
    return units


def _slices(units: Sequence[bytes], *, hevc: bool) -> tuple[bytes, ...]:
    if hevc:
        return tuple(u for u in units if u and u[0] >> 1 & 0x3F < 32)
    return tuple(u for u in units if u and 1 <= u[0] & 0x1F <= 5)


@dataclass(frozen=True)
class Quality:
    """Output frames against the source's decoded frames, by frame number."""

    psnr_db: dict[int, float] = field(repr=False)
    ssim: dict[int, float] = field(repr=False)

    @property
    def identical(self) -> int:
        """How many frames decode to exactly the source's picture."""
        return sum(value == float("inf") for value in self.psnr_db.values())

    @property
    def min_psnr_db(self) -> float:
        """The worst frame, in dB (infinite where all are identical)."""
        return min(self.psnr_db.values())

    @property
    def min_ssim(self) -> float:
        """The worst frame's structural likeness."""
        return min(self.ssim.values())


def quality(path: Path | str, source: HlsAsset | Stream) -> Quality:
    """Luma PSNR and SSIM of every presented frame against the source's own decode."""
    streams = source.streams if isinstance(source, HlsAsset) else (source,)
    originals = {n: luma for stream in streams for n, luma in decoded_source(stream).items()}
    psnrs, ssims = {}, {}
    for frame in inspect(path, keep_luma=True).frames:
        if frame.number in originals and frame.luma is not None:
            psnrs[frame.number] = psnr(frame.luma, originals[frame.number])
            ssims[frame.number] = ssim(frame.luma, originals[frame.number])
    return Quality(psnrs, ssims)


@lru_cache(maxsize=16)
def decoded_source(stream: Stream) -> dict[int, Array]:
    """The source's decoded luma by frame number."""
    name = "hevc" if stream.spec.codec == "hevc" else "h264"
    context = av.CodecContext.create(name, "r")
    context.thread_count = 1
    context.extradata = stream.video.extradata
    frames = []
    for sample in stream.video.samples:
        frames += context.decode(av.Packet(sample.data))  # type: ignore[attr-defined]
    frames += context.decode(None)  # type: ignore[attr-defined]
    first = stream.spec.first_number
    return {first + i: luma_of_frame(frame) for i, frame in enumerate(frames)}


def psnr(one: Array, other: Array) -> float:
    """Peak signal to noise ratio in dB of two 8-bit planes."""
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def ssim(one: Array, other: Array) -> float:
    """Mean structural likeness over 8x8 blocks of two 8-bit planes."""
    a, b = _blocks(one), _blocks(other)
    mean_a, mean_b = a.mean(axis=1), b.mean(axis=1)
    var_a, var_b = a.var(axis=1), b.var(axis=1)
    both = ((a - mean_a[:, None]) * (b - mean_b[:, None])).mean(axis=1)
    c1, c2 = 6.5025, 58.5225
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def _blocks(plane: Array) -> Array:
    height, width = (plane.shape[0] // 8) * 8, (plane.shape[1] // 8) * 8
    cut = plane[:height, :width].astype(np.float64).reshape(height // 8, 8, width // 8, 8)
    return cut.swapaxes(1, 2).reshape(-1, 64)
