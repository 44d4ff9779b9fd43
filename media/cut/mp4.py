"""Writes the delivered MP4: index in front, one edit a track, every timestamp exact.

Room for the index is left free in front and the media written once behind it, so that a long
clip needs neither memory for its media nor a second pass.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from struct import pack
from types import TracebackType
from typing import Self

from media.cut.sound import box

MOVIE_HZ = 90_000
# Seconds between 1904, where MP4 counts from, and 1970.
MAC_EPOCH_S = 2_082_844_800
_MATRIX = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_ITEMS = {
    "title": b"\xa9nam",
    "artist": b"\xa9ART",
    "album": b"\xa9alb",
    "comment": b"\xa9cmt",
    "copyright": b"cprt",
    "date": b"\xa9day",
    "description": b"desc",
    "genre": b"\xa9gen",
}
_COPY_BYTES = 1 << 20
_BESIDE_BYTES = 4 << 20
_MOST_VECTORS = 1024


@dataclass(slots=True)
class Track:
    """A track as it is written: where its samples lie, and in the end when they are shown."""

    handler: str
    timescale: int
    entry: bytes = b""
    language: str | None = None
    name: str = ""
    enabled: bool = True
    width: Fraction = Fraction(0)
    height: int = 0
    sizes: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    shifts: list[int] = field(default_factory=list)
    syncs: list[int] = field(default_factory=list)
    chunks: list[tuple[int, int]] = field(default_factory=list)
    media_start: int = 0
    delay_ticks: int = 0
    shown_ticks: int = 0
    timecode_track: int | None = None
    group: int = 0


class Mp4Writer:
    """An MP4 file that is being written."""

    def __init__(self, path: Path, room: int, *, brands: bytes = b"isomiso2mp41") -> None:
        self._path = path
        self._file = path.open("wb+", buffering=_COPY_BYTES)
        self.tracks: list[Track] = []
        self.created_s = 0
        self.tags: dict[str, str] = {}
        self._room = max(room, 16)
        self._file.write(box(b"ftyp", b"isom", pack(">I", 0x200), brands))
        self._index_at = self._file.tell()
        self._file.write(_free(self._room))
        self._data_at = self._file.tell()
        self._file.write(pack(">I4sQ", 1, b"mdat", 0))
        self._at = self._file.tell()
        self._file.flush()
        self._beside = _Beside(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._beside.close()
        self._file.close()

    def write(self, track: Track, samples: Sequence[bytes]) -> None:
        """Write samples that follow each other as one chunk."""
        if not samples:
            return
        sizes = list(map(len, samples))
        track.sizes.extend(sizes)
        track.chunks.append((self._at, len(samples)))
        self._beside.write(samples, self._at, sum(sizes))
        self._at += sum(sizes)

    def finish(self) -> int:
        """Write the index where room was left for it; answers the file's size."""
        self._beside.settle(0)
        self._file.seek(self._data_at + 8)
        self._file.write(pack(">Q", self._at - self._data_at))
        index = self._movie(0)
        spare = self._room - len(index)
        if spare != 0 and spare < 8:
            index = self._make_room(len(index) + 8)
            spare = self._room - len(index)
        self._file.seek(self._index_at)
        self._file.write(index)
        if spare:
            self._file.write(_free(spare))
        return self._at

    def _make_room(self, need: int) -> bytes:
        """Move the media back so that the index fits in front of it."""
        by = need - self._room
        at = self._at
        while at > self._data_at:
            start = max(self._data_at, at - _COPY_BYTES)
            self._file.seek(start)
            piece = self._file.read(at - start)
            self._file.seek(start + by)
            self._file.write(piece)
            at = start
        self._room, self._data_at, self._at = need, self._data_at + by, self._at + by
        return self._movie(by)

    def _movie(self, moved: int) -> bytes:
        longest = max((track.delay_ticks + track.shown_ticks for track in self.tracks), default=0)
        wide = self._at + (1 << 20) >= 1 << 32
        bodies = [
            _track(number, track, self.created_s, moved, wide=wide)
            for number, track in enumerate(self.tracks, 1)
        ]
        header = _movie_header(self.created_s, longest, len(self.tracks) + 1)
        return box(b"moov", header, *bodies, _user_data(self.tags))


