"""What the pictures of a segment say of themselves in their parameter sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from media.cut import h264, hevc
from media.cut.source import Mp4Pictures, TsPictures
from schemas.cuts import PictureFacts
from schemas.errors import CorruptMedia, UnsupportedMedia


def parameter_sets(pictures: TsPictures | Mp4Pictures, starts: Sequence[int]) -> tuple[bytes, ...]:
    """Every parameter set a segment brings: its configuration record's, then those in band."""
    found: dict[bytes, None] = dict.fromkeys(pictures.outer_sets())
    in_band = isinstance(pictures, TsPictures) or pictures.in_band
    for index in starts if in_band else ():
        found.update(dict.fromkeys(set_nals(pictures.codec, pictures.opening(index))))
    return tuple(found)


def set_nals(codec: str, nals: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The parameter sets among NAL units."""
    if codec == "hevc":
        return tuple(nal for nal in nals if 32 <= nal[0] >> 1 & 63 <= 34)
    return tuple(nal for nal in nals if nal[0] & 31 in {7, 8})


def sets_clash(before: PictureFacts, after: PictureFacts) -> bool:
    """Whether two segments give one parameter set id different meanings."""
    if before.codec not in {"h264", "hevc"} or before.sets == after.sets:
        return False
    sets = hevc.ParameterSets() if before.codec == "hevc" else h264.ParameterSets()
    sets.add_all([bytes.fromhex(nal) for nal in before.sets])
    return sets.add_all([bytes.fromhex(nal) for nal in after.sets])


def picture_facts(
    pictures: TsPictures | Mp4Pictures | None,
    starts: Sequence[int],
    known_sets: Callable[[], tuple[bytes, ...]] = tuple,
) -> PictureFacts | None:
    """The facts of a segment's pictures; None where it has none.

    `known_sets` is asked for parameter sets where the segment brings none of its own.
    """
    if pictures is None or not pictures.pts:
        return None
    if pictures.codec == "h264":
        return _h264_facts(pictures, starts, known_sets)
    if pictures.codec == "hevc":
        return _hevc_facts(pictures, starts, known_sets)
    width, height = pictures.size()
    return PictureFacts(
        codec=pictures.codec,
        timebase=Fraction(1, pictures.timescale),
        width=width,
        height=height,
        frame_ticks=0,
        aspect=pictures.aspect() if isinstance(pictures, TsPictures) else None,
        geometry=f"{pictures.codec} {width}x{height}",
        uncopyable=f"{pictures.codec} is re-encoded",
    )


def _h264_facts(
    pictures: TsPictures | Mp4Pictures,
    starts: Sequence[int],
    known_sets: Callable[[], tuple[bytes, ...]],
) -> PictureFacts:
    nals = parameter_sets(pictures, starts) or known_sets()
    sets = h264.ParameterSets()
    changed = sets.add_all(nals)
    if not sets.sps:
        return _undescribed(pictures, starts)
    sps = next(iter(sets.sps.values()))
    if not sps.frame_mbs_only:
        _refuse_lone_fields(pictures, starts, sets)
    return PictureFacts(
        codec="h264",
        timebase=Fraction(1, pictures.timescale),
        width=sps.width,
        height=sps.height,
        frame_ticks=0,
        aspect=sps.display.aspect,
        interlaced=not sps.frame_mbs_only,
        bottom_field_first=not sps.frame_mbs_only and _bottom_first(pictures, starts, sets),
        geometry=f"h264 {sps.width}x{sps.height} {sps.chroma_format_idc}:{sps.bit_depth_luma}",
        sets=tuple(nal.hex() for nal in nals),
        uncopyable="parameter sets change under one id" if changed else None,
    )


def _undescribed(pictures: TsPictures | Mp4Pictures, starts: Sequence[int]) -> PictureFacts:
    """Facts of pictures whose keyframe, and what describes them with it, is not held."""
    if starts:
        raise CorruptMedia("the pictures bear no parameter sets")
    return PictureFacts(
        codec=pictures.codec,
        timebase=Fraction(1, pictures.timescale),
        width=0,
        height=0,
        frame_ticks=0,
        geometry=f"{pictures.codec} of a keyframe that is not held",
    )


def _refuse_lone_fields(
    pictures: TsPictures | Mp4Pictures, starts: Sequence[int], sets: h264.ParameterSets
) -> None:
    """A frame must come whole: fields that bear a PTS each would count as frames."""
    if any(h264.is_lone_field(pictures.nals(start), sets) for start in starts):
        raise UnsupportedMedia("the two fields of a picture come one by one, each with its PTS")


def _bottom_first(
    pictures: TsPictures | Mp4Pictures, starts: Sequence[int], sets: h264.ParameterSets
) -> bool:
    """Whether the bottom field of the first key picture is shown before its top field."""
    for nal in pictures.nals(starts[0]) if starts else ():
        if h264.is_slice(nal):
            header = h264.parse_slice_header(nal, sets)
            return header.bottom_field or header.delta_poc_bottom < 0
    return False


def _hevc_facts(
    pictures: TsPictures | Mp4Pictures,
    starts: Sequence[int],
    known_sets: Callable[[], tuple[bytes, ...]],
) -> PictureFacts:
    nals = parameter_sets(pictures, starts) or known_sets()
    sets = hevc.ParameterSets()
    changed = sets.add_all(nals)
    if not sets.sps:
        return _undescribed(pictures, starts)
    sps = next(iter(sets.sps.values()))
    return PictureFacts(
        codec="hevc",
        timebase=Fraction(1, pictures.timescale),
        width=sps.width,
        height=sps.height,
        frame_ticks=0,
        aspect=sps.display.aspect,
        geometry=f"hevc {sps.width}x{sps.height} {sps.chroma_format_idc}:{sps.bit_depth_luma}",
        sets=tuple(nal.hex() for nal in nals),
        uncopyable="parameter sets change under one id" if changed else None,
    )
