"""Cuts built streams into HLS presentations: segments, keys, playlists and the truth about them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.streams import EPOCH_MS, TICKS, Sample, Stream, Track

PDT_POLICIES = ("every", "first", "after_discontinuity", "absent")


@dataclass(frozen=True)
class Discontinuity:
    """A break inside one encode: from `at_segment` on, PTS and PDT jump by so much."""

    at_segment: int
    pts_jump_90k: int = 0
    pdt_jump_ms: int = 0


@dataclass(frozen=True)
class Encryption:
    """AES-128: a new key every `rotate_every` segments (0: one key); IV written or implied."""

    rotate_every: int = 0
    explicit_iv: bool = True
    encrypt_init: bool = False

    def key_of(self, sequence: int) -> tuple[str, bytes]:
        """Name and bytes of the key of a segment."""
        turn = sequence // self.rotate_every if self.rotate_every else 0
        return f"key-{turn}.bin", sha256(f"key {turn}".encode()).digest()[:16]

    def iv_of(self, sequence: int) -> bytes:
        """The initialisation vector of a segment."""
        if not self.explicit_iv:
            return sequence.to_bytes(16, "big")
        return sha256(f"iv {sequence}".encode()).digest()[:16]


@dataclass(frozen=True)
class MediaSegment:
    """One entry of a media playlist."""

    name: str
    duration_s: Fraction
    start_s: Fraction  # stream time of its first keyframe (or first sound sample)
    sequence: int
    region: int
    end_wall_ms: Fraction
    pdt_ms: int | None = None
    discontinuity: bool = False
    gap: bool = False
    byte_range: tuple[int, int] | None = None  # length, offset
    init: tuple[str, tuple[int, int] | None] | None = None
    key: tuple[str, bytes | None] | None = None  # key name, IV where written
    init_encrypted: bool = False


@dataclass(frozen=True)
class MediaPlaylist:
    """A media playlist whose text can be written for any part of it."""

    name: str
    segments: tuple[MediaSegment, ...]
    version: int = 6
    kind: str = "VOD"

    @property
    def target_s(self) -> int:
        """EXT-X-TARGETDURATION."""
        return max((int(s.duration_s + Fraction(1, 2)) for s in self.segments), default=1) or 1

    def text(
        self,
        first: int = 0,
        last: int | None = None,
        *,
        ended: bool = True,
        uri: Callable[[str], str] = lambda name: name,
    ) -> str:
        """The playlist holding segments [first, last)."""
        shown = self.segments[first:last]
        breaks = sum(s.discontinuity for s in self.segments[:first])
        lines = ["#EXTM3U", f"#EXT-X-VERSION:{self.version}"]
        lines += [f"#EXT-X-TARGETDURATION:{self.target_s}", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        if any(s.discontinuity for s in self.segments):
            # A segment that opens the list keeps its own tag, so it is not counted as gone.
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{breaks}")
        if ended and first == 0 and self.kind:
            lines.append(f"#EXT-X-PLAYLIST-TYPE:{self.kind}")
        state = _Written()
        for part in shown:
            lines += state.entry(part, uri)
        return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


@dataclass
class _Written:
    """What the lines so far say, so that a tag is repeated only where it changes."""

    init: Any = None
    key: Any = None

    def entry(self, part: MediaSegment, uri: Callable[[str], str]) -> Iterator[str]:
        if part.discontinuity:
            yield "#EXT-X-DISCONTINUITY"
        init_first = part.init != self.init and not part.init_encrypted
        if init_first:
            yield from self._init_lines(part, uri)
        if part.key != self.key:
            yield _key_line(part.key, uri)
            self.key = part.key
        if part.init != self.init:
            yield _map_line(part, uri)
            self.init = part.init
        if part.gap:
            yield "#EXT-X-GAP"
        if part.pdt_ms is not None:
            yield f"#EXT-X-PROGRAM-DATE-TIME:{_stamp(part.pdt_ms)}"
        yield f"#EXTINF:{float(part.duration_s):.6f},"
        if part.byte_range:
            yield f"#EXT-X-BYTERANGE:{part.byte_range[0]}@{part.byte_range[1]}"
        yield uri(part.name)

    def _init_lines(self, part: MediaSegment, uri: Callable[[str], str]) -> Iterator[str]:
        if self.key is not None:
            yield "#EXT-X-KEY:METHOD=NONE"
            self.key = None
        yield _map_line(part, uri)
        self.init = part.init


def _map_line(part: MediaSegment, uri: Callable[[str], str]) -> str:
    assert part.init is not None
    name, span = part.init
    where = f',BYTERANGE="{span[0]}@{span[1]}"' if span else ""
    return f'#EXT-X-MAP:URI="{uri(name)}"{where}'


def _key_line(key: tuple[str, bytes | None] | None, uri: Callable[[str], str]) -> str:
    if key is None:
        return "#EXT-X-KEY:METHOD=NONE"
    iv = f",IV=0x{key[1].hex()}" if key[1] is not None else ""
    return f'#EXT-X-KEY:METHOD=AES-128,URI="{uri(key[0])}"{iv}'


def _stamp(epoch_ms: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=epoch_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{epoch_ms % 1000:03d}Z"


@dataclass(frozen=True)
class Region:
    """The truth about a run between discontinuities: which wall clock its frames have."""

    start_ms: Fraction  # as the first PDT of the region says it
    walls: dict[int, Fraction] = field(repr=False)


@dataclass(frozen=True)
class HlsAsset:
    """A presentation: files by name, playlists by name, and the truth about its frames."""

    files: dict[str, bytes]
    playlists: dict[str, MediaPlaylist]
    entry: str
    epoch_ms: int
    streams: tuple[Stream, ...]
    regions: tuple[Region, ...]
    masters: dict[str, str] = field(default_factory=dict)

    def playlist(self, name: str = "main.m3u8") -> MediaPlaylist:
        """A media playlist by name."""
        return self.playlists[name]

    @property
    def times(self) -> dict[int, Fraction]:
        """Stream time in seconds by frame number, over all streams."""
        return {n: t for stream in self.streams for n, t in stream.times.items()}

    def wall_ms(self, number: int) -> Fraction:
        """The exact wall clock of a frame, as the region's first PDT says it."""
        return next(r.walls[number] for r in self.regions if number in r.walls)

    def numbers_between(self, start_ms: Fraction | float, end_ms: Fraction | float) -> list[int]:
        """The frames whose wall clock lies in [start, end), each region ending at the next."""
        limits = [r.start_ms for r in self.regions[1:]]
        found: list[int] = []
        for index, region in enumerate(self.regions):
            end = min([Fraction(end_ms), *limits[index:]])
            found += [n for n, wall in sorted(region.walls.items()) if start_ms <= wall < end]
        return found

    def all_files(self) -> dict[str, bytes]:
        """Every file of the presentation as a VOD origin holds it, playlists included."""
        texts = {name: p.text() for name, p in self.playlists.items()} | self.masters
        return self.files | {name: text.encode() for name, text in texts.items()}

    def write_to(self, folder: Path) -> Path:
        """Write every file below a folder; answers the entry playlist's path."""
        for name, data in self.all_files().items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / self.entry


