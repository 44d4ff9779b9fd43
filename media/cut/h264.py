"""H.264 (ITU-T H.264) parameter sets, slice headers and SEI: read, and rewritten bit by bit."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, Literal, NamedTuple

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

SLICE: Final = 1
PARTITIONS: Final = frozenset({2, 3, 4})
IDR: Final = 5
SEI: Final = 6
SPS: Final = 7
PPS: Final = 8
AUD: Final = 9
FILLER: Final = 12
SPS_EXTENSION: Final = 13
SUBSET_SPS: Final = 15
LAYERED: Final = frozenset({14, 20, 21})
SLICES: Final = frozenset({SLICE, IDR})
SET_TYPES: Final = frozenset({SPS, PPS, SPS_EXTENSION, SUBSET_SPS})
DELIMITERS: Final = frozenset({AUD, 10, 11, FILLER})

P_SLICE, B_SLICE, I_SLICE, SP_SLICE, SI_SLICE = range(5)
HIGH_PROFILES: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
BUFFERING_PERIOD: Final = 0
RECOVERY_POINT: Final = 6
MAX_SPS_ID: Final = 31
MAX_PPS_ID: Final = 255
_PREFIX_BYTES: Final = 192
_NUMBER_BYTES: Final = 40
_MAX_MARKINGS: Final = 66


@dataclass(frozen=True, slots=True)
class Vui:
    """What a sequence says of its display and timing; absent fields are None."""

    display: Display
    units_in_tick: int | None = None
    time_scale: int | None = None
    fixed_frame_rate: bool = False
    pic_struct_present: bool = False
    num_reorder_frames: int | None = None
    max_dec_frame_buffering: int | None = None

    @property
    def frame_rate(self) -> Fraction | None:
        """Frames a second, where timing is given."""
        if not self.units_in_tick or not self.time_scale:
            return None
        return Fraction(self.time_scale, 2 * self.units_in_tick)


@dataclass(frozen=True, slots=True)
class Sps:
    """A sequence parameter set; `id_end` is the bit of the RBSP after its id."""

    raw: bytes = field(repr=False)
    profile_idc: int
    constraints: int
    level_idc: int
    sps_id: int
    id_end: int
    chroma_format_idc: int
    separate_colour_planes: bool
    bit_depth_luma: int
    bit_depth_chroma: int
    scaling_matrix: bool
    frame_num_bits: int
    poc_type: int
    poc_lsb_bits: int
    delta_pic_order_always_zero: bool
    num_ref_frames: int
    gaps_in_frame_num: bool
    coded_width: int
    coded_height: int
    width: int
    height: int
    frame_mbs_only: bool
    mbaff: bool
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
    cabac: bool
    bottom_field_pic_order: bool
    num_ref_l0: int
    num_ref_l1: int
    weighted_pred: bool
    weighted_bipred_idc: int
    deblocking_control: bool
    redundant_pic_cnt: bool
    transform_8x8: bool
    scaling_matrix: bool


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """A slice header, and the bits of the RBSP (NAL header included) where its parts stand."""

    nal_unit_type: int
    nal_ref_idc: int
    first_mb: int
    slice_type: int
    pps_id: int
    frame_num: int
    field_pic: bool
    bottom_field: bool
    idr_pic_id: int | None
    poc_lsb: int
    delta_poc_bottom: int
    redundant_pic_cnt: int
    num_ref_l0: int
    num_ref_l1: int
    modifications: tuple[tuple[tuple[int, int], ...], ...]
    adaptive_marking: bool
    markings: tuple[tuple[int, int, int], ...]
    cabac: bool
    pps_id_at: int
    pps_id_end: int
    frame_num_at: int
    frame_num_end: int
    idr_pic_id_at: int
    poc_lsb_at: int
    poc_lsb_end: int
    modifications_at: int
    modifications_end: int
    marking_at: int
    marking_end: int
    header_end: int

    @property
    def resets_marking(self) -> bool:
        """Whether a memory operation makes the decoder forget all earlier pictures."""
        return any(marking[0] == 5 for marking in self.markings)

    @property
    def intra(self) -> bool:
        """Whether the slice leans on no other picture."""
        return self.slice_type in {I_SLICE, SI_SLICE}


def nal_type(nal: bytes) -> int:
    """nal_unit_type, from the first byte."""
    if not nal or nal[0] & 0x80:
        raise CorruptMedia("NAL unit header is empty or has its forbidden bit set")
    return nal[0] & 0x1F


def _typed(nal: bytes, wanted: int, name: str) -> bytes:
    if nal_type(nal) != wanted:
        raise CorruptMedia(f"NAL unit of type {nal_type(nal)} is no {name}")
    return unescape(nal)


# --- parameter sets


def parse_sps(nal: bytes) -> Sps:
    """The sequence parameter set in a NAL unit."""
    bits = BitReader(_typed(nal, SPS, "SPS"), 8)
    profile, constraints, level = bits.read(8), bits.read(8), bits.read(8)
    sps_id = bits.ue(MAX_SPS_ID)
    id_end = bits.position
    chroma, planes, luma_depth, chroma_depth, matrix = _sample_format(bits, profile)
    frame_num_bits = bits.ue(12) + 4
    poc_type, poc_lsb_bits, always_zero = _order_count(bits)
    refs, gaps = bits.ue(16), bits.flag()
    columns, rows = bits.ue(1023) + 1, bits.ue(1023) + 1
    frames_only = bits.flag()
    mbaff = False if frames_only else bits.flag()
    bits.skip(1)
    coded = columns * 16, rows * 16 * (1 if frames_only else 2)
    unit_x = 2 if chroma in {1, 2} and not planes else 1
    unit_y = (2 if chroma == 1 and not planes else 1) * (1 if frames_only else 2)
    left, right, top, bottom = [bits.ue(1 << 15) for _ in range(4)] if bits.flag() else [0] * 4
    width = coded[0] - unit_x * (left + right)
    height = coded[1] - unit_y * (top + bottom)
    if width <= 0 or height <= 0:
        raise CorruptMedia("SPS crops the whole picture away")
    return Sps(
        raw=nal,
        profile_idc=profile,
        constraints=constraints,
        level_idc=level,
        sps_id=sps_id,
        id_end=id_end,
        chroma_format_idc=chroma,
        separate_colour_planes=planes,
        bit_depth_luma=luma_depth,
        bit_depth_chroma=chroma_depth,
        scaling_matrix=matrix,
        frame_num_bits=frame_num_bits,
        poc_type=poc_type,
        poc_lsb_bits=poc_lsb_bits,
        delta_pic_order_always_zero=always_zero,
        num_ref_frames=refs,
        gaps_in_frame_num=gaps,
        coded_width=coded[0],
        coded_height=coded[1],
        width=width,
        height=height,
        frame_mbs_only=frames_only,
        mbaff=mbaff,
        vui=_vui(bits) if bits.flag() else None,
    )


def _sample_format(bits: BitReader, profile: int) -> tuple[int, bool, int, int, bool]:
    if profile not in HIGH_PROFILES:
        return 1, False, 8, 8, False
    chroma = bits.ue(3)
    planes = bits.flag() if chroma == 3 else False
    luma_depth, chroma_depth = bits.ue(6) + 8, bits.ue(6) + 8
    bits.skip(1)
    matrix = bits.flag()
    if matrix:
        _skip_scaling_lists(bits, 12 if chroma == 3 else 8)
    return chroma, planes, luma_depth, chroma_depth, matrix


def _skip_scaling_lists(bits: BitReader, count: int) -> None:
    for index in range(count):
        if bits.flag():
            _skip_scaling_list(bits, 16 if index < 6 else 64)


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = 8
    for _ in range(size):
        last = (last + bits.se()) % 256
        if last == 0:
            return


def _order_count(bits: BitReader) -> tuple[int, int, bool]:
    poc_type = bits.ue(2)
    if poc_type == 0:
        return 0, bits.ue(12) + 4, False
    if poc_type == 2:
        return 2, 0, False
    always_zero = bits.flag()
    for _ in range(2):
        bits.se()
    for _ in range(bits.ue(255)):
        bits.se()
    return 1, 0, always_zero


def _vui(bits: BitReader) -> Vui:
    display = read_display(bits)
    ticks, scale, fixed = (
        (bits.read(32), bits.read(32), bits.flag()) if bits.flag() else (None, None, False)
    )
    nal_hrd = _skip_hrd(bits) if bits.flag() else False
    vcl_hrd = _skip_hrd(bits) if bits.flag() else False
    if nal_hrd or vcl_hrd:
        bits.skip(1)
    pic_struct = bits.flag()
    reorder, buffering = _restriction(bits) if bits.flag() else (None, None)
    return Vui(
        display=display,
        units_in_tick=ticks,
        time_scale=scale,
        fixed_frame_rate=fixed,
        pic_struct_present=pic_struct,
        num_reorder_frames=reorder,
        max_dec_frame_buffering=buffering,
    )


def _skip_hrd(bits: BitReader) -> bool:
    count = bits.ue(31) + 1
    bits.skip(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.skip(1)
    bits.skip(20)
    return True


def _restriction(bits: BitReader) -> tuple[int, int]:
    bits.skip(1)
    for _ in range(4):
        bits.ue(16)
    return bits.ue(16), bits.ue(16)


def parse_pps(nal: bytes, sps: Sps | None = None) -> Pps:
    """The picture parameter set in a NAL unit; its SPS matters only to 4:4:4 scaling lists."""
    rbsp = _typed(nal, PPS, "PPS")
    bits = BitReader(rbsp, 8)
    pps_id, sps_id = bits.ue(MAX_PPS_ID), bits.ue(MAX_SPS_ID)
    ids_end = bits.position
    cabac, bottom = bits.flag(), bits.flag()
    if bits.ue(7):
        raise UnsupportedMedia("slice groups (FMO) are not handled")
    refs = bits.ue(31) + 1, bits.ue(31) + 1
    weighted, bipred = bits.flag(), bits.read(2)
    for _ in range(3):
        bits.se()
    deblocking = bits.flag()
    bits.skip(1)
    redundant = bits.flag()
    transform, matrix = _pps_tail(bits, sps) if bits.more_rbsp_data() else (False, False)
    return Pps(
        raw=nal,
        pps_id=pps_id,
        sps_id=sps_id,
        ids_end=ids_end,
        cabac=cabac,
        bottom_field_pic_order=bottom,
        num_ref_l0=refs[0],
        num_ref_l1=refs[1],
        weighted_pred=weighted,
        weighted_bipred_idc=bipred,
        deblocking_control=deblocking,
        redundant_pic_cnt=redundant,
        transform_8x8=transform,
        scaling_matrix=matrix,
    )


def _pps_tail(bits: BitReader, sps: Sps | None) -> tuple[bool, bool]:
    transform, matrix = bits.flag(), bits.flag()
    if matrix:
        chroma_444 = sps is not None and sps.chroma_format_idc == 3
        _skip_scaling_lists(bits, 6 + (6 if chroma_444 else 2) * transform)
    bits.se()
    return transform, matrix


Change = Literal["new", "same", "changed"]


class ParameterSets:
    """The SPS and PPS in force, by id, and whether one changed under its id."""

    def __init__(self, nals: Iterable[bytes] = ()) -> None:
        self.sps: dict[int, Sps] = {}
        self.pps: dict[int, Pps] = {}
        self.extensions: tuple[bytes, ...] = ()
        self.add_all(nals)

    def add_all(self, nals: Iterable[bytes]) -> bool:
        """Take in every set among the NAL units; whether one replaced another under its id."""
        changes = [self.add(nal) for nal in nals if nal_type(nal) in SET_TYPES]
        return "changed" in changes

    def add(self, nal: bytes) -> Change:
        """Take in one set."""
        kind = nal_type(nal)
        if kind == SUBSET_SPS:
            raise UnsupportedMedia("scalable or multiview H.264 is not handled")
        if kind == SPS_EXTENSION:
            raise UnsupportedMedia("auxiliary coded pictures are not handled")
        if any(known.raw == nal for known in (self.sps if kind == SPS else self.pps).values()):
            return "same"
        return self._add_sps(parse_sps(nal)) if kind == SPS else self._add_pps(nal)

    def _add_sps(self, sps: Sps) -> Change:
        known = self.sps.get(sps.sps_id)
        self.sps[sps.sps_id] = sps
        return "changed" if known else "new"

    def _add_pps(self, nal: bytes) -> Change:
        pps = parse_pps(nal)
        if pps.scaling_matrix:
            pps = parse_pps(nal, self.sps.get(pps.sps_id))
        known = self.pps.get(pps.pps_id)
        self.pps[pps.pps_id] = pps
        return "changed" if known else "new"

    def of_slice(self, pps_id: int) -> tuple[Sps, Pps]:
        """The sets a slice refers to."""
        pps = self.pps.get(pps_id)
        sps = self.sps.get(pps.sps_id) if pps else None
        if pps is None or sps is None:
            raise CorruptMedia(f"slice refers to parameter set {pps_id}, which was not sent")
        return sps, pps

    def nals(self) -> tuple[bytes, ...]:
        """All sets, SPS first."""
        return (*(s.raw for s in self.sps.values()), *(p.raw for p in self.pps.values()))

    def free_sps_id(self) -> int:
        """The first SPS id not in use."""
        return first_free(self.sps, MAX_SPS_ID)

    def free_pps_id(self, *, like: int | None = None) -> int:
        """The first PPS id not in use; with `like`, one that moves CAVLC data by whole bytes.

        Data that moves by single bits takes longer, and macroblocks stored as plain samples (PCM),
        which stand on a byte, would not survive it.
        """
        return first_free(self.pps, MAX_PPS_ID, like)


# --- the configuration record


def parse_avcc(record: bytes) -> tuple[int, tuple[bytes, ...]]:
    """The NAL length size and the parameter sets of an `avcC` record."""
    if len(record) < 7 or record[0] != 1:
        raise CorruptMedia("avcC record is too short or of an unknown version")
    sets: list[bytes] = []
    at = _counted(record, 5, 0x1F, sets)
    _counted(record, at, 0xFF, sets)
    return (record[4] & 3) + 1, tuple(sets)


def _counted(record: bytes, at: int, mask: int, into: list[bytes]) -> int:
    if at >= len(record):
        raise CorruptMedia("avcC record ends before its sets")
    count = record[at] & mask
    at += 1
    for _ in range(count):
        end = at + 2 + int.from_bytes(record[at : at + 2], "big")
        if end > len(record) or end <= at + 2:
            raise CorruptMedia("avcC record ends inside a set")
        into.append(record[at + 2 : end])
        at = end
    return at


def build_avcc(sps_list: Sequence[bytes], pps_list: Sequence[bytes], length_size: int = 4) -> bytes:
    """An `avcC` record holding the sets; the profile and level are those of the most able SPS."""
    if not 0 < len(sps_list) <= MAX_SPS_ID or not 0 < len(pps_list) <= MAX_PPS_ID:
        raise UnsupportedMedia("avcC cannot hold that many parameter sets")
    parsed = [parse_sps(nal) for nal in sps_list]
    first = max(parsed, key=lambda sps: (sps.profile_idc in HIGH_PROFILES, sps.profile_idc))
    constraints = first.constraints
    for sps in parsed:
        constraints &= sps.constraints
    head = bytes((1, first.profile_idc, constraints, max(s.level_idc for s in parsed)))
    body = _framed(sps_list, 0xE0) + _framed(pps_list, 0)
    return head + bytes((0xFC | (length_size - 1),)) + body + _avcc_extension(first)


def _framed(nals: Sequence[bytes], mark: int) -> bytes:
    if any(len(nal) >> 16 for nal in nals):
        raise UnsupportedMedia("a parameter set is too long for avcC")
    return bytes((mark | len(nals),)) + b"".join(len(n).to_bytes(2, "big") + n for n in nals)


def _avcc_extension(sps: Sps) -> bytes:
    if sps.profile_idc not in {100, 110, 122, 144, 244, 44}:
        return b""
    depths = 0xF8 | (sps.bit_depth_luma - 8), 0xF8 | (sps.bit_depth_chroma - 8)
    return bytes((0xFC | sps.chroma_format_idc, *depths, 0))


def extradata_sets(extradata: bytes) -> tuple[int | None, tuple[bytes, ...]]:
    """The NAL length size (None for Annex B) and the sets of a codec's extradata."""
    if extradata[:1] == b"\1":
        return parse_avcc(extradata)
    return None, sets_of(split_annexb(extradata))


