"""Carries a cut plan out: copies, re-encodes the edges, writes the MP4 and checks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

from media.cut import edges, h264, hevc
from media.cut.bits import split_prefixed
from media.cut.codecs import Coding, Rewrite, coding_of
from media.cut.edges import Encoded, Recipe
from media.cut.feed import SoundFeed, copied_frames
from media.cut.fill import fill_piece
from media.cut.mp4 import Mp4Writer, Track, index_room, set_picture_times, set_sound_times
from media.cut.reading import Picture, Segments
from media.cut.recode import Recoder
from media.cut.source import TsPictures, Wants
from media.cut.timecode import Timecode, nominal, timecode_of, timecode_track
from media.cut.verify import verified
from schemas.cuts import (
    CopiedSpan,
    CutPlan,
    CutReport,
    EncodedSpan,
    FilledSpan,
    PictureFacts,
    PictureSpan,
    SoundTrack,
)
from schemas.errors import CorruptMedia

Report = Callable[[int, int], None]
_Copied = tuple[Picture, tuple[bytes, bool]]
AHEAD_BYTES = 2 * 1024 * 1024
PICTURES_ONLY = Wants(sounds=frozenset())


def cut(plan: CutPlan, workspace: Path, report: Report) -> CutReport:
    """Write the plan's output into the workspace; `report(done, total)` counts output ticks."""
    path = workspace / plan.output
    samples = plan.frames + sum(track.written_frames for track in plan.sounds)
    brands = b"isomiso2mp41" + (b"avc1" if _output_codec(plan) == "h264" else b"")
    with Mp4Writer(path, index_room(samples, len(plan.sounds) + 2), brands=brands) as writer:
        cutter = _Cutter(plan, workspace, writer, report)
        cutter.run()
    found = verified(plan, path)
    return found.model_copy(update={"start_timecode": cutter.start_timecode})


def _output_codec(plan: CutPlan) -> str:
    """What the output's pictures are coded in; nothing where it has none."""
    if not plan.pictures:
        return ""
    first = plan.pictures[0]
    facts = plan.runs[first.like if isinstance(first, FilledSpan) else first.run].pictures
    return facts.codec if facts is not None and plan.mode != "encode" else "h264"


@dataclass(slots=True)
class _Batch:
    """Pictures ready to be written, with their output PTS."""

    samples: list[bytes]
    pts: list[int]
    syncs: list[int]


