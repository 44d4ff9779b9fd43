"""One held segment opened: its pictures and sounds, whatever container they came in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from struct import error as StructError  # noqa: N812  it is a class
from typing import Protocol

from media.cut import fmp4, h264, hevc, latm, sound
from media.cut.bits import split_annexb, split_prefixed
from media.cut.fmp4 import Mp4Samples, Mp4Track
from media.cut.h264 import SliceNumbers
from media.cut.sound import Bounds, SoundFormat
from media.cut.ts import TIMEBASE_HZ, Pes, TsSegment, TsStream
from schemas.errors import CorruptMedia, UnsupportedMedia

Read = Callable[[Path], bytes]
# Enough of a picture to hold its parameter sets and the header of its first slice.
_SETS_PACKETS = 8
_H264_SLICES = frozenset({1, 2, 5})


class Pictures(Protocol):
    """The pictures of a segment, in decode order."""

    codec: str
    timescale: int
    pts: list[int]

    def nals(self, index: int) -> tuple[bytes, ...]:
        """The NAL units of a picture."""

    def data(self, index: int) -> bytes:
        """The picture as its container holds it."""


class Sounds(Protocol):
    """The sound frames of one stream of a segment."""

    format: SoundFormat
    timescale: int
    language: str | None
    pts: list[int]

    def data(self, index: int) -> bytes:
        """A frame as an MP4 sample holds it."""

    def entry(self) -> bytes:
        """The MP4 sample entry for these frames."""


# --- MPEG-TS


@dataclass(slots=True)
class TsPictures:
    """Pictures in PES units; a unit without a PTS goes on with the picture before it.

    `paired` are the pictures whose two fields came in units of their own.
    """

    codec: str
    pes: Pes
    units: list[tuple[int, int]]
    pts: list[int]
    paired: frozenset[int] = frozenset()
    tail: bytes = b""
    timescale: int = TIMEBASE_HZ

    def begin_nals(self, index: int) -> tuple[bytes, ...]:
        """The NAL units that say how a picture begins: of two fields, those of the first."""
        if index not in self.paired:
            return self.nals(index)
        return split_annexb(self.pes.payload(self.units[index][0]))

    def nals(self, index: int) -> tuple[bytes, ...]:
        """The NAL units of a picture."""
        return split_annexb(self.data(index))

    def data(self, index: int) -> bytes:
        """The picture as an Annex B byte stream."""
        first, stop = self.units[index]
        data = self.pes.payload(first)
        if stop - first > 1:
            data = b"".join([data, *(self.pes.payload(unit) for unit in range(first + 1, stop))])
        return data + self.tail if self.tail and index == len(self.units) - 1 else data

    def begin(self, index: int) -> tuple[bytes, int]:
        """The first bytes of a picture, and where in them its first slice starts; -1 where nowhere.

        Mostly that is in its first packet, and the rest need not be put together.
        """
        packets, whole = 1, self.packets(index)
        while True:
            head = self.head(index, packets)
            at = _first_slice(head, self.codec)
            if at >= 0 or packets >= whole:
                return head, at
            packets = min(whole, packets * 4)

    def opening(self, index: int) -> tuple[bytes, ...]:
        """The NAL units before the slices: parameter sets stand there (7.4.1.2.3)."""
        head, at = self.begin(index)
        if at < 0 or index in self.paired:
            return self.nals(index)
        return split_annexb(head[:at]) if at else ()

    def head(self, index: int, packets: int) -> bytes:
        """The first bytes of a picture: those in so many packets."""
        return self.pes.head(self.units[index][0], packets)

    def packets(self, index: int) -> int:
        """How many packets the picture's first unit takes."""
        return self.pes.packets(self.units[index][0])

    def outer_sets(self) -> tuple[bytes, ...]:
        """Parameter sets outside the pictures: none."""
        return ()

    def size(self) -> tuple[int, int]:
        """Width and height, where no parameter sets of ours say them."""
        data = self.data(0)
        at = data.find(b"\0\0\1\xb3")
        if self.codec != "mpeg2video" or at < 0:
            raise UnsupportedMedia(f"pictures of {self.codec} without a sequence header")
        packed = int.from_bytes(data[at + 4 : at + 7], "big")
        return packed >> 12, packed & 0xFFF

    def aspect(self) -> Fraction | None:
        """How much wider than high a sample of MPEG-2 is: its header gives the whole picture's."""
        width, height = self.size()
        data = self.data(0)
        shape = _SHAPES.get(data[data.find(b"\0\0\1\xb3") + 7] >> 4)
        return shape * height / width if shape and width else None

    def random_access(self, index: int) -> bool:
        """Whether the transport stream marks the picture as a place to start."""
        return self.pes.random_access(self.units[index][0])


