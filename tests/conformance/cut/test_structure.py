"""The boxes of a delivered MP4, as the strictest players want them, Apple's first of all."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import pytest

from tests.cutting import clip
from tests.hls_builder import boxes
from tests.media_builder import (
    AudioSpec,
    Discontinuity,
    HlsAsset,
    StreamSpec,
    build,
    continued,
    segment,
)
from tests.oracle import sized_units

PLAIN = StreamSpec(seconds=5)
OPEN = replace(PLAIN, gop=24, open_gop=True, bframes=3, b_pyramid=True, refs=4)
HEVC = replace(PLAIN, codec="hevc")
TWO = (AudioSpec(), AudioSpec(language="deu"))
BT709 = "colorprim=bt709:transfer=bt709:colormatrix=bt709"
ONE_S = Fraction(1)


def _one(spec: StreamSpec, **options: Any) -> Callable[[], HlsAsset]:
    return lambda: segment(build(spec), **options)


def _two_encodes() -> HlsAsset:
    first = build(replace(PLAIN, seconds=3))
    return segment(first, build(continued(first.spec, start_pts_90k=123_456, cavlc=True)))


HOLE = _one(PLAIN, segment_s=ONE_S, gaps=(2,))
JUMP = (Discontinuity(at_segment=1, pts_jump_90k=-450_000),)
CLIPS: dict[str, tuple[Callable[[], HlsAsset], dict[str, Any]]] = {
    "closed GOP": (_one(PLAIN), {}),
    "open GOP, b-pyramid": (_one(OPEN), {}),
    "fMP4 source": (_one(OPEN, container="fmp4"), {}),
    "interlaced": (_one(replace(PLAIN, interlaced="tff")), {}),
    "29.97": (_one(replace(PLAIN, fps=Fraction(30000, 1001), gop=30)), {}),
    "variable rate": (_one(replace(PLAIN, durations_ticks=(3000, 4500, 3600, 7200))), {}),
    "wide pixels": (_one(replace(PLAIN, extra="sar=16/11")), {}),
    "colours said": (_one(replace(PLAIN, extra=BT709)), {}),
    "HEVC": (_one(HEVC), {}),
    "HEVC, open GOP": (_one(replace(HEVC, gop=24, open_gop=True, bframes=3)), {}),
    "HEVC, colours said": (_one(replace(HEVC, extra=f"{BT709}:sar=16\\:11")), {}),
    "two languages": (_one(replace(PLAIN, audio=TWO)), {}),
    "two languages apart": (_one(replace(PLAIN, audio=TWO), separate_audio=True), {}),
    "44.1 kHz": (_one(replace(PLAIN, audio=(AudioSpec(rate=44100),))), {}),
    "AC-3": (_one(replace(PLAIN, audio=(AudioSpec(codec="ac3"),))), {}),
    "E-AC-3": (_one(replace(PLAIN, audio=(AudioSpec(codec="eac3"),))), {}),
    "MP2": (_one(replace(PLAIN, audio=(AudioSpec(codec="mp2"),))), {}),
    "no sound": (_one(replace(PLAIN, audio=())), {}),
    "PTS jump": (_one(PLAIN, discontinuities=JUMP), {}),
    "two encodes": (_two_encodes, {}),
    "gap in black": (HOLE, {"gaps": "black"}),
    "gap skipped": (HOLE, {"gaps": "skip"}),
    "copied outward": (_one(OPEN), {"mode": "copy"}),
    "whole re-encoded": (_one(OPEN), {"mode": "encode"}),
    "timecode": (_one(replace(PLAIN, timecode="10:00:00:00")), {}),
    "tagged": (_one(PLAIN), {"tags": {"title": "A goal", "cuttingroom": "1"}}),
}


# --- reading


def _fields(layout: str, data: bytes, at: int = 0) -> tuple[Any, ...]:
    return struct.unpack_from(layout, data, at)


@dataclass(frozen=True)
class Box:
    """A box and where its body lies."""

    kind: str
    data: bytes

    def all(self, *path: str, skip: int = 0) -> list[Box]:
        """The boxes at a path below; `skip` bytes come before the first child."""
        found = [
            Box(kind, self.data[at + 8 : end])
            for kind, at, end in boxes(self.data, skip)
            if kind == path[0]
        ]
        return found if len(path) == 1 else [b for f in found for b in f.all(*path[1:])]

    def one(self, *path: str, skip: int = 0) -> Box:
        """The only box at a path."""
        found = self.all(*path, skip=skip)
        assert len(found) == 1, (path, len(found))
        return found[0]

    @property
    def version(self) -> int:
        return self.data[0]

    @property
    def flags(self) -> int:
        return int.from_bytes(self.data[1:4], "big")

    def table(self, layout: str) -> list[tuple[Any, ...]]:
        """The rows of a table with a count in front."""
        count = _fields(">I", self.data, 4)[0]
        rows = list(struct.iter_unpack(f">{layout}", self.data[8:]))
        assert len(rows) == count
        return rows


@dataclass(frozen=True)
class Trak:
    """A track, its tables spread out."""

    box: Box
    file: bytes

    @property
    def kind(self) -> str:
        return self.box.one("mdia", "hdlr").data[8:12].decode()

    @property
    def table(self) -> Box:
        return self.box.one("mdia", "minf", "stbl")

    @property
    def entry(self) -> Box:
        return self.table.all("stsd")[0].all(self.tag, skip=8)[0]

    @property
    def tag(self) -> str:
        return self.table.one("stsd").data[12:16].decode()

    @cached_property
    def header(self) -> tuple[Any, ...]:
        """Flags, id, duration, alternate group, width and height as the track header says."""
        box = self.box.one("tkhd")
        assert box.version == 1
        _, _, number, _, length = _fields(">QQIIQ", box.data, 4)
        _, group, _, _ = _fields(">hhhh", box.data, 44)
        return box.flags, number, length, group, *_fields(">II", box.data, 88)

    @property
    def media(self) -> tuple[int, int, str]:
        """Timescale, duration and language."""
        box = self.box.one("mdia", "mdhd")
        _, _, scale, length, packed = _fields(">QQIQH", box.data, 4)
        letters = bytes(0x60 + (packed >> shift & 0x1F) for shift in (10, 5, 0))
        return scale, length, letters.decode()

    @property
    def edits(self) -> list[tuple[Any, ...]]:
        return self.box.one("edts", "elst").table("QqHH")

    @cached_property
    def durations(self) -> list[int]:
        return [step for count, step in self.table.one("stts").table("II") for _ in range(count)]

    @cached_property
    def shifts(self) -> list[int]:
        found = self.table.all("ctts")
        rows = found[0].table("Ii" if found[0].version else "II") if found else []
        return [shift for count, shift in rows for _ in range(count)] or [0] * len(self.sizes)

    @cached_property
    def sizes(self) -> list[int]:
        same, count = _fields(">II", self.table.one("stsz").data, 4)
        assert same == 0
        return list(_fields(f">{count}I", self.table.one("stsz").data, 12))

    @cached_property
    def chunks(self) -> list[tuple[int, int, int]]:
        """Offset, first sample and number of samples of each chunk."""
        offsets = [row[0] for row in self.table.one("stco").table("I")]
        runs = self.table.one("stsc").table("III")
        assert all(entry == 1 for _, _, entry in runs)
        counts: list[int] = []
        for (first, each, _), following in zip(runs, [*runs[1:], None], strict=True):
            stop = following[0] if following else len(offsets) + 1
            counts += [each] * (stop - first)
        starts = accumulate(counts, initial=0)
        return list(zip(offsets, starts, counts, strict=False))

    def samples(self) -> Iterator[bytes]:
        """Every sample in decode order."""
        for at, first, count in self.chunks:
            for size in self.sizes[first : first + count]:
                yield self.file[at : at + size]
                at += size

    @property
    def starts(self) -> list[int]:
        return list(accumulate(self.durations, initial=0))


@dataclass(frozen=True)
class Movie:
    """A delivered file."""

    data: bytes
    asset: HlsAsset

    @property
    def root(self) -> Box:
        return Box("", self.data)

    @property
    def head(self) -> tuple[int, int, int]:
        """Timescale, duration and the next free track id."""
        box = self.root.one("moov", "mvhd")
        assert box.version == 1
        _, _, scale, length = _fields(">QQIQ", box.data, 4)
        return scale, length, _fields(">I", box.data, len(box.data) - 4)[0]

    @cached_property
    def tracks(self) -> list[Trak]:
        return [Trak(box, self.data) for box in self.root.all("moov", "trak")]

    @property
    def pictures(self) -> Trak:
        return next(t for t in self.tracks if t.kind == "vide")

    @property
    def sounds(self) -> list[Trak]:
        return [t for t in self.tracks if t.kind == "soun"]


@pytest.fixture(scope="module", params=CLIPS)
def movie(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Movie:
    made, asked = CLIPS[request.param]
    asset = made()
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4510
    made_clip = clip(asset, tmp_path_factory.mktemp("clip"), start, end, **asked)
    return Movie(made_clip.path.read_bytes(), asset)


# --- the file


def test_the_index_stands_before_the_media(movie: Movie) -> None:
    found = list(boxes(movie.data))

    kinds = [kind for kind, _, _ in found]
    assert [kind for kind in kinds if kind != "free"] == ["ftyp", "moov", "mdat"]
    assert found[-1][2] == len(movie.data)
    assert not movie.root.all("moov", "mvex")


def test_the_brands_are_those_of_a_plain_mp4(movie: Movie) -> None:
    data = movie.root.one("ftyp").data

    brands = {data[at : at + 4].decode() for at in range(8, len(data), 4)}
    assert data[:4] == b"isom"
    assert {"isom", "iso2", "mp41"} <= brands
    assert "qt  " not in brands
    assert ("avc1" in brands) <= (movie.pictures.tag == "avc1")


def test_the_movie_counts_in_90_khz_and_lasts_as_its_longest_track(movie: Movie) -> None:
    scale, length, following = movie.head

    numbers = [track.header[1] for track in movie.tracks]
    assert scale == 90_000
    assert numbers == list(range(1, len(numbers) + 1))
    assert following > max(numbers)
    assert length == max(track.header[2] for track in movie.tracks)


# --- every track


def test_a_track_shows_one_piece_of_its_media_and_no_more_than_there_is(movie: Movie) -> None:
    for track in movie.tracks:
        scale, *_ = track.media
        last = zip(track.starts, track.shifts, track.durations, strict=False)
        length = max(sum(sample) for sample in last)
        *empty, (shown, start, rate, fraction) = track.edits

        assert [row[1] for row in empty] in ([], [-1])
        assert (rate, fraction) == (1, 0)
        assert 0 <= start < length
        assert Fraction(shown, 90_000) <= Fraction(length - start, scale) + Fraction(1, 90_000)
        assert track.header[2] == sum(row[0] for row in track.edits)


def test_the_tables_agree_on_length_and_count(movie: Movie) -> None:
    for track in movie.tracks:
        assert sum(track.durations) == track.media[1]
        assert len(track.durations) == len(track.sizes) == len(track.shifts)
        assert sum(count for _, _, count in track.chunks) == len(track.sizes)
        assert all(size > 0 for size in track.sizes)
        assert all(step > 0 for step in track.durations)


def test_no_frame_is_shown_before_it_is_decoded(movie: Movie) -> None:
    for track in movie.tracks:
        assert all(0 <= shift < 1 << 31 for shift in track.shifts)
        for table in track.table.all("ctts"):
            assert table.version == 0


def test_samples_cover_the_media_once(movie: Movie) -> None:
    spans = sorted(
        (at, at + sum(track.sizes[first : first + count]))
        for track in movie.tracks
        for at, first, count in track.chunks
    )

    begin, end = next((at + 16, end) for kind, at, end in boxes(movie.data) if kind == "mdat")
    assert (spans[0][0], spans[-1][1]) == (begin, end)
    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_offsets_are_short_where_the_file_is(movie: Movie) -> None:
    for track in movie.tracks:
        assert not track.table.all("co64")


def test_chunks_are_short_and_lie_side_by_side(movie: Movie) -> None:
    """A player reads forward: at any place in the file the tracks stand at about one time."""
    placed: list[tuple[int, float, float, int]] = []
    streaming = [movie.pictures, *movie.sounds]
    for number, track in enumerate(streaming):
        scale = track.media[0]
        for at, first, count in track.chunks:
            begin, end = (track.starts[n] / scale for n in (first, first + count))
            placed.append((at, begin, end, number))

    reached = [0.0] * len(streaming)
    for _, begin, end, number in sorted(placed):
        assert end - begin <= 1.0
        reached[number] = end
        assert max(reached) - min(reached) <= 1.5


def test_the_media_is_in_this_file(movie: Movie) -> None:
    for track in movie.tracks:
        place = track.box.one("mdia", "minf", "dinf", "dref")
        assert place.data[4:] == struct.pack(">II4sI", 1, 12, b"url ", 1)
        assert len(track.table.one("stsd").all(track.tag, skip=8)) == 1
        assert _fields(">I", track.table.one("stsd").data, 4) == (1,)
        assert _fields(">H", track.entry.data, 6) == (1,)


def test_only_one_track_of_a_group_is_on(movie: Movie) -> None:
    assert movie.pictures.header[0] == 3
    assert movie.pictures.header[3] == 0
    on = [track.header[0] & 1 for track in movie.sounds]
    assert sum(on) == bool(on)
    assert {track.header[3] for track in movie.sounds} <= {1}


# --- pictures


def _units(sample: bytes, *, hevc: bool) -> list[int]:
    return [u[0] >> 1 & 0x3F if hevc else u[0] & 0x1F for u in sized_units(sample)]


def test_parameter_sets_stand_in_the_sample_entry_alone(movie: Movie) -> None:
    track = movie.pictures
    hevc = track.tag == "hvc1"

    assert track.tag in {"avc1", "hvc1"}
    in_band = {32, 33, 34, 35} if hevc else {7, 8, 9, 13}
    for sample in track.samples():
        assert not in_band & set(_units(sample, hevc=hevc))
    record = track.entry.one("hvcC" if hevc else "avcC", skip=78).data
    assert record[0] == 1
    assert record[21 if hevc else 4] & 3 == 3
    if hevc:
        assert [kind & 0xBF for kind in _hevc_arrays(record)] == [0xA0, 0xA1, 0xA2]


def _hevc_arrays(record: bytes) -> Iterator[int]:
    """The first byte of each array: whether it is complete, and its NAL unit type."""
    at = 23
    for _ in range(record[22]):
        yield record[at]
        count = _fields(">H", record, at + 1)[0]
        at += 3
        for _ in range(count):
            at += 2 + _fields(">H", record, at)[0]


def test_sync_samples_are_the_pictures_one_may_start_at(movie: Movie) -> None:
    track = movie.pictures
    hevc = track.tag == "hvc1"
    synced = [row[0] for row in track.table.one("stss").table("I")]

    starts, skipped = (range(16, 24), (8, 9)) if hevc else ((5,), ())
    kinds = [_units(sample, hevc=hevc) for sample in track.samples()]
    # A keyframe followed by pictures that cannot be decoded from it is no place to seek to.
    places = [
        number
        for number, (here, after) in enumerate(zip(kinds, [*kinds[1:], ()], strict=True), 1)
        if set(starts) & set(here) and not set(skipped) & set(after)
    ]
    assert synced == places
    assert synced[0] == 1


def test_a_picture_track_says_its_size_its_pixels_and_its_colours(movie: Movie) -> None:
    track = movie.pictures
    spec = movie.asset.streams[0].spec

    width, height = _fields(">HH", track.entry.data, 24)
    shown = Fraction(track.header[4], 65536), Fraction(track.header[5], 65536)
    pixels = [_fields(">II", b.data) for b in track.entry.all("pasp", skip=78)]
    colours = [b.data for b in track.entry.all("colr", skip=78)]
    assert (width, height) == spec.size
    wide = "sar" in spec.extra
    assert pixels == [(16, 11)] if wide else all(a == b for a, b in pixels)
    assert shown[1] == height
    assert abs(shown[0] - width * (Fraction(16, 11) if wide else 1)) < 1
    said = [struct.pack(">4sHHHB", b"nclx", 1, 1, 1, 0)] if "bt709" in spec.extra else []
    assert colours == said


# --- sound


def test_a_sound_track_says_its_rate_its_language_and_its_codec(movie: Movie) -> None:
    specs = movie.asset.streams[0].spec.audio
    tags = {"aac": "mp4a", "mp2": "mp4a", "ac3": "ac-3", "eac3": "ec-3"}
    records = {"mp4a": "esds", "ac-3": "dac3", "ec-3": "dec3"}

    assert len(movie.sounds) == len(specs)
    for track, spec in zip(movie.sounds, specs, strict=True):
        scale, _, language = track.media
        channels, bits, _, rate = _fields(">HHII", track.entry.data, 16)
        assert (scale, language) == (spec.rate, spec.language)
        assert (channels, bits, rate >> 16) == (spec.channels, 16, spec.rate)
        assert track.tag == tags[spec.codec]
        assert track.entry.one(records[track.tag], skip=28).data
        assert not track.table.all("stss")


def test_sound_and_picture_begin_together(movie: Movie) -> None:
    for track in movie.tracks:
        delay = sum(row[0] for row in track.edits if row[1] == -1)
        assert delay <= 90
