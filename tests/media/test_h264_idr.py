"""Open GOPs no common encoder writes: fields, memory operations, any order of references.

Streams are written here bit by bit. A picture is a row of macroblocks: the first one is its own
number as a grey, each other one copies that of the picture at one index of its reference lists.
So what a decoder shows says which picture it found at each index.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from media.cut import h264
from media.cut.bits import BitWriter, escape
from media.cut.h264 import ParameterSets
from media.cut.h264_idr import IdrRewriter
from schemas.errors import UnsupportedMedia
from tests.nal_streams import Picture, Unit, decoded

COLUMNS = 8
NUMBER_BITS = 4
ORDER_BITS = 6
I_TYPE, P_TYPE, B_TYPE = 7, 5, 6


@dataclass
class Writer:
    """Writes pictures in decode order and keeps the frame numbers a decoder holds."""

    refs: int
    fields: bool
    rng: random.Random
    held: list[int] = field(default_factory=list)
    number: int = 0
    grey: int = 16
    greys: dict[int, list[int]] = field(default_factory=dict)

    def sets(self) -> tuple[bytes, bytes]:
        bits = BitWriter()
        bits.write(0x674D001E, 32)
        for value in (0, NUMBER_BITS - 4, 0, ORDER_BITS - 4, self.refs):
            bits.ue(value)
        bits.flag(False)
        bits.ue(COLUMNS - 1)
        bits.ue(0)
        bits.flag(not self.fields)
        if self.fields:
            bits.flag(False)
        bits.write(0b101, 3)
        bits.write(0b00000000, 8)
        bits.write(1, 1)
        bits.flag(True)
        for value in (0, 0, 10, 10, 4, max(4, self.refs)):
            bits.ue(value)
        bits.trailing()
        return escape(bits.to_bytes()), self._pps()

    def _pps(self) -> bytes:
        bits = BitWriter()
        bits.write(0x68, 8)
        bits.ue(0)
        bits.ue(0)
        bits.write(0, 2)
        for value in (0, 0, 0):
            bits.ue(value)
        bits.write(0, 3)
        for value in (2, 0, 0):  # at QP 28 a DC level of 1 is a step of 1
            bits.se(value)
        bits.write(0b110, 3)
        bits.trailing()
        return escape(bits.to_bytes())

    def picture(self, kind: int, display: int, *, ref: bool, idr: bool = False) -> Unit:
        """One frame, or two fields, at a place in display order."""
        if idr:
            self.held, self.number = [], 0
        drop = self._dropped() if ref and not idr else None
        nals = []
        self.greys[display] = []
        for second in range(1 + self.fields):
            second_kind = P_TYPE if kind == I_TYPE and second and ref else kind
            nals.append(self._slice(second_kind, display, second, ref, idr and not second, drop))
            if ref and not second:
                self._make_room(drop)
        if ref:
            self.held.append(self.number)
            self.number = (self.number + 1) % (1 << NUMBER_BITS)
        return Unit(tuple(nals), display, display - 8)

    def _dropped(self) -> int | None:
        """A frame to be dropped by a memory operation, now and then."""
        if len(self.held) < 2 or self.rng.random() < 0.7:
            return None
        return self.rng.choice(self.held)

    def _make_room(self, drop: int | None) -> None:
        if drop is not None:
            self.held.remove(drop)
        elif len(self.held) >= self.refs:
            self.held.pop(0)

    def _slice(
        self, kind: int, display: int, second: int, ref: bool, idr: bool, drop: int | None
    ) -> bytes:
        bits = BitWriter()
        bits.write((0x60 if ref else 0) | (5 if idr else 1), 8)
        for value in (0, kind, 0):
            bits.ue(value)
        bits.write(self.number, NUMBER_BITS)
        if self.fields:
            bits.write(2 | second, 2)
        if idr:
            bits.ue(0)
        bits.write((2 * display + second) % (1 << ORDER_BITS), ORDER_BITS)
        counts = self._counts(kind, second, ref)
        self._references(bits, kind, counts)
        if ref:
            self._marking(bits, idr, drop, second)
        bits.se(0)
        bits.ue(1)
        self._row(bits, kind, counts)
        bits.trailing()
        self.greys[display].append(self.grey)
        self.grey += 4 if self.grey == 126 else 2
        return escape(bits.to_bytes())

    def _counts(self, kind: int, second: int, ref: bool) -> tuple[int, ...]:
        """How many indices each list of the slice has: never more than there are pictures."""
        there = len(self.held) * (1 + self.fields) + (second and ref)
        lists = {I_TYPE: 0, P_TYPE: 1, B_TYPE: 2}[kind]
        most = min(there, 7 if lists == 1 else 3)
        return tuple(self.rng.randint(1, most) for _ in range(lists))

    def _references(self, bits: BitWriter, kind: int, counts: Sequence[int]) -> None:
        if not counts:
            return
        if kind == B_TYPE:
            bits.flag(True)
        bits.flag(True)
        for count in counts:
            bits.ue(count - 1)
        for _ in counts:
            self._reordering(bits)

    def _reordering(self, bits: BitWriter) -> None:
        moved = self.rng.choice(self.held) if self.held and self.rng.random() < 0.3 else None
        bits.flag(moved is not None)
        if moved is None:
            return
        distance = (self.number - moved) % (1 << NUMBER_BITS)
        bits.ue(0)
        bits.ue((2 * distance if self.fields else distance) - 1)
        bits.ue(3)

    def _marking(self, bits: BitWriter, idr: bool, drop: int | None, second: int) -> None:
        if idr:
            bits.write(0, 2)
            return
        bits.flag(drop is not None and not second)
        if drop is None or second:
            return
        distance = (self.number - drop) % (1 << NUMBER_BITS)
        numbers = (2 * distance, 2 * distance + 1) if self.fields else (distance,)
        for number in numbers:
            bits.ue(1)
            bits.ue(number - 1)
        bits.ue(0)

    def _row(self, bits: BitWriter, kind: int, counts: Sequence[int]) -> None:
        indices = [(which, index) for which, count in enumerate(counts) for index in range(count)]
        before = (-1, 0)
        for column in range(COLUMNS):
            if counts:
                bits.ue(0)
            if column == 0 or not counts:
                _flat(bits, kind, self.grey - 128 if column == 0 else 0)
                continue
            which, index = (indices * COLUMNS)[column - 1]
            bits.ue(which + 1 if kind == B_TYPE else 0)
            _index_code(bits, index, counts[which])
            vector = -64 * column
            bits.se(vector - (before[1] if before[0] == which else 0))
            bits.se(0)
            bits.ue(0)
            before = which, vector


def _flat(bits: BitWriter, kind: int, level: int) -> None:
    """An intra macroblock: its left neighbour, or middle grey where there is none, moved."""
    bits.ue({I_TYPE: 3, P_TYPE: 8, B_TYPE: 26}[kind])
    bits.ue(0)
    bits.se(0)
    if not level:
        bits.flag(True)
        return
    bits.write(0b000101, 6)
    code = 2 * abs(level) - (4 if level > 0 else 3)
    if code < 14:
        bits.write(1, code + 1)
    elif code < 30:
        bits.write(1, 15)
        bits.write(code - 14, 4)
    else:
        bits.write(1, 16)
        bits.write(code - 30, 12)
    bits.flag(True)


def _index_code(bits: BitWriter, index: int, count: int) -> None:
    if count == 2:
        bits.flag(not index)
    elif count > 2:
        bits.ue(index)


def written(seed: int, *, fields: bool) -> tuple[Writer, list[Unit], list[int]]:
    """A stream of open GOPs with random references, and where its I pictures stand."""
    rng = random.Random(seed)
    writer = Writer(refs=rng.randint(2, 5), fields=fields, rng=rng)
    units = [writer.picture(I_TYPE, 0, ref=True, idr=True)]
    starts: list[int] = []
    at = 0
    for anchor in range(1, 12):
        gap = rng.randint(1, 4)
        begins = anchor % 4 == 0
        if begins:
            starts.append(len(units))
        units.append(writer.picture(I_TYPE if begins else P_TYPE, at + gap, ref=True))
        between = list(range(at + 1, at + gap))
        rng.shuffle(between)
        units += [writer.picture(B_TYPE, d, ref=rng.random() < 0.4) for d in between]
        at += gap
    units[0] = units[0].holding((*writer.sets(), *units[0].nals))
    return writer, units, starts


def cut(writer: Writer, units: Sequence[Unit], start: int, *, told: bool) -> list[Unit]:
    """The stream from an open GOP on, rewritten."""
    rewriter = IdrRewriter(ParameterSets(writer.sets()))
    kept: list[Unit] = []
    for unit in units[start:]:
        if unit.pts >= units[start].pts:
            kept.append(unit.holding(rewriter.rewrite(unit.nals)))
        elif told:
            rewriter.leave_out(unit.nals)
    kept[0] = kept[0].holding((*writer.sets(), *kept[0].nals))
    return kept


def greys(image: Picture, fields: bool) -> list[list[int]]:
    """The grey of each macroblock, by field."""
    luma = image[: image.shape[0] * 2 // 3]
    return [
        [int(luma[8 + parity, 16 * column + 8]) for column in range(COLUMNS)]
        for parity in range(1 + fields)
    ]


def seen(units: Sequence[Unit], fields: bool) -> dict[int, list[list[int]]]:
    return {pts: greys(image, fields) for pts, image in decoded(units)}


def differences(writer: Writer, units: Sequence[Unit], kept: Sequence[Unit]) -> list[str]:
    """Where the cut shows another picture than the whole, of those that it holds."""
    whole, part = seen(units, writer.fields), seen(kept, writer.fields)
    there = {grey for unit in kept for grey in writer.greys[unit.pts]}
    assert sorted(part) == sorted(unit.pts for unit in kept)
    return [
        f"frame {pts}, field {parity}, column {column}: {part[pts][parity][column]}, not {grey}"
        for pts in part
        for parity, row in enumerate(whole[pts])
        for column, grey in enumerate(row)
        if grey in there and part[pts][parity][column] != grey
    ]


@pytest.mark.parametrize("told", [True, False], ids=["leading told", "leading unseen"])
@pytest.mark.parametrize("fields", [False, True], ids=["frames", "fields"])
def test_every_index_means_the_same_picture_after_the_cut(fields: bool, told: bool) -> None:
    rewritten, refused = 0, 0
    for seed in range(40):
        writer, units, starts = written(seed, fields=fields)
        for start in starts:
            try:
                kept = cut(writer, units, start, told=told)
            except UnsupportedMedia:
                refused += 1
                continue
            assert h264.is_idr(kept[0].nals)
            assert differences(writer, units, kept) == [], f"seed {seed}, unit {start}"
            rewritten += 1
    assert rewritten > refused


def marked(writer: Writer, unit: Unit, operations: Sequence[int]) -> Unit:
    """A frame whose memory operations are replaced by others."""
    nal = unit.nals[-1]
    header = h264.parse_slice_header(nal, ParameterSets(writer.sets()))
    bits = BitWriter()
    bits.flag(True)
    for code in (*operations, 0):
        bits.ue(code)
    edit = (header.marking_at, header.marking_end, bits.value, bits.length)
    return unit.holding((h264.rewrite_slice(nal, header, (edit,)),))


def after_the_start(units: Sequence[Unit], start: int) -> int:
    """The first picture behind an open GOP's start that others may lean on."""
    return next(
        index
        for index in range(start + 1, len(units))
        if units[index].pts > units[start].pts and h264.is_reference(units[index].nals)
    )