def annexb_extradata(nals: Iterable[bytes]) -> bytes:
    """Sets as Annex-B extradata, SPS before PPS, each once."""
    ordered = sorted(dict.fromkeys(nals), key=nal_type)
    return join_annexb(ordered)


# --- slices


def is_slice(nal: bytes) -> bool:
    """Whether the NAL unit is a slice of a primary picture."""
    return nal_type(nal) in SLICES


def parse_slice_header(nal: bytes, sets: ParameterSets) -> SliceHeader:
    """The header of a slice; only its bytes are looked at, never the slice data."""
    if nal_type(nal) not in SLICES:
        raise UnsupportedMedia(f"NAL unit of type {nal_type(nal)} is not a plain slice")
    if len(nal) > _PREFIX_BYTES:
        try:
            return _slice_header(unescape(nal[:_PREFIX_BYTES]), nal, sets)
        except OutOfBits:
            pass
    return _slice_header(unescape(nal), nal, sets)


def slice_pps_id(nal: bytes) -> int:
    """The PPS a slice refers to, without its sets at hand."""
    bits = BitReader(unescape(nal[:24]), 8)
    bits.ue()
    bits.ue(9)
    return bits.ue(MAX_PPS_ID)


class SliceNumbers(NamedTuple):
    """The first fields of a slice header, with the bits where they stand, and its sets."""

    first_mb: int
    slice_type: int
    pps_id: int
    pps_id_at: int
    pps_id_end: int
    frame_num: int
    frame_num_at: int
    frame_num_end: int
    field_pic: bool
    bottom_field: bool
    idr_pic_id: int | None
    idr_pic_id_at: int
    poc_lsb: int
    poc_lsb_at: int
    poc_lsb_end: int
    sps: Sps
    pps: Pps


