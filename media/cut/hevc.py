"""HEVC (ITU-T H.265) parameter sets and slice segment headers: read, and rewritten bit by bit."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal, TypeVar

from media.cut.bits import (
    BitReader,
    BitWriter,
    Edit,
    OutOfBits,
    edited,
    escape,
    first_free,
    join_annexb,
    mapped_id,
    sei_payloads,
    sei_without,
    settled_end,
    split_annexb,
    trailing_bit,
    ue_bits,
    unescape,
)
from media.cut.display import Display, read_display
from schemas.errors import CorruptMedia, UnsupportedMedia

RADL_N, RADL_R, RASL_N, RASL_R = 6, 7, 8, 9
BLA_W_LP, BLA_W_RADL, BLA_N_LP, IDR_W_RADL, IDR_N_LP, CRA = range(16, 22)
VPS, SPS, PPS, AUD, EOS, EOB, FILLER, PREFIX_SEI, SUFFIX_SEI = range(32, 41)

LEADING: Final = frozenset({RADL_N, RADL_R, RASL_N, RASL_R})
RASL: Final = frozenset({RASL_N, RASL_R})
RADL: Final = frozenset({RADL_N, RADL_R})
IDR: Final = frozenset({IDR_W_RADL, IDR_N_LP})
BLA: Final = frozenset({BLA_W_LP, BLA_W_RADL, BLA_N_LP})
TEMPORAL_SWITCH: Final = frozenset({2, 3, 4, 5})
SET_TYPES: Final = frozenset({VPS, SPS, PPS})
DELIMITERS: Final = frozenset({AUD, EOS, EOB, FILLER})
END_OF_SEQUENCE: Final = bytes((EOS << 1, 1))

B_SLICE, P_SLICE, I_SLICE = range(3)
BUFFERING_PERIOD: Final = 0
PICTURE_TIMING: Final = 1
ACTIVE_SETS: Final = 129
RECOVERY_POINT: Final = 6
MAX_VPS_ID: Final = 15
MAX_SPS_ID: Final = 15
MAX_PPS_ID: Final = 63
_HEADER_BITS: Final = 16
_PREFIX_BYTES: Final = 256
_MAX_ENTRY_POINTS: Final = 1 << 16

RefSet = tuple[tuple[int, bool], ...]
"""Pictures held for reference, as `(POC difference, used by the current picture)`."""
Change = Literal["new", "same", "changed"]
_Set = TypeVar("_Set")


@dataclass(frozen=True, slots=True)
class Profile:
    """profile_tier_level, as hvcC repeats it."""

    space: int
    tier: int
    profile_idc: int
    compatibility: int
    constraints: int
    level_idc: int


@dataclass(frozen=True, slots=True)
class Vps:
    """A video parameter set."""

    raw: bytes = field(repr=False)
    vps_id: int
    max_sub_layers: int
    temporal_id_nesting: bool


@dataclass(frozen=True, slots=True)
class Vui:
    """What a sequence says of its display and timing; absent fields are None."""

    display: Display
    field_seq: bool = False
    frame_field_info: bool = False
    units_in_tick: int | None = None
    time_scale: int | None = None

    @property
    def frame_rate(self) -> Fraction | None:
        """Pictures a second, where timing is given."""
        if not self.units_in_tick or not self.time_scale:
            return None
        return Fraction(self.time_scale, self.units_in_tick)


@dataclass(frozen=True, slots=True)
class Sps:
    """A sequence parameter set; its own id stands in the bits `[id_at, id_end)` of the RBSP."""

    raw: bytes = field(repr=False)
    sps_id: int
    vps_id: int
    id_at: int
    id_end: int
    profile: Profile
    max_sub_layers: int
    temporal_id_nesting: bool
    chroma_format_idc: int
    separate_colour_planes: bool
    bit_depth_luma: int
    bit_depth_chroma: int
    coded_width: int
    coded_height: int
    width: int
    height: int
    poc_lsb_bits: int
    num_reorder: int
    max_dec_pic_buffering: int
    address_bits: int
    scaling_list: bool
    sample_adaptive_offset: bool
    ref_sets: tuple[RefSet, ...] = field(repr=False)
    long_term_present: bool
    long_term_used: tuple[bool, ...]
    temporal_mvp: bool
    screen_content: bool
    vui: Vui | None

    @property
    def display(self) -> Display:
        """How it is shown, as far as it says."""
        return self.vui.display if self.vui else Display()

    @property
    def chroma_array_type(self) -> int:
        """ChromaArrayType: 0 where a slice carries no chroma of its own."""
        return 0 if self.separate_colour_planes else self.chroma_format_idc


@dataclass(frozen=True, slots=True)
class Pps:
    """A picture parameter set; `ids_end` is the bit of the RBSP after both ids."""

    raw: bytes = field(repr=False)
    pps_id: int
    sps_id: int
    ids_end: int
    dependent_slices: bool
    output_flag: bool
    extra_header_bits: int
    cabac_init: bool
    num_ref_l0: int
    num_ref_l1: int
    slice_chroma_qp: bool
    weighted_pred: bool
    weighted_bipred: bool
    entry_points: bool
    filter_across_slices: bool
    deblocking_override: bool
    deblocking_disabled: bool
    lists_modification: bool
    header_extension: bool
    chroma_qp_list: bool
    unknown_extension: bool


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """A slice segment header; positions are bits of the RBSP, NAL header included.

    A dependent segment repeats nothing: its `slice_type` and `poc_lsb` are None.
    """

    nal_unit_type: int
    first_in_picture: bool
    dependent: bool
    pps_id: int
    slice_type: int | None
    poc_lsb: int | None
    pps_id_at: int
    pps_id_end: int
    header_end: int


def nal_type(nal: bytes) -> int:
    """nal_unit_type, from the first byte."""
    if len(nal) < 2 or nal[0] & 0x80:
        raise CorruptMedia("NAL unit header is cut off or has its forbidden bit set")
    return nal[0] >> 1


def layer_id(nal: bytes) -> int:
    """nuh_layer_id: other than 0 in scalable and multiview streams."""
    return (nal[0] & 1) << 5 | nal[1] >> 3


def is_slice(nal: bytes) -> bool:
    """Whether the NAL unit is a slice segment."""
    return nal_type(nal) < VPS


def _typed(nal: bytes, wanted: int, name: str) -> bytes:
    if nal_type(nal) != wanted:
        raise CorruptMedia(f"NAL unit of type {nal_type(nal)} is no {name}")
    if layer_id(nal):
        raise UnsupportedMedia("layered HEVC is not handled")
    return unescape(nal)


# --- parameter sets


def parse_vps(nal: bytes) -> Vps:
    """The video parameter set in a NAL unit."""
    bits = BitReader(_typed(nal, VPS, "VPS"), _HEADER_BITS)
    vps_id = bits.read(4)
    bits.skip(8)
    return Vps(nal, vps_id, bits.read(3) + 1, bits.flag())


def parse_sps(nal: bytes) -> Sps:
    """The sequence parameter set in a NAL unit."""
    bits = BitReader(_typed(nal, SPS, "SPS"), _HEADER_BITS)
    vps_id, sub_layers, nesting = bits.read(4), bits.read(3), bits.flag()
    profile = _profile(bits, sub_layers)
    id_at = bits.position
    sps_id = bits.ue(MAX_SPS_ID)
    id_end = bits.position
    chroma = bits.ue(3)
    planes = bits.flag() if chroma == 3 else False
    coded, size = _size(bits, chroma)
    depths = bits.ue(8) + 8, bits.ue(8) + 8
    poc_lsb_bits = bits.ue(12) + 4
    buffering, reorder = _ordering(bits, sub_layers)
    address_bits = _block_address_bits(bits, coded)
    scaling = bits.flag()
    if scaling and bits.flag():
        _skip_scaling_lists(bits)
    bits.skip(1)
    offsets = bits.flag()
    if bits.flag():
        _skip_pcm(bits)
    ref_sets = _ref_sets(bits)
    long_term = bits.flag()
    used = _long_term_used(bits, poc_lsb_bits) if long_term else ()
    temporal_mvp = bits.flag()
    bits.skip(1)
    vui = _vui(bits, sub_layers) if bits.flag() else None
    return Sps(
        raw=nal,
        sps_id=sps_id,
        vps_id=vps_id,
        id_at=id_at,
        id_end=id_end,
        profile=profile,
        max_sub_layers=sub_layers + 1,
        temporal_id_nesting=nesting,
        chroma_format_idc=chroma,
        separate_colour_planes=planes,
        bit_depth_luma=depths[0],
        bit_depth_chroma=depths[1],
        coded_width=coded[0],
        coded_height=coded[1],
        width=size[0],
        height=size[1],
        poc_lsb_bits=poc_lsb_bits,
        num_reorder=reorder,
        max_dec_pic_buffering=buffering,
        address_bits=address_bits,
        scaling_list=scaling,
        sample_adaptive_offset=offsets,
        ref_sets=ref_sets,
        long_term_present=long_term,
        long_term_used=used,
        temporal_mvp=temporal_mvp,
        screen_content=_has_unknown_extension(bits),
        vui=vui,
    )


def _profile(bits: BitReader, sub_layers: int) -> Profile:
    if sub_layers > 6:
        raise CorruptMedia(f"{sub_layers + 1} temporal layers")
    profile = Profile(
        space=bits.read(2),
        tier=bits.read(1),
        profile_idc=bits.read(5),
        compatibility=bits.read(32),
        constraints=bits.read(48),
        level_idc=bits.read(8),
    )
    present = [(bits.flag(), bits.flag()) for _ in range(sub_layers)]
    if sub_layers:
        bits.skip(2 * (8 - sub_layers))
    for has_profile, has_level in present:
        bits.skip(88 * has_profile + 8 * has_level)
    return profile


def _size(bits: BitReader, chroma: int) -> tuple[tuple[int, int], tuple[int, int]]:
    coded = bits.ue(16888), bits.ue(16888)
    unit_x, unit_y = (2 if chroma in {1, 2} else 1), (2 if chroma == 1 else 1)
    left, right, top, bottom = [bits.ue(1 << 15) for _ in range(4)] if bits.flag() else [0] * 4
    size = coded[0] - unit_x * (left + right), coded[1] - unit_y * (top + bottom)
    if min(size) <= 0:
        raise CorruptMedia("SPS crops the whole picture away")
    return coded, size


def _ordering(bits: BitReader, sub_layers: int) -> tuple[int, int]:
    """max_dec_pic_buffering and num_reorder of the highest temporal layer."""
    found = (1, 0)
    for _ in range(sub_layers + 1 if bits.flag() else 1):
        found = bits.ue(15) + 1, bits.ue(15)
        bits.ue()
    return found


def _block_address_bits(bits: BitReader, coded: tuple[int, int]) -> int:
    block_bits = bits.ue(3) + 3
    block_bits += bits.ue(3)
    for limit in (3, 3, 4, 4):
        bits.ue(limit)
    blocks = 1
    for length in coded:
        blocks *= -(-length >> block_bits)
    return (blocks - 1).bit_length()


def _skip_scaling_lists(bits: BitReader) -> None:
    for size in range(4):
        for _ in range(0, 6, 3 if size == 3 else 1):
            if not bits.flag():
                bits.ue(5)
                continue
            for _ in range(min(64, 1 << (4 + 2 * size)) + (size > 1)):
                bits.se()


def _skip_pcm(bits: BitReader) -> None:
    bits.skip(8)
    bits.ue(3)
    bits.ue(3)
    bits.skip(1)


def _ref_sets(bits: BitReader) -> tuple[RefSet, ...]:
    found: list[RefSet] = []
    count = bits.ue(64)
    for index in range(count):
        found.append(_ref_set(bits, index, count, found))
    return tuple(found)


def _ref_set(bits: BitReader, index: int, count: int, known: Sequence[RefSet]) -> RefSet:
    if index and bits.flag():
        back = bits.ue(index - 1) + 1 if index == count else 1
        return _derived_ref_set(bits, known[index - back])
    negative, positive = bits.ue(16), bits.ue(16)
    return (*_differences(bits, negative, -1), *_differences(bits, positive, 1))


def _differences(bits: BitReader, count: int, sign: int) -> RefSet:
    found: list[tuple[int, bool]] = []
    at = 0
    for _ in range(count):
        at += sign * (bits.ue(1 << 15) + 1)
        found.append((at, bits.flag()))
    return tuple(found)


def _derived_ref_set(bits: BitReader, base: RefSet) -> RefSet:
    """A set predicted from another: ordered before, then after, nearest first (7.4.8)."""
    backwards = bits.flag()
    shift = (bits.ue(1 << 15) + 1) * (-1 if backwards else 1)
    found: list[tuple[int, bool]] = []
    for difference in (*(d for d, _ in base), 0):
        used = bits.flag()
        if (used or bits.flag()) and difference + shift:
            found.append((difference + shift, used))
    if len(found) > 16:
        raise CorruptMedia("reference picture set holds too many pictures")
    before = sorted((e for e in found if e[0] < 0), reverse=True)
    return (*before, *sorted(e for e in found if e[0] > 0))


def _long_term_used(bits: BitReader, poc_lsb_bits: int) -> tuple[bool, ...]:
    count = bits.ue(32)
    found: list[bool] = []
    for _ in range(count):
        bits.skip(poc_lsb_bits)
        found.append(bits.flag())
    return tuple(found)


def _has_unknown_extension(bits: BitReader) -> bool:
    """Whether the SPS has extensions other than that of ranges: they change slice headers."""
    if not bits.flag():
        return False
    bits.skip(1)
    return bits.read(7) != 0


def _vui(bits: BitReader, sub_layers: int) -> Vui:
    display = read_display(bits)
    bits.skip(1)
    field_seq, field_info = bits.flag(), bits.flag()
    if bits.flag():
        for _ in range(4):
            bits.ue(1 << 15)
    ticks, scale = _timing(bits, sub_layers) if bits.flag() else (None, None)
    if bits.flag():
        _skip_restriction(bits)
    return Vui(
        display=display,
        field_seq=field_seq,
        frame_field_info=field_info,
        units_in_tick=ticks,
        time_scale=scale,
    )


def _timing(bits: BitReader, sub_layers: int) -> tuple[int, int]:
    ticks, scale = bits.read(32), bits.read(32)
    if bits.flag():
        bits.ue()
    if bits.flag():
        _skip_hrd(bits, sub_layers)
    return ticks, scale


def _skip_hrd(bits: BitReader, sub_layers: int) -> None:
    kinds = bits.flag() + bits.flag()
    sub_pictures = False
    if kinds:
        sub_pictures = bits.flag()
        bits.skip(19 * sub_pictures + 8 + 4 * sub_pictures + 15)
    for _ in range(sub_layers + 1):
        _skip_sub_layer_hrd(bits, kinds, sub_pictures)


def _skip_sub_layer_hrd(bits: BitReader, kinds: int, sub_pictures: bool) -> None:
    fixed = bits.flag() or bits.flag()
    low_delay = False
    if fixed:
        bits.ue(2047)
    else:
        low_delay = bits.flag()
    count = bits.ue(31) + 1 if not low_delay else 1
    for _ in range(kinds * count):
        for _ in range(4 if sub_pictures else 2):
            bits.ue()
        bits.skip(1)


def _skip_restriction(bits: BitReader) -> None:
    bits.skip(3)
    bits.ue(4095)
    for _ in range(4):
        bits.ue(16)


def parse_pps(nal: bytes) -> Pps:
    """The picture parameter set in a NAL unit."""
    bits = BitReader(_typed(nal, PPS, "PPS"), _HEADER_BITS)
    pps_id, sps_id = bits.ue(MAX_PPS_ID), bits.ue(MAX_SPS_ID)
    ids_end = bits.position
    dependent, output, extra = bits.flag(), bits.flag(), bits.read(3)
    bits.skip(1)
    cabac_init = bits.flag()
    refs = bits.ue(14) + 1, bits.ue(14) + 1
    bits.se()
    bits.skip(1)
    transform_skip = bits.flag()
    if bits.flag():
        bits.ue(3)
    bits.se()
    bits.se()
    chroma_qp, weighted, bipred = bits.flag(), bits.flag(), bits.flag()
    bits.skip(1)
    tiles, wavefront = bits.flag(), bits.flag()
    if tiles:
        _skip_tiles(bits)
    across = bits.flag()
    override, disabled = _deblocking(bits) if bits.flag() else (False, False)
    if bits.flag():
        _skip_scaling_lists(bits)
    modification = bits.flag()
    bits.ue(4)
    header_extension = bits.flag()
    chroma_list, unknown = _pps_extension(bits, transform_skip) if bits.flag() else (False, False)
    return Pps(
        raw=nal,
        pps_id=pps_id,
        sps_id=sps_id,
        ids_end=ids_end,
        dependent_slices=dependent,
        output_flag=output,
        extra_header_bits=extra,
        cabac_init=cabac_init,
        num_ref_l0=refs[0],
        num_ref_l1=refs[1],
        slice_chroma_qp=chroma_qp,
        weighted_pred=weighted,
        weighted_bipred=bipred,
        entry_points=tiles or wavefront,
        filter_across_slices=across,
        deblocking_override=override,
        deblocking_disabled=disabled,
        lists_modification=modification,
        header_extension=header_extension,
        chroma_qp_list=chroma_list,
        unknown_extension=unknown,
    )


def _skip_tiles(bits: BitReader) -> None:
    columns, rows = bits.ue(1023), bits.ue(1023)
    if not bits.flag():
        for _ in range(columns + rows):
            bits.ue()
    bits.skip(1)


def _deblocking(bits: BitReader) -> tuple[bool, bool]:
    override, disabled = bits.flag(), bits.flag()
    if not disabled:
        bits.se()
        bits.se()
    return override, disabled


def _pps_extension(bits: BitReader, transform_skip: bool) -> tuple[bool, bool]:
    ranges, unknown = bits.flag(), bits.read(7) != 0
    if not ranges:
        return False, unknown
    if transform_skip:
        bits.ue(3)
    bits.skip(1)
    return bits.flag(), unknown


class ParameterSets:
    """The VPS, SPS and PPS in force, by id, and whether one changed under its id."""

    def __init__(self, nals: Iterable[bytes] = ()) -> None:
        self.vps: dict[int, Vps] = {}
        self.sps: dict[int, Sps] = {}
        self.pps: dict[int, Pps] = {}
        self.add_all(nals)

    def add_all(self, nals: Iterable[bytes]) -> bool:
        """Take in every set among the NAL units; whether one replaced another under its id."""
        changes = [self.add(nal) for nal in nals if nal_type(nal) in SET_TYPES]
        return "changed" in changes

    def add(self, nal: bytes) -> Change:
        """Take in one set."""
        if nal in self.nals():
            return "same"
        match nal_type(nal):
            case 32:
                vps = parse_vps(nal)
                return _put(self.vps, vps.vps_id, vps)
            case 33:
                sps = parse_sps(nal)
                return _put(self.sps, sps.sps_id, sps)
            case 34:
                pps = parse_pps(nal)
                return _put(self.pps, pps.pps_id, pps)
            case other:
                raise CorruptMedia(f"NAL unit of type {other} is no parameter set")

    def of_slice(self, pps_id: int) -> tuple[Sps, Pps]:
        """The sets a slice refers to."""
        pps = self.pps.get(pps_id)
        sps = self.sps.get(pps.sps_id) if pps else None
        if pps is None or sps is None:
            raise CorruptMedia(f"slice refers to parameter set {pps_id}, which was not sent")
        return sps, pps

    def nals(self) -> tuple[bytes, ...]:
        """All sets: VPS, then SPS, then PPS."""
        known: list[Vps | Sps | Pps] = [*self.vps.values(), *self.sps.values(), *self.pps.values()]
        return tuple(each.raw for each in known)

    def free_vps_id(self) -> int:
        """The first VPS id not in use."""
        return first_free(self.vps, MAX_VPS_ID)

    def free_sps_id(self) -> int:
        """The first SPS id not in use."""
        return first_free(self.sps, MAX_SPS_ID)

    def free_pps_id(self) -> int:
        """The first PPS id not in use."""
        return first_free(self.pps, MAX_PPS_ID)


def _put(known: dict[int, _Set], key: int, value: _Set) -> Change:
    change: Change = "changed" if key in known else "new"
    known[key] = value
    return change


# --- the configuration record


def parse_hvcc(record: bytes) -> tuple[int, tuple[bytes, ...]]:
    """The NAL length size and the sets (and SEI) of an `hvcC` record."""
    if len(record) < 23 or record[0] not in {0, 1}:
        raise CorruptMedia("hvcC record is too short or of an unknown version")
    found: list[bytes] = []
    at = 23
    for _ in range(record[22]):
        count = int.from_bytes(record[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            end = at + 2 + int.from_bytes(record[at : at + 2], "big")
            if end > len(record) or end <= at + 3:
                raise CorruptMedia("hvcC record ends inside a set")
            found.append(record[at + 2 : end])
            at = end
    if at > len(record):
        raise CorruptMedia("hvcC record ends inside an array")
    return (record[21] & 3) + 1, tuple(found)


def build_hvcc(
    vps_list: Sequence[bytes],
    sps_list: Sequence[bytes],
    pps_list: Sequence[bytes],
    *,
    length_size: int = 4,
    complete: bool = True,
) -> bytes:
    """An `hvcC` record; `complete` says that no set stands in band, as `hvc1` demands."""
    if not vps_list or not sps_list or not pps_list:
        raise UnsupportedMedia("hvcC needs a VPS, an SPS and a PPS")
    parsed = [parse_sps(nal) for nal in sps_list]
    sps = max(parsed, key=lambda each: each.profile.level_idc)
    arrays = ((VPS, vps_list), (SPS, sps_list), (PPS, pps_list))
    body = b"".join(_array(kind, nals, complete) for kind, nals in arrays)
    return _hvcc_head(sps, length_size) + bytes((len(arrays),)) + body


def _hvcc_head(sps: Sps, length_size: int) -> bytes:
    profile = sps.profile
    layers = sps.max_sub_layers << 3 | sps.temporal_id_nesting << 2 | (length_size - 1)
    return (
        bytes((1, profile.space << 6 | profile.tier << 5 | profile.profile_idc))
        + profile.compatibility.to_bytes(4, "big")
        + profile.constraints.to_bytes(6, "big")
        + bytes((profile.level_idc, 0xF0, 0, 0xFC, 0xFC | sps.chroma_format_idc))
        + bytes((0xF8 | sps.bit_depth_luma - 8, 0xF8 | sps.bit_depth_chroma - 8, 0, 0, layers))
    )


def _array(kind: int, nals: Sequence[bytes], complete: bool) -> bytes:
    if len(nals) >> 16 or any(len(nal) >> 16 for nal in nals):
        raise UnsupportedMedia("a parameter set is too long for hvcC")
    head = bytes((complete << 7 | kind,)) + len(nals).to_bytes(2, "big")
    return head + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def extradata_sets(extradata: bytes) -> tuple[int | None, tuple[bytes, ...]]:
    """The NAL length size (None for Annex B) and the sets of a codec's extradata."""
    if extradata[:3] in {b"\0\0\0", b"\0\0\1"} or not extradata:
        return None, sets_of(split_annexb(extradata))
    length_size, nals = parse_hvcc(extradata)
    return length_size, sets_of(nals)


