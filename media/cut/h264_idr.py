"""An open GOP of H.264 made to begin with an IDR, so that decoding may start at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from media.cut.bits import BitWriter, Edit, patched, ue_bits
from media.cut.h264 import (
    B_SLICE,
    IDR,
    LAYERED,
    PARTITIONS,
    RECOVERY_POINT,
    SEI,
    SET_TYPES,
    SLICES,
    ParameterSets,
    SliceHeader,
    SliceNumbers,
    Sps,
    nal_type,
    parse_slice_header,
    parse_slice_numbers,
    rewrite_slice,
    without_messages,
)
from schemas.errors import UnsupportedMedia

AUXILIARY = 19
TOP, BOTTOM, FRAME = 1, 2, 3
LONG_TERM_MARKINGS = frozenset({2, 3, 6})
_LONG_AGO = -(1 << 40)


@dataclass(slots=True, eq=False)
class _Frame:
    """A frame, or pair of fields, that may be referred to; `new` is None where it was left out."""

    number: int
    new: int | None
    pocs: tuple[int | None, int | None] = (None, None)
    held: int = 0
    decoded: int = 0

    @property
    def poc(self) -> int:
        known = [poc for poc in self.pocs if poc is not None]
        return min(known) if known else _LONG_AGO


_Entry = tuple[_Frame, int]
_Operation = tuple[int, int]


@dataclass(slots=True, eq=False)
class _Picture:
    """The picture being rewritten: a frame or one field of it."""

    frame: _Frame
    header: SliceHeader
    sps: Sps
    parity: int
    second_field: bool
    poc: int = 0
    marking: Edit | None = None
    evicted: tuple[_Entry, ...] = ()

    @property
    def whole(self) -> bool:
        return self.parity == FRAME

    def same(self, header: SliceHeader) -> bool:
        """Whether a slice belongs to this picture."""
        mine = self.header
        return (
            mine.frame_num == header.frame_num
            and mine.field_pic == header.field_pic
            and mine.bottom_field == header.bottom_field
            and mine.poc_lsb == header.poc_lsb
            and bool(mine.nal_ref_idc) == bool(header.nal_ref_idc)
        )


class IdrRewriter:
    """Rewrites access units in decode order, from a non-IDR I picture on, to begin with an IDR.

    Hand every access unit to `rewrite`; leading pictures, which lean on what stands before, go to
    `leave_out` instead (or are not handed over at all: the gap in `frame_num` tells of them). From
    the next true IDR on, units come back as they are. `UnsupportedMedia` means that this stream
    cannot be rewritten and must be re-encoded.

    The default `idr_pic_id` lengthens the first picture's headers by exactly one byte, so that even
    CAVLC data, which begins at any bit, is copied as it is.

    The decoder's reference pictures are followed in the old numbering and the new. Pictures from
    before the first one are unknown in number ("ghosts"): each list of references is built for
    every number there can be, and the rewritten slice names its references one by one where the
    list a decoder would make by itself differs.
    """

    def __init__(self, sets: ParameterSets, *, idr_pic_id: int = 7) -> None:
        self._sets = sets
        self._idr_pic_id = idr_pic_id
        self._frames: list[_Frame] = []
        self._current: _Picture | None = None
        self._first = True
        self._done = False
        self._ends = False
        self._ghosts = True
        self._plain = False
        self._shift = 0
        self._poc_shift = 0
        self._previous_number = 0
        self._poc_msb = 0
        self._poc_lsb = 0
        self._order = 0

    @property
    def done(self) -> bool:
        """Whether what follows may be copied without being handed over."""
        return self._done

    def rewrite(self, nals: Iterable[bytes]) -> tuple[bytes, ...]:
        """One access unit that is kept."""
        units = tuple(nals)
        self._admit(units)
        if self._done:
            return units
        if self._plain:
            return tuple(new for nal in units if (new := self._renumbered(nal)) is not None)
        written: list[bytes] = []
        first = self._first
        for nal in units:
            kept = self._rewritten(nal, first)
            if kept is not None:
                written.append(kept)
        self._close_unit()
        return tuple(written)

    def leave_out(self, nals: Iterable[bytes]) -> None:
        """One access unit that the output does not hold."""
        units = tuple(nals)
        self._admit(units)
        for nal in () if self._done else units:
            if nal_type(nal) in SLICES:
                self._enter(parse_slice_header(nal, self._sets), kept=False)
        self._close_unit()

    def _admit(self, units: Sequence[bytes]) -> None:
        """Take in sets, refuse what cannot be rewritten, and end at a true IDR."""
        kinds = {nal_type(nal) for nal in units}
        self._done = self._done or self._ends or IDR in kinds
        if self._done:
            return
        if kinds & PARTITIONS:
            raise UnsupportedMedia("data partitioning cannot be rewritten")
        if kinds & LAYERED or AUXILIARY in kinds:
            raise UnsupportedMedia("layered or auxiliary pictures cannot be rewritten")
        if kinds & SET_TYPES and self._sets.add_all(units):
            raise UnsupportedMedia("a parameter set changes under its id")

    def _close_unit(self) -> None:
        # A field may be the second half of a frame begun in the access unit before.
        if self._current is not None and self._current.whole:
            self._finish()

    def _rewritten(self, nal: bytes, first: bool) -> bytes | None:
        kind = nal_type(nal)
        if kind == SEI:
            return without_messages(nal, {RECOVERY_POINT}) if first else nal
        if kind not in SLICES:
            return nal
        header = parse_slice_header(nal, self._sets)
        if header.redundant_pic_cnt:
            return None
        picture = self._enter(header, kept=True)
        if self._done:
            return nal
        if self._leads(picture):
            return self._as_idr(nal, header)
        return self._as_follower(nal, header, picture)

    def _leads(self, picture: _Picture) -> bool:
        """Whether the picture is the one that becomes the IDR."""
        return self._order == 1 and not picture.second_field

    # --- pictures

    def _enter(self, header: SliceHeader, *, kept: bool) -> _Picture:
        """The picture a slice belongs to; a new one ends the one before."""
        if self._current is not None and self._current.same(header):
            return self._current
        before = self._current
        self._finish()
        sps, _ = self._sets.of_slice(header.pps_id)
        if self._first:
            self._begin(header, sps)
        picture = self._placed(header, sps, before, kept)
        picture.poc = self._count_order(picture)
        self._plan_marking(picture)
        self._current = picture
        return picture

    def _begin(self, header: SliceHeader, sps: Sps) -> None:
        if sps.poc_type == 1:
            raise UnsupportedMedia("picture order count type 1 cannot be rewritten")
        if not header.intra or not header.nal_ref_idc:
            raise UnsupportedMedia("the picture to begin with is not an I picture")
        self._first = False
        self._shift = header.frame_num
        self._previous_number = header.frame_num
        self._poc_shift = header.poc_lsb - _first_poc(header)

    def _placed(
        self, header: SliceHeader, sps: Sps, before: _Picture | None, kept: bool
    ) -> _Picture:
        parity = (BOTTOM if header.bottom_field else TOP) if header.field_pic else FRAME
        if before is not None and _completes(before, header, parity):
            frame = before.frame
            return _Picture(frame, header, sps, parity, second_field=True)
        self._order += 1
        self._bridge(header, sps)
        new = (header.frame_num - self._shift) % (1 << sps.frame_num_bits) if kept else None
        return _Picture(_Frame(header.frame_num, new), header, sps, parity, second_field=False)

    def _bridge(self, header: SliceHeader, sps: Sps) -> None:
        """Account for pictures that were left out unseen: the numbers between are theirs."""
        most = 1 << sps.frame_num_bits
        missing = (header.frame_num - self._previous_number) % most - 1
        if self._plain or missing <= 0:
            return
        for offset in range(max(1, missing - 16), missing + 1):
            number = (self._previous_number + offset) % most
            self._slide(sps)
            self._frames.append(_Frame(number, None, held=FRAME, decoded=FRAME))
        self._shift = (self._shift + missing) % most
        self._previous_number = (header.frame_num - 1) % most

    def _slide(self, sps: Sps) -> _Frame | None:
        """Make room for one more frame; the frame that had to go."""
        if len(self._frames) < max(1, sps.num_ref_frames):
            return None
        self._ghosts = False
        return self._frames.pop(0)

    def _count_order(self, picture: _Picture) -> int:
        """Follow picture order counts in the new numbering; that of the picture."""
        header, sps, frame = picture.header, picture.sps, picture.frame
        top = bottom = 2 * self._order + picture.second_field
        if sps.poc_type == 0:
            most = 1 << sps.poc_lsb_bits
            lsb = (header.poc_lsb - self._poc_shift) % most
            msb = self._poc_msb + _carry(lsb - self._poc_lsb, most)
            if header.nal_ref_idc and frame.new is not None:
                self._poc_msb, self._poc_lsb = msb, lsb
            top, bottom = msb + lsb, msb + lsb + header.delta_poc_bottom
        frame.decoded |= picture.parity
        frame.pocs = (
            top if picture.parity & TOP else frame.pocs[0],
            bottom if picture.parity & BOTTOM else frame.pocs[1],
        )
        return {TOP: top, BOTTOM: bottom, FRAME: min(top, bottom)}[picture.parity]

    def _finish(self) -> None:
        """Mark the picture that ends as the decoder would."""
        picture, self._current = self._current, None
        if picture is None:
            return
        self._settle(picture)

    def _settle(self, picture: _Picture) -> None:
        header, frame = picture.header, picture.frame
        self._done = self._done or header.resets_marking
        if self._plain or not header.nal_ref_idc:
            return
        self._previous_number = header.frame_num
        if frame.new is None:
            self._shift = (self._shift + (not picture.second_field)) % (
                1 << picture.sps.frame_num_bits
            )
        for victim, mask in picture.evicted:
            victim.held &= ~mask
        self._frames = [known for known in self._frames if known.held]
        frame.held |= picture.parity
        if frame not in self._frames:
            self._frames.append(frame)
        self._look_for_plain(picture.sps)

    def _look_for_plain(self, sps: Sps) -> None:
        """From here on old and new lists agree once nothing from before or left out remains."""
        if len(self._frames) >= max(1, sps.num_ref_frames):
            self._ghosts = False
        most = 1 << sps.frame_num_bits
        self._plain = not self._ghosts and all(
            known.new is not None and (known.number - known.new - self._shift) % most == 0
            for known in self._frames
        )

    # --- memory management

    def _plan_marking(self, picture: _Picture) -> None:
        header = picture.header
        if self._plain:
            return
        if any(marking[0] in LONG_TERM_MARKINGS for marking in header.markings):
            raise UnsupportedMedia("long-term references cannot be rewritten")
        if header.resets_marking and (header.field_pic or picture.frame.new is None):
            raise UnsupportedMedia("a field or leading picture resets the memory")
        if not header.nal_ref_idc or self._leads(picture):
            return
        if header.adaptive_marking:
            self._plan_adaptive(picture)
        elif not picture.second_field:
            self._plan_sliding(picture)

    def _plan_adaptive(self, picture: _Picture) -> None:
        kept: list[_Operation] = []
        gone: list[_Entry] = []
        for operation, first, _ in picture.header.markings:
            if operation != 1:
                kept.append((operation, first))
                continue
            entry = self._resolve(picture, _current_number(picture, new=False) - first - 1)
            if entry is None:
                continue
            gone.append(entry)
            if entry[0].new is not None and picture.frame.new is not None:
                kept.append((1, _distance(picture, entry) - 1))
        picture.evicted = tuple(gone)
        if [(m[0], m[1]) for m in picture.header.markings] != kept:
            picture.marking = _marking_edit(picture.header, kept)

    def _plan_sliding(self, picture: _Picture) -> None:
        """The decoder drops the oldest frame by itself, unless left-out ones make it differ."""
        if len(self._frames) < max(1, picture.sps.num_ref_frames):
            return
        oldest = self._frames[0]
        picture.evicted = ((oldest, FRAME),)
        mixed = any(known.new is None for known in self._frames)
        if oldest.new is None or picture.frame.new is None or not mixed:
            return
        masks = (FRAME,) if picture.whole else (TOP, BOTTOM)
        entries = [(oldest, mask) for mask in masks if oldest.held & mask]
        operations = [(1, _distance(picture, entry) - 1) for entry in entries]
        picture.marking = _marking_edit(picture.header, operations)

    def _resolve(self, picture: _Picture, number: int) -> _Entry | None:
        """The picture with that picNum in the old numbering; None where it is a ghost."""
        wanted, mask = _named(picture, number)
        for known in self._frames:
            if known.number == wanted and known.held & mask == mask:
                return known, mask
        if not self._ghosts:
            raise UnsupportedMedia("a slice refers to a picture that is not held")
        return None

    # --- reference lists

    def _list_edit(self, header: SliceHeader, picture: _Picture) -> Edit | None:
        """New reordering commands where a decoder would not find the same pictures without."""
        if header.intra:
            return None
        if any(op[0] == 2 for commands in header.modifications for op in commands):
            raise UnsupportedMedia("long-term references cannot be rewritten")
        if self._plain or picture.frame.new is None:
            return None
        counts = (header.num_ref_l0, header.num_ref_l1)[: len(header.modifications)]
        wanted = self._wanted(header, picture, counts)
        plain = self._initial(header, picture, [f for f in self._frames if f.new is not None])
        commands = [
            () if _agrees(entries, default) else _naming(picture, entries, default)
            for entries, default in zip(wanted, plain, strict=False)
        ]
        if not any(commands) and not any(header.modifications):
            return None
        return _modification_edit(header, commands)

    def _wanted(
        self, header: SliceHeader, picture: _Picture, counts: Sequence[int]
    ) -> list[list[_Entry | None]]:
        """The pictures each index must mean; None where no slice that decodes can use it."""
        room = max(1, picture.sps.num_ref_frames) - len(self._frames) if self._ghosts else 0
        meanings: list[list[set[_Entry]]] = [[set() for _ in range(count)] for count in counts]
        possible = False
        for ghosts in range(max(0, room) + 1):
            lists = self._original(header, picture, ghosts)
            if lists is None:
                continue
            possible = True
            for entries, slots in zip(lists, meanings, strict=False):
                for entry, slot in zip(entries, slots, strict=False):
                    if entry[0].new is not None:
                        slot.add(entry)
        if not possible or any(len(slot) > 1 for slots in meanings for slot in slots):
            raise UnsupportedMedia("the references of a slice after an open GOP are ambiguous")
        return [[next(iter(slot), None) for slot in slots] for slots in meanings]

    def _original(
        self, header: SliceHeader, picture: _Picture, ghosts: int
    ) -> list[list[_Entry]] | None:
        """The lists of the stream as it was, had it that many older frames; None if it had not."""
        older = [_Frame(-1, None, held=FRAME, decoded=FRAME) for _ in range(ghosts)]
        lists = self._initial(header, picture, [*older, *self._frames])
        for index, commands in enumerate(header.modifications):
            moved = self._reordered(picture, lists[index], commands, older)
            if moved is None:
                return None
            lists[index] = moved
        return lists

    def _reordered(
        self,
        picture: _Picture,
        entries: list[_Entry],
        commands: Sequence[_Operation],
        older: Sequence[_Frame],
    ) -> list[_Entry] | None:
        number = _current_number(picture, new=False)
        unnamed, named = list(older), dict[int, _Frame]()
        for index, (operation, difference) in enumerate(commands):
            number += (difference + 1) * (1 if operation else -1)
            entry = self._resolve(picture, number)
            if entry is None:
                wanted, mask = _named(picture, number)
                if wanted not in named and not unnamed:
                    return None
                entry = named.setdefault(wanted, unnamed[-1] if unnamed else older[0]), mask
                unnamed = [frame for frame in unnamed if frame is not entry[0]]
            entries = [*entries[:index], entry, *(e for e in entries[index:] if e != entry)]
        return entries

    def _initial(
        self, header: SliceHeader, picture: _Picture, frames: Sequence[_Frame]
    ) -> list[list[_Entry]]:
        """The lists a decoder makes by itself, from frames in decode order."""
        usable = [f for f in frames if not picture.whole or f.held == FRAME]
        newest_first = usable[::-1]
        if header.slice_type != B_SLICE:
            return [_entries(newest_first, picture)]
        past = [f for f in newest_first if _is_past(f, picture)]
        future = [f for f in newest_first if not _is_past(f, picture)]
        past.sort(key=lambda f: -f.poc)
        future.sort(key=lambda f: f.poc)
        forward = _entries([*past, *future], picture)
        backward = _entries([*future, *past], picture)
        if len(backward) > 1 and forward == backward:
            backward[:2] = backward[1::-1]
        return [forward, backward]

    # --- slices

    def _as_idr(self, nal: bytes, header: SliceHeader) -> bytes:
        sps, _ = self._sets.of_slice(header.pps_id)
        if not header.intra:
            raise UnsupportedMedia("the picture to begin with is not an I picture")
        edits = (
            (header.frame_num_at, header.frame_num_end, 0, sps.frame_num_bits),
            (header.idr_pic_id_at, header.idr_pic_id_at, *ue_bits(self._idr_pic_id)),
            (header.poc_lsb_at, header.poc_lsb_end, _first_poc(header), sps.poc_lsb_bits),
            (header.marking_at, header.marking_end, 0, 2),
        )
        return rewrite_slice(nal, header, edits, nal[0] & 0xE0 | IDR)

    def _renumbered(self, nal: bytes) -> bytes | None:
        """A slice once nothing but its numbers differs; whatever else is no slice as it is."""
        if self._done or nal_type(nal) not in SLICES:
            return nal
        numbers = parse_slice_numbers(nal, self._sets)
        if nal[0] & 0x60 or numbers.pps.redundant_pic_cnt:
            header = parse_slice_header(nal, self._sets)
            if header.redundant_pic_cnt:
                return None
            if header.resets_marking and header.field_pic:
                raise UnsupportedMedia("a field that resets the memory cannot be rewritten")
            self._ends |= header.resets_marking
        return patched(nal, self._numbers_of(numbers, numbers.frame_num - self._shift, numbers.sps))

    def _numbers_of(
        self, slice_: SliceNumbers | SliceHeader, number: int, sps: Sps
    ) -> tuple[Edit, ...]:
        """The edits that put `frame_num` and the POC lsb of a slice into the new numbering."""
        number %= 1 << sps.frame_num_bits
        edit = (slice_.frame_num_at, slice_.frame_num_end, number, sps.frame_num_bits)
        if sps.poc_type != 0:
            return (edit,)
        lsb = (slice_.poc_lsb - self._poc_shift) % (1 << sps.poc_lsb_bits)
        return edit, (slice_.poc_lsb_at, slice_.poc_lsb_end, lsb, sps.poc_lsb_bits)

    def _as_follower(self, nal: bytes, header: SliceHeader, picture: _Picture) -> bytes:
        edits = [*self._numbers_of(header, picture.frame.new or 0, picture.sps)]
        lists = self._list_edit(header, picture)
        if lists is not None:
            edits.append(lists)
        if picture.marking is not None:
            operations = picture.marking
            edits.append((header.marking_at, header.marking_end, *operations[2:]))
        return rewrite_slice(nal, header, edits)


def _first_poc(header: SliceHeader) -> int:
    """The POC lsb an IDR must carry so that its earlier field counts as zero."""
    return 0 if header.field_pic else max(0, -header.delta_poc_bottom)


def _carry(difference: int, most: int) -> int:
    """How the upper part of the picture order count moves with the lower one."""
    if difference <= -(most // 2):
        return most
    return -most if difference > most // 2 else 0


def _completes(before: _Picture, header: SliceHeader, parity: int) -> bool:
    """Whether a field is the second one of the frame the picture before began."""
    return (
        before.parity != FRAME
        and not before.second_field
        and parity == FRAME - before.parity
        and before.header.frame_num == header.frame_num
        and (bool(before.header.nal_ref_idc) or not header.nal_ref_idc)
    )


def _is_past(frame: _Frame, picture: _Picture) -> bool:
    return frame.poc < picture.poc if picture.whole else frame.poc <= picture.poc


def _entries(frames: Sequence[_Frame], picture: _Picture) -> list[_Entry]:
    """Frames as list entries: themselves, or their fields in turn, the same parity first."""
    if picture.whole:
        return [(frame, FRAME) for frame in frames]
    other = FRAME - picture.parity
    same = [(f, picture.parity) for f in frames if f.held & picture.parity]
    opposite = [(f, other) for f in frames if f.held & other]
    paired = min(len(same), len(opposite))
    turns = [entry for pair in zip(same, opposite, strict=False) for entry in pair]
    return [*turns, *same[paired:], *opposite[paired:]]


def _current_number(picture: _Picture, *, new: bool) -> int:
    number = (picture.frame.new or 0) if new else picture.frame.number
    return number if picture.whole else 2 * number + 1


def _named(picture: _Picture, number: int) -> _Operation:
    """The `frame_num` and the fields that a picNum of the old numbering names."""
    mask = FRAME
    if not picture.whole:
        mask = picture.parity if number & 1 else FRAME - picture.parity
        number >>= 1
    return number % (1 << picture.sps.frame_num_bits), mask


def _new_number(picture: _Picture, entry: _Entry) -> int:
    """picNum of a kept picture in the new numbering."""
    frame, mask = entry
    number, current = frame.new or 0, picture.frame.new or 0
    if number > current:
        number -= 1 << picture.sps.frame_num_bits
    return number if picture.whole else 2 * number + (mask == picture.parity)


def _distance(picture: _Picture, entry: _Entry) -> int:
    return _current_number(picture, new=True) - _new_number(picture, entry)


def _agrees(wanted: Sequence[_Entry | None], default: Sequence[_Entry]) -> bool:
    """Whether a decoder finds what is wanted, and something at every index, without being told."""
    return len(wanted) <= len(default) and all(
        entry is None or default[index] == entry for index, entry in enumerate(wanted)
    )


def _naming(
    picture: _Picture, wanted: Sequence[_Entry | None], default: Sequence[_Entry]
) -> tuple[_Operation, ...]:
    """Commands that put each wanted picture at its index."""
    number = _current_number(picture, new=True)
    most = (1 << picture.sps.frame_num_bits) * (1 if picture.whole else 2)
    commands: list[_Operation] = []
    for entry in _filled(wanted, default):
        target = _new_number(picture, entry)
        difference = target - number
        # A difference of nothing is written as one whole turn of the counter.
        commands.append((1, difference - 1) if difference > 0 else (0, (-difference or most) - 1))
        number = target
    return tuple(commands)


def _filled(wanted: Sequence[_Entry | None], default: Sequence[_Entry]) -> list[_Entry]:
    """The wanted list with unused places given to the entry before, or the first there is.

    Nothing may be left empty: decoders complain of an index that means no picture, used or not.
    """
    spare = next((entry for entry in wanted if entry is not None), default[0] if default else None)
    if spare is None:
        raise UnsupportedMedia("a slice refers only to pictures from before the open GOP")
    filled: list[_Entry] = []
    for entry in wanted:
        spare = entry or spare
        filled.append(spare)
    return filled


def _modification_edit(header: SliceHeader, lists: Sequence[Sequence[_Operation]]) -> Edit:
    bits = BitWriter()
    for commands in lists:
        bits.flag(bool(commands))
        for operation, difference in commands:
            bits.ue(operation)
            bits.ue(difference)
        if commands:
            bits.ue(3)
    return header.modifications_at, header.modifications_end, bits.value, bits.length


def _marking_edit(header: SliceHeader, operations: Sequence[_Operation]) -> Edit:
    bits = BitWriter()
    bits.flag(True)
    for operation, first in operations:
        bits.ue(operation)
        if operation != 5:
            bits.ue(first)
    bits.ue(0)
    return header.marking_at, header.marking_end, bits.value, bits.length