# ---- cutting ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Piece:
    """Packets of one segment before they are muxed."""

    samples: tuple[tuple[Sample, ...], ...]  # one tuple a track
    start_s: Fraction  # relative to the stream
    end_s: Fraction


def _video_pieces(stream: Stream, tracks: Sequence[Track], segment_s: Fraction) -> list[_Piece]:
    video = stream.video.samples
    cuts, due = [0], segment_s
    for index, sample in enumerate(video):
        if index and sample.key and sample.pts >= due - Fraction(1, 1000):
            cuts.append(index)
            due = sample.pts + segment_s
    ends = [video[c].pts for c in cuts[1:]] + [stream.spec.frame_times[-1]]
    dts_limits = [video[c].dts for c in cuts[1:]]
    pieces = []
    for turn, (cut, end) in enumerate(zip(cuts, ends, strict=True)):
        until = cuts[turn + 1] if turn + 1 < len(cuts) else len(video)
        low = dts_limits[turn - 1] if turn else None
        high = dts_limits[turn] if turn < len(dts_limits) else None
        parts = [video[cut:until]] + [_within(t.samples, low, high) for t in tracks[1:]]
        pieces.append(_Piece(tuple(parts), video[cut].pts, end))
    return pieces


def _within(
    samples: Sequence[Sample], low: Fraction | None, high: Fraction | None
) -> tuple[Sample, ...]:
    return tuple(
        s for s in samples if (low is None or s.dts >= low) and (high is None or s.dts < high)
    )


