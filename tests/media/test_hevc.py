"""HEVC headers as a real encoder writes them, rewritten ids, and cuts at CRA pictures."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from media.cut import hevc
from media.cut.bits import BitReader, BitWriter
from media.cut.hevc import (
    IdRewriter,
    ParameterSets,
    annexb_extradata,
    as_broken_link,
    build_hvcc,
    extradata_sets,
    parse_hvcc,
    parse_slice_header,
    parse_sps,
    sets_of,
    strip_parameter_sets,
)
from schemas.errors import CorruptMedia, UnsupportedMedia
from tests.nal_streams import Picture, Unit, assert_same_frames, decoded, encoded

OPEN = "keyint=12:min-keyint=12:open-gop=1"
STREAMS = {
    "open": (f"{OPEN}:bframes=4", "yuv420p"),
    "slices and wavefronts": (f"{OPEN}:slices=2:ctu=16:wpp=1", "yuv420p10le"),
    "fields": (f"{OPEN}:interlace=tff:ref=5:bframes=6:b-pyramid=1", "yuv422p10le"),
    "weights": (f"{OPEN}:weightb=1:ref=4:bframes=3:temporal-layers=1", "yuv420p"),
    "radl": ("keyint=12:open-gop=0:radl=2:bframes=3:aud=1", "yuv420p"),
    "hrd": (f"{OPEN}:hrd=1:vbv-maxrate=900:vbv-bufsize=900", "yuv420p"),
    "matrices": (f"{OPEN}:scaling-list=default", "yuv444p"),
    "no tools": (f"{OPEN}:no-sao=1:no-deblock=1:no-tmvp=1:no-signhide=1", "yuv420p"),
    "mono": (f"{OPEN}:bframes=2:tskip=1:cu-lossless=1", "gray"),
}


def stream(name: str, frames: int = 40) -> tuple[Unit, ...]:
    params, pix_fmt = STREAMS[name]
    return encoded(params, codec="hevc", pix_fmt=pix_fmt, frames=frames)


def shown(units: Sequence[Unit], extradata: bytes = b"") -> list[tuple[int, Picture]]:
    return decoded(units, codec="hevc", extradata=extradata)


def renamed(units: Sequence[Unit]) -> tuple[IdRewriter, list[Unit]]:
    """The units under other ids, and what renamed them."""
    ids = IdRewriter(
        ParameterSets(sets_of(units[0].nals)), vps_ids={0: 3}, sps_ids={0: 7}, pps_ids={0: 41}
    )
    return ids, [unit.holding(ids.rewrite(unit.nals)) for unit in units]


# --- ids


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_under_other_ids_decodes_to_the_same_pixels(name: str) -> None:
    units = stream(name)

    ids, moved = renamed(units)

    sets = ParameterSets(ids.sets())
    assert (list(sets.vps), list(sets.sps), list(sets.pps)) == ([3], [7], [41])
    assert (sets.sps[7].vps_id, sets.pps[41].sps_id) == (3, 7)
    # Field timing is read by the sets first sent, which stand beside in a joined file.
    moved[0] = moved[0].holding((*sets_of(units[0].nals), *moved[0].nals))
    assert_same_frames(shown(moved), shown(units))


@pytest.mark.parametrize("name", STREAMS)
def test_a_piece_is_followed_by_another_from_any_keyframe(name: str) -> None:
    units = stream(name)
    head = encoded("keyint=99:bframes=2", codec="hevc", pix_fmt=STREAMS[name][1], frames=7, seed=9)
    whole = shown(units)
    ids, piece = renamed(head)
    record = hvcc((*sets_of(units[0].nals), *ids.sets()))
    start = [i for i, unit in enumerate(units) if hevc.is_irap(unit.nals)][1]

    kept = [unit for unit in units[start:] if unit.pts >= units[start].pts]
    kept[0] = kept[0].holding(as_broken_link(kept[0].nals))
    later = [unit.later(100) for unit in kept]
    bare = [unit.holding(strip_parameter_sets(unit.nals)) for unit in (*piece, *later)]

    wanted = [(pts + 100, image) for pts, image in whole if pts >= units[start].pts]
    found = shown_prefixed(bare, record)
    assert_same_frames(found, [*shown(head), *wanted])


def hvcc(nals: Sequence[bytes]) -> bytes:
    """An hvcC record of the sets."""
    kinds = (hevc.VPS, hevc.SPS, hevc.PPS)
    return build_hvcc(*([nal for nal in nals if hevc.nal_type(nal) == kind] for kind in kinds))


def shown_prefixed(units: Sequence[Unit], record: bytes) -> list[tuple[int, Picture]]:
    return decoded(units, codec="hevc", extradata=record)


def test_a_set_that_changes_while_ids_are_replaced_is_refused() -> None:
    ids, _ = renamed(stream("open"))

    with pytest.raises(UnsupportedMedia, match="changes under its id"):
        ids.rewrite(stream("fields")[0].nals)


def test_a_slice_that_keeps_its_id_is_not_touched() -> None:
    units = stream("open")
    sets = ParameterSets(sets_of(units[0].nals))
    nal = next(nal for nal in units[1].nals if hevc.is_slice(nal))

    assert hevc.rewrite_slice_pps_id(nal, 0, sets) is nal


@pytest.mark.parametrize("name", ["open", "slices and wavefronts", "weights", "fields"])
def test_there_and_back_gives_the_same_slices(name: str) -> None:
    units = [unit.holding(strip_parameter_sets(unit.nals)) for unit in stream(name)]
    there, moved = renamed(stream(name))
    back = IdRewriter(ParameterSets(there.sets()), vps_ids={3: 0}, sps_ids={7: 0}, pps_ids={41: 0})

    again = [strip_parameter_sets(back.rewrite(unit.nals)) for unit in moved]

    slices = [[nal for nal in nals if hevc.is_slice(nal)] for nals in again]
    assert slices == [[nal for nal in unit.nals if hevc.is_slice(nal)] for unit in units]


# --- access units


def test_only_a_cra_becomes_a_broken_link() -> None:
    units = stream("open")
    cra = next(unit for unit in units if hevc.is_cra(unit.nals))

    changed = as_broken_link(cra.nals)

    assert hevc.picture_type(changed) == hevc.BLA_N_LP
    assert hevc.picture_type(as_broken_link(cra.nals, leading_kept=True)) == hevc.BLA_W_RADL
    assert [nal[1:] for nal in changed] == [nal[1:] for nal in cra.nals]
    assert as_broken_link(units[1].nals) == units[1].nals


def test_leading_pictures_are_told_apart() -> None:
    for name, kinds in (("open", hevc.RASL), ("radl", hevc.RADL)):
        units = stream(name)
        key = 0
        for unit in units:
            key = unit.pts if hevc.is_irap(unit.nals) else key
            assert hevc.is_leading(unit.nals) == (unit.pts < key)
            assert hevc.is_skipped(unit.nals) == (unit.pts < key and kinds == hevc.RASL)


def test_access_units_say_what_they_are() -> None:
    units = stream("radl")
    sets = ParameterSets(sets_of(units[0].nals))

    assert hevc.is_idr(units[0].nals)
    assert not hevc.is_cra(units[0].nals)
    assert hevc.nal_type(units[0].nals[0]) == hevc.AUD
    intra = [hevc.is_intra(unit.nals, sets) for unit in units]
    assert intra[0]
    assert not all(intra)
    assert all(hevc.picture_type(strip_parameter_sets(unit.nals)) is not None for unit in units)
    assert hevc.sets_of(strip_parameter_sets(units[0].nals)) == ()


def test_slice_headers_end_where_they_say_and_count_pictures() -> None:
    units = stream("weights")
    sets = ParameterSets(sets_of(units[0].nals))
    by_pts = {}
    for unit in units:
        header = parse_slice_header(next(n for n in unit.nals if hevc.is_slice(n)), sets)
        assert header.first_in_picture
        by_pts[unit.pts] = header.poc_lsb

    bits = sets.sps[0].poc_lsb_bits
    assert [by_pts[pts] for pts in sorted(by_pts)] == [n % (1 << bits) for n in range(40)]


# --- sets


def test_a_sequence_says_what_its_encoder_was_told() -> None:
    params = f"{OPEN}:bframes=4:sar=5:colorprim=bt709:transfer=bt709:colormatrix=bt709:range=full"
    units = encoded(params, codec="hevc", pix_fmt="yuv420p10le", frames=3, size=(72, 68))
    sets = ParameterSets(sets_of(units[0].nals))

    sps = sets.sps[0]

    assert (sps.width, sps.height) == (72, 68)
    assert (sps.chroma_format_idc, sps.bit_depth_luma, sps.bit_depth_chroma) == (1, 10, 10)
    assert (sps.profile.profile_idc, sps.profile.tier) == (2, 0)
    assert sps.num_reorder == 2
    assert sps.vui is not None
    assert sps.display.sar == (40, 33)
    assert sps.vui.frame_rate == 25
    assert sps.display.colour == (1, 1, 1, True)
    assert sets.vps[0].max_sub_layers == 1
    fields = parse_sps(sets_of(stream("fields")[0].nals)[1])
    assert fields.vui is not None
    assert fields.vui.field_seq
    assert fields.chroma_format_idc == 2
    assert parse_sps(sets_of(stream("matrices")[0].nals)[1]).scaling_list


def test_a_set_that_changes_under_its_id_is_told() -> None:
    one, other = (sets_of(stream(name)[0].nals) for name in ("open", "fields"))
    sets = ParameterSets(one)

    assert sets.add_all(one) is False
    assert (sets.free_vps_id(), sets.free_sps_id(), sets.free_pps_id()) == (1, 1, 1)
    assert sets.add_all(other) is True


def test_hvcc_is_built_as_it_is_read() -> None:
    nals = sets_of(stream("fields")[0].nals)

    record = hvcc(nals)

    assert parse_hvcc(record) == (4, nals)
    assert extradata_sets(record) == (4, nals)
    assert extradata_sets(annexb_extradata(reversed(nals))) == (None, nals)
    assert record[16:19] == bytes((0xFE, 0xFA, 0xFA))
    assert record[23] == 0x80 | hevc.VPS
    units = [unit.holding(strip_parameter_sets(unit.nals)) for unit in stream("fields")]
    assert_same_frames(shown(units, record), shown(stream("fields")))


@pytest.mark.parametrize("cut", [0, 10, 22, 24, 27, 40])
def test_a_cut_off_hvcc_is_refused(cut: int) -> None:
    with pytest.raises(CorruptMedia):
        parse_hvcc(hvcc(sets_of(stream("open")[0].nals))[:cut])


def test_reference_sets_predicted_from_others_hold_what_the_standard_derives() -> None:
    bits = BitWriter()
    bits.ue(2)
    for code in (2, 1):  # the first set: -1, -3 and +2
        bits.ue(code)
    for difference, used in ((0, 1), (1, 0), (1, 1)):
        bits.ue(difference)
        bits.flag(bool(used))
    bits.flag(True)  # the second: the first moved by -2
    bits.flag(True)
    bits.ue(1)
    for used in (1, 1, 1):  # -3, -5; +2 - 2 is the picture itself and falls out
        bits.flag(bool(used))
    bits.flag(False)  # the first set's own picture: unused, but held at -2
    bits.flag(True)
    bits.trailing()

    sets = hevc._ref_sets(BitReader(bits.to_bytes()))

    assert sets[0] == ((-1, True), (-3, False), (2, True))
    assert sets[1] == ((-2, False), (-3, True), (-5, True))


# --- hostile bytes


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The bytes with a few changed, cut off or zeroed."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed))
        match rng.randrange(3):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + rng.randrange(8)] = bytes(rng.randrange(8))
            case _:
                del changed[max(1, at) :]
        changed = changed or bytearray(1)
    return bytes(changed)


@pytest.mark.parametrize("name", STREAMS)
def test_mutated_streams_are_read_or_refused_never_worse(name: str) -> None:
    units = stream(name)
    nals = sets_of(units[0].nals)
    slices = [nal[:80] for unit in units[:8] for nal in unit.nals if hevc.is_slice(nal)]
    sets = ParameterSets(nals)
    rng = random.Random(name)
    readers: list[tuple[bytes, Callable[[bytes], object]]] = [
        (nals[0], lambda nal: hevc.rewrite_vps_id(nal, 5)),
        (nals[1], lambda nal: hevc.rewrite_sps_ids(nal, 5, 5)),
        (nals[2], lambda nal: hevc.rewrite_pps_ids(nal, 5, 5)),
        (hvcc(nals), lambda data: [ParameterSets().add(nal) for nal in parse_hvcc(data)[1]]),
        *((nal, lambda nal: hevc.rewrite_slice_pps_id(nal, 9, sets)) for nal in slices),
    ]
    refused = 0
    for _ in range(60):
        for data, read in readers:
            try:
                read(mutated(rng, data))
            except (CorruptMedia, UnsupportedMedia):
                refused += 1
    assert refused


@pytest.mark.parametrize("nal", [b"", b"\x80", b"\x26", b"\x42\1", b"\x2a\1\x80", b"\x42\1" * 40])
def test_hopeless_units_are_refused(nal: bytes) -> None:
    sets = ParameterSets(sets_of(stream("open")[0].nals))
    with pytest.raises((CorruptMedia, UnsupportedMedia)):
        parse_slice_header(nal, sets)
    with pytest.raises(CorruptMedia):
        parse_sps(nal)


def test_layers_are_refused() -> None:
    nals = stream("open")[0].nals
    sps = next(nal for nal in nals if hevc.nal_type(nal) == hevc.SPS)
    layered = bytes((sps[0], 1 << 3 | 1)) + sps[2:]

    with pytest.raises(UnsupportedMedia):
        parse_sps(layered)
