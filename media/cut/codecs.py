"""What differs between H.264 and HEVC when pieces of different origin share one track."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from struct import pack
from typing import Protocol

from media.cut import h264, hevc
from media.cut.bits import join_prefixed, nal_bounds
from media.cut.display import Display
from media.cut.h264_idr import IdrRewriter
from media.cut.sound import box
from schemas.errors import UnsupportedMedia

_H264_LEFT_OUT = h264.SET_TYPES | h264.DELIMITERS
_HEVC_LEFT_OUT = hevc.SET_TYPES | hevc.DELIMITERS
_H264_SYNCS = frozenset({h264.IDR})
_HEVC_SYNCS = frozenset({*hevc.IDR, *hevc.BLA, hevc.CRA})

Nals = tuple[bytes, ...]
Rewrite = Callable[[Nals], Nals]


class Coding(Protocol):
    """The parameter sets of one output track, and how its samples are written."""

    codec: str

    def adopt(self, sets: Sequence[bytes]) -> Rewrite | None:
        """Take in the sets of a piece; what its pictures must be put through, if anything."""

    def free_id(self) -> int:
        """A set id no piece uses."""

    def sample(self, nals: Iterable[bytes]) -> bytes:
        """A picture as the track holds it."""

    def quick(self, data: bytes) -> tuple[bytes, bool]:
        """An Annex B picture as the track holds it, and whether one may start at it."""

    def entry(self) -> bytes:
        """The sample entry with all sets."""

    def opener(self, sets: Sequence[bytes]) -> Rewrite:
        """What makes the pictures of an open GOP begin with a clean start."""


class H264Coding:
    """An `avc1` track."""

    codec = "h264"

    def __init__(self) -> None:
        self._sets = h264.ParameterSets()
        self._known: dict[tuple[bytes, ...], tuple[dict[int, int], dict[int, int]] | None] = {}

    def adopt(self, sets: Sequence[bytes]) -> Rewrite | None:
        """Take in the sets of a piece; ids already taken by others are replaced."""
        key = tuple(sets)
        if key not in self._known:
            self._known[key] = self._settle(key)
        ids = self._known[key]
        return h264.IdRewriter(h264.ParameterSets(key), *ids).rewrite if ids else None

    def _settle(self, key: tuple[bytes, ...]) -> tuple[dict[int, int], dict[int, int]] | None:
        own = h264.ParameterSets(key)
        clash = any(
            self._sets.sps[i].raw != s.raw for i, s in own.sps.items() if i in self._sets.sps
        ) or any(self._sets.pps[i].raw != p.raw for i, p in own.pps.items() if i in self._sets.pps)
        if not clash:
            self._sets.add_all(key)
            return None
        sps_ids = _fresh(own.sps, self._sets.sps, h264.MAX_SPS_ID)
        pps_ids = _fresh(own.pps, self._sets.pps, h264.MAX_PPS_ID)
        self._sets.add_all(h264.IdRewriter(own, sps_ids, pps_ids).sets())
        return sps_ids, pps_ids

    def free_id(self) -> int:
        """The first id free among SPS and PPS alike."""
        taken = self._sets.sps.keys() | self._sets.pps.keys()
        return next(i for i in range(h264.MAX_PPS_ID) if i not in taken)

    def sample(self, nals: Iterable[bytes]) -> bytes:
        """A picture without sets and delimiters, NAL units behind their lengths."""
        return join_prefixed(h264.strip_parameter_sets(nals))

    def quick(self, data: bytes) -> tuple[bytes, bool]:
        """The same straight from Annex B: the way of nearly every copied picture."""
        return _quick(data, 0, 31, _H264_LEFT_OUT, _H264_SYNCS)

    def entry(self) -> bytes:
        """An `avc1` sample entry."""
        sets = self._sets
        record = h264.build_avcc(
            [sps.raw for sps in sets.sps.values()], [pps.raw for pps in sets.pps.values()]
        )
        first = next(iter(sets.sps.values()))
        size = first.width, first.height
        return _visual(b"avc1", size, box(b"avcC", record), first.display)

    def opener(self, sets: Sequence[bytes]) -> Rewrite:
        """What turns the first picture into an IDR."""
        return IdrRewriter(h264.ParameterSets(sets)).rewrite


def _quick(
    data: bytes, shift: int, mask: int, left_out: frozenset[int], syncs: frozenset[int]
) -> tuple[bytes, bool]:
    """An Annex B picture with lengths for start codes, and whether a NAL unit makes it a sync."""
    parts: list[bytes | memoryview] = []
    sync, view = False, memoryview(data)
    for start, end in nal_bounds(data):
        kind = data[start] >> shift & mask
        if kind not in left_out:
            sync = sync or kind in syncs
            parts += ((end - start).to_bytes(4, "big"), view[start:end])
    return b"".join(parts), sync


class HevcCoding:
    """An `hvc1` track."""

    codec = "hevc"

    def __init__(self) -> None:
        self._sets = hevc.ParameterSets()
        self._known: dict[tuple[bytes, ...], tuple[dict[int, int], ...] | None] = {}

    def adopt(self, sets: Sequence[bytes]) -> Rewrite | None:
        """Take in the sets of a piece; ids already taken by others are replaced."""
        key = tuple(sets)
        if key not in self._known:
            self._known[key] = self._settle(key)
        ids = self._known[key]
        return _hevc_rewriter(hevc.ParameterSets(key), ids).rewrite if ids else None

    def _settle(self, key: tuple[bytes, ...]) -> tuple[dict[int, int], ...] | None:
        own, all_ = hevc.ParameterSets(key), self._sets
        raw = dict.fromkeys(all_.nals())
        taken = (own.vps.keys() & all_.vps.keys(), own.sps.keys() & all_.sps.keys(),
                 own.pps.keys() & all_.pps.keys())  # fmt: skip
        if not any(taken) or all(nal in raw for nal in key):
            all_.add_all(key)
            return None
        ids = (
            _fresh(own.vps, all_.vps, hevc.MAX_VPS_ID),
            _fresh(own.sps, all_.sps, hevc.MAX_SPS_ID),
            _fresh(own.pps, all_.pps, hevc.MAX_PPS_ID),
        )
        all_.add_all(_hevc_rewriter(own, ids).sets())
        return ids

    def free_id(self) -> int:
        """The first id free among SPS and PPS alike."""
        taken = self._sets.sps.keys() | self._sets.pps.keys()
        return next(i for i in range(hevc.MAX_PPS_ID) if i not in taken)

    def sample(self, nals: Iterable[bytes]) -> bytes:
        """A picture without sets and delimiters, NAL units behind their lengths."""
        return join_prefixed(hevc.strip_parameter_sets(nals))

    def quick(self, data: bytes) -> tuple[bytes, bool]:
        """The same straight from Annex B: the way of nearly every copied picture."""
        return _quick(data, 1, 63, _HEVC_LEFT_OUT, _HEVC_SYNCS)

    def entry(self) -> bytes:
        """An `hvc1` sample entry."""
        sets = self._sets
        record = hevc.build_hvcc(
            [each.raw for each in sets.vps.values()],
            [each.raw for each in sets.sps.values()],
            [each.raw for each in sets.pps.values()],
        )
        first = next(iter(sets.sps.values()))
        size = first.width, first.height
        return _visual(b"hvc1", size, box(b"hvcC", record), first.display)

    def opener(self, sets: Sequence[bytes]) -> Rewrite:
        """What turns the first picture, a CRA, into a broken link."""
        first = True

        def rewrite(nals: Nals) -> Nals:
            nonlocal first
            units, first = (hevc.as_broken_link(nals) if first else nals), False
            return units

        return rewrite


def coding_of(codec: str) -> Coding:
    """The coding of an output track."""
    return HevcCoding() if codec == "hevc" else H264Coding()


def _hevc_rewriter(own: hevc.ParameterSets, ids: tuple[dict[int, int], ...]) -> hevc.IdRewriter:
    return hevc.IdRewriter(own, vps_ids=ids[0], sps_ids=ids[1], pps_ids=ids[2])


def _fresh(own: Iterable[int], taken: Iterable[int], most: int) -> dict[int, int]:
    """A free id for each of one's own."""
    free = (i for i in range(most + 1) if i not in frozenset(taken))
    try:
        return {old: next(free) for old in own}
    except (StopIteration, RuntimeError) as error:
        raise UnsupportedMedia("every parameter set id is in use") from error


def _visual(
    kind: bytes,
    size: tuple[int, int],
    record: bytes,
    display: Display,
) -> bytes:
    """A visual sample entry with its configuration, colour and pixel shape."""
    head = bytes(6) + pack(">H", 1) + bytes(16) + pack(">HH", *size)
    head += pack(">IIIH", 0x480000, 0x480000, 0, 1) + bytes(32) + pack(">Hh", 24, -1)
    parts = [record]
    primaries, transfer, matrix, full = display.colour
    if primaries is not None and transfer is not None and matrix is not None:
        nclx = pack(">HHHB", primaries, transfer, matrix, 0x80 if full else 0)
        parts.append(box(b"colr", b"nclx", nclx))
    if display.sar:
        parts.append(box(b"pasp", pack(">II", *display.sar)))
    return box(kind, head, *parts)