def _audio_pieces(track: Track, segment_s: Fraction) -> list[_Piece]:
    pieces: list[_Piece] = []
    held: list[Sample] = []
    for sample in track.samples:
        if held and sample.pts - held[0].pts >= segment_s:
            pieces.append(_Piece((tuple(held),), held[0].pts, sample.pts))
            held = []
        held.append(sample)
    end = held[-1].pts + held[-1].duration
    return [*pieces, _Piece((tuple(held),), held[0].pts, end)]


def _packets(
    tracks: Sequence[Track], piece: _Piece, offset: Fraction, streams: Sequence[Any]
) -> Iterator[av.Packet[Any]]:
    rows = [
        (sample.dts, index, sample)
        for index, samples in enumerate(piece.samples)
        for sample in samples
    ]
    for _, index, sample in sorted(rows, key=lambda row: (row[0], row[1])):
        yield _packet(sample, tracks[index], offset, streams[index])


def _packet(sample: Sample, track: Track, offset: Fraction, stream: Any) -> av.Packet[Any]:
    base = _exact_base(track)
    packet: av.Packet[Any] = av.Packet(sample.data)
    packet.time_base = base
    packet.pts = round((sample.pts + offset) / base)
    packet.dts = round((sample.dts + offset) / base)
    packet.duration = round(sample.duration / base)
    packet.is_keyframe = sample.key
    packet.stream = stream
    return packet


def _exact_base(track: Track) -> Fraction:
    if track.audio:
        return Fraction(1, track.audio.rate)
    base: Fraction = track.template.codec_context.time_base
    return base


def _add_streams(container: Any, tracks: Sequence[Track], *, mp4: bool = False) -> list[Any]:
    added = []
    for track in tracks:
        stream = container.add_stream_from_template(track.template, opaque=True)
        if mp4 and stream.codec_context.name == "libx265":
            stream.codec_context.codec_tag = "hvc1"
        stream.time_base = _exact_base(track)
        if track.audio:
            stream.metadata["language"] = track.audio.language
        added.append(stream)
    return added


def _ts_bytes(tracks: Sequence[Track], piece: _Piece, start_90k: int) -> bytes:
    sink = io.BytesIO()
    latm = any(t.audio and t.audio.latm for t in tracks)
    options = {"mpegts_copyts": "1"} | ({"mpegts_flags": "latm"} if latm else {})
    container = av.open(sink, "w", format="mpegts", container_options=options)
    streams = _add_streams(container, tracks)
    for packet in _packets(tracks, piece, Fraction(0), streams):
        base = packet.time_base
        for name in ("pts", "dts"):
            value = getattr(packet, name) * base
            setattr(packet, name, round(value * TICKS) + start_90k)
        packet.duration = round((packet.duration or 0) * base * TICKS)
        packet.time_base = Fraction(1, TICKS)
        container.mux_one(packet)
    container.close()
    return sink.getvalue()


def _packed_bytes(track: Track, piece: _Piece, start_90k: int) -> bytes:
    """Packed audio: an ID3 tag with the first PTS, then raw frames (RFC 8216, 3.4)."""
    assert track.audio
    sink = io.BytesIO()
    kind = {"aac": "adts"}.get(track.audio.codec, track.audio.codec)
    container = av.open(sink, "w", format=kind)
    streams = _add_streams(container, [track])
    for packet in _packets([track], piece, Fraction(0), streams):
        container.mux_one(packet)
    container.close()
    pts = (start_90k + round(piece.samples[0][0].pts * TICKS)) % 2**33
    body = b"com.apple.streaming.transportStreamTimestamp\0" + pts.to_bytes(8, "big")
    frame = b"PRIV" + len(body).to_bytes(4, "big") + b"\0\0" + body
    return b"ID3\x04\0\0" + bytes([0, 0, 0, len(frame)]) + frame + sink.getvalue()