def annexb_extradata(nals: Iterable[bytes]) -> bytes:
    """Sets as Annex-B extradata: VPS, SPS, PPS, each once."""
    return join_annexb(sorted(dict.fromkeys(nals), key=nal_type))


# --- slices


def parse_slice_header(nal: bytes, sets: ParameterSets) -> SliceHeader:
    """The header of a slice segment; only its bytes are looked at, never the slice data."""
    kind = nal_type(nal)
    if layer_id(nal):
        raise UnsupportedMedia("layered HEVC is not handled")
    if kind > CRA or 9 < kind < BLA_W_LP:
        raise UnsupportedMedia(f"NAL unit of type {kind} is not a plain slice")
    if len(nal) > _PREFIX_BYTES:
        try:
            return _slice_header(unescape(nal[:_PREFIX_BYTES]), kind, sets)
        except OutOfBits:
            pass
    return _slice_header(unescape(nal), kind, sets)


def slice_pps_id(nal: bytes) -> int:
    """The PPS a slice refers to, without its sets at hand."""
    bits = BitReader(unescape(nal[:16]), _HEADER_BITS + 1)
    if BLA_W_LP <= nal_type(nal) <= 23:
        bits.skip(1)
    return bits.ue(MAX_PPS_ID)


def _slice_header(rbsp: bytes, kind: int, sets: ParameterSets) -> SliceHeader:
    bits = BitReader(rbsp, _HEADER_BITS)
    first = bits.flag()
    if BLA_W_LP <= kind <= 23:
        bits.skip(1)
    pps_id_at = bits.position
    pps_id = bits.ue(MAX_PPS_ID)
    pps_id_end = bits.position
    sps, pps = sets.of_slice(pps_id)
    if sps.screen_content or pps.unknown_extension:
        raise UnsupportedMedia("slice headers of this HEVC extension cannot be read")
    dependent = False
    if not first:
        dependent = bits.flag() if pps.dependent_slices else False
        bits.skip(sps.address_bits)
    slice_type = poc_lsb = None
    if not dependent:
        slice_type, poc_lsb = _independent(bits, kind, sps, pps)
    if pps.entry_points:
        _skip_entry_points(bits)
    if pps.header_extension:
        bits.skip(8 * bits.ue(256))
    header_end = bits.position
    if not bits.flag() or bits.read(-bits.position % 8):
        raise CorruptMedia("slice header does not end in its alignment bits")
    return SliceHeader(
        nal_unit_type=kind,
        first_in_picture=first,
        dependent=dependent,
        pps_id=pps_id,
        slice_type=slice_type,
        poc_lsb=poc_lsb,
        pps_id_at=pps_id_at,
        pps_id_end=pps_id_end,
        header_end=header_end,
    )