def parse_slice_numbers(nal: bytes, sets: ParameterSets) -> SliceNumbers:
    """The beginning of a slice header, which is all that renumbering needs."""
    bits = BitReader(unescape(nal[:_NUMBER_BYTES]), 8)
    return _slice_numbers(bits, nal_type(nal) == IDR, sets)


def is_lone_field(nals: Iterable[bytes], sets: ParameterSets) -> bool:
    """Whether an access unit holds one field of a picture and not the other."""
    numbers = [parse_slice_numbers(nal, sets) for nal in nals if is_slice(nal)]
    parities = {each.bottom_field for each in numbers if each.field_pic}
    return len(parities) == 1 and all(each.field_pic for each in numbers)


def are_fields_of_one(first: SliceNumbers, second: SliceNumbers) -> bool:
    """Whether two fields that follow each other make a frame: opposite parity, one number."""
    return (
        first.bottom_field != second.bottom_field
        and first.frame_num == second.frame_num
        and second.idr_pic_id is None
    )


def _slice_numbers(bits: BitReader, idr: bool, sets: ParameterSets) -> SliceNumbers:
    first_mb, slice_type = bits.ue(1 << 20), bits.ue(9) % 5
    pps_id_at = bits.position
    pps_id = bits.ue(MAX_PPS_ID)
    pps_id_end = bits.position
    sps, pps = sets.of_slice(pps_id)
    if sps.separate_colour_planes:
        bits.skip(2)
    frame_num_at = bits.position
    frame_num = bits.read(sps.frame_num_bits)
    frame_num_end = bits.position
    field_pic = False if sps.frame_mbs_only else bits.flag()
    bottom = bits.flag() if field_pic else False
    idr_pic_id_at = bits.position
    idr_pic_id = bits.ue(65535) if idr else None
    poc_lsb_at = bits.position
    poc_lsb = bits.read(sps.poc_lsb_bits)
    return SliceNumbers(
        first_mb,
        slice_type,
        pps_id,
        pps_id_at,
        pps_id_end,
        frame_num,
        frame_num_at,
        frame_num_end,
        field_pic,
        bottom,
        idr_pic_id,
        idr_pic_id_at,
        poc_lsb,
        poc_lsb_at,
        bits.position,
        sps,
        pps,
    )