class _Counters:
    """Continuity counters that run on from one segment to the next."""

    def __init__(self) -> None:
        self._next: dict[int, int] = {}

    def apply(self, data: bytes) -> bytes:
        out = bytearray(data)
        for at in range(0, len(out), 188):
            pid = (out[at + 1] & 0x1F) << 8 | out[at + 2]
            if pid == 0x1FFF or not out[at + 3] & 0x10:
                continue
            count = self._next.get(pid, 0)
            out[at + 3] = out[at + 3] & 0xF0 | count
            self._next[pid] = (count + 1) & 0x0F
        return bytes(out)


# ---- fragmented MP4 -----------------------------------------------------------------------


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of each MP4 box between two offsets."""
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1:
            size = struct.unpack_from(">Q", data, at + 8)[0]
        yield kind.decode("latin-1"), at, at + (size or end - at)
        at += size or end - at


_STYP = struct.pack(">I4s4sI4s4s", 24, b"styp", b"msdh", 0, b"msdh", b"msix")


def _fmp4(
    stream: Stream, tracks: Sequence[Track], pieces: Sequence[_Piece], *, audio_only: bool
) -> tuple[bytes, list[bytes]]:
    """The init segment and one run of fragments a piece, as ffmpeg's own muxer writes them."""
    sink = io.BytesIO()
    cut = "frag_every_frame" if audio_only else "frag_keyframe"
    flags = f"{cut}+delay_moov+default_base_moof"
    container = av.open(sink, "w", format="mp4", container_options={"movflags": flags})
    streams = _add_streams(container, tracks, mp4=True)
    if stream.spec.timecode and not audio_only:
        streams[0].metadata["timecode"] = stream.spec.timecode
    for piece in pieces:
        for packet in _packets(tracks, _bare(piece, stream), Fraction(0), streams):
            container.mux_one(packet)
    container.close()
    init, fragments = _split(sink.getvalue())
    counts = [_fragments_in(piece, audio_only=audio_only) for piece in pieces]
    assert sum(counts) == len(fragments), (counts, len(fragments))
    taken = iter(fragments)
    return init, [_STYP + b"".join(next(taken) for _ in range(n)) for n in counts]


def _bare(piece: _Piece, stream: Stream) -> _Piece:
    """The piece without parameter sets in its samples: MP4 holds them in its header."""
    hevc = stream.spec.codec == "hevc"
    return replace(
        piece,
        samples=tuple(
            tuple(
                replace(s, data=_without_sets(s.data, hevc=hevc)) if s.key else s for s in samples
            )
            if index == 0 and samples and annexb_units(samples[0].data)
            else samples
            for index, samples in enumerate(piece.samples)
        ),
    )


def _without_sets(data: bytes, *, hevc: bool) -> bytes:
    kept = [
        unit
        for unit in annexb_units(data)
        if unit and not (32 <= unit[0] >> 1 & 0x3F <= 34 if hevc else unit[0] & 0x1F in {7, 8})
    ]
    return b"".join(b"\0\0\0\1" + unit for unit in kept)


def annexb_units(data: bytes) -> list[bytes]:
    """NAL units between start codes; none where the data has no start code."""
    if not data.startswith((b"\0\0\1", b"\0\0\0\1")):
        return []
    return [part.rstrip(b"\0") for part in data.split(b"\0\0\1")[1:]]


def _fragments_in(piece: _Piece, *, audio_only: bool) -> int:
    return sum(1 for s in piece.samples[0] if audio_only or s.key)


def _split(data: bytes) -> tuple[bytes, list[bytes]]:
    init, fragments, held = b"", [], b""
    for kind, start, end in boxes(data):
        if kind in {"ftyp", "moov"}:
            init += data[start:end]
        elif kind in {"moof", "mdat"}:
            held += data[start:end]
            if kind == "mdat":
                fragments.append(held)
                held = b""
    return init, fragments