class _Cutter:
    """One cut under way."""

    def __init__(self, plan: CutPlan, workspace: Path, writer: Mp4Writer, report: Report) -> None:
        self._plan = plan
        self._workspace = workspace
        self._writer = writer
        self._report = report
        self._segments = Segments(workspace, plan.runs)
        self._pts: list[int] = []
        self._coding = coding_of(_output_codec(plan))
        self._adopted: dict[int, Rewrite | None] = {}
        self._label: Timecode | None = None
        self._pictures = Track("vide", plan.timescale)
        made = [self._sound(track) for track in plan.sounds]
        self._feeds = [feed for feed, _, _ in made]
        self._sounds = [
            Track(
                "soun",
                hertz,
                entry=entry,
                language=track.language,
                name=track.name,
                enabled=number == _enabled(plan.sounds),
                group=1,
            )
            for number, (track, (_, entry, hertz)) in enumerate(zip(plan.sounds, made, strict=True))
        ]

    def _sound(self, track: SoundTrack) -> tuple[SoundFeed, bytes, int]:
        """Where a track's frames come from, its sample entry and its samples a second."""
        recoding = track.recoding
        if recoding is None:
            frames = copied_frames(track, self._segments)
            return SoundFeed(frames), bytes.fromhex(track.entry), track.sample_rate_hz
        end = round(Fraction(self._plan.end_ticks * recoding.sample_rate_hz, self._plan.timescale))
        recoder = Recoder(track, recoding, self._segments)
        return SoundFeed(recoder.frames(end)), recoder.entry(), recoding.sample_rate_hz

    def run(self) -> None:
        """Write media and index."""
        plan, writer = self._plan, self._writer
        writer.created_s = int(plan.start_us // 1_000_000)
        writer.tags = plan.tags
        writer.tracks = [*([self._pictures] if plan.pictures else []), *self._sounds]
        self._adopt_sources()
        with ThreadPoolExecutor(1) as beside:
            pieces = self._started(beside)
            for batch in self._in_order(pieces):
                self._write(batch)
        self._write_sounds(None)
        self._label_start()
        self._finish()

    @property
    def start_timecode(self) -> str | None:
        """The timecode of the first frame, where the source labels its frames."""
        return str(self._label) if self._label else self._plan.start_timecode

    def _label_start(self) -> None:
        """Find the first frame's timecode: a copied first picture is decoded for it."""
        first = self._plan.pictures[0] if self._plan.pictures else None
        if isinstance(first, CopiedSpan):
            stop = first.first.model_copy(update={"packet": first.first.packet + 1})
            pictures = self._segments.pictures(first.run, first.first, stop)
            for frame in edges.decoded(pictures, self._facts(first), lambda pts: True):
                self._label = timecode_of(frame)

    def _facts(self, span: PictureSpan) -> PictureFacts:
        run = span.like if isinstance(span, FilledSpan) else span.run
        facts = self._plan.runs[run].pictures
        if facts is None:
            raise CorruptMedia("the plan copies pictures from a run without any")
        return facts

    def _adopt_sources(self) -> None:
        """Take in the sets of all that is copied first, so that pieces find free ids."""
        for span in self._plan.pictures:
            if isinstance(span, CopiedSpan) and span.run not in self._adopted:
                self._adopted[span.run] = self._coding.adopt(_sets(self._facts(span)))

    # --- pieces that are encoded

    def _started(self, beside: ThreadPoolExecutor) -> dict[int, Future[Encoded]]:
        """Every edge on its way in a thread; a whole re-encode streams instead."""
        if self._plan.mode == "encode":
            return {}
        set_id = self._coding.free_id()
        return {
            number: beside.submit(self._edge, span, set_id)
            for number, span in enumerate(self._plan.pictures)
            if not isinstance(span, CopiedSpan)
        }

    def _edge(self, span: EncodedSpan | FilledSpan, set_id: int) -> Encoded:
        facts = self._facts(span)
        recipe = edges.edge_recipe(facts, set_id)
        segments = Segments(self._workspace, self._plan.runs, PICTURES_ONLY, keep=1)
        if isinstance(span, FilledSpan):
            return fill_piece(span, facts, recipe, segments)
        return edges.piece(self._frames(span, facts, segments), recipe, span.frames)

    def _in_order(self, pieces: dict[int, Future[Encoded]]) -> Iterator[_Batch]:
        """All batches in output order; while an edge is encoded, copying goes on into memory."""
        ahead: dict[int, Iterator[_Batch]] = {}
        for number, span in enumerate(self._plan.pictures):
            piece = pieces.get(number)
            if piece is not None and number + 1 < len(self._plan.pictures):
                following = self._plan.pictures[number + 1]
                if isinstance(following, CopiedSpan):
                    ahead[number + 1] = _while_waiting(self._copied(following), piece)
            yield from ahead.pop(number, None) or self._batches(span, piece)

    def _batches(self, span: PictureSpan, piece: Future[Encoded] | None) -> Iterator[_Batch]:
        if isinstance(span, CopiedSpan):
            return self._copied(span)
        if piece is not None:
            return self._encoded(span, piece.result())
        return self._streamed(span)

    def _encoded(self, span: EncodedSpan | FilledSpan, done: Encoded) -> Iterator[_Batch]:
        rewrite, place = self._coding.adopt(done.sets), self._placer(span)
        return self._grouped(
            (place(pts), sync, self._coding.sample(rewrite(nals) if rewrite else nals))
            for pts, sync, nals in zip(done.pts, done.syncs, done.nals, strict=True)
        )

    def _grouped(self, samples: Iterable[tuple[int, bool, bytes]]) -> Iterator[_Batch]:
        """Samples about half a second at a time, so that sound never lies far from pictures."""
        batch, limit = _Batch([], [], []), self._plan.timescale // 2
        for pts, sync, sample in samples:
            if batch.samples and abs(pts - batch.pts[0]) >= limit:
                yield batch
                batch = _Batch([], [], [])
            if sync:
                batch.syncs.append(len(batch.samples))
            batch.samples.append(sample)
            batch.pts.append(pts)
        yield batch

    def _streamed(self, span: EncodedSpan | FilledSpan) -> Iterator[_Batch]:
        """A long piece, encoded and written as it goes."""
        facts = self._facts(span)
        recipe = edges.whole_recipe(facts)
        segments = Segments(self._workspace, self._plan.runs, PICTURES_ONLY, keep=1)
        if isinstance(span, FilledSpan):
            return self._encoded(span, fill_piece(span, facts, recipe, segments))
        return self._grouped(self._streamed_samples(span, facts, recipe, segments))

    def _streamed_samples(
        self, span: EncodedSpan, facts: PictureFacts, recipe: Recipe, segments: Segments
    ) -> Iterator[tuple[int, bool, bytes]]:
        rewrite: Rewrite | None = None
        count, place = 0, self._placer(span)
        for pts, sync, nals in edges.encode(self._frames(span, facts, segments), recipe):
            if not count:
                rewrite = self._coding.adopt(_sets_in(self._coding, nals))
            count += 1
            yield place(pts), sync, self._coding.sample(rewrite(nals) if rewrite else nals)
        if count != span.frames:
            raise CorruptMedia(f"{count} of {span.frames} frames decode")

    # --- what is copied

    def _copied(self, span: CopiedSpan) -> Iterator[_Batch]:
        place = self._placer(span)
        return self._grouped(
            (place(picture.pts), sync, sample)
            for picture, (sample, sync) in self._seekable(self._copied_samples(span))
        )

    def _seekable(self, samples: Iterator[_Copied]) -> Iterator[_Copied]:
        """The samples, an HEVC keyframe with skipped leading pictures no longer a sync sample.

        Players show the keyframe for each of those pictures where they may begin there.
        """
        if self._coding.codec != "hevc":
            yield from samples
            return
        held: _Copied | None = None
        for picture, (sample, sync) in samples:
            if held is not None:
                before, (data, key) = held
                open_key = key and hevc.is_skipped(split_prefixed(sample, 4))
                yield before, (data, key and not open_key)
            held = picture, (sample, sync)
        if held is not None:
            yield held

    def _copied_samples(self, span: CopiedSpan) -> Iterator[_Copied]:
        rewrites, coding = self._rewrites(span), self._coding
        synced = hevc.is_irap if coding.codec == "hevc" else h264.is_idr
        for picture in self._segments.pictures(span.run, span.first, span.stop):
            if picture.pts < span.floor_pts:
                continue
            if not rewrites and isinstance(picture.source, TsPictures):
                yield picture, coding.quick(picture.source.data(picture.index))
                continue
            nals = picture.nals()
            for rewrite in rewrites:
                nals = rewrite(nals)
            yield picture, (coding.sample(nals), synced(nals))

    def _rewrites(self, span: CopiedSpan) -> list[Rewrite]:
        """What a copied picture is put through: mostly nothing."""
        found: list[Rewrite] = []
        if span.to_idr:
            found.append(self._coding.opener(_sets(self._facts(span))))
        adopted = self._adopted[span.run]
        return [*found, adopted] if adopted else found

    def _placer(self, span: PictureSpan) -> Callable[[int], int]:
        """Where a picture lies in the output, by its PTS."""
        if isinstance(span, FilledSpan):
            return int
        ratio = self._facts(span).timebase * self._plan.timescale
        offset = span.offset_ticks
        if ratio == 1:
            return lambda pts: pts + offset
        return lambda pts: round(pts * ratio) + offset

    # --- writing

    def _write(self, batch: _Batch) -> None:
        if not batch.samples:
            return
        base = len(self._pts)
        self._pictures.syncs.extend(base + at for at in batch.syncs)
        self._pts.extend(batch.pts)
        self._writer.write(self._pictures, batch.samples)
        reached = max(batch.pts)
        self._write_sounds(reached)
        self._report(min(reached, self._plan.end_ticks), self._plan.end_ticks)

    def _write_sounds(self, reached: int | None) -> None:
        for track, feed in zip(self._sounds, self._feeds, strict=True):
            until = None if reached is None else reached * track.timescale // self._plan.timescale
            self._writer.write(track, feed.until(until))

    def _finish(self) -> None:
        plan = self._plan
        if plan.pictures:
            self._pictures.entry = self._coding.entry()
            facts = self._facts(plan.pictures[0])
            self._pictures.width = facts.width * (facts.aspect or Fraction(1))
            self._pictures.height = facts.height
            set_picture_times(self._pictures, self._pts, plan.end_ticks)
        for track, planned in zip(self._sounds, plan.sounds, strict=True):
            end = round(plan.end_ticks * track.timescale / plan.timescale)
            set_sound_times(track, _starts(planned), _step(planned), end)
        if self._label is not None and plan.pictures:
            self._add_timecode(self._label)
        self._writer.finish()

    def _add_timecode(self, label: Timecode) -> None:
        facts = self._facts(self._plan.pictures[0])
        rate = 1 / (max(facts.frame_ticks, 1) * facts.timebase)
        track, sample = timecode_track(label, nominal(rate), self._pictures.shown_ticks)
        self._writer.write(track, [sample])
        self._writer.tracks.append(track)
        self._pictures.timecode_track = len(self._writer.tracks)

    def _frames(
        self, span: EncodedSpan, facts: PictureFacts, segments: Segments
    ) -> Iterator[object]:
        """The kept frames of a span; the very first of the clip is asked for its timecode."""
        pictures = segments.pictures(span.run, span.first, span.stop)
        leads = span is self._plan.pictures[0]
        for frame in edges.decoded(pictures, facts, lambda pts: span.from_pts <= pts < span.to_pts):
            if leads:
                self._label, leads = timecode_of(frame), False
            yield frame


def _starts(track: SoundTrack) -> list[tuple[int, int]]:
    """Where the pieces of a track as it is written begin, and their frames."""
    if track.recoding is not None:
        return [(track.recoding.at_sample, track.recoding.frames)]
    return [(piece.at_sample, piece.frames) for piece in track.pieces]


def _step(track: SoundTrack) -> int:
    return track.recoding.frame_samples if track.recoding else track.frame_samples


def _enabled(sounds: Sequence[SoundTrack]) -> int:
    """The one sound of the alternate group that plays by itself: the default, else the first."""
    return next((number for number, sound in enumerate(sounds) if sound.default), 0)


def _sets(facts: PictureFacts) -> list[bytes]:
    return [bytes.fromhex(nal) for nal in facts.sets]


def _sets_in(coding: Coding, nals: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return hevc.sets_of(nals) if coding.codec == "hevc" else h264.sets_of(nals)


def _while_waiting(batches: Iterator[_Batch], piece: Future[Encoded]) -> Iterator[_Batch]:
    """The same batches, some of them read early while a piece is not done."""
    held: list[_Batch] = []
    room = AHEAD_BYTES
    while room > 0 and not piece.done():
        batch = next(batches, None)
        if batch is None:
            break
        held.append(batch)
        room -= sum(map(len, batch.samples))
    return chain(held, batches)
