"""Re-reads a written MP4 and holds it against its plan: nothing is delivered that differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, repeat
from pathlib import Path
from struct import unpack_from
from typing import Any, BinaryIO

import av
from av.error import FFmpegError

from media.cut import h264, hevc
from media.cut.bits import join_annexb, split_prefixed
from media.cut.fmp4 import boxes
from schemas.cuts import (
    CopiedSound,
    CopiedSpan,
    CutPlan,
    CutReport,
    DeliveredTrack,
    EncodedSpan,
    FilledSpan,
    SoundTrack,
)
from schemas.errors import CorruptMedia

MAX_INDEX_BYTES = 256 * 1024 * 1024
EDGE_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Written:
    """A track as the file tells of it: samples in decode order, times in its own ticks."""

    handler: str
    timescale: int
    entry: bytes
    sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    pts: tuple[int, ...]
    durations: tuple[int, ...]
    syncs: tuple[int, ...]
    media_start: int
    delay: Fraction
    shown: Fraction

    def shown_at(self, pts: int) -> Fraction:
        """When a sample is presented, in seconds."""
        return self.delay + Fraction(pts - self.media_start, self.timescale)


def verified(plan: CutPlan, path: Path) -> CutReport:
    """The report of a cut whose file is what was planned; anything else is `CorruptMedia`."""
    with path.open("rb") as file:
        tracks = written(file)
        pictures = [t for t in tracks if t.handler == "vide"]
        sounds = [t for t in tracks if t.handler == "soun"]
        if len(pictures) != bool(plan.pictures) or len(sounds) != len(plan.sounds):
            raise CorruptMedia("the written file has other tracks than planned")
        for track in pictures:
            _check_pictures(plan, track)
            _check_edges(plan, track, file)
        offsets = [
            _check_sound(plan, planned, track)
            for planned, track in zip(plan.sounds, sounds, strict=True)
        ]
    return _report(plan, offsets)


# --- reading back


def written(file: BinaryIO) -> list[Written]:
    """The tracks of an MP4 whose index stands in front."""
    head = file.read(16)
    file.seek(int.from_bytes(head[:4], "big"))
    start = file.read(8)
    size = int.from_bytes(start[:4], "big")
    if start[4:] != b"moov" or not 8 <= size <= MAX_INDEX_BYTES:
        raise CorruptMedia("the written file does not begin with its index")
    movie = file.read(size - 8)
    scale: int = unpack_from(">I", dict(boxes(movie))[b"mvhd"], 20)[0]
    return [_track(body, scale) for kind, body in boxes(movie) if kind == b"trak"]


def _track(body: bytes, movie_scale: int) -> Written:
    media = dict(boxes(dict(boxes(body))[b"mdia"]))
    table = dict(boxes(dict(boxes(media[b"minf"]))[b"stbl"]))
    durations = _runs(table[b"stts"], "I")
    shifts = _runs(table[b"ctts"], "I") if b"ctts" in table else repeat(0)
    starts = accumulate(durations, initial=0)
    pts = tuple(start + shift for start, shift, _ in zip(starts, shifts, durations, strict=False))
    sizes = _column(table[b"stsz"], 8, "I")
    start, delay, shown = _edits(dict(boxes(body)), movie_scale)
    return Written(
        media[b"hdlr"][8:12].decode("ascii", "replace"),
        unpack_from(">I", media[b"mdhd"], 20)[0],
        table[b"stsd"][8:],
        sizes,
        tuple(_offsets(table, sizes)),
        pts,
        durations,
        _column(table[b"stss"], 4, "I") if b"stss" in table else (),
        start,
        delay,
        shown,
    )


def _column(body: bytes, at: int, letter: str) -> tuple[int, ...]:
    count = unpack_from(">I", body, at)[0]
    return unpack_from(f">{count}{letter}", body, at + 4)


def _runs(body: bytes, letter: str) -> tuple[int, ...]:
    count = unpack_from(">I", body, 4)[0]
    pairs = unpack_from(f">{count * 2}{letter}", body, 8)
    return tuple(chain.from_iterable(repeat(v, n) for n, v in zip(*[iter(pairs)] * 2, strict=True)))


def _edits(parts: dict[bytes, bytes], movie_scale: int) -> tuple[int, Fraction, Fraction]:
    """Media start, delay and shown length of a track's edit list."""
    body = dict(boxes(parts[b"edts"]))[b"elst"]
    count, delay = unpack_from(">I", body, 4)[0], Fraction(0)
    for turn in range(count):
        length, start = unpack_from(">Qq", body, 8 + 20 * turn)
        if start >= 0:
            return start, delay, Fraction(length, movie_scale)
        delay += Fraction(length, movie_scale)
    raise CorruptMedia("a track of the written file shows nothing")


def _offsets(table: dict[bytes, bytes], sizes: Sequence[int]) -> Iterator[int]:
    """Where each sample lies."""
    wide = b"co64" in table
    chunks = _column(table[b"co64" if wide else b"stco"], 4, "Q" if wide else "I")
    count = unpack_from(">I", table[b"stsc"], 4)[0]
    entries = [unpack_from(">III", table[b"stsc"], 8 + 12 * n)[:2] for n in range(count)]
    ends = [first for first, _ in entries[1:]] + [len(chunks) + 1]
    sample = 0
    for (first, each), end in zip(entries, ends, strict=True):
        for chunk in range(first, end):
            at = chunks[chunk - 1]
            for size in sizes[sample : sample + each]:
                yield at
                at += size
            sample += each


# --- judging


