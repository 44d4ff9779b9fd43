"""A segment index is read within its bytes, and never for long."""

from __future__ import annotations

import struct

import pytest

from pipelines.dash_index import Indexed, subsegments
from schemas.errors import CorruptMedia, CuttingRoomError, TooLarge, UnsupportedMedia
from schemas.media import ByteRange
from tests.dash_builder import sidx


def test_subsegments_follow_each_other_behind_the_index() -> None:
    data = sidx(90_000, 180_000, [(1000, 180_000), (2000, 90_000)])

    found = subsegments(data, 700, 10)

    first = 700 + len(data)
    assert found == (
        Indexed(180_000, 180_000, 90_000, ByteRange(offset=first, length=1000)),
        Indexed(360_000, 90_000, 90_000, ByteRange(offset=first + 1000, length=2000)),
    )


def test_a_narrow_index_with_a_gap_before_its_media_is_read() -> None:
    body = struct.pack(">IIIIIHH", 0, 1, 1000, 500, 64, 0, 1) + struct.pack(">III", 10, 2000, 0)
    data = struct.pack(">I4s", 8 + len(body), b"sidx") + body

    (one,) = subsegments(data, 0, 10)

    assert (one.start, one.span.offset) == (500, len(data) + 64)


def test_other_boxes_before_the_index_are_passed_over() -> None:
    styp = struct.pack(">I4s4s", 12, b"styp", b"msix")

    (one,) = subsegments(styp + sidx(1, 0, [(9, 1)]), 0, 10)

    assert one.span.length == 9


def test_an_index_of_indexes_is_followed() -> None:
    inner = [sidx(10, 0, [(100, 20)]), sidx(10, 20, [(200, 30)])]
    outer = sidx(10, 0, [(len(i), d) for i, d in zip(inner, (20, 30), strict=True)], nested=True)

    found = subsegments(outer + b"".join(inner), 0, 10)

    assert [(one.start, one.duration, one.span.length) for one in found] == [
        (0, 20, 100),
        (20, 30, 200),
    ]


def _round_and_round() -> bytes:
    """Sixty thousand references that all lead to the same sixty thousand."""
    leaf = sidx(1, 0, [(0, 0)] * 60_000)
    return sidx(1, 0, [(0, 0)] * 60_000, nested=True) + leaf


HOSTILE: dict[str, tuple[bytes, type[CuttingRoomError]]] = {
    "empty": (b"", CorruptMedia),
    "no index": (struct.pack(">I4s", 8, b"free"), CorruptMedia),
    "cut off": (sidx(1, 0, [(1, 1)] * 9)[:-20], CorruptMedia),
    "a box that claims too much": (struct.pack(">I4s", 2**31, b"sidx") + bytes(99), CorruptMedia),
    "a box that claims nothing": (struct.pack(">I4s", 0, b"sidx") + bytes(99), CorruptMedia),
    "a box too small for an index": (struct.pack(">I4s", 12, b"sidx") + bytes(4), CorruptMedia),
    "more entries than bytes": (
        sidx(1, 0, [(1, 1)]).replace(struct.pack(">HH", 0, 1), struct.pack(">HH", 0, 999)),
        CorruptMedia,
    ),
    "no timescale": (sidx(0, 0, [(1, 1)]), CorruptMedia),
    "more segments than allowed": (sidx(1, 0, [(1, 1)] * 101), TooLarge),
    "indexes elsewhere": (sidx(1, 0, [(50, 1)], nested=True), UnsupportedMedia),
    "indexes without end": (_round_and_round(), TooLarge),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_makes_no_sense_is_refused(name: str) -> None:
    data, kind = HOSTILE[name]

    with pytest.raises(kind):
        subsegments(data, 0, 100)