def _independent(bits: BitReader, kind: int, sps: Sps, pps: Pps) -> tuple[int, int]:
    bits.skip(pps.extra_header_bits)
    slice_type = bits.ue(2)
    bits.skip(pps.output_flag + 2 * sps.separate_colour_planes)
    poc_lsb, current, mvp = (0, 0, False) if kind in IDR else _references(bits, sps)
    luma = bits.flag() if sps.sample_adaptive_offset else False
    chroma = bits.flag() if sps.sample_adaptive_offset and sps.chroma_array_type else False
    if slice_type != I_SLICE:
        _skip_prediction(bits, slice_type, sps, pps, current, mvp)
    bits.se()
    if pps.slice_chroma_qp:
        bits.se()
        bits.se()
    bits.skip(pps.chroma_qp_list)
    disabled = _slice_deblocking(bits, pps)
    if pps.filter_across_slices and (luma or chroma or not disabled):
        bits.skip(1)
    return slice_type, poc_lsb


def _references(bits: BitReader, sps: Sps) -> tuple[int, int, bool]:
    """POC lsb, how many pictures the slice may refer to, and whether it takes motion from one."""
    poc_lsb = bits.read(sps.poc_lsb_bits)
    count = len(sps.ref_sets)
    if not bits.flag():
        chosen = _ref_set(bits, count, count, sps.ref_sets)
    else:
        index = bits.read((count - 1).bit_length()) if count > 1 else 0
        if index >= count:
            raise CorruptMedia("slice names a reference picture set that is not there")
        chosen = sps.ref_sets[index]
    current = sum(used for _, used in chosen)
    if sps.long_term_present:
        current += _long_term(bits, sps)
    return poc_lsb, current, bits.flag() if sps.temporal_mvp else False