def _timescales(init: bytes) -> dict[int, int]:
    """Timescale by track id."""
    found: dict[int, int] = {}
    for trak in _find(init, ("moov", "trak")):
        tkhd = next(_find(init, ("tkhd",), *trak))[0]
        mdhd = next(_find(init, ("mdia", "mdhd"), *trak))[0]
        track_id = struct.unpack_from(">I", init, tkhd + (28 if init[tkhd + 8] else 20))[0]
        found[track_id] = struct.unpack_from(">I", init, mdhd + (28 if init[mdhd + 8] else 20))[0]
    return found


def _find(
    data: bytes, path: tuple[str, ...], start: int = -8, end: int | None = None
) -> Iterator[tuple[int, int]]:
    for kind, at, stop in boxes(data, start + 8, end):
        if kind == path[0]:
            if len(path) == 1:
                yield at, stop
            else:
                yield from _find(data, path[1:], at, stop)


def _shifted(fragments: bytes, scales: dict[int, int], shift_90k: int) -> bytes:
    """The fragments with every tfdt moved by some ticks."""
    out = bytearray(fragments)
    for at, stop in list(_find(fragments, ("moof", "traf"))):
        tfhd = next(_find(fragments, ("tfhd",), at, stop))[0]
        tfdt = next(_find(fragments, ("tfdt",), at, stop))[0]
        track_id = struct.unpack_from(">I", out, tfhd + 12)[0]
        assert out[tfdt + 8] == 1, "libav writes version 1"
        moved = struct.unpack_from(">Q", out, tfdt + 12)[0]
        moved += round(Fraction(shift_90k, TICKS) * scales[track_id])
        struct.pack_into(">Q", out, tfdt + 12, moved)
    return bytes(out)


# ---- presentations ------------------------------------------------------------------------


@dataclass
class _Line:
    """A media playlist while it is being made: one set of tracks on one grid."""

    stem: str
    track_indices: tuple[int, ...]  # into stream.tracks; -1 stands for all
    audio_only: bool
    segment_s: Fraction
    entries: list[tuple[MediaSegment, bytes]] = field(default_factory=list)
    inits: dict[str, bytes] = field(default_factory=dict)
    counters: _Counters = field(default_factory=_Counters)


def segment(
    *streams: Stream,
    container: str = "ts",
    segment_s: float | Fraction = 2,
    byte_range: bool = False,
    separate_audio: bool = False,
    packed_audio: bool = False,
    audio_segment_s: float | Fraction = Fraction(192, 100),
    encrypt: Encryption | None = None,
    discontinuities: Sequence[Discontinuity] = (),
    region_jumps_ms: Sequence[int] = (),
    pdt: str = "every",
    pdt_drift_ppm: int = 0,
    gaps: Iterable[int] = (),
    missing: Iterable[int] = (),
    epoch_ms: int = EPOCH_MS,
) -> HlsAsset:
    """An HLS presentation of the streams, one after another.

    `packed_audio` makes separate sound raw ADTS, AC-3 or E-AC-3 with an ID3 timestamp.
    `region_jumps_ms[i]` moves the wall clock of stream i+1 (negative: regions overlap).
    `gaps` are marked EXT-X-GAP and have no file; `missing` have no file and no mark.
    """
    assert pdt in PDT_POLICIES
    plan = _Plan(
        container, byte_range, encrypt, pdt, pdt_drift_ppm, epoch_ms, tuple(gaps), packed_audio
    )
    lines = _lines(streams[0], separate_audio, Fraction(segment_s), Fraction(audio_segment_s))
    regions: list[Region] = []
    jump_ms = 0
    for turn, stream in enumerate(streams):
        jump_ms += region_jumps_ms[turn - 1] if 0 < turn <= len(region_jumps_ms) else 0
        regions += _add_region(lines, stream, plan, tuple(discontinuities), jump_ms, len(regions))
        jump_ms += sum(d.pdt_jump_ms for d in discontinuities)
    files: dict[str, bytes] = {}
    playlists = {f"{line.stem}.m3u8": _finished(line, plan, files) for line in lines}
    for index in [*gaps, *missing]:
        files.pop(playlists["main.m3u8"].segments[index].name, None)
    asset = HlsAsset(files, playlists, "main.m3u8", epoch_ms, streams, tuple(regions))
    return multivariant({"": asset}) if separate_audio else asset