def _slice_header(rbsp: bytes, nal: bytes, sets: ParameterSets) -> SliceHeader:
    idr, ref_idc = nal[0] & 0x1F == IDR, nal[0] >> 5 & 3
    bits = BitReader(rbsp, 8)
    numbers = _slice_numbers(bits, idr, sets)
    sps, pps, slice_type, field_pic = (
        numbers.sps,
        numbers.pps,
        numbers.slice_type,
        numbers.field_pic,
    )
    delta_bottom = _order_deltas(bits, sps, pps, field_pic)
    redundant = bits.ue(127) if pps.redundant_pic_cnt else 0
    refs = _reference_counts(bits, pps, slice_type, field_pic)
    modifications_at = bits.position
    modifications = _modifications(bits, slice_type)
    modifications_end = bits.position
    if (pps.weighted_pred and slice_type in {P_SLICE, SP_SLICE}) or (
        pps.weighted_bipred_idc == 1 and slice_type == B_SLICE
    ):
        _skip_weights(bits, refs, sps.chroma_array_type)
    marking_at = bits.position
    adaptive, markings = _markings(bits, idr) if ref_idc else (False, ())
    marking_end = bits.position
    _skip_header_tail(bits, pps, slice_type)
    return SliceHeader(
        nal_unit_type=nal[0] & 0x1F,
        nal_ref_idc=ref_idc,
        first_mb=numbers.first_mb,
        slice_type=slice_type,
        pps_id=numbers.pps_id,
        frame_num=numbers.frame_num,
        field_pic=field_pic,
        bottom_field=numbers.bottom_field,
        idr_pic_id=numbers.idr_pic_id,
        poc_lsb=numbers.poc_lsb,
        delta_poc_bottom=delta_bottom,
        redundant_pic_cnt=redundant,
        num_ref_l0=refs[0],
        num_ref_l1=refs[1],
        modifications=modifications,
        adaptive_marking=adaptive,
        markings=markings,
        cabac=pps.cabac,
        pps_id_at=numbers.pps_id_at,
        pps_id_end=numbers.pps_id_end,
        frame_num_at=numbers.frame_num_at,
        frame_num_end=numbers.frame_num_end,
        idr_pic_id_at=numbers.idr_pic_id_at,
        poc_lsb_at=numbers.poc_lsb_at,
        poc_lsb_end=numbers.poc_lsb_end,
        modifications_at=modifications_at,
        modifications_end=modifications_end,
        marking_at=marking_at,
        marking_end=marking_end,
        header_end=bits.position,
    )


