"""Which pictures of a segment one can start from, and which of those are IDRs."""

from __future__ import annotations

from media.cut import h264
from media.cut.source import Mp4Pictures, TsPictures


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
    head, at = pictures.begin(index)
    if at < 0:
        return ""
    first = head[at + 3 : at + 8]
    if first[0] & 31 == 5:
        return "idr"
    if first[0] & 31 == 1 and not _begins_intra(first):
        return ""
    trusted = index == 0 or pictures.random_access(index)
    return _h264_kind(pictures.begin_nals(index), trusted=trusted)


def _begins_intra(first: bytes) -> bool:
    """Whether a slice that begins at macroblock 0 is of type I: `1 011`, or `1 0001000`."""
    return first[1] & 0xF0 == 0xB0 or first[1] == 0x88


def _hevc_ts(pictures: TsPictures, index: int) -> str:
    head, at = pictures.begin(index)
    return _hevc_name(head[at + 3] >> 1 & 63) if at >= 0 else _hevc_kind(pictures.nals(index))


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