def _long_term(bits: BitReader, sps: Sps) -> int:
    known = len(sps.long_term_used)
    listed = bits.ue(32) if known else 0
    current = 0
    for index in range(listed + bits.ue(32)):
        if index < listed:
            choice = bits.read((known - 1).bit_length()) if known > 1 else 0
            if choice >= known:
                raise CorruptMedia("slice names a long-term picture that is not there")
            current += sps.long_term_used[choice]
        else:
            bits.skip(sps.poc_lsb_bits)
            current += bits.flag()
        if bits.flag():
            bits.ue()
    return current


def _skip_prediction(
    bits: BitReader, slice_type: int, sps: Sps, pps: Pps, current: int, mvp: bool
) -> None:
    both = slice_type == B_SLICE
    refs = [pps.num_ref_l0, pps.num_ref_l1 if both else 0]
    if bits.flag():
        refs = [bits.ue(14) + 1, bits.ue(14) + 1 if both else 0]
    if pps.lists_modification and current > 1:
        for count in refs[: 1 + both]:
            if bits.flag():
                bits.skip(count * (current - 1).bit_length())
    bits.skip(both + pps.cabac_init)
    if mvp:
        chosen = 0 if not both or bits.flag() else 1
        if refs[chosen] > 1:
            bits.ue(14)
    if (pps.weighted_pred and not both) or (pps.weighted_bipred and both):
        _skip_weights(bits, refs, bool(sps.chroma_array_type))
    bits.ue(4)