def _check_pictures(plan: CutPlan, track: Written) -> None:
    if len(track.sizes) != plan.frames or len(track.pts) != plan.frames:
        raise CorruptMedia(f"{len(track.sizes)} frames were written, {plan.frames} planned")
    shown = sorted(track.pts)
    if len(set(shown)) != len(shown):
        raise CorruptMedia("two written frames are shown at one time")
    if track.shown_at(shown[0]) != 0:
        raise CorruptMedia(f"the first frame is shown at {float(track.shown_at(shown[0]))} s")
    if min(track.pts) < track.media_start:
        raise CorruptMedia("a written frame hides behind the edit list")
    end = Fraction(plan.end_ticks, plan.timescale)
    if abs(track.shown - end) > Fraction(1, 1000):
        raise CorruptMedia(f"{float(track.shown):.3f} s are shown, {float(end):.3f} s planned")
    if not track.syncs or track.syncs[0] != 1:
        raise CorruptMedia("the written file does not begin with a place to start")


def _check_sound(plan: CutPlan, planned: SoundTrack, track: Written) -> float:
    """Hold a sound track against its plan; answers its offset from the pictures in ms."""
    expected = planned.written_frames
    if len(track.sizes) != expected:
        raise CorruptMedia(f"{len(track.sizes)} sound frames were written, {expected} planned")
    worst, at = 0.0, 0
    for wanted, frames in _places(planned):
        offset = float((track.shown_at(track.pts[at]) - wanted) * 1000)
        worst = offset if abs(offset) > abs(worst) else worst
        at += frames
    if abs(worst) > 1:
        raise CorruptMedia(f"sound is {worst:.3f} ms off its pictures")
    return round(worst, 3)


def _places(track: SoundTrack) -> list[tuple[Fraction, int]]:
    """When the pieces of a track are planned to begin, in seconds, and their frames."""
    made = track.recoding
    if made is not None:
        return [(Fraction(made.at_sample, made.sample_rate_hz), made.frames)]
    return [(Fraction(p.at_sample, track.sample_rate_hz), p.frames) for p in track.pieces]


def _check_edges(plan: CutPlan, track: Written, file: BinaryIO) -> None:
    """What was re-encoded at the ends decodes, as does the first copied picture."""
    at = 0
    for number, span in enumerate(plan.pictures):
        edge = number in {0, len(plan.pictures) - 1}
        if edge or not isinstance(span, CopiedSpan):
            count = min(span.frames, 1 if isinstance(span, CopiedSpan) else EDGE_FRAMES)
            _check_decodes(track, file, at, count)
        at += span.frames


def _check_decodes(track: Written, file: BinaryIO, first: int, count: int) -> None:
    decoder: Any = av.CodecContext.create("hevc" if track.entry[4:8] == b"hvc1" else "h264", "r")
    decoder.extradata = join_annexb(_sets(track.entry))
    decoder.thread_count = 1
    seen = 0
    try:
        for number in range(first, first + count):
            file.seek(track.offsets[number])
            data = file.read(track.sizes[number])
            seen += _clean(decoder.decode(av.Packet(join_annexb(split_prefixed(data, 4)))))
        seen += _clean(decoder.decode(None))
    except FFmpegError as error:
        raise CorruptMedia(f"a written picture does not decode: {error.strerror}") from error
    if seen < count:
        raise CorruptMedia(f"{seen} of {count} pictures at an edge of the written file decode")


def _clean(frames: Sequence[Any]) -> int:
    if any(frame.is_corrupt for frame in frames):
        raise CorruptMedia("a written picture decodes with errors")
    return len(frames)


def _sets(entry: bytes) -> tuple[bytes, ...]:
    """The parameter sets of a visual sample entry."""
    parts = dict(boxes(entry, 86, int.from_bytes(entry[:4], "big")))
    if b"hvcC" in parts:
        return hevc.parse_hvcc(parts[b"hvcC"])[1]
    return h264.parse_avcc(parts.get(b"avcC", b""))[1]


# --- the report


def _report(plan: CutPlan, offsets: Sequence[float]) -> CutReport:
    encoded = plan.frames - plan.copied_frames
    tracks = [_delivered(track, offset) for track, offset in zip(plan.sounds, offsets, strict=True)]
    if plan.pictures:
        tracks.insert(0, _delivered_pictures(plan))
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
        coverage=round(max(0.0, 1 - missing / plan.wanted.length_ms), 6),
        gaps=plan.gaps,
        tracks=tuple(tracks),
        start_timecode=plan.start_timecode,
        notes=plan.notes,
        frame_rate=plan.frame_rate,
        parts=plan.parts,
    )


def _ms(us: Fraction) -> int:
    return int((us + 500) // 1000)


def _reencoded_ms(plan: CutPlan) -> int:
    share = Fraction(plan.frames - plan.copied_frames, max(plan.frames, 1))
    return round(share * plan.end_ticks * 1000 / plan.timescale)


def _delivered(track: SoundTrack, offset: float) -> DeliveredTrack:
    return DeliveredTrack(
        kind="audio",
        codec=track.recoding.codec if track.recoding else track.codec,
        language=track.language,
        name=track.name,
        frames=track.written_frames,
        av_offset_ms=offset,
        copied=track.recoding is None
        and all(isinstance(piece, CopiedSound) for piece in track.pieces),
    )


def _delivered_pictures(plan: CutPlan) -> DeliveredTrack:
    span = plan.pictures[0]
    facts = plan.runs[span.like if isinstance(span, FilledSpan) else span.run].pictures
    codec = facts.codec if facts and plan.mode != "encode" else "h264"
    whole = not any(isinstance(each, EncodedSpan | FilledSpan) for each in plan.pictures)
    return DeliveredTrack(kind="video", codec=codec, frames=plan.frames, copied=whole)
