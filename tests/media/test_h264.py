"""H.264 headers of real encoders, rewritten ids, and open GOPs made to begin with an IDR."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from media.cut import h264
from media.cut.bits import escape, join_annexb, join_prefixed, split_annexb, unescape
from media.cut.facts import picture_facts
from media.cut.h264 import (
    IdRewriter,
    ParameterSets,
    annexb_extradata,
    build_avcc,
    extradata_sets,
    parse_avcc,
    parse_pps,
    parse_slice_header,
    parse_sps,
    sets_of,
    strip_parameter_sets,
)
from media.cut.h264_idr import IdrRewriter
from schemas.errors import CorruptMedia, UnsupportedMedia
from tests.nal_streams import Picture, Unit, assert_same_frames, decoded, encoded

OPEN = "open-gop=1:keyint=12:min-keyint=12:scenecut=0:b-adapt=0"
OPEN_STREAMS = {
    "b-frames": (f"{OPEN}:bframes=3:b-pyramid=none:ref=1", "yuv420p"),
    "pyramid": (f"{OPEN}:bframes=3:b-pyramid=normal:ref=4:weightp=2", "yuv420p"),
    "strict pyramid": (f"{OPEN}:bframes=5:b-pyramid=strict:ref=3", "yuv420p"),
    "sixteen references": (f"{OPEN}:bframes=7:b-pyramid=normal:ref=16:direct=temporal", "yuv420p"),
    "two references": (f"{OPEN}:bframes=5:b-pyramid=normal:ref=2", "yuv420p"),
    "slices": (f"{OPEN}:bframes=2:slices=4:ref=2", "yuv420p"),
    "cavlc": (f"{OPEN}:bframes=3:cabac=0:8x8dct=1:b-pyramid=normal:ref=4", "yuv420p"),
    "cavlc slices": (f"{OPEN}:bframes=2:cabac=0:slices=3:weightp=1", "yuv420p"),
    "mbaff tff": (f"{OPEN}:bframes=3:tff=1:weightp=0:b-pyramid=normal:ref=4", "yuv420p"),
    "mbaff bff cavlc": (f"{OPEN}:bframes=2:bff=1:weightp=0:cabac=0:ref=2", "yuv420p"),
    "fake interlaced": (f"{OPEN}:bframes=3:fake-interlaced=1", "yuv420p"),
    "weighted bipred": (f"{OPEN}:bframes=3:weightb=1:weightp=2:ref=5", "yuv420p"),
    "high10": (f"{OPEN}:bframes=3:b-pyramid=normal:ref=3", "yuv420p10le"),
    "high422": (f"{OPEN}:bframes=3:b-pyramid=normal:ref=3", "yuv422p10le"),
    "high444": (f"{OPEN}:bframes=3:ref=3:cqm=jvt", "yuv444p"),
    "hrd and aud": (
        f"{OPEN}:bframes=3:aud=1:nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:pic-struct=1",
        "yuv420p",
    ),
    "short counters": (f"{OPEN}:bframes=3:b-pyramid=normal:ref=2:keyint=20", "yuv420p"),
}


def stream(name: str, frames: int = 60) -> tuple[Unit, ...]:
    params, pix_fmt = OPEN_STREAMS[name]
    return encoded(params, pix_fmt=pix_fmt, frames=frames)


def open_starts(units: Sequence[Unit]) -> list[int]:
    """Where non-IDR I pictures that recover at once stand in decode order."""
    return [
        index
        for index, unit in enumerate(units)
        if h264.is_recovery_point(unit.nals) and not h264.is_idr(unit.nals)
    ]


def cut_at(units: Sequence[Unit], start: int, *, told: bool) -> list[Unit]:
    """The units from an open GOP on, leading pictures left out, made to begin with an IDR."""
    rewriter = IdrRewriter(ParameterSets(sets_of(units[0].nals)))
    kept: list[Unit] = []
    for unit in units[start:]:
        if unit.pts >= units[start].pts:
            kept.append(unit.holding(rewriter.rewrite(unit.nals)))
        elif told:
            rewriter.leave_out(unit.nals)
    kept[0] = kept[0].holding((*sets_of(units[0].nals), *strip_parameter_sets(kept[0].nals)))
    return kept


# --- open GOPs


@pytest.mark.parametrize("told", [True, False], ids=["leading told", "leading unseen"])
@pytest.mark.parametrize("name", OPEN_STREAMS)
def test_an_open_gop_made_to_begin_with_an_idr_decodes_to_the_same_pixels(
    name: str, told: bool
) -> None:
    units = stream(name)
    whole = decoded(units)
    starts = open_starts(units)

    cuts = [cut_at(units, start, told=told) for start in starts]

    assert len(starts) >= 2
    for start, kept in zip(starts, cuts, strict=True):
        assert h264.is_idr(kept[0].nals)
        assert not h264.is_recovery_point(kept[0].nals)
        wanted = [frame for frame in whole if frame[0] >= units[start].pts]
        assert_same_frames(decoded(kept), wanted)


@pytest.mark.parametrize("name", OPEN_STREAMS)
def test_an_open_gop_follows_another_stream_without_a_seam(name: str) -> None:
    units = stream(name)
    start = open_starts(units)[1]

    joined = after_another(units, cut_at(units, start, told=False), OPEN_STREAMS[name][1])

    rest = [(pts + 100, image) for pts, image in decoded(units) if pts >= units[start].pts]
    assert_same_frames(joined[:7], decoded(another(OPEN_STREAMS[name][1])))
    assert_same_frames(joined[7:], rest)


def test_without_rewriting_the_seam_shows() -> None:
    units = stream("pyramid")
    start = open_starts(units)[1]
    kept = [unit for unit in units[start:] if unit.pts >= units[start].pts]
    kept[0] = kept[0].holding((*sets_of(units[0].nals), *kept[0].nals))

    with pytest.raises((AssertionError, OSError)):
        after_another(units, kept, "yuv420p")


def another(pix_fmt: str) -> tuple[Unit, ...]:
    """A short stream of the same kind of samples."""
    return encoded("bframes=2:keyint=infinite:scenecut=0", pix_fmt=pix_fmt, frames=7, seed=5)


def after_another(
    units: Sequence[Unit], kept: Sequence[Unit], pix_fmt: str
) -> list[tuple[int, Picture]]:
    """What is shown of another stream, under ids of its own, and of the kept units behind it."""
    head = another(pix_fmt)
    ids = IdRewriter(ParameterSets(sets_of(head[0].nals)), {0: 1}, {0: 1})
    own = [unit.holding(strip_parameter_sets(ids.rewrite(unit.nals))) for unit in head]
    rest = [unit.later(100).holding(strip_parameter_sets(unit.nals)) for unit in kept]
    sets = (*sets_of(units[0].nals), *ids.sets())
    avcc = build_avcc(
        [nal for nal in sets if h264.nal_type(nal) == h264.SPS],
        [nal for nal in sets if h264.nal_type(nal) == h264.PPS],
    )
    return decoded([*own, *rest], extradata=avcc)


def test_from_the_next_true_idr_on_units_are_as_they_were() -> None:
    units = stream("pyramid")
    later = encoded(OPEN_STREAMS["pyramid"][0], frames=30, seed=2)
    start = open_starts(units)[-1]
    rewriter = IdrRewriter(ParameterSets(sets_of(units[0].nals)))
    for unit in units[start:]:
        if unit.pts >= units[start].pts:
            rewriter.rewrite(unit.nals)
    assert not rewriter.done

    copied = [rewriter.rewrite(unit.nals) for unit in later]

    assert rewriter.done
    assert copied == [unit.nals for unit in later]


def test_a_picture_that_leans_on_others_is_refused_as_a_start() -> None:
    units = stream("pyramid")
    start = next(i for i, unit in enumerate(units) if h264.slice_types(unit.nals) == {h264.P_SLICE})
    rewriter = IdrRewriter(ParameterSets(sets_of(units[0].nals)))

    with pytest.raises(UnsupportedMedia, match="not an I picture"):
        rewriter.rewrite(units[start].nals)


def test_sets_that_change_under_their_id_are_refused() -> None:
    units = stream("pyramid")
    other = sets_of(encoded("bframes=0:ref=1:keyint=5", frames=5)[0].nals)
    start = open_starts(units)[0]
    rewriter = IdrRewriter(ParameterSets(sets_of(units[0].nals)))

    with pytest.raises(UnsupportedMedia, match="changes under its id"):
        rewriter.rewrite((*other, *strip_parameter_sets(units[start].nals)))


@pytest.mark.parametrize("kind", [2, 14, 19, 20])
def test_partitions_layers_and_auxiliary_pictures_are_refused(kind: int) -> None:
    units = stream("pyramid")
    rewriter = IdrRewriter(ParameterSets(sets_of(units[0].nals)))

    with pytest.raises(UnsupportedMedia):
        rewriter.rewrite((bytes((0x60 | kind, 0x80, 0x80)),))


# --- ids


@pytest.mark.parametrize("name", ["pyramid", "cavlc", "slices", "mbaff tff", "hrd and aud"])
@pytest.mark.parametrize("new_id", [1, 7, 30])
def test_a_stream_under_other_ids_decodes_to_the_same_pixels(name: str, new_id: int) -> None:
    units = stream(name, 24)
    ids = IdRewriter(ParameterSets(sets_of(units[0].nals)), {0: new_id}, {0: new_id * 8})

    moved = [unit.holding(ids.rewrite(unit.nals)) for unit in units]

    sets = ParameterSets(ids.sets())
    assert list(sets.sps) == [new_id]
    assert list(sets.pps) == [new_id * 8]
    assert_same_frames(decoded(moved), decoded(units))


@pytest.mark.parametrize("params", ["cabac=1", "cabac=0"])
def test_streams_with_colliding_ids_share_one_avcc_once_renamed(params: str) -> None:
    first = encoded(f"{params}:bframes=2:keyint=15", frames=10)
    second = encoded(f"{params}:bframes=0:ref=1:8x8dct=0:qp=20", frames=10, seed=3, size=(64, 64))
    ids = IdRewriter(ParameterSets(sets_of(second[0].nals)), {0: 3}, {0: 9})
    sps = [h264.rewrite_sps_id(sets_of(first[0].nals)[0], 0), ids.sets()[0]]
    pps = [sets_of(first[0].nals)[1], ids.sets()[1]]
    units = [unit.holding(strip_parameter_sets(unit.nals)) for unit in first]
    units += [u.later(20).holding(strip_parameter_sets(ids.rewrite(u.nals))) for u in second]

    joined = decoded(units, extradata=build_avcc(sps, pps))

    wanted = [*decoded(first), *((pts + 20, image) for pts, image in decoded(second))]
    assert_same_frames(joined, wanted)


def test_a_set_that_changes_while_ids_are_replaced_is_refused() -> None:
    ids = IdRewriter(ParameterSets(sets_of(stream("pyramid")[0].nals)), {0: 1}, {0: 1})

    with pytest.raises(UnsupportedMedia, match="changes under its id"):
        ids.rewrite(stream("high10")[0].nals)


def test_a_slice_that_keeps_its_id_is_not_touched() -> None:
    units = stream("pyramid")
    sets = ParameterSets(sets_of(units[0].nals))
    nal = next(nal for nal in units[1].nals if h264.is_slice(nal))

    assert h264.rewrite_slice_pps_id(nal, 0, sets) is nal


def test_there_and_back_gives_the_same_bytes() -> None:
    units = stream("cavlc slices")
    there = IdRewriter(ParameterSets(sets_of(units[0].nals)), {0: 5}, {0: 77})
    moved = [there.rewrite(unit.nals) for unit in units]
    back = IdRewriter(ParameterSets(there.sets()), {5: 0}, {77: 0})

    assert [back.rewrite(nals) for nals in moved] == [unit.nals for unit in units]


def test_an_unannounced_id_is_refused() -> None:
    units = stream("pyramid")
    ids = IdRewriter(ParameterSets(sets_of(units[0].nals)), {0: 1}, {4: 5})

    with pytest.raises(CorruptMedia):
        ids.rewrite(units[1].nals)


# --- sets


def test_a_sequence_says_what_its_encoder_was_told() -> None:
    params = (
        "bframes=3:ref=4:b-pyramid=normal:sar=40/33:colorprim=bt709:transfer=bt709"
        ":colormatrix=bt709:fullrange=on:fps=25"
    )
    sets = ParameterSets(sets_of(encoded(params, frames=6, size=(72, 60))[0].nals))

    sps = sets.sps[0]

    assert (sps.width, sps.height) == (72, 60)
    assert (sps.coded_width, sps.coded_height) == (80, 64)
    assert (sps.profile_idc, sps.chroma_format_idc, sps.bit_depth_luma) == (100, 1, 8)
    assert sps.num_ref_frames == 4
    assert sps.frame_mbs_only
    assert sps.vui is not None
    assert sps.display.sar == (40, 33)
    assert sps.display.colour == (1, 1, 1, True)
    assert sps.vui.frame_rate == 25
    assert sps.vui.num_reorder_frames == 2
    assert sps.vui.max_dec_frame_buffering == 4
    assert sets.pps[0].cabac
    assert sets.pps[0].transform_8x8


def test_interlaced_high_bit_depth_and_matrices_are_seen() -> None:
    sps = parse_sps(sets_of(stream("high422")[0].nals)[0])
    assert (sps.chroma_format_idc, sps.bit_depth_luma, sps.profile_idc) == (2, 10, 122)
    sps = parse_sps(sets_of(stream("mbaff tff")[0].nals)[0])
    assert (sps.frame_mbs_only, sps.mbaff, sps.height) == (False, True, 64)
    sets = ParameterSets(sets_of(stream("high444")[0].nals))
    assert sets.sps[0].chroma_format_idc == 3
    assert sets.sps[0].scaling_matrix or sets.pps[0].scaling_matrix
    assert not parse_pps(sets_of(stream("cavlc")[0].nals)[1]).cabac


def as_field(nal: bytes, at: int, *, bottom: bool) -> bytes:
    """A slice with its field flag, which stands at a bit, raised."""
    raw = unescape(nal)
    bits = "".join(f"{byte:08b}" for byte in raw)
    bits = f"{bits[:at]}1{int(bottom)}{bits[at + 1 :]}"
    bits += "0" * (-len(bits) % 8)
    return escape(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def test_a_field_without_its_other_half_is_told_from_a_frame() -> None:
    units = stream("mbaff tff")
    sets = ParameterSets(sets_of(units[0].nals))
    (nal,) = (n for n in units[0].nals if h264.is_slice(n))
    at = h264.parse_slice_numbers(nal, sets).frame_num_end
    top, bottom = as_field(nal, at, bottom=False), as_field(nal, at, bottom=True)

    assert h264.is_lone_field([top], sets)
    assert h264.is_lone_field([bottom, bottom], sets)
    assert not h264.is_lone_field([top, bottom], sets)
    assert not h264.is_lone_field([nal], sets)


def test_fields_that_come_one_by_one_are_refused() -> None:
    units = stream("mbaff tff")
    nals = units[0].nals
    sets = ParameterSets(sets_of(nals))
    (nal,) = (n for n in nals if h264.is_slice(n))
    at = h264.parse_slice_numbers(nal, sets).frame_num_end
    field = join_annexb([*sets_of(nals), as_field(nal, at, bottom=False)])

    class OneField:
        codec, timescale, pts, in_band = "h264", 90_000, [0], True

        def nals(self, index: int) -> tuple[bytes, ...]:
            return split_annexb(field)

        opening = nals

        def outer_sets(self) -> tuple[bytes, ...]:
            return ()

    with pytest.raises(UnsupportedMedia, match="fields of a picture come one by one"):
        picture_facts(OneField(), [0])  # type: ignore[arg-type]  # as much of pictures as is asked


def test_a_set_that_changes_under_its_id_is_told() -> None:
    one = sets_of(stream("pyramid")[0].nals)
    other = sets_of(stream("high10")[0].nals)
    sets = ParameterSets(one)

    assert sets.add_all(one) is False
    assert sets.free_sps_id() == 1
    assert sets.free_pps_id() == 1
    assert sets.free_pps_id(like=0) == 15
    assert sets.add_all(other) is True


def test_cavlc_data_is_copied_by_whole_bytes_where_ids_allow() -> None:
    units = stream("cavlc")
    sets = ParameterSets(sets_of(units[0].nals))
    nal = next(nal for nal in units[1].nals if h264.is_slice(nal))
    start = units[open_starts(units)[0]]
    key = next(nal for nal in start.nals if h264.is_slice(nal))

    moved = h264.rewrite_slice_pps_id(nal, sets.free_pps_id(like=0), sets)
    begun = IdrRewriter(sets).rewrite((key,))[0]

    for longer, shorter in ((moved, nal), (begun, key)):
        assert len(longer) == len(shorter) + 1
        assert longer[-40:] == shorter[-40:]


def test_avcc_is_built_as_it_is_read() -> None:
    sps, pps = sets_of(stream("high422")[0].nals)
    more = h264.rewrite_pps_ids(pps, 4, 0)

    record = build_avcc([sps], [pps, more])

    assert parse_avcc(record) == (4, (sps, pps, more))
    assert extradata_sets(record) == (4, (sps, pps, more))
    assert record[1:4] == sps[1:4]
    assert record[-4:] == bytes((0xFE, 0xFA, 0xFA, 0))
    assert extradata_sets(annexb_extradata([pps, sps, pps])) == (None, (sps, pps))


@pytest.mark.parametrize(
    "record", [b"", b"\1" * 6, b"\2" + bytes(9), b"\1\x64\0\x1e\xff\xe1\0\x05ab", b"\1" + bytes(4)]
)
def test_a_malformed_avcc_is_refused(record: bytes) -> None:
    with pytest.raises(CorruptMedia):
        parse_avcc(record)


# --- access units


def test_access_units_say_what_they_are() -> None:
    units = stream("hrd and aud")
    types = [h264.slice_types(unit.nals) for unit in units]

    assert h264.is_idr(units[0].nals)
    assert h264.is_intra(units[0].nals)
    assert not any(h264.is_idr(unit.nals) for unit in units[1:])
    assert {h264.P_SLICE} in types
    assert {h264.B_SLICE} in types
    assert not all(h264.is_reference(unit.nals) for unit in units)
    assert all(
        h264.is_intra(unit.nals) == (types[i] == {h264.I_SLICE}) for i, unit in enumerate(units)
    )
    stripped = strip_parameter_sets(units[0].nals)
    assert {h264.nal_type(nal) for nal in stripped} <= {h264.SEI, h264.IDR}
    assert h264.nal_type(units[0].nals[0]) == h264.AUD


def test_only_the_recovery_point_leaves_an_sei() -> None:
    units = stream("hrd and aud")
    start = open_starts(units)[0]
    seis = [nal for nal in units[start].nals if h264.nal_type(nal) == h264.SEI]
    kinds = [kind for nal in seis for kind, _ in h264.sei_messages(nal)]

    left = [kept for nal in seis if (kept := h264.without_messages(nal, {h264.RECOVERY_POINT}))]

    found = [kind for nal in left for kind, _ in h264.sei_messages(nal)]
    assert h264.RECOVERY_POINT in kinds
    assert found == [kind for kind in kinds if kind != h264.RECOVERY_POINT]


# --- hostile bytes


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few flipped, cut off, put in or zeroed."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                changed[at : at + rng.randrange(8)] = bytes(rng.randrange(8))
            case _:
                del changed[max(1, at) :]
        changed = changed or bytearray(1)
    return bytes(changed)


@pytest.mark.parametrize("name", ["pyramid", "cavlc", "mbaff tff", "hrd and aud", "high444"])
def test_mutated_streams_are_read_or_refused_never_worse(name: str) -> None:
    units = stream(name)
    start = open_starts(units)[0]
    rng = random.Random(name)
    refused = 0
    for _ in range(400):
        rewriter = IdrRewriter(ParameterSets(sets_of(units[0].nals)))
        victim = rng.randrange(4)
        try:
            for index, unit in enumerate(units[start : start + 6]):
                nals = unit.nals
                if index == victim:
                    nals = tuple(mutated(rng, nal[:60]) for nal in nals)
                rewriter.rewrite(nals)
        except (CorruptMedia, UnsupportedMedia):
            refused += 1
    assert refused


@pytest.mark.parametrize("name", ["pyramid", "high444", "hrd and aud"])
def test_mutated_sets_and_records_are_read_or_refused_never_worse(name: str) -> None:
    sps, pps = sets_of(stream(name)[0].nals)
    record = build_avcc([sps], [pps])
    rng = random.Random(name)
    readers: list[tuple[bytes, Callable[[bytes], object]]] = [
        (sps, lambda nal: h264.rewrite_sps_id(nal, 5)),
        (pps, lambda nal: h264.rewrite_pps_ids(nal, 5, 5)),
        (pps, parse_pps),
        (record, lambda data: [ParameterSets().add(nal) for nal in parse_avcc(data)[1]]),
    ]
    refused = 0
    for _ in range(500):
        for data, read in readers:
            try:
                read(mutated(rng, data))
            except (CorruptMedia, UnsupportedMedia):
                refused += 1
    assert refused


@pytest.mark.parametrize("nal", [b"", b"\x80", b"\x65", b"\x67", b"\x68\x80", b"\x67" + bytes(99)])
def test_hopeless_units_are_refused(nal: bytes) -> None:
    sets = ParameterSets(sets_of(stream("pyramid")[0].nals))
    with pytest.raises((CorruptMedia, UnsupportedMedia)):
        parse_slice_header(nal, sets)
    with pytest.raises(CorruptMedia):
        parse_sps(nal)


def test_a_slice_before_its_sets_is_refused() -> None:
    nal = next(nal for nal in stream("pyramid")[1].nals if h264.is_slice(nal))

    with pytest.raises(CorruptMedia, match="was not sent"):
        parse_slice_header(nal, ParameterSets())


def test_joined_forms_hold_the_same_units() -> None:
    nals = stream("slices")[0].nals

    assert h264.sets_of(nals) == nals[:2]
    assert len(join_prefixed(nals)) == len(join_annexb(nals))