def _skip_weights(bits: BitReader, refs: Sequence[int], chroma: bool) -> None:
    bits.ue(7)
    if chroma:
        bits.se()
    for count in refs:
        luma_flags = [bits.flag() for _ in range(count)]
        chroma_flags = [chroma and bits.flag() for _ in range(count)]
        for _ in range(2 * sum(luma_flags) + 4 * sum(chroma_flags)):
            bits.se()


def _slice_deblocking(bits: BitReader, pps: Pps) -> bool:
    if not pps.deblocking_override or not bits.flag():
        return pps.deblocking_disabled
    disabled = bits.flag()
    if not disabled:
        bits.se()
        bits.se()
    return disabled


def _skip_entry_points(bits: BitReader) -> None:
    count = bits.ue(_MAX_ENTRY_POINTS)
    if count:
        bits.skip(count * (bits.ue(31) + 1))


# --- ids


def rewrite_vps_id(nal: bytes, new_id: int) -> bytes:
    """A VPS under another id."""
    parse_vps(nal)
    return _edited_set(unescape(nal), ((_HEADER_BITS, _HEADER_BITS + 4, new_id, 4),))


def rewrite_sps_ids(nal: bytes, new_sps_id: int, new_vps_id: int) -> bytes:
    """An SPS under another id, pointing at another VPS."""
    sps = parse_sps(nal)
    vps_edit = (_HEADER_BITS, _HEADER_BITS + 4, new_vps_id, 4)
    return _edited_set(unescape(nal), (vps_edit, (sps.id_at, sps.id_end, *ue_bits(new_sps_id))))