@pytest.mark.parametrize("operations", [(2, 0), (3, 0, 0), (6, 0)])
def test_long_term_references_are_refused(operations: tuple[int, ...]) -> None:
    writer, units, starts = written(0, fields=False)
    at = after_the_start(units, starts[0])
    units[at] = marked(writer, units[at], operations)

    with pytest.raises(UnsupportedMedia, match="long-term"):
        cut(writer, units, starts[0], told=True)


def test_behind_a_picture_that_resets_the_memory_all_stays_as_it_was() -> None:
    writer, units, starts = written(0, fields=False)
    at = after_the_start(units, starts[0])
    units[at] = marked(writer, units[at], (5,))

    kept = cut(writer, units, starts[0], told=True)

    assert h264.is_idr(kept[0].nals)
    behind = [unit for unit in units[at + 1 :] if unit.pts >= kept[0].pts]
    assert kept[-len(behind) :] == behind


def test_picture_order_count_type_one_is_refused() -> None:
    writer, units, starts = written(0, fields=False)
    sps = writer.sets()[0]
    bits = BitWriter()
    bits.copy(sps, 0, 34)
    for code in (1, 0, 0):
        bits.ue(code)
    bits.copy(sps, 34, 8 * len(sps))
    bits.align(0)
    rewriter = IdrRewriter(ParameterSets((bits.to_bytes(), writer.sets()[1])))

    with pytest.raises(UnsupportedMedia, match="type 1"):
        rewriter.rewrite(units[starts[0]].nals)
