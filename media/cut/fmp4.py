"""Fragmented MP4 as held: what an initialisation section says, where a segment's samples lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import unpack_from

from schemas.errors import CorruptMedia, Encrypted, UnsupportedMedia

MAX_SAMPLES = 2_000_000
_NOT_SYNC = 0x10000
_CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "hevc",
    b"hev1": "hevc",
    b"mp4a": "aac",
    b"ac-3": "ac3",
    b"ec-3": "eac3",
    b"Opus": "opus",
    b"fLaC": "flac",
    b"av01": "av1",
    b"vp09": "vp9",
    b"tmcd": "tmcd",
}
_MP4A = {0x6B: "mp2", 0x69: "mp2"}
_VISUAL_HEAD = 78
_SOUND_HEAD = 28


@dataclass(frozen=True, slots=True)
class Mp4Track:
    """A track of an initialisation section; `shift` turns media time into presentation time."""

    track_id: int
    handler: str
    codec: str
    timescale: int
    language: str | None
    entry: bytes
    shift: int
    defaults: tuple[int, int, int]
    width: int = 0
    height: int = 0

    def config(self, kind: bytes) -> bytes | None:
        """The body of a configuration box inside the sample entry."""
        head = _VISUAL_HEAD if self.handler == "vide" else _SOUND_HEAD
        return next((body for name, body in boxes(self.entry, 8 + head) if name == kind), None)

    @property
    def channels(self) -> int:
        """How many channels the sample entry states."""
        return int.from_bytes(self.entry[24:26], "big")


@dataclass(slots=True)
class Mp4Samples:
    """The samples of one track in one segment, in decode order; offsets count in the file."""

    pts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    syncs: list[int] = field(default_factory=list)
    next_dts: int = 0


def boxes(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """The boxes that follow each other in a stretch of bytes."""
    for kind, start, stop in spans(data, at, len(data) if end is None else end):
        yield kind, data[start:stop]


def spans(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first and last byte of the body of each box."""
    while at + 8 <= end:
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        size = size or end - at
        if size < head or at + size > end:
            raise CorruptMedia(f"an MP4 box of {size} bytes does not fit where it stands")
        yield kind, at + head, at + size
        at += size


def _child(data: bytes, *path: bytes) -> bytes | None:
    """The body of the box a path leads to."""
    for name in path:
        found = next((body for kind, body in boxes(data) if kind == name), None)
        if found is None:
            return None
        data = found
    return data


def _need(data: bytes, *path: bytes) -> bytes:
    found = _child(data, *path)
    if found is None:
        raise CorruptMedia(f"the initialisation section has no {path[-1].decode()} box")
    return found


# --- the initialisation section


def tracks(init: bytes) -> tuple[Mp4Track, ...]:
    """The tracks of an initialisation section."""
    movie = _need(init, b"moov")
    scale = unpack_from(">I", _need(movie, b"mvhd"), 20 if _need(movie, b"mvhd")[0] else 12)[0]
    extends = dict(_defaults(_child(movie, b"mvex") or b""))
    found = [_track(body, scale, extends) for kind, body in boxes(movie) if kind == b"trak"]
    return tuple(track for track in found if track is not None)


def _defaults(mvex: bytes) -> Iterator[tuple[int, tuple[int, int, int]]]:
    for kind, body in boxes(mvex):
        if kind == b"trex" and len(body) >= 24:
            track, _, duration, size, flags = unpack_from(">5I", body, 4)
            yield track, (duration, size, flags)


def _track(
    body: bytes, movie_scale: int, extends: dict[int, tuple[int, int, int]]
) -> Mp4Track | None:
    head, media = _need(body, b"tkhd"), _need(body, b"mdia", b"mdhd")
    track_id = unpack_from(">I", head, 20 if head[0] else 12)[0]
    scale, language = _media_header(media)
    entry = next((data for data in _entries(_need(body, b"mdia", b"minf", b"stbl", b"stsd"))), None)
    if entry is None or not scale:
        return None
    return Mp4Track(
        track_id,
        _need(body, b"mdia", b"hdlr")[8:12].decode("ascii", "replace"),
        _codec(entry),
        scale,
        language,
        entry,
        _shift(_child(body, b"edts", b"elst"), scale, movie_scale),
        extends.get(track_id, (0, 0, 0)),
        int.from_bytes(entry[32:34], "big"),
        int.from_bytes(entry[34:36], "big"),
    )


def _media_header(mdhd: bytes) -> tuple[int, str | None]:
    at = 20 if mdhd[0] else 12
    scale: int = unpack_from(">I", mdhd, at)[0]
    packed: int = unpack_from(">H", mdhd, at + (12 if mdhd[0] else 8))[0]
    letters = "".join(chr((packed >> shift & 31) + 0x60) for shift in (10, 5, 0))
    return scale, letters if letters.isalpha() and letters != "und" else None