@dataclass(frozen=True)
class _Plan:
    container: str
    byte_range: bool
    encrypt: Encryption | None
    pdt: str
    drift_ppm: int
    epoch_ms: int
    gaps: tuple[int, ...]
    packed_audio: bool


def _lines(
    stream: Stream, separate_audio: bool, segment_s: Fraction, audio_s: Fraction
) -> list[_Line]:
    if not separate_audio:
        return [_Line("main", tuple(range(len(stream.tracks))), False, segment_s)]
    sounds = range(1, len(stream.tracks))
    return [
        _Line("main", (0,), False, segment_s),
        *(_Line(f"audio-{index - 1}", (index,), True, audio_s) for index in sounds),
    ]


def _add_region(
    lines: list[_Line],
    stream: Stream,
    plan: _Plan,
    breaks: tuple[Discontinuity, ...],
    jump_ms: int,
    region: int,
) -> list[Region]:
    """Cut one stream into every line; breaks of the picture are followed by the sound in time."""
    default = TICKS * 10 if plan.container == "ts" else 0
    start_90k = stream.spec.start_pts_90k
    start_90k = default if start_90k is None else start_90k
    grid = _video_pieces(stream, stream.tracks, lines[0].segment_s)
    shifts = [
        _Shift(Fraction(-10), start_90k, jump_ms, region, grid[0].start_s),
    ]
    for turn, brk in enumerate(breaks):
        last = shifts[-1]
        at = grid[brk.at_segment].start_s
        shifts.append(
            _Shift(
                at,
                last.start_90k + brk.pts_jump_90k,
                last.jump_ms + brk.pdt_jump_ms,
                region + turn + 1,
                at,
            )
        )
    for line in lines:
        _cut(line, stream, plan, shifts)
    return _truth(stream, plan, grid, shifts)


@dataclass(frozen=True)
class _Shift:
    """From this stream time on, so much is added to PTS and wall clock."""

    from_s: Fraction
    start_90k: int
    jump_ms: int
    region: int
    anchor_s: Fraction  # the first keyframe of the region


def _shift_at(shifts: Sequence[_Shift], at: Fraction) -> _Shift:
    return [s for s in shifts if s.from_s <= at][-1]


def _wall(stream: Stream, plan: _Plan, shift: _Shift, at: Fraction) -> Fraction:
    """The wall clock of a stream time, before rounding and drift."""
    return plan.epoch_ms + shift.jump_ms + (stream.spec.first_time_s + at) * 1000


def _truth(
    stream: Stream, plan: _Plan, grid: Sequence[_Piece], shifts: Sequence[_Shift]
) -> list[Region]:
    number = {t: stream.spec.first_number + i for i, t in enumerate(stream.spec.frame_times[:-1])}
    walls: dict[int, dict[int, Fraction]] = {s.region: {} for s in shifts}
    starts = {s.region: Fraction(round(_wall(stream, plan, s, s.anchor_s))) for s in shifts}
    for piece in grid:
        shift = _shift_at(shifts, piece.start_s)
        for sample in piece.samples[0]:
            since = (sample.pts - shift.anchor_s) * 1000
            if sample.pts in number:  # the second field of a frame has a time between two frames
                walls[shift.region][number[sample.pts]] = starts[shift.region] + since
    return [Region(starts[s.region], walls[s.region]) for s in shifts]


def _cut(line: _Line, stream: Stream, plan: _Plan, shifts: Sequence[_Shift]) -> None:
    tracks = [stream.tracks[i] for i in line.track_indices]
    if line.audio_only:
        pieces = _audio_pieces(tracks[0], line.segment_s)
    else:
        pieces = _video_pieces(stream, tracks, line.segment_s)
    blobs, init_name, scales = _blobs(line, stream, plan, tracks, pieces, shifts)
    for piece, blob in zip(pieces, blobs, strict=True):
        shift = _shift_at(shifts, piece.start_s)
        sequence = len(line.entries)
        if scales:
            blob = _shifted(blob, scales, shift.start_90k)
        entry = _entry(line, stream, plan, piece, shift, sequence, init_name)
        line.entries.append((entry, blob))