def rewrite_pps_ids(nal: bytes, new_pps_id: int, new_sps_id: int) -> bytes:
    """A PPS under another id, pointing at another SPS."""
    pps = parse_pps(nal)
    ids = BitWriter()
    ids.ue(new_pps_id)
    ids.ue(new_sps_id)
    return _edited_set(unescape(nal), ((_HEADER_BITS, pps.ids_end, ids.value, ids.length),))


def _edited_set(rbsp: bytes, edits: Sequence[Edit]) -> bytes:
    bits = edited(rbsp, trailing_bit(rbsp), edits)
    bits.trailing()
    return escape(bits.to_bytes())


def rewrite_slice_pps_id(nal: bytes, new_pps_id: int, sets: ParameterSets) -> bytes:
    """A slice segment that refers to another PPS, which must say the same but for its ids.

    Slice data begins on a byte and after a byte that is not zero, so it is copied as it stands and
    entry points, which count emulation prevention bytes of the data, stay right.
    """
    header = parse_slice_header(nal, sets)
    if header.pps_id == new_pps_id:
        return nal
    head_bytes = header.header_end // 8 + 1
    end, rbsp_end = settled_end(nal, head_bytes)
    rbsp = unescape(nal[:end])
    if len(rbsp) != rbsp_end:
        raise CorruptMedia("slice header does not fit its NAL unit")
    edit = (header.pps_id_at, header.pps_id_end, *ue_bits(new_pps_id))
    bits = edited(rbsp, header.header_end, (edit,))
    bits.trailing()
    return escape(bits.to_bytes() + rbsp[head_bytes:]) + nal[end:]


