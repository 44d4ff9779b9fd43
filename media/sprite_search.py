"""Finds the pictures of a video by their time, without decoding what follows them.

Packets are read on until none that follows can be shown before the wanted time; the picture's
packet is then fed with what it leans on, and the decoder drained. Pictures that nothing leans on
are skipped unless they are wanted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain as joined
from math import floor
from typing import Any

import av
from av.container import InputContainer

from schemas.errors import CorruptMedia, UnsupportedMedia
from schemas.thumbnails import Wanted

MICRO = 1_000_000
# Times are asked for in whole milliseconds: a picture that begins within one is meant.
ROUNDING_US = 1_000
# Packets held back before they are fed; B-pictures reorder over far fewer.
MAX_HELD = 512
# Nearer than this, reading on is shorter than a search.
NEAR_S = Fraction(1, 2)
_FIRST_STEP_BACK_S = Fraction(1)
# Containers whose zero is the presentation's own, even where the picture begins later.
_OWN_ZERO = frozenset(("mov", "matroska"))

Take = Callable[[Wanted, int, bool, Any], None]


class Search:
    """Looks for pictures of one video; `take(wanted, at_us, is_key, frame)` gets each found one.

    `opened` opens the media anew. Where it is `whole`, places in it can be searched for and time
    counts as a player's does; otherwise it is read through and time counts from its first keyframe.
    """

    def __init__(self, opened: Callable[[], InputContainer], take: Take, *, whole: bool) -> None:
        self._open = opened
        self._take = take
        self._whole = whole
        self._container = opened()
        self._set_up()
        self._origin = self._zero()

    def close(self) -> None:
        """Let go of the media."""
        self._container.close()

    def exactly(self, wanted: Sequence[Wanted]) -> None:
        """The picture on screen at each wanted time."""
        packets = _Packets(self._packets())
        chain: _Chain | None = None
        for one in sorted(wanted, key=lambda w: w.at_us):
            pts = self._pts(one.at_us)
            if self._whole and not self._is_near(chain, pts):
                packets = _Packets(self._from_key(pts))
                packets.skip_known(chain)
            chain = self._read_on(packets, chain, pts)
            if chain is not None:
                chain.due.setdefault(chain.best, []).append(one)
        self._finish(chain)

    def keyframes(self, wanted: Sequence[Wanted]) -> None:
        """The keyframe nearest to each wanted time, each of them decoded once."""
        known = None if self._whole else [p for p in self._packets() if _starts(p)]
        last: int | None = None
        for one in sorted(wanted, key=lambda w: w.at_us):
            pts = self._pts(one.at_us)
            near = known if known is not None else self._keys_around(pts)
            if not near:
                continue
            key = min(near, key=lambda p: abs(_time(p) - pts))
            if last != _time(key):
                last = _time(key)
                self._decode_alone(key, one)

    # --- time

    def _zero(self) -> int:
        if self._whole and self._container.format.name in _OWN_ZERO:
            begins = Fraction(max(0, self._container.start_time or 0), MICRO)
            return round(begins / self._base)
        if self._whole and self._stream.start_time is not None:
            return int(self._stream.start_time)
        first = next((p for p in self._packets() if _starts(p)), None)
        if first is None:
            raise CorruptMedia("no picture to start from was found")
        self._reopen()
        return _time(first)

    def _pts(self, at_us: int) -> int:
        return self._origin + floor(Fraction(at_us + ROUNDING_US, MICRO) / self._base)

    def _us(self, pts: int) -> int:
        return round((pts - self._origin) * self._base * MICRO)

    # --- reading

    def _reopen(self) -> None:
        self._container.close()
        self._container = self._open()
        self._set_up()

    def _set_up(self) -> None:
        self._stream = _main_video(self._container)
        self._decoder: Any = self._stream.codec_context
        self._decoder.thread_count = 1
        self._base: Fraction = self._stream.time_base or Fraction(1, MICRO)

    def _packets(self) -> Iterator[Any]:
        try:
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
        except av.FFmpegError:
            return  # a torn end: what came before it is all there is

    def _from_key(self, pts: int) -> Iterator[Any]:
        """Packets from the last keyframe that a search finds not after `pts`, else from the first.

        Transport streams are entered anywhere: where the keyframe is late, enter earlier.
        """
        back_s = Fraction(0)
        begin = self._stream.start_time or 0
        while (at := pts - round(back_s / self._base)) > begin:
            if (found := self._entered(at, pts)) is not None:
                return found
            back_s = back_s * 2 or _FIRST_STEP_BACK_S
        self._reopen()
        return self._packets()

    def _entered(self, at: int, pts: int) -> Iterator[Any] | None:
        try:
            self._container.seek(at, stream=self._stream, backward=True)
        except av.FFmpegError:
            return None
        packets = self._packets()
        for packet in packets:
            if _starts(packet):
                return joined((packet,), packets) if _time(packet) <= pts else None
        return None

    def _is_near(self, chain: _Chain | None, pts: int) -> bool:
        return chain is not None and (pts - chain.best) * self._base <= NEAR_S

    def _read_on(self, packets: _Packets, chain: _Chain | None, pts: int) -> _Chain | None:
        """Take packets until none that follows can be shown at or before `pts`."""
        if chain is not None:
            chain.look_for(pts)
        while (packet := packets.next) is not None:
            if chain is not None and packet.dts is not None and packet.dts > pts:
                break
            packets.take()
            if _starts(packet) and (chain is None or chain.key < _time(packet) <= pts):
                self._finish(chain)
                chain = _Chain(_time(packet), pts)
            if chain is not None:
                chain.add(packet)
                while chain.overflows:
                    self._feed(chain)
        return chain

    # --- decoding

    def _finish(self, chain: _Chain | None) -> None:
        """Decode what is due of a chain and hand it on; the decoder is fresh afterwards."""
        if chain is None:
            return
        last = chain.last_due_place
        for _ in range(last):
            self._feed(chain)
        if chain.fed:
            self._sift(chain, self._decoded(None))
            self._decoder.flush_buffers()
        for pts in sorted(chain.due):
            self._give(chain, pts, chain.before)

    def _feed(self, chain: _Chain) -> None:
        packet = chain.pop()
        if packet is None:
            return
        superseded = packet.pts is not None and packet.pts < chain.best
        skipped = superseded and packet.pts not in chain.due
        self._decoder.skip_frame = "NONREF" if skipped else "DEFAULT"
        chain.fed = True
        self._sift(chain, self._decoded(packet))

    def _decoded(self, packet: Any) -> list[Any]:
        try:
            return list(self._decoder.decode(packet))
        except av.FFmpegError:
            return []  # a damaged picture is not shown; the one before it stands in

    def _sift(self, chain: _Chain, frames: Sequence[Any]) -> None:
        for frame in frames:
            shown = frame.pts if frame.pts is not None else frame.dts
            if shown is None:
                continue
            for pts in sorted(pts for pts in chain.due if pts < shown):
                self._give(chain, pts, chain.before)
            if shown in chain.due:
                self._give(chain, shown, frame)
            chain.before = frame

    def _give(self, chain: _Chain, pts: int, frame: Any) -> None:
        wanted = chain.due.pop(pts)
        if frame is None:
            return
        shown = frame.pts if frame.pts is not None else frame.dts
        for one in wanted:
            self._take(one, self._us(shown), shown in chain.keys, frame)

    # --- keyframes alone

    def _keys_around(self, pts: int) -> list[Any]:
        """The keyframe not after a time, and the next one where that may be nearer."""
        packets = self._from_key(pts)
        found: list[Any] = []
        for packet in packets:
            if _starts(packet):
                if _time(packet) > pts:
                    return [*found, packet]
                found = [packet]
            elif found and packet.dts is not None and packet.dts > 2 * pts - _time(found[0]):
                break
        return found

    def _decode_alone(self, key: Any, one: Wanted) -> None:
        self._decoder.skip_frame = "DEFAULT"
        frames = self._decoded(key) + self._decoded(None)
        self._decoder.flush_buffers()
        for frame in frames[:1]:
            self._take(one, self._us(_time(key)), True, frame)


class _Packets:
    """Packets of a stream, one of which can be looked at before it is taken."""

    def __init__(self, packets: Iterator[Any]) -> None:
        self._packets = packets
        self.next: Any = next(packets, None)

    def take(self) -> None:
        """Go on to the packet after."""
        self.next = next(self._packets, None)

    def skip_known(self, chain: _Chain | None) -> None:
        """Go on to what a chain has not had, where these packets begin at its very keyframe."""
        if chain is None or self.next is None or not _starts(self.next):
            return
        if _time(self.next) != chain.key or chain.last_dts is None:
            return
        while self.next is not None and (self.next.dts or 0) <= chain.last_dts:
            self.take()


@dataclass
class _Place:
    packet: Any
    shown: int | None


class _Chain:
    """Packets from one keyframe on: those not fed yet, and which pictures of them are due."""

    def __init__(self, key: int, pts: int) -> None:
        self.key = key
        self.best = key
        self._wanted = pts
        self.keys: set[int] = set()
        self.due: dict[int, list[Wanted]] = {}
        self.before: Any = None
        self.fed = False
        self.last_dts: int | None = None
        self._held: deque[_Place] = deque()

    def look_for(self, pts: int) -> None:
        """Go on to a later time: what was too late before may be its picture."""
        self._wanted = pts
        for place in self._held:
            self._consider(place.shown)

    def _consider(self, shown: int | None) -> None:
        if shown is not None and self.best < shown <= self._wanted:
            self.best = shown

    def add(self, packet: Any) -> None:
        """One more packet on the way to the wanted time."""
        shown = packet.pts
        if shown is None and (_starts(packet) or not self._has_pts):
            shown = packet.dts
        if packet.dts is not None:
            self.last_dts = packet.dts
        if shown is not None and packet.is_keyframe:
            self.keys.add(shown)
        self._consider(shown)
        self._held.append(_Place(packet, shown))

    @property
    def _has_pts(self) -> bool:
        return bool(self._held) and self._held[-1].packet.pts is not None

    @property
    def overflows(self) -> bool:
        """Whether more is held than need be, the first of it too early to be wanted again."""
        first = self._held[0].shown
        return len(self._held) > MAX_HELD and (first is None or first < self.best)

    @property
    def last_due_place(self) -> int:
        """How many packets to feed until all that is due is in, second fields too."""
        count = 0
        for number, place in enumerate(self._held, start=1):
            if place.shown in self.due or (place.shown is None and count == number - 1):
                count = number
        return count

    def pop(self) -> Any:
        """The next packet to feed; None for one that leans on what came before the keyframe."""
        place = self._held.popleft()
        return None if place.shown is not None and place.shown < self.key else place.packet


def _starts(packet: Any) -> bool:
    return bool(packet.is_keyframe) and (packet.pts is not None or packet.dts is not None)


def _time(packet: Any) -> int:
    return int(packet.pts if packet.pts is not None else packet.dts)


def _main_video(container: InputContainer) -> Any:
    """The video that is shown: no cover art, the default one first."""
    pictures = [s for s in container.streams.video if not s.disposition & _COVER]
    if not pictures:
        raise UnsupportedMedia("it holds no video, so there is no picture to take")
    return max(pictures, key=lambda s: (bool(s.disposition & _DEFAULT), -s.index))


_COVER = av.stream.Disposition.attached_pic
_DEFAULT = av.stream.Disposition.default