# Aspect ratios of the displayed picture (ISO 13818-2, table 6-3).
_SHAPES = {2: Fraction(4, 3), 3: Fraction(16, 9), 4: Fraction(221, 100)}


def _first_slice(head: bytes, codec: str) -> int:
    """Where the start code of the first slice stands, five of its bytes behind it; else -1."""
    at = head.find(b"\0\0\1")
    while 0 <= at < len(head) - 7:
        kind = head[at + 3]
        if kind >> 1 & 63 < 32 if codec == "hevc" else kind & 31 in _H264_SLICES:
            return at
        at = head.find(b"\0\0\1", at + 3)
    return -1


def _ts_pictures(stream: TsStream, pes: Pes) -> TsPictures:
    units: list[tuple[int, int]] = []
    pts: list[int] = []
    for unit, stamp in enumerate(pes.pts):
        if stamp is not None:
            units.append((unit, unit + 1))
            pts.append(stamp)
        elif units:
            units[-1] = (units[-1][0], unit + 1)
    found = TsPictures(stream.codec, pes, units, pts)
    return _paired(found) if stream.codec == "h264" and units else found


def _paired(single: TsPictures) -> TsPictures:
    """The same pictures, fields that have units of their own joined to frames (7.4.1.2.4)."""
    sets = _own_sets(single)
    if all(sps.frame_mbs_only for sps in sets.sps.values()):
        return single
    units: list[tuple[int, int]] = []
    pts: list[int] = []
    paired: set[int] = set()
    before: SliceNumbers | None = None
    for index, (unit, stamp) in enumerate(zip(single.units, single.pts, strict=True)):
        now = _lone_field(single, index, sets)
        if before is not None and now is not None and h264.are_fields_of_one(before, now):
            paired.add(len(units) - 1)
            units[-1], before = (units[-1][0], unit[1]), None
            continue
        units.append(unit)
        pts.append(stamp)
        before = now
    return replace(single, units=units, pts=pts, paired=frozenset(paired))


def _own_sets(pictures: TsPictures) -> h264.ParameterSets:
    """The parameter sets at the head of a segment; none where it begins with something else."""
    sets = h264.ParameterSets()
    head = pictures.head(0, min(_SETS_PACKETS, pictures.packets(0)))
    sets.add_all(h264.sets_of(split_annexb(head) if head else ()))
    return sets


def _lone_field(pictures: TsPictures, index: int, sets: h264.ParameterSets) -> SliceNumbers | None:
    """How the one field a unit holds is numbered; None where it is a frame or holds both."""
    head = pictures.head(index, min(_SETS_PACKETS, pictures.packets(index)))
    first = next((nal for nal in split_annexb(head) if h264.is_slice(nal)), None)
    numbers = h264.parse_slice_numbers(first, sets) if first else None
    if numbers is None or not numbers.field_pic:
        return None
    return numbers if h264.is_lone_field(pictures.nals(index), sets) else None


@dataclass(slots=True)
class TsSounds:
    """Sound frames of one PID, cut out of the PES units; `rest` is an unfinished last frame."""

    codec: str
    language: str | None
    stream: bytes
    bounds: list[Bounds]
    pts: list[int]
    format: SoundFormat
    rest: bytes
    timescale: int = TIMEBASE_HZ
    _latm: latm.Mux | None = None

    def data(self, index: int) -> bytes:
        """A frame as an MP4 sample holds it."""
        start, end = self.bounds[index]
        if self._latm is not None:
            return self._latm.payload(self.stream[start:end])
        return sound.payload(self.codec, self.stream[start:end])

    def entry(self) -> bytes:
        """The MP4 sample entry for these frames."""
        return self.format.entry()