def _blobs(
    line: _Line,
    stream: Stream,
    plan: _Plan,
    tracks: Sequence[Track],
    pieces: Sequence[_Piece],
    shifts: Sequence[_Shift],
) -> tuple[list[bytes], str | None, dict[int, int]]:
    if plan.packed_audio and line.audio_only:
        return (
            [_packed_bytes(tracks[0], p, _shift_at(shifts, p.start_s).start_90k) for p in pieces],
            None,
            {},
        )
    if plan.container == "ts":
        blobs = [
            line.counters.apply(_ts_bytes(tracks, p, _shift_at(shifts, p.start_s).start_90k))
            for p in pieces
        ]
        return blobs, None, {}
    init, blobs = _fmp4(stream, tracks, pieces, audio_only=line.audio_only)
    name = f"{line.stem}-init-{len(line.inits)}.mp4"
    line.inits[name] = init
    return blobs, name, _timescales(init)


def _entry(
    line: _Line,
    stream: Stream,
    plan: _Plan,
    piece: _Piece,
    shift: _Shift,
    sequence: int,
    init_name: str | None,
) -> MediaSegment:
    wall = _wall(stream, plan, shift, piece.start_s)
    drift = (piece.start_s - shift.anchor_s) * 1000 * Fraction(plan.drift_ppm, 10**6)
    before = line.entries[-1][0].region if line.entries else None
    new_region = before is not None and before != shift.region
    wanted = {
        "every": True,
        "first": before is None,
        "after_discontinuity": before is None or new_region,
        "absent": False,
    }[plan.pdt]
    suffix = _suffix(line, stream, plan)
    key = None
    if plan.encrypt:
        iv = plan.encrypt.iv_of(sequence) if plan.encrypt.explicit_iv else None
        key = (plan.encrypt.key_of(sequence)[0], iv)
    return MediaSegment(
        name=f"{line.stem}-{sequence}.{suffix}",
        duration_s=piece.end_s - piece.start_s,
        start_s=stream.spec.first_time_s + piece.start_s,
        sequence=sequence,
        region=shift.region,
        end_wall_ms=wall + (piece.end_s - piece.start_s) * 1000,
        pdt_ms=round(wall + drift) if wanted else None,
        discontinuity=new_region,
        gap=sequence in plan.gaps and not line.audio_only,
        init=(init_name, None) if init_name else None,
        key=key,
        init_encrypted=bool(plan.encrypt and plan.encrypt.encrypt_init),
    )


def _suffix(line: _Line, stream: Stream, plan: _Plan) -> str:
    if plan.packed_audio and line.audio_only:
        audio = stream.tracks[line.track_indices[0]].audio
        return {"aac": "aac", "ac3": "ac3", "eac3": "ec3"}[audio.codec if audio else "aac"]
    return "ts" if plan.container == "ts" else "m4s"


def _finished(line: _Line, plan: _Plan, files: dict[str, bytes]) -> MediaPlaylist:
    """Encrypt, place in one file or many, and answer the playlist."""
    entries = [(e, _sealed(plan.encrypt, e.sequence, blob, files)) for e, blob in line.entries]
    inits = dict(line.inits)
    if plan.encrypt and plan.encrypt.encrypt_init:
        first = {e.init[0]: e.sequence for e, _ in reversed(entries) if e.init}
        inits = {n: _sealed(plan.encrypt, first[n], d, files) for n, d in inits.items()}
    if not plan.byte_range:
        files.update(inits)
        files.update({e.name: blob for e, blob in entries})
        return MediaPlaylist(f"{line.stem}.m3u8", tuple(e for e, _ in entries))
    return _one_file(line, plan, entries, inits, files)


def _one_file(
    line: _Line,
    plan: _Plan,
    entries: Sequence[tuple[MediaSegment, bytes]],
    inits: dict[str, bytes],
    files: dict[str, bytes],
) -> MediaPlaylist:
    name = f"{line.stem}.{'ts' if plan.container == 'ts' else 'mp4'}"
    whole, placed, init_at = bytearray(), [], {}
    for init_name, data in inits.items():
        init_at[init_name] = (len(data), len(whole))
        whole += data
    for entry, blob in entries:
        init = (name, init_at[entry.init[0]]) if entry.init else None
        spot = (len(blob), len(whole))
        placed.append(replace(entry, name=name, byte_range=spot, init=init))
        whole += blob
    files[name] = bytes(whole)
    return MediaPlaylist(f"{line.stem}.m3u8", tuple(placed))