class IdRewriter:
    """Gives every set of a stream, and the slices that use them, ids of its own."""

    def __init__(
        self,
        sets: ParameterSets,
        *,
        vps_ids: Mapping[int, int],
        sps_ids: Mapping[int, int],
        pps_ids: Mapping[int, int],
    ) -> None:
        self._sets = sets
        self._vps_ids = vps_ids
        self._sps_ids = sps_ids
        self._pps_ids = pps_ids

    def sets(self) -> tuple[bytes, ...]:
        """The stream's sets under their new ids."""
        return self.rewrite(self._sets.nals())

    def rewrite(self, nals: Iterable[bytes]) -> tuple[bytes, ...]:
        """An access unit under the new ids, less the SEI that needs the old ones to be read."""
        return tuple(new for nal in nals if (new := self._rewritten(nal)) is not None)

    def _rewritten(self, nal: bytes) -> bytes | None:
        kind = nal_type(nal)
        if kind == PREFIX_SEI:
            return without_messages(nal, self._tied_messages())
        if kind in SET_TYPES and self._sets.add(nal) == "changed":
            raise UnsupportedMedia("a parameter set changes under its id")
        if kind == VPS:
            return rewrite_vps_id(nal, mapped_id(self._vps_ids, parse_vps(nal).vps_id))
        if kind == SPS:
            sps = parse_sps(nal)
            ids = mapped_id(self._sps_ids, sps.sps_id), mapped_id(self._vps_ids, sps.vps_id)
            return rewrite_sps_ids(nal, *ids)
        if kind == PPS:
            pps = parse_pps(nal)
            ids = mapped_id(self._pps_ids, pps.pps_id), mapped_id(self._sps_ids, pps.sps_id)
            return rewrite_pps_ids(nal, *ids)
        if is_slice(nal):
            new_id = mapped_id(self._pps_ids, slice_pps_id(nal))
            return rewrite_slice_pps_id(nal, new_id, self._sets)
        return nal

    def _tied_messages(self) -> frozenset[int]:
        # Picture timing says how fields are shown where the SPS promises it, and must stay then.
        shown = any(sps.vui and sps.vui.frame_field_info for sps in self._sets.sps.values())
        return frozenset({BUFFERING_PERIOD, ACTIVE_SETS} | (set() if shown else {PICTURE_TIMING}))