class _Beside:
    """Writes media in a thread, while the next is being made: writing is half of a copy's time."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._pending: deque[tuple[Future[None], int]] = deque()
        self._bytes = 0

    def write(self, samples: Sequence[bytes], at: int, size: int) -> None:
        """Write samples side by side from a place on; an earlier one's failure is raised here."""
        self._pending.append((self._pool.submit(_write_all, self._fd, samples, at), size))
        self._bytes += size
        self.settle(_BESIDE_BYTES)

    def settle(self, most: int) -> None:
        """Wait until no more than so many bytes are still to be written."""
        while self._pending and (self._bytes > most or self._pending[0][0].done()):
            written, size = self._pending.popleft()
            written.result()
            self._bytes -= size

    def close(self) -> None:
        """End the thread; what is pending is written first."""
        self._pool.shutdown()


def _write_all(fd: int, samples: Sequence[bytes], at: int) -> None:
    for first in range(0, len(samples), _MOST_VECTORS):
        some = samples[first : first + _MOST_VECTORS]
        length = sum(map(len, some))
        done = os.pwritev(fd, some, at)
        while done < length:
            done += os.pwrite(fd, b"".join(some)[done:], at + done)
        at += length


def index_room(samples: int, tracks: int) -> int:
    """Enough room for the index of so many samples: 16 bytes a sample and some for the rest."""
    return 16 * samples + 4096 * (tracks + 1)


def _free(size: int) -> bytes:
    return pack(">I", size) + b"free" + bytes(size - 8)


def _full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, pack(">I", version << 24 | flags), *parts)


def _movie_header(created_s: int, duration: int, next_track: int) -> bytes:
    stamp = created_s + MAC_EPOCH_S if created_s else 0
    times = pack(">QQIQ", stamp, stamp, MOVIE_HZ, duration)
    rest = pack(">IH", 0x10000, 0x100) + bytes(10) + _MATRIX + bytes(24) + pack(">I", next_track)
    return _full(b"mvhd", 1, 0, times, rest)


def _track(number: int, track: Track, created_s: int, moved: int, *, wide: bool) -> bytes:
    stamp = created_s + MAC_EPOCH_S if created_s else 0
    length = track.delay_ticks + track.shown_ticks
    head = _full(
        b"tkhd",
        1,
        3 if track.enabled else 2,
        pack(">QQIIQ", stamp, stamp, number, 0, length),
        bytes(8),
        pack(">HHHH", 0, track.group, 0x100 if track.handler == "soun" else 0, 0),
        _MATRIX,
        pack(">II", round(track.width * 65536), track.height << 16),
    )
    parts = [head, _edits(track)]
    if track.timecode_track is not None:
        parts.append(box(b"tref", box(b"tmcd", pack(">I", track.timecode_track))))
    parts.append(_media(track, stamp, moved, wide=wide))
    if track.name:
        parts.append(box(b"udta", box(b"name", track.name.encode())))
    return box(b"trak", *parts)


def _edits(track: Track) -> bytes:
    entries = [(track.delay_ticks, -1)] if track.delay_ticks else []
    entries.append((track.shown_ticks, track.media_start))
    body = b"".join(pack(">QqI", length, start, 0x10000) for length, start in entries)
    return box(b"edts", _full(b"elst", 1, 0, pack(">I", len(entries)), body))


def _media(track: Track, stamp: int, moved: int, *, wide: bool) -> bytes:
    header = _full(
        b"mdhd",
        1,
        0,
        pack(">QQIQ", stamp, stamp, track.timescale, sum(track.durations)),
        pack(">HH", _packed_language(track.language), 0),
    )
    label = {"vide": b"VideoHandler", "soun": b"SoundHandler"}.get(
        track.handler, b"TimeCodeHandler"
    )
    name = track.name.encode() or label
    handler = _full(b"hdlr", 0, 0, bytes(4), track.handler.encode(), bytes(12), name + b"\0")
    kind = {
        "vide": _full(b"vmhd", 0, 1, bytes(8)),
        "soun": _full(b"smhd", 0, 0, bytes(4)),
    }.get(track.handler) or box(b"gmhd", _full(b"gmin", 0, 0, bytes(12)))
    place = box(b"dinf", _full(b"dref", 0, 0, pack(">I", 1), _full(b"url ", 0, 1)))
    table = box(b"stbl", *_tables(track, moved, wide=wide))
    return box(b"mdia", header, handler, box(b"minf", kind, place, table))