def _entries(stsd: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(stsd):
        size = int.from_bytes(stsd[at : at + 4], "big")
        if size < 8 or at + size > len(stsd):
            raise CorruptMedia("a sample entry does not fit its table")
        yield stsd[at : at + size]
        at += size


def _codec(entry: bytes) -> str:
    kind = entry[4:8]
    if kind in {b"encv", b"enca"}:
        raise Encrypted("the track is encrypted (common encryption)")
    if kind == b"mp4a":
        return _MP4A.get(_object_type(entry), "aac")
    return _CODECS.get(kind, kind.decode("ascii", "replace").strip())


def _object_type(entry: bytes) -> int:
    """The object type of an `esds` box: 0x40 is MPEG-4 audio."""
    at = entry.find(b"esds")
    tag = entry.find(b"\x04", at + 8 + 4) if at > 0 else -1
    while 0 < tag < len(entry) - 3:
        start = tag + 1
        while start < len(entry) - 1 and entry[start] & 0x80:
            start += 1
        if entry[start] >= 13:
            return entry[start + 1]
        tag = entry.find(b"\x04", tag + 1)
    return 0x40


def _shift(elst: bytes | None, scale: int, movie_scale: int) -> int:
    """What the edit list adds to media time: an empty edit delays, a media time takes away."""
    if elst is None or len(elst) < 8:
        return 0
    wide, count, at, delay = elst[0] == 1, unpack_from(">I", elst, 4)[0], 8, 0
    for _ in range(min(count, 16)):
        if at + (20 if wide else 12) > len(elst):
            break
        duration, start = unpack_from(">Qq" if wide else ">Ii", elst, at)
        if start >= 0:
            return delay - int(start)
        delay += round(duration * scale / movie_scale) if movie_scale else 0
        at += 20 if wide else 12
    return delay


# --- a segment


def samples(data: bytes, known: dict[int, Mp4Track], dts: dict[int, int]) -> dict[int, Mp4Samples]:
    """The samples of each known track; `dts` says where a track goes on that has no `tfdt`."""
    found: dict[int, Mp4Samples] = {}
    for kind, start, stop in spans(data, 0, len(data)):
        if kind == b"moof":
            for name, first, last in spans(data, start, stop):
                if name == b"traf":
                    _fragment(data, (first, last), start - 8, known, dts, found)
    if not found:
        raise UnsupportedMedia("not a fragmented MP4 segment: it has no movie fragment")
    return found


def _fragment(
    data: bytes,
    body: tuple[int, int],
    moof_at: int,
    known: dict[int, Mp4Track],
    dts: dict[int, int],
    found: dict[int, Mp4Samples],
) -> None:
    parts = list(spans(data, *body))
    header = next((start for kind, start, _ in parts if kind == b"tfhd"), None)
    if header is None:
        raise CorruptMedia("a track fragment has no header")
    track_id = unpack_from(">I", data, header + 4)[0]
    if track_id not in known:
        return
    track, into = known[track_id], found.setdefault(track_id, Mp4Samples())
    base, defaults = _fragment_header(data, header, moof_at, track.defaults)
    started = next((_decode_time(data, at) for kind, at, _ in parts if kind == b"tfdt"), None)
    into.next_dts = started if started is not None else max(into.next_dts, dts.get(track_id, 0))
    at = base
    for kind, start, stop in parts:
        if kind == b"trun":
            at = _run(data, (start, stop), base, at, defaults, track.shift, into)


def _fragment_header(
    data: bytes, at: int, moof_at: int, defaults: tuple[int, int, int]
) -> tuple[int, tuple[int, int, int]]:
    flags, cursor, base = int.from_bytes(data[at + 1 : at + 4], "big"), at + 8, moof_at
    values = list(defaults)
    if flags & 1:
        # An absolute offset counts in the origin's whole file; here the segment is a part of it.
        base = moof_at
        cursor += 8
    cursor += 4 if flags & 2 else 0
    for index, bit in enumerate((0x08, 0x10, 0x20)):
        if flags & bit:
            values[index] = unpack_from(">I", data, cursor)[0]
            cursor += 4
    return base, (values[0], values[1], values[2])


def _decode_time(data: bytes, at: int) -> int:
    value: int = unpack_from(">Q" if data[at] else ">I", data, at + 4)[0]
    return value


def _run(
    data: bytes,
    body: tuple[int, int],
    base: int,
    at: int,
    defaults: tuple[int, int, int],
    shift: int,
    into: Mp4Samples,
) -> int:
    """Take in the samples of one `trun`; answers where the next one's data starts."""
    start, stop = body
    flags = int.from_bytes(data[start + 1 : start + 4], "big")
    count, cursor, first_flags = unpack_from(">I", data, start + 4)[0], start + 8, None
    if flags & 1:
        at = base + unpack_from(">i", data, cursor)[0]
        cursor += 4
    if flags & 4:
        first_flags = unpack_from(">I", data, cursor)[0]
        cursor += 4
    step = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
    if count > MAX_SAMPLES or cursor + step * count > stop:
        raise CorruptMedia("a track run lists more samples than it holds")
    offset_kind = ">i" if data[start] else ">I"
    for index in range(count):
        duration, size, sample_flags = defaults
        if index == 0 and first_flags is not None:
            sample_flags = first_flags
        if flags & 0x100:
            duration = unpack_from(">I", data, cursor)[0]
            cursor += 4
        if flags & 0x200:
            size = unpack_from(">I", data, cursor)[0]
            cursor += 4
        if flags & 0x400:
            sample_flags = unpack_from(">I", data, cursor)[0]
            cursor += 4
        offset = 0
        if flags & 0x800:
            # Some packagers write signed offsets under version 0 as well.
            offset = unpack_from(">i" if data[start] else offset_kind, data, cursor)[0]
            offset -= 1 << 32 if offset >> 31 == 1 else 0
            cursor += 4
        if at < 0 or at + size > len(data):
            raise CorruptMedia("a sample lies outside its segment")
        if not sample_flags & _NOT_SYNC:
            into.syncs.append(len(into.pts))
        into.pts.append(into.next_dts + offset + shift)
        into.durations.append(duration)
        into.offsets.append(at)
        into.sizes.append(size)
        into.next_dts += duration
        at += size
    return at
