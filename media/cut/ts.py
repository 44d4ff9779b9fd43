"""MPEG-TS as held in one segment: its programme, its PES units, and what shows that bytes are lost.

Works on whole columns of packet headers at once, so that ten minutes of television cost
a fraction of a second.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, compress
from pathlib import Path

from schemas.errors import CorruptMedia, Encrypted, UnsupportedMedia

PACKET = 188
_BODY = 184
_HEADER = 9
# Up to so many packets are cut out one by one, without stripping the whole segment for them.
_FEW = 24
WRAP = 1 << 33
TIMEBASE_HZ = 90_000
_LOW_FIVE = bytes(i & 0x1F for i in range(256))
_STARTS = bytes(i >> 6 & 1 for i in range(256))
_ADAPTS = bytes(i >> 5 & 1 for i in range(256))
_CARRIES = bytes(i >> 4 & 1 for i in range(256))
_COUNTER = bytes(i & 0x0F for i in range(256))
_SCRAMBLED = bytes(i >> 7 for i in range(256))
_CYCLE = bytes(range(16))
_CODECS = {
    0x01: "mpeg2video",
    0x02: "mpeg2video",
    0x03: "mp2",
    0x04: "mp2",
    0x0F: "aac",
    0x11: "aac_latm",
    0x1B: "h264",
    0x24: "hevc",
    0x81: "ac3",
    0x87: "eac3",
}
_PRIVATE = {0x6A: "ac3", 0x7A: "eac3", 0x7C: "aac"}
_VIDEO = frozenset({"h264", "hevc", "mpeg2video"})


@dataclass(frozen=True, slots=True)
class TsStream:
    """An elementary stream of the programme."""

    pid: int
    codec: str
    language: str | None

    @property
    def video(self) -> bool:
        """Whether it holds pictures."""
        return self.codec in _VIDEO


@dataclass(slots=True)
class Pes:
    """The PES units of one PID: where each starts among the packets, and its PTS.

    Packets of the PID are numbered through; `firsts` numbers those that begin a stretch without
    packets of others, and `places` says where in the segment those lie.
    """

    segment: TsSegment
    count: int
    firsts: list[int]
    places: list[int]
    starts: list[int]
    adapts: bytes
    pts: list[int | None] = field(default_factory=list)
    intact: bool = True
    last_counter: int = -1
    first_counter: int = -1

    def payload(self, unit: int) -> bytes:
        """The elementary stream bytes of a unit."""
        first = self.starts[unit]
        return _pes_body(self._parts(first, first + self.packets(unit)))

    def head(self, unit: int, packets: int = 1) -> bytes:
        """The first elementary stream bytes of a unit: those in its first packets."""
        first = self.starts[unit]
        body = self._joined(first, first + min(packets, self.packets(unit)))
        return body[9 + body[8] :] if len(body) > 9 else b""

    def packets(self, unit: int) -> int:
        """How many packets carry a unit."""
        stop = self.starts[unit + 1] if unit + 1 < len(self.starts) else self.count
        return stop - self.starts[unit]

    def random_access(self, unit: int) -> bool:
        """Whether the adaptation field marks the unit as a point to start from."""
        at = self.offset(self.starts[unit])
        data = self.segment.data
        return bool(data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x40)

    def ends_full(self) -> bool:
        """Whether the last packet is all payload: a unit that is whole mostly ends in stuffing."""
        return bool(self.adapts) and not self.adapts[-1]

    def lead(self) -> bytes:
        """Payload that stands before the first unit: the end of one in an earlier segment."""
        return self._joined(0, self.starts[0] if self.starts else self.count)

    def offset(self, number: int) -> int:
        """Where a packet begins in the segment."""
        stretch = bisect_right(self.firsts, number) - 1
        return (self.places[stretch] + number - self.firsts[stretch]) * PACKET

    def _joined(self, first: int, stop: int) -> bytes:
        """The payload of packets `[first, stop)`."""
        return b"".join(self._parts(first, stop))

    def _parts(self, first: int, stop: int) -> list[bytes | memoryview]:
        """The payload of packets `[first, stop)`: whole stretches of bare packets at a time."""
        parts: list[bytes | memoryview] = []
        adapts, firsts, at = self.adapts, self.firsts, first
        stretch = bisect_right(firsts, first) - 1
        while at < stop:
            limit = firsts[stretch + 1] if stretch + 1 < len(firsts) else self.count
            if at >= limit:
                stretch += 1
                continue
            place = self.places[stretch] - firsts[stretch]
            if adapts[at]:
                parts.append(self.segment.adapted(place + at))
                at += 1
                continue
            end = adapts.find(1, at, min(stop, limit))
            end = min(stop, limit) if end < 0 else end
            parts += self.segment.payloads(place + at, place + end)
            at = end
        return parts


def _pes_body(parts: list[bytes | memoryview]) -> bytes:
    """What a PES packet carries, cut to the length it states where it states one."""
    head = parts[0] if parts else b""
    if len(head) < _HEADER:
        head = b"".join(parts)
    if len(head) < 9 or head[:3] != b"\0\0\1":
        raise CorruptMedia("a PES packet does not begin with its start code")
    length = int.from_bytes(head[4:6], "big")
    if length or len(head) < 9 + head[8] or head is not parts[0]:
        return _stated(b"".join(parts), length)
    # Most pictures state no length: their header goes without copying them once more.
    return b"".join([head[9 + head[8] :], *parts[1:]])


def _stated(pes: bytes, length: int) -> bytes:
    if length and length + 6 > len(pes):
        raise CorruptMedia(f"a PES packet of {length + 6} bytes holds only {len(pes)}")
    return pes[9 + pes[8] : length + 6 if length else len(pes)]


class TsSegment:
    """One held MPEG-TS segment."""

    def __init__(self, data: bytes) -> None:
        start = _aligned_start(data)
        whole = (len(data) - start) // PACKET * PACKET
        self.ragged = len(data) - start - whole != 0
        self.data = data[start : start + whole] if start or self.ragged else data
        self._high = self.data[1::PACKET]
        self._low = self.data[2::PACKET]
        self._flags = self.data[3::PACKET]
        if self.data[::PACKET].count(0x47) != whole // PACKET:
            raise CorruptMedia("an MPEG-TS packet lost its sync byte")
        self._bodies: memoryview | None = None
        self.streams = self._programme()

    @classmethod
    def read(cls, path: Path) -> TsSegment:
        """The segment in a file."""
        return cls(path.read_bytes())

    def adapted(self, number: int) -> bytes:
        """What a packet with an adaptation field carries."""
        at, data = number * PACKET, self.data
        return data[at + 5 + data[at + 4] : at + PACKET]

    def payloads(self, first: int, stop: int) -> list[bytes | memoryview]:
        """What the bare packets `[first, stop)` carry: of many one piece, of a few one each."""
        if stop - first <= _FEW:
            return [
                self.data[at + PACKET - _BODY : at + PACKET]
                for at in range(first * PACKET, stop * PACKET, PACKET)
            ]
        return [self._stripped()[first * _BODY : stop * _BODY]]

    def _stripped(self) -> memoryview:
        """Every packet less its header, end to end; made once, when first asked for."""
        if self._bodies is None:
            # Four sweeps over the whole are six times faster than a slice for each packet.
            stripped = bytearray(self.data)
            for step in range(PACKET, _BODY, -1):
                del stripped[::step]
            self._bodies = memoryview(stripped)
        return self._bodies

    def pes(self, pid: int) -> Pes:
        """The PES units of one PID."""
        stretches = list(_stretches(self._mask(pid)))
        places = [first for first, _ in stretches]
        firsts = list(accumulate((stop - first for first, stop in stretches), initial=0))
        flags = b"".join([self._flags[first:stop] for first, stop in stretches])
        if 1 in flags.translate(_SCRAMBLED):
            raise Encrypted("the transport stream is scrambled")
        opens = b"".join([self._high[first:stop] for first, stop in stretches])
        starts = list(_ones(opens.translate(_STARTS)))
        count = firsts.pop()
        found = Pes(self, count, firsts, places, starts, flags.translate(_ADAPTS))
        found.pts = [_pts(found, unit) for unit in range(len(starts))]
        counters = flags.translate(_COUNTER)
        if counters:
            found.first_counter, found.last_counter = counters[0], counters[-1]
            found.intact = _counts_up(counters) or self._counts_up_slowly(found)
        return found

    def _mask(self, pid: int) -> bytes:
        """One byte a packet: 1 where it carries payload of this PID."""
        size = len(self._low)
        high, low = _tables(pid)
        columns = (
            self._high.translate(high),
            self._low.translate(low),
            self._flags.translate(_CARRIES),
        )
        first, second, third = (int.from_bytes(column, "little") for column in columns)
        return (first & second & third).to_bytes(size, "little")

    def _counts_up_slowly(self, found: Pes) -> bool:
        """Whether the counters run on, duplicates and announced jumps allowed."""
        data, last = self.data, -1
        for number in range(found.count):
            at = found.offset(number)
            counter = data[at + 3] & 0x0F
            jump = data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x80
            if last >= 0 and not jump and counter not in {last, (last + 1) & 15}:
                return False
            last = counter
        return True

    def _programme(self) -> tuple[TsStream, ...]:
        pat = self._section(0)
        programmes = [
            int.from_bytes(pat[at + 2 : at + 4], "big") & 0x1FFF
            for at in range(8, len(pat) - 4, 4)
            if pat[at : at + 2] != b"\0\0"
        ]
        if not programmes:
            raise CorruptMedia("the transport stream names no programme")
        return _streams(self._section(programmes[0]))

    def _section(self, pid: int) -> bytes:
        """The first PSI section of a PID."""
        mask = self._mask(pid)
        gathered = b""
        for at in compress(range(0, len(self.data), PACKET), mask):
            flags = self.data[at + 3]
            skip = 5 + self.data[at + 4] if flags & 0x20 else 4
            body = self.data[at + skip : at + PACKET]
            if self.data[at + 1] & 0x40:
                gathered = body[1 + body[0] :] if body else b""
            elif gathered:
                gathered += body
            if len(gathered) >= 3 and len(gathered) >= 3 + _section_length(gathered):
                return gathered[: 3 + _section_length(gathered)]
        raise CorruptMedia(f"no table on PID {pid} of the transport stream")


@lru_cache(maxsize=64)
def _tables(pid: int) -> tuple[bytes, bytes]:
    """Translations that give 1 for the upper and lower byte of a PID, else 0."""
    high = bytes(int(i & 0x1F == pid >> 8) for i in range(256))
    return high, bytes(int(i == pid & 0xFF) for i in range(256))


def _ones(flags: bytes) -> Iterator[int]:
    """Where the ones stand."""
    at = flags.find(1)
    while at >= 0:
        yield at
        at = flags.find(1, at + 1)


def _stretches(mask: bytes) -> Iterator[tuple[int, int]]:
    """First and stop of each stretch of ones."""
    at = mask.find(1)
    while at >= 0:
        stop = mask.find(0, at)
        yield at, stop if stop >= 0 else len(mask)
        at = mask.find(1, stop) if stop >= 0 else -1


def _section_length(section: bytes) -> int:
    return int.from_bytes(section[1:3], "big") & 0x0FFF


def _aligned_start(data: bytes) -> int:
    """Where the first packet starts: three sync bytes in step."""
    for start in range(min(PACKET * 2, len(data))):
        if data[start : start + 3 * PACKET : PACKET].count(0x47) == min(
            3, -(-(len(data) - start) // PACKET)
        ):
            return start
    raise UnsupportedMedia("not an MPEG-TS segment: no packets in step")


def _streams(pmt: bytes) -> tuple[TsStream, ...]:
    """The streams a programme map lists, those we know."""
    if len(pmt) < 16:
        raise CorruptMedia("the programme map is cut short")
    at = 12 + (int.from_bytes(pmt[10:12], "big") & 0x0FFF)
    found = []
    while at + 5 <= len(pmt) - 4:
        size = int.from_bytes(pmt[at + 3 : at + 5], "big") & 0x0FFF
        stream = _stream(pmt[at : at + 5], pmt[at + 5 : at + 5 + size])
        if stream is not None:
            found.append(stream)
        at += 5 + size
    return tuple(found)


def _stream(entry: bytes, info: bytes) -> TsStream | None:
    descriptors = dict(_descriptors(info))
    codec = _CODECS.get(entry[0])
    if entry[0] == 0x06:
        codec = next((_PRIVATE[tag] for tag in descriptors if tag in _PRIVATE), None)
    if codec is None:
        return None
    language = descriptors.get(0x0A, b"")[:3].decode("ascii", "replace").strip("\0 ") or None
    return TsStream(int.from_bytes(entry[1:3], "big") & 0x1FFF, codec, language)


def _descriptors(info: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at + 2 <= len(info):
        found.append((info[at], info[at + 2 : at + 2 + info[at + 1]]))
        at += 2 + info[at + 1]
    return found


def _pts(pes: Pes, unit: int) -> int | None:
    """The 33-bit PTS of a unit, or None where it has none."""
    at = pes.offset(pes.starts[unit])
    data = pes.segment.data
    at += 5 + data[at + 4] if pes.adapts[pes.starts[unit]] else 4
    if data[at : at + 3] != b"\0\0\1":
        raise CorruptMedia("a PES packet does not begin with its start code")
    if not data[at + 7] & 0x80:
        return None
    b0, b1, b2, b3, b4 = data[at + 9 : at + 14]
    return (b0 >> 1 & 7) << 30 | b1 << 22 | b2 >> 1 << 15 | b3 << 7 | b4 >> 1


def _counts_up(counters: bytes) -> bool:
    """Whether each counter is one more than the one before, modulo 16."""
    cycle = _CYCLE[counters[0] :] + _CYCLE * (len(counters) // 16 + 1)
    return cycle.startswith(counters)


def unwrapped(pts: int, near: int) -> int:
    """The reading of a 33-bit timestamp nearest to another.

    >>> unwrapped(5, 2**33 - 5) - 2**33
    5
    """
    return near + (pts - near + WRAP // 2) % WRAP - WRAP // 2