def _packed_language(language: str | None) -> int:
    code = (language or "und").lower()
    if len(code) != 3 or not code.isalpha() or not code.isascii():
        code = "und"
    first, second, third = (ord(letter) - 0x60 for letter in code)
    return first << 10 | second << 5 | third


def _tables(track: Track, moved: int, *, wide: bool) -> Iterable[bytes]:
    yield _full(b"stsd", 0, 0, pack(">I", 1), track.entry)
    yield _runs(b"stts", track.durations)
    if any(track.shifts):
        yield _runs(b"ctts", track.shifts)
    if track.handler == "vide":
        numbers = b"".join(pack(">I", sync + 1) for sync in track.syncs)
        yield _full(b"stss", 0, 0, pack(">I", len(track.syncs)), numbers)
    yield _full(b"stsc", 0, 0, *_chunk_runs(track.chunks))
    sizes = pack(f">{len(track.sizes)}I", *track.sizes)
    yield _full(b"stsz", 0, 0, pack(">II", 0, len(track.sizes)), sizes)
    places = [at + moved for at, _ in track.chunks]
    letter, kind = ("Q", b"co64") if wide else ("I", b"stco")
    yield _full(kind, 0, 0, pack(">I", len(places)), pack(f">{len(places)}{letter}", *places))


def _runs(kind: bytes, values: Sequence[int]) -> bytes:
    """A table of (count, value) for values that follow each other."""
    runs = [(sum(1 for _ in same), value) for value, same in groupby(values)]
    return _full(kind, 0, 0, pack(">I", len(runs)), b"".join(pack(">II", *run) for run in runs))


def _chunk_runs(chunks: Sequence[tuple[int, int]]) -> tuple[bytes, bytes]:
    runs: list[tuple[int, int]] = []
    for number, (_, count) in enumerate(chunks, 1):
        if not runs or runs[-1][1] != count:
            runs.append((number, count))
    return pack(">I", len(runs)), b"".join(pack(">III", first, n, 1) for first, n in runs)


# --- times


def set_picture_times(track: Track, pts: Sequence[int], end: int) -> None:
    """Give pictures, listed in decode order by output PTS, their times: shown from 0 to `end`.

    DTS are the sorted PTS, moved so that none is later than its PTS; the edit takes the move back.
    """
    shown = sorted(pts)
    shift = max((s - p for s, p in zip(shown, pts, strict=True)), default=0)
    track.durations = [b - a for a, b in pairwise(shown)] + [end - shown[-1]]
    starts = list(accumulate(track.durations, initial=0))[:-1]
    track.shifts = [p - shown[0] + shift - s for p, s in zip(pts, starts, strict=True)]
    track.media_start = shift
    track.delay_ticks = round(shown[0] * MOVIE_HZ / track.timescale)
    track.shown_ticks = round(end * MOVIE_HZ / track.timescale) - track.delay_ticks


def set_sound_times(track: Track, starts: Sequence[tuple[int, int]], step: int, end: int) -> None:
    """Give sound frames their times: pieces `(first sample, frames)`, shown from 0 to `end`.

    A piece that does not begin where the one before ended stretches that one's last frame.
    """
    durations: list[int] = []
    for at, (first, frames) in enumerate(starts):
        durations.extend([step] * frames)
        if at + 1 < len(starts):
            durations[-1] += starts[at + 1][0] - first - frames * step
    track.durations = durations
    begin = starts[0][0]
    last = min(end, begin + sum(durations))
    track.media_start = max(0, -begin)
    track.delay_ticks = round(max(0, begin) * MOVIE_HZ / track.timescale)
    track.shown_ticks = round(last * MOVIE_HZ / track.timescale) - track.delay_ticks


# --- tags


def _user_data(tags: dict[str, str]) -> bytes:
    if not tags:
        return b""
    items = b"".join(_item(name, text.encode()) for name, text in tags.items())
    handler = _full(b"hdlr", 0, 0, bytes(4), b"mdirappl", bytes(9))
    return box(b"udta", _full(b"meta", 0, 0, handler, box(b"ilst", items)))


def _item(name: str, text: bytes) -> bytes:
    data = box(b"data", pack(">II", 1, 0), text)
    if name in _ITEMS:
        return box(_ITEMS[name], data)
    mean = _full(b"mean", 0, 0, b"com.apple.iTunes")
    return box(b"----", mean, _full(b"name", 0, 0, name.encode()), data)