def _ts_sounds(stream: TsStream, pes: Pes, carried: bytes) -> TsSounds | None:
    """The sound of one PID; `carried` is what the segment before left unfinished."""
    parts = [carried + pes.lead() if carried else b""]
    parts += [pes.payload(unit) for unit in range(len(pes.starts))]
    joined = b"".join(parts)
    bounds, used = sound.walk(stream.codec, joined)
    if not bounds:
        return None
    mux = latm.Mux() if stream.codec == "aac_latm" else None
    first = joined[slice(*bounds[0])]
    form = mux.format(first) if mux else sound.sound_format(stream.codec, first)
    pts = _frame_pts(bounds, _marks(parts, pes.pts), form)
    rest = joined[used:]
    return TsSounds(
        stream.codec, stream.language, joined, bounds, pts, form, rest, TIMEBASE_HZ, mux
    )


def _marks(parts: list[bytes], stamps: list[int | None]) -> list[tuple[int, int]]:
    """Where in the joined stream each stated PTS applies."""
    at, found = len(parts[0]), []
    for part, stamp in zip(parts[1:], stamps, strict=True):
        if stamp is not None:
            found.append((at, stamp))
        at += len(part)
    return found


def _frame_pts(bounds: list[Bounds], marks: list[tuple[int, int]], form: SoundFormat) -> list[int]:
    """The PTS of each frame: stated for the first that starts in a unit, counted for the rest."""
    if not marks:
        raise CorruptMedia("the sound bears no PTS")
    step, rate = form.frame_samples * TIMEBASE_HZ, form.sample_rate_hz
    pts: list[int] = []
    upcoming, base, since, early = 0, None, 0, 0
    for start, _ in bounds:
        if upcoming < len(marks) and start >= marks[upcoming][0]:
            while upcoming + 1 < len(marks) and start >= marks[upcoming + 1][0]:
                upcoming += 1
            base, since = marks[upcoming][1], 0
            upcoming += 1
        if base is None:
            early += 1
            continue
        pts.append(base + (since * step + rate // 2) // rate)
        since += 1
    lead = [pts[0] - (n * step + rate // 2) // rate for n in range(early, 0, -1)] if pts else []
    return lead + pts


# --- fragmented MP4


@dataclass(slots=True)
class Mp4Pictures:
    """Pictures of a fragmented MP4 track."""

    codec: str
    file: bytes
    samples: Mp4Samples
    timescale: int
    length_size: int
    pts: list[int]
    track: Mp4Track

    @property
    def in_band(self) -> bool:
        """Whether parameter sets may stand among the pictures."""
        return self.track.entry[4:8] in {b"avc3", b"hev1"}

    def outer_sets(self) -> tuple[bytes, ...]:
        """The parameter sets of the configuration record."""
        if self.codec == "h264":
            return h264.parse_avcc(self.track.config(b"avcC") or b"")[1]
        if self.codec == "hevc":
            return hevc.parse_hvcc(self.track.config(b"hvcC") or b"")[1]
        return ()

    def size(self) -> tuple[int, int]:
        """Width and height as the track states them."""
        return self.track.width, self.track.height

    def nals(self, index: int) -> tuple[bytes, ...]:
        """The NAL units of a picture."""
        return split_prefixed(self.data(index), self.length_size)

    def opening(self, index: int) -> tuple[bytes, ...]:
        """The NAL units parameter sets may stand among: all, as they cost nothing to find."""
        return self.nals(index)

    def data(self, index: int) -> bytes:
        """The picture as the sample holds it."""
        at = self.samples.offsets[index]
        return self.file[at : at + self.samples.sizes[index]]


@dataclass(slots=True)
class Mp4Sounds:
    """Sound frames of a fragmented MP4 track."""

    codec: str
    language: str | None
    file: bytes
    samples: Mp4Samples
    timescale: int
    format: SoundFormat
    pts: list[int]
    track: Mp4Track

    def data(self, index: int) -> bytes:
        """A frame as the sample holds it."""
        at = self.samples.offsets[index]
        return self.file[at : at + self.samples.sizes[index]]

    def entry(self) -> bytes:
        """The track's own sample entry."""
        return self.track.entry


def _mp4_sounds(track: Mp4Track, file: bytes, samples: Mp4Samples) -> Mp4Sounds:
    usual = max(set(samples.durations), key=samples.durations.count)
    codec = track.codec
    if codec == "mp2":
        # One object type stands for all layers of MPEG audio; the frames tell them apart.
        at = samples.offsets[0]
        codec = sound.sound_format(codec, file[at : at + 4]).codec
    form = SoundFormat(codec, track.timescale, usual, track.channels, b"")
    return Mp4Sounds(
        codec, track.language, file, samples, track.timescale, form, samples.pts, track
    )


def _mp4_pictures(track: Mp4Track, file: bytes, samples: Mp4Samples) -> Mp4Pictures:
    record = track.config(b"avcC") or track.config(b"hvcC") or b""
    size = 4
    if track.codec == "h264" and len(record) > 4:
        size = (record[4] & 3) + 1
    elif track.codec == "hevc" and len(record) > 21:
        size = (record[21] & 3) + 1
    return Mp4Pictures(track.codec, file, samples, track.timescale, size, samples.pts, track)


# --- either


@dataclass(slots=True)
class OpenSegment:
    """What a segment holds; `whole` is False where bytes are seen to be lost."""

    pictures: TsPictures | Mp4Pictures | None
    sounds: dict[int, TsSounds | Mp4Sounds]
    tracks: dict[int, Mp4Track] = field(default_factory=dict)
    whole: bool = True
    lead: bytes = b""
    ends_full: bool = False
    counters: dict[int, tuple[int, int]] = field(default_factory=dict)
    next_dts: dict[int, int] = field(default_factory=dict)

    @property
    def rests(self) -> dict[int, bytes]:
        """Unfinished sound frames at the end, by stream."""
        return {
            key: found.rest
            for key, found in self.sounds.items()
            if isinstance(found, TsSounds) and found.rest
        }


@dataclass(frozen=True, slots=True)
class Wants:
    """What of a segment is wanted: leaving out what is not saves work."""

    pictures: bool = True
    sounds: frozenset[int] | None = None

    def sound(self, stream_id: int) -> bool:
        """Whether a stream of sound is wanted."""
        return self.sounds is None or stream_id in self.sounds


EVERYTHING = Wants()


def open_ts(
    data: bytes, wants: Wants = EVERYTHING, rests: dict[int, bytes] | None = None
) -> OpenSegment:
    """An MPEG-TS segment; `rests` are unfinished frames of the one before."""
    segment = TsSegment(data)
    found = OpenSegment(None, {}, whole=not segment.ragged)
    for stream in segment.streams:
        if stream.video and wants.pictures and found.pictures is None:
            pes = segment.pes(stream.pid)
            found.pictures = _ts_pictures(stream, pes)
            found.lead = pes.lead()
            found.ends_full = pes.ends_full()
        elif not stream.video and wants.sound(stream.pid):
            pes = segment.pes(stream.pid)
            heard = _ts_sounds(stream, pes, (rests or {}).get(stream.pid, b""))
            if heard is not None:
                found.sounds[stream.pid] = heard
        else:
            continue
        found.whole = found.whole and pes.intact
        found.counters[stream.pid] = pes.first_counter, pes.last_counter
    return found


def open_mp4(
    data: bytes, tracks: dict[int, Mp4Track], wants: Wants = EVERYTHING,
    dts: dict[int, int] | None = None,
) -> OpenSegment:  # fmt: skip
    """A fragmented MP4 segment, with the tracks of its initialisation section."""
    found = OpenSegment(None, {}, tracks)
    for track_id, samples in fmp4.samples(data, tracks, dts or {}).items():
        track = tracks[track_id]
        found.next_dts[track_id] = samples.next_dts
        if not samples.pts:
            continue
        if track.handler == "vide" and wants.pictures and found.pictures is None:
            found.pictures = _mp4_pictures(track, data, samples)
        elif track.handler == "soun" and wants.sound(track_id):
            found.sounds[track_id] = _mp4_sounds(track, data, samples)
    return found


def open_aac(data: bytes, rests: dict[int, bytes] | None = None) -> OpenSegment:
    """A packed audio segment: coded frames behind an ID3 tag that states the PTS."""
    size, stamp = _id3(data)
    joined = (rests or {}).get(0, b"") + data[size:]
    codec = _packed_codec(joined)
    bounds, used = sound.walk(codec, joined)
    if not bounds:
        raise UnsupportedMedia("neither MPEG-TS, fragmented MP4 nor packed audio")
    form = sound.sound_format(codec, joined[slice(*bounds[0])])
    pts = _frame_pts(bounds, [(0, stamp)], form)
    heard = TsSounds(codec, None, joined, bounds, pts, form, joined[used:])
    return OpenSegment(None, {0: heard})


def _packed_codec(stream: bytes) -> str:
    """What kind of frames a stream begins with."""
    if stream[:1] == b"\x0b" and len(stream) > 5:
        return "eac3" if stream[5] >> 3 > 10 else "ac3"
    mpeg = stream[:1] == b"\xff" and len(stream) > 1 and stream[1] >> 1 & 3
    return "mp2" if mpeg else "aac"


def _id3(data: bytes) -> tuple[int, int]:
    """The size of the ID3 tags in front, and the MPEG-TS timestamp they state."""
    at, stamp = 0, 0
    while data[at : at + 3] == b"ID3" and len(data) >= at + 10:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        tag = data[at : at + 10 + size]
        mark = tag.find(b"com.apple.streaming.transportStreamTimestamp\0")
        if mark >= 0:
            stamp = int.from_bytes(tag[mark + 45 : mark + 53], "big") & (1 << 33) - 1
        at += 10 + size
    return at, stamp


class Opener:
    """Opens the segments of one run in order, carrying on what reaches from one into the next."""

    def __init__(
        self, folder: Path, wants: Wants = EVERYTHING, read: Read = Path.read_bytes
    ) -> None:
        self._folder = folder
        self._wants = wants
        self._read = read
        self._rests: dict[int, bytes] = {}
        self._dts: dict[int, int] = {}
        self._init_name: str | None = None
        self._tracks: dict[int, Mp4Track] = {}

    def open(self, name: str, init_name: str | None) -> OpenSegment:
        """The next segment."""
        try:
            return self._opened(name, init_name)
        except (IndexError, KeyError, ValueError, OverflowError, StructError) as error:
            raise CorruptMedia(f"a segment breaks off inside a field ({error})") from error

    def _opened(self, name: str, init_name: str | None) -> OpenSegment:
        data = self._read(self._folder / name)
        if init_name is not None:
            return self._fragmented(data, init_name)
        if data[4:8] in {b"ftyp", b"styp", b"moov", b"moof", b"sidx"}:
            return self._self_initialising(data)
        found = (
            open_aac(data, self._rests)
            if data[:3] == b"ID3" or data[:1] in {b"\xff", b"\x0b"}
            else open_ts(data, self._wants, self._rests)
        )
        self._rests = found.rests
        return found

    def _fragmented(self, data: bytes, init_name: str) -> OpenSegment:
        if init_name != self._init_name:
            init = self._read(self._folder / init_name)
            self._tracks = {track.track_id: track for track in fmp4.tracks(init)}
            self._init_name = init_name
        return self._of_tracks(data)

    def _self_initialising(self, data: bytes) -> OpenSegment:
        if any(kind == b"moov" for kind, _, _ in fmp4.spans(data, 0, len(data))):
            self._tracks = {track.track_id: track for track in fmp4.tracks(data)}
        if not self._tracks:
            raise UnsupportedMedia("a fragmented MP4 segment without an initialisation section")
        return self._of_tracks(data)

    def _of_tracks(self, data: bytes) -> OpenSegment:
        found = open_mp4(data, self._tracks, self._wants, self._dts)
        self._dts = found.next_dts
        return found
