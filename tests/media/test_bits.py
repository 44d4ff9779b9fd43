"""Bits, exp-Golomb codes, emulation prevention and NAL splitting."""

from __future__ import annotations

import random

import pytest

from media.cut.bits import (
    BitReader,
    BitWriter,
    OutOfBits,
    bits_between,
    escape,
    join_annexb,
    join_nals,
    join_prefixed,
    settled_end,
    split_annexb,
    split_nals,
    split_prefixed,
    trailing_bit,
    ue_bits,
    unescape,
)
from schemas.errors import CorruptMedia


def zero_heavy(rng: random.Random, size: int) -> bytes:
    return bytes(rng.choice((0, 0, 0, 1, 2, 3, 4, 255)) for _ in range(size))


def a_nal(rng: random.Random, size: int) -> bytes:
    return escape(b"\x65" + zero_heavy(rng, size) + b"\x80")


@pytest.mark.parametrize("seed", range(20))
def test_what_is_written_is_read_back(seed: int) -> None:
    rng = random.Random(seed)
    fields = [(rng.choice("uesf"), rng.randrange(1, 33)) for _ in range(200)]
    values = [rng.randrange(1 << bits) for _, bits in fields]
    writer = BitWriter()
    for (kind, bits), value in zip(fields, values, strict=True):
        match kind:
            case "u":
                writer.write(value, bits)
            case "e":
                writer.ue(value - 1 if value else 0)
            case "s":
                writer.se((value >> 1) * (-1) ** value)
            case _:
                writer.flag(bool(value & 1))
    writer.trailing()

    reader = BitReader(writer.to_bytes())

    for (kind, bits), value in zip(fields, values, strict=True):
        assert reader.more_rbsp_data()
        match kind:
            case "u":
                assert reader.read(bits) == value
            case "e":
                assert reader.ue() == max(0, value - 1)
            case "s":
                assert reader.se() == (value >> 1) * (-1) ** value
            case _:
                assert reader.flag() == bool(value & 1)
    assert not reader.more_rbsp_data()


@pytest.mark.parametrize(("value", "bits"), [(0, "1"), (1, "010"), (2, "011"), (7, "0001000")])
def test_exp_golomb_codes_are_those_of_the_standard(value: int, bits: str) -> None:
    code, length = ue_bits(value)

    assert f"{code:0{length}b}" == bits


@pytest.mark.parametrize("read", ["read", "flag", "ue", "skip"])
def test_reading_past_the_end_is_refused(read: str) -> None:
    reader = BitReader(b"\x00\x01", 16)

    with pytest.raises(OutOfBits):
        getattr(reader, read)(*((1,) if read in {"read", "skip"} else ()))


def test_an_endless_exp_golomb_code_is_refused() -> None:
    with pytest.raises(CorruptMedia):
        BitReader(bytes(64)).ue()
    with pytest.raises(CorruptMedia, match="more than 3"):
        BitReader(b"\x28").ue(3)


def test_a_value_too_wide_for_its_field_is_refused() -> None:
    with pytest.raises(CorruptMedia):
        BitWriter().write(4, 2)


@pytest.mark.parametrize("seed", range(50))
def test_escaping_hides_start_codes_and_comes_undone(seed: int) -> None:
    rbsp = b"\x65" + zero_heavy(random.Random(seed), 300) + b"\x80" + bytes(2 * (seed % 3))

    nal = escape(rbsp)

    assert not any(nal.count(b"\0\0" + bytes((low,))) for low in (0, 1, 2))
    assert not nal.endswith(b"\0")
    assert unescape(nal) == rbsp


@pytest.mark.parametrize("seed", range(50))
def test_past_a_settled_end_bytes_may_be_copied_whatever_changes_before(seed: int) -> None:
    rng = random.Random(seed)
    nal = a_nal(rng, 200)
    wanted = rng.randrange(1, 150)

    end, rbsp_end = settled_end(nal, wanted)

    head = unescape(nal)[:rbsp_end]
    assert rbsp_end > wanted
    assert unescape(nal[:end]) == head
    for changed in (head, b"\x65" + bytes(wanted - 1) + head[wanted:]):
        assert escape(changed) + nal[end:] == escape(changed + unescape(nal[end:]))


@pytest.mark.parametrize("length_size", [None, 2, 4])
def test_nal_units_are_joined_and_split_again(length_size: int | None) -> None:
    rng = random.Random(7)
    nals = tuple(a_nal(rng, rng.randrange(1, 400)) for _ in range(20))

    assert split_nals(join_nals(nals, length_size), length_size) == nals


def test_one_byte_lengths_hold_short_units() -> None:
    assert split_prefixed(join_prefixed((b"ab", b"c"), 1), 1) == (b"ab", b"c")
    with pytest.raises(CorruptMedia):
        join_prefixed((bytes(256),), 1)


def test_short_start_codes_and_trailing_zeros_are_taken() -> None:
    assert split_annexb(b"\0\0\0\1ab\0\0\0\1c\0\0\1d\0\0") == (b"ab", b"c", b"d")
    assert split_annexb(b"") == ()
    assert join_annexb((b"a",)) == b"\0\0\0\1a"


@pytest.mark.parametrize(
    ("data", "length_size"),
    [
        (b"\0\0\0\5abc", 4),
        (b"\0\0", 4),
        (b"\0\1a\0", 2),
        (b"abc", 3),
        (b"ab\0\0\1c", None),
        (b"\0\0\1a" * 9000, None),
        (b"\0\1a" * 9000, 2),
    ],
    ids=["too long", "cut prefix", "cut second", "odd size", "no start", "too many", "many"],
)
def test_malformed_access_units_are_refused(data: bytes, length_size: int | None) -> None:
    with pytest.raises(CorruptMedia):
        split_nals(data, length_size)


def test_the_trailing_bit_is_found_behind_zeros() -> None:
    assert trailing_bit(b"\xff\x80\0\0") == 8
    assert trailing_bit(b"\x01") == 7
    assert trailing_bit(b"\0\0") == 0


def test_bits_are_cut_out_of_bytes() -> None:
    assert bits_between(b"\xa5\x5a", 4, 12) == 0x55
    with pytest.raises(OutOfBits):
        bits_between(b"\xa5", 4, 12)