def _sealed(
    encryption: Encryption | None, sequence: int, data: bytes, files: dict[str, bytes]
) -> bytes:
    if encryption is None:
        return data
    name, key = encryption.key_of(sequence)
    files[name] = key
    padding = 16 - len(data) % 16
    box = Cipher(algorithms.AES(key), modes.CBC(encryption.iv_of(sequence))).encryptor()
    return box.update(data + bytes([padding]) * padding) + box.finalize()


# ---- multivariant -------------------------------------------------------------------------


def multivariant(variants: dict[str, HlsAsset], *, entry: str = "master.m3u8") -> HlsAsset:
    """One presentation of several variants, each in the folder its key names ("" for none).

    The sound of a variant made with `separate_audio` becomes the audio group of that folder.
    """
    files: dict[str, bytes] = {}
    playlists: dict[str, MediaPlaylist] = {}
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for folder, asset in variants.items():
        prefix = f"{folder}/" if folder else ""
        files |= {prefix + name: data for name, data in asset.files.items()}
        playlists |= {prefix + name: p for name, p in asset.playlists.items()}
        lines += _variant_lines(prefix, asset)
    base = next(iter(variants.values()))
    text = "\n".join([*lines, ""])
    return replace(base, files=files, playlists=playlists, entry=entry, masters={entry: text})


def _variant_lines(prefix: str, asset: HlsAsset) -> Iterator[str]:
    stream = asset.streams[0]
    group = f"sound-{prefix.strip('/') or 'all'}"
    sounds = sorted(name for name in asset.playlists if name.startswith("audio-"))
    for index, name in enumerate(sounds):
        audio = stream.spec.audio[index]
        default = "YES" if index == 0 else "NO"
        yield (
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{group}",NAME="{audio.language}-{index}",'
            f'LANGUAGE="{audio.language}",DEFAULT={default},AUTOSELECT=YES,'
            f'CHANNELS="{audio.channels}",URI="{prefix}{name}"'
        )
    width, height = stream.spec.size
    rate = float(stream.spec.fps)
    yield (
        f"#EXT-X-STREAM-INF:BANDWIDTH={_bandwidth(asset)},RESOLUTION={width}x{height},"
        f'FRAME-RATE={rate:.3f},CODECS="{_codecs(stream)}"'
        + (f',AUDIO="{group}"' if sounds else "")
    )
    yield f"{prefix}main.m3u8"


def _bandwidth(asset: HlsAsset) -> int:
    media = sum(len(d) for n, d in asset.files.items() if not n.endswith(".bin"))
    seconds = sum(s.duration_s for s in asset.playlists["main.m3u8"].segments)
    return int(media * 8 * 1.1 / seconds) + 1


def _codecs(stream: Stream) -> str:
    names = {"aac": "mp4a.40.2", "ac3": "ac-3", "eac3": "ec-3", "mp2": "mp4a.40.34"}
    video = "hvc1.1.6.L93.B0"
    if stream.spec.codec == "h264":
        extradata = stream.video.extradata
        sps = extradata.index(b"\x67")
        video = f"avc1.{extradata[sps + 1 : sps + 4].hex()}"
    return ",".join([video, *dict.fromkeys(names[a.codec] for a in stream.spec.audio)])


def write_mp4(
    stream: Stream, path: Path, *, faststart: bool = True, movie_timescale: int = 1000
) -> Path:
    """An ordinary progressive MP4 of a whole stream (libav's default edit lists)."""
    options = {"movie_timescale": str(movie_timescale)}
    options |= {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", format="mp4", container_options=options) as container:
        streams = _add_streams(container, stream.tracks, mp4=True)
        if stream.spec.timecode:
            streams[0].metadata["timecode"] = stream.spec.timecode
        piece = _Piece(tuple(t.samples for t in stream.tracks), Fraction(0), Fraction(0))
        for packet in _packets(stream.tracks, _bare(piece, stream), Fraction(0), streams):
            container.mux_one(packet)
    return path
