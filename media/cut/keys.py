"""Which pictures of a segment one can start from, and which of those are IDRs."""

from __future__ import annotations

from media.cut import h264
from media.cut.source import Mp4Pictures, TsPictures

_START = b"\0\0\1"
_SLICES = frozenset({1, 2, 5})


def keys(pictures: TsPictures | Mp4Pictures) -> tuple[list[int], list[int]]:
    """The places to start, and the IDRs among them, by number."""
    if isinstance(pictures, Mp4Pictures):
        return _mp4_keys(pictures)
    judge = {"h264": _h264_ts, "hevc": _hevc_ts}.get(pictures.codec, _mpeg2_ts)
    found = [(index, judge(pictures, index)) for index in range(len(pictures.pts))]
    return [i for i, kind in found if kind], [i for i, kind in found if kind == "idr"]


def _mp4_keys(pictures: Mp4Pictures) -> tuple[list[int], list[int]]:
    syncs = pictures.samples.syncs
    if pictures.codec == "h264":
        starts = [i for i in syncs if _h264_kind(pictures.nals(i), trusted=True)]
        return starts, [i for i in starts if h264.is_idr(pictures.nals(i))]
    if pictures.codec == "hevc":
        kinds = {i: _hevc_kind(pictures.nals(i)) for i in syncs}
        return [i for i in syncs if kinds[i]], [i for i in syncs if kinds[i] == "idr"]
    return syncs, syncs


def _h264_kind(nals: tuple[bytes, ...], *, trusted: bool) -> str:
    """`idr`, `key` for an intra picture that is a place to start, or nothing."""
    if h264.is_idr(nals):
        return "idr"
    if h264.is_intra(nals) and (trusted or h264.recovery_frames(nals) == 0):
        return "key"
    return ""


def _h264_ts(pictures: TsPictures, index: int) -> str:
    """Judge by the first slice, which mostly lies in the picture's first packet."""
    packets, whole = 1, pictures.packets(index)
    while True:
        first = _first_slice(pictures.head(index, packets))
        if first is not None or packets >= whole:
            break
        packets = min(whole, packets * 4)
    if first is None or (first[0] & 31 == 1 and not _begins_intra(first)):
        return ""
    trusted = index == 0 or pictures.random_access(index)
    return _h264_kind(pictures.begin_nals(index), trusted=trusted)


def _first_slice(head: bytes) -> bytes | None:
    """The first bytes of the first slice, or None where they do not lie in here."""
    at = head.find(_START)
    while 0 <= at < len(head) - 7:
        if head[at + 3] & 31 in _SLICES:
            return head[at + 3 : at + 8]
        at = head.find(_START, at + 3)
    return None


def _begins_intra(first: bytes) -> bool:
    """Whether a slice that begins at macroblock 0 is of type I: `1 011`, or `1 0001000`."""
    return first[1] & 0xF0 == 0xB0 or first[1] == 0x88


def _hevc_ts(pictures: TsPictures, index: int) -> str:
    head = pictures.head(index, min(4, pictures.packets(index)))
    at = head.find(_START)
    while 0 <= at < len(head) - 4:
        kind = head[at + 3] >> 1 & 63
        if kind < 32:
            return _hevc_name(kind)
        at = head.find(_START, at + 3)
    return _hevc_kind(pictures.nals(index))


def _hevc_kind(nals: tuple[bytes, ...]) -> str:
    first = next((nal for nal in nals if nal[0] >> 1 & 63 < 32), b"\0")
    return _hevc_name(first[0] >> 1 & 63)


def _hevc_name(kind: int) -> str:
    return "idr" if kind in {19, 20} else "key" if 16 <= kind <= 21 else ""


def _mpeg2_ts(pictures: TsPictures, index: int) -> str:
    head = pictures.head(index, min(4, pictures.packets(index)))
    at = head.find(b"\0\0\1\0")
    intra = 0 <= at < len(head) - 6 and head[at + 5] >> 3 & 7 == 1
    return "key" if intra else ""