def _order_deltas(bits: BitReader, sps: Sps, pps: Pps, field_pic: bool) -> int:
    both = pps.bottom_field_pic_order and not field_pic
    if sps.poc_type == 0:
        return bits.se() if both else 0
    if sps.poc_type == 1 and not sps.delta_pic_order_always_zero:
        bits.se()
        if both:
            bits.se()
    return 0


def _reference_counts(
    bits: BitReader, pps: Pps, slice_type: int, field_pic: bool
) -> tuple[int, int]:
    if slice_type not in {P_SLICE, SP_SLICE, B_SLICE}:
        return 0, 0
    if slice_type == B_SLICE:
        bits.skip(1)
    most = 31 if field_pic else 15
    if bits.flag():
        return bits.ue(most) + 1, bits.ue(most) + 1 if slice_type == B_SLICE else 0
    return pps.num_ref_l0, pps.num_ref_l1 if slice_type == B_SLICE else 0


def _modifications(bits: BitReader, slice_type: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    lists = {P_SLICE: 1, SP_SLICE: 1, B_SLICE: 2}.get(slice_type, 0)
    return tuple(_modification(bits) if bits.flag() else () for _ in range(lists))


def _modification(bits: BitReader) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    while (operation := bits.ue(3)) != 3:
        if len(found) >= _MAX_MARKINGS:
            raise CorruptMedia("slice reorders more references than there can be")
        found.append((operation, bits.ue()))
    return tuple(found)


def _skip_weights(bits: BitReader, refs: tuple[int, int], chroma_array_type: int) -> None:
    bits.ue(7)
    if chroma_array_type:
        bits.ue(7)
    for _ in range(sum(refs)):
        if bits.flag():
            bits.se()
            bits.se()
        if chroma_array_type and bits.flag():
            for _ in range(4):
                bits.se()


def _markings(bits: BitReader, idr: bool) -> tuple[bool, tuple[tuple[int, int, int], ...]]:
    if idr:
        bits.skip(2)
        return False, ()
    if not bits.flag():
        return False, ()
    found: list[tuple[int, int, int]] = []
    while operation := bits.ue(6):
        if len(found) >= _MAX_MARKINGS:
            raise CorruptMedia("slice has more memory operations than there can be")
        first = bits.ue() if operation != 5 else 0
        found.append((operation, first, bits.ue() if operation == 3 else 0))
    return True, tuple(found)


def _skip_header_tail(bits: BitReader, pps: Pps, slice_type: int) -> None:
    if pps.cabac and slice_type not in {I_SLICE, SI_SLICE}:
        bits.ue(2)
    bits.se()
    if slice_type in {SP_SLICE, SI_SLICE}:
        if slice_type == SP_SLICE:
            bits.skip(1)
        bits.se()
    if pps.deblocking_control and bits.ue(2) != 1:
        bits.se()
        bits.se()


def rewrite_slice(
    nal: bytes, header: SliceHeader, edits: Sequence[Edit], first_byte: int | None = None
) -> bytes:
    """A slice with some bits of its header replaced; `edits` stand in ascending order.

    The slice data is copied: CABAC from its own byte boundary, CAVLC shifted where the length of
    the header changes by other than whole bytes.
    """
    head_bytes = (header.header_end + 7) >> 3
    end, rbsp_end = settled_end(nal, head_bytes)
    rbsp = unescape(nal[:end])
    if len(rbsp) != rbsp_end or header.header_end > 8 * rbsp_end:
        raise CorruptMedia("slice header does not fit its NAL unit")
    bits = edited(rbsp, header.header_end, edits)
    lead = bytes((nal[0] if first_byte is None else first_byte,))
    if header.cabac:
        bits.align(1)
        return escape(lead + bits.to_bytes()[1:] + rbsp[head_bytes:]) + nal[end:]
    if (bits.length - header.header_end) % 8 == 0:
        bits.copy(rbsp, header.header_end, 8 * rbsp_end)
        return escape(lead + bits.to_bytes()[1:]) + nal[end:]
    whole = unescape(nal)
    bits.copy(whole, header.header_end, trailing_bit(whole))
    bits.trailing()
    return escape(lead + bits.to_bytes()[1:])


# --- ids


def rewrite_sps_id(nal: bytes, new_id: int) -> bytes:
    """An SPS under another id."""
    sps, rbsp = parse_sps(nal), unescape(nal)
    return _with_ids(rbsp, 32, sps.id_end, (new_id,))


def rewrite_pps_ids(nal: bytes, new_pps_id: int, new_sps_id: int) -> bytes:
    """A PPS under another id, pointing at another SPS."""
    rbsp = _typed(nal, PPS, "PPS")
    bits = BitReader(rbsp, 8)
    bits.ue(MAX_PPS_ID)
    bits.ue(MAX_SPS_ID)
    return _with_ids(rbsp, 8, bits.position, (new_pps_id, new_sps_id))


def _with_ids(rbsp: bytes, start: int, end: int, ids: Sequence[int]) -> bytes:
    bits = BitWriter()
    bits.copy(rbsp, 0, start)
    for new_id in ids:
        bits.ue(new_id)
    bits.copy(rbsp, end, trailing_bit(rbsp))
    bits.trailing()
    return escape(bits.to_bytes())


def rewrite_slice_pps_id(nal: bytes, new_pps_id: int, sets: ParameterSets) -> bytes:
    """A slice that refers to another PPS, which must say the same but for its ids."""
    header = parse_slice_header(nal, sets)
    if header.pps_id == new_pps_id:
        return nal
    edit = (header.pps_id_at, header.pps_id_end, *ue_bits(new_pps_id))
    return rewrite_slice(nal, header, (edit,))


class IdRewriter:
    """Gives every set of a stream, and the slices that use them, ids of its own."""

    def __init__(self, sets: ParameterSets, sps_ids: Mapping[int, int], pps_ids: Mapping[int, int]):
        self._sets = sets
        self._sps_ids = sps_ids
        self._pps_ids = pps_ids

    def sets(self) -> tuple[bytes, ...]:
        """The stream's sets under their new ids."""
        return self.rewrite(self._sets.nals())

    def rewrite(self, nals: Iterable[bytes]) -> tuple[bytes, ...]:
        """An access unit under the new ids, less the SEI that names the old ones."""
        return tuple(new for nal in nals if (new := self._rewritten(nal)) is not None)

    def _rewritten(self, nal: bytes) -> bytes | None:
        kind = nal_type(nal)
        if kind == SEI:
            return without_messages(nal, {BUFFERING_PERIOD})
        if kind in SET_TYPES and self._sets.add(nal) == "changed":
            raise UnsupportedMedia("a parameter set changes under its id")
        if kind == SPS:
            return rewrite_sps_id(nal, mapped_id(self._sps_ids, parse_sps(nal).sps_id))
        if kind == PPS:
            pps = parse_pps(nal)
            new = mapped_id(self._pps_ids, pps.pps_id), mapped_id(self._sps_ids, pps.sps_id)
            return rewrite_pps_ids(nal, *new)
        if kind in SLICES:
            return rewrite_slice_pps_id(
                nal, mapped_id(self._pps_ids, slice_pps_id(nal)), self._sets
            )
        return nal


# --- access units


def is_idr(nals: Iterable[bytes]) -> bool:
    """Whether the access unit is an IDR picture."""
    return any(nal_type(nal) == IDR for nal in nals)


def sets_of(nals: Iterable[bytes]) -> tuple[bytes, ...]:
    """The parameter sets among the NAL units."""
    return tuple(nal for nal in nals if nal_type(nal) in SET_TYPES)


def strip_parameter_sets(nals: Iterable[bytes]) -> tuple[bytes, ...]:
    """An access unit as an `avc1` sample holds it: no sets, delimiters, ends or filler."""
    return tuple(n for n in nals if nal_type(n) not in SET_TYPES | DELIMITERS)


def slice_types(nals: Iterable[bytes]) -> frozenset[int]:
    """The slice types of an access unit, as `P_SLICE` and the like."""
    return frozenset(slice_type for _, slice_type in _slice_starts(nals))


def _slice_starts(nals: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """The first macroblock and the type of each slice."""
    for nal in nals:
        if nal_type(nal) in SLICES:
            bits = BitReader(unescape(nal[:24]), 8)
            yield bits.ue(), bits.ue(9) % 5


def is_intra(nals: Iterable[bytes]) -> bool:
    """Whether no slice of the first picture leans on another: a second field is not looked at."""
    found: set[int] = set()
    for first_mb, slice_type in _slice_starts(nals):
        if found and first_mb == 0:
            break
        found.add(slice_type)
    return bool(found) and found <= {I_SLICE, SI_SLICE}


def is_reference(nals: Iterable[bytes]) -> bool:
    """Whether another picture may lean on this one."""
    return any(nal_type(nal) in SLICES and nal[0] >> 5 & 3 for nal in nals)


def recovery_frames(nals: Iterable[bytes]) -> int | None:
    """recovery_frame_cnt of the access unit's recovery point, or None where it has none."""
    for nal in nals:
        if nal_type(nal) == SEI:
            for kind, payload in sei_messages(nal):
                if kind == RECOVERY_POINT:
                    return BitReader(payload).ue(1 << 16)
    return None


def is_recovery_point(nals: Iterable[bytes]) -> bool:
    """Whether decoding may start here and is exact from this picture on, in output order."""
    return recovery_frames(nals) == 0


def sei_messages(nal: bytes) -> tuple[tuple[int, bytes], ...]:
    """The whole `(payload type, payload)` messages of an SEI NAL unit."""
    return sei_payloads(_typed(nal, SEI, "SEI"), 1)


def without_messages(nal: bytes, unwanted: Container[int]) -> bytes | None:
    """An SEI NAL unit without messages of some types; None where nothing is left."""
    return sei_without(nal, 1, sei_messages(nal), unwanted)