# --- access units


def picture_type(nals: Iterable[bytes]) -> int | None:
    """nal_unit_type of the access unit's slices, or None where it has none."""
    return next((nal_type(nal) for nal in nals if is_slice(nal)), None)


def is_irap(nals: Iterable[bytes]) -> bool:
    """Whether decoding may start at the access unit (IDR, BLA or CRA)."""
    kind = picture_type(nals)
    return kind is not None and BLA_W_LP <= kind <= CRA


def is_idr(nals: Iterable[bytes]) -> bool:
    """Whether the access unit is an IDR picture."""
    return picture_type(nals) in IDR


def is_cra(nals: Iterable[bytes]) -> bool:
    """Whether the access unit is a CRA picture: leading pictures may lean on what stands before."""
    return picture_type(nals) == CRA


def is_leading(nals: Iterable[bytes]) -> bool:
    """Whether the access unit is shown before the keyframe it follows."""
    return picture_type(nals) in LEADING


def is_skipped(nals: Iterable[bytes]) -> bool:
    """Whether the access unit cannot be decoded when decoding starts at its keyframe (RASL)."""
    return picture_type(nals) in RASL


def is_intra(nals: Iterable[bytes], sets: ParameterSets) -> bool:
    """Whether no slice of the access unit leans on another picture."""
    headers = [parse_slice_header(nal, sets) for nal in nals if is_slice(nal)]
    types = {header.slice_type for header in headers if not header.dependent}
    return types == {I_SLICE}


def is_recovery_point(nals: Iterable[bytes]) -> bool:
    """Whether a recovery point SEI says that decoding from here is exact at once."""
    for nal in nals:
        if nal_type(nal) == PREFIX_SEI:
            for kind, payload in sei_messages(nal):
                if kind == RECOVERY_POINT:
                    return BitReader(payload).se() == 0
    return False


def sei_messages(nal: bytes) -> tuple[tuple[int, bytes], ...]:
    """The whole `(payload type, payload)` messages of an SEI NAL unit."""
    return sei_payloads(unescape(nal), 2)


def without_messages(nal: bytes, unwanted: Container[int]) -> bytes | None:
    """An SEI NAL unit without messages of some types; None where nothing is left."""
    return sei_without(nal, 2, sei_messages(nal), unwanted)


def sets_of(nals: Iterable[bytes]) -> tuple[bytes, ...]:
    """The parameter sets among the NAL units."""
    return tuple(nal for nal in nals if nal_type(nal) in SET_TYPES)


def strip_parameter_sets(nals: Iterable[bytes]) -> tuple[bytes, ...]:
    """An access unit as an `hvc1` sample holds it: no sets, delimiters, ends or filler."""
    return tuple(n for n in nals if nal_type(n) not in SET_TYPES | DELIMITERS)


def as_broken_link(nals: Iterable[bytes], *, leading_kept: bool = False) -> tuple[bytes, ...]:
    """A CRA access unit as a BLA, which begins a new sequence wherever it stands.

    Only the first picture of a piece becomes one, and its RASL pictures must be left out;
    `leading_kept` says that decodable leading pictures (RADL) follow. An end of sequence before the
    CRA would do as well, but makes decoders throw away pictures that still wait to be shown.
    """
    kind = BLA_W_RADL if leading_kept else BLA_N_LP
    return tuple(_retyped(nal, kind) if nal_type(nal) == CRA else nal for nal in nals)


def _retyped(nal: bytes, kind: int) -> bytes:
    return bytes((kind << 1 | nal[0] & 1,)) + nal[1:]
