"""Which bytes of a file are read to tell what it holds."""

from __future__ import annotations

import struct

import pytest

from pipelines.probe import Box, box_at, dedup_key, first_ranges, index_ranges
from schemas.errors import CorruptMedia, TooLarge
from schemas.localized import Validators
from schemas.media import ByteRange

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("size", "ranges"),
    [
        (1, [(0, 1)]),
        (16 * MIB, [(0, 16 * MIB)]),
        (16 * MIB + 1, [(0, 8 * MIB), (12 * MIB + 1, 4 * MIB)]),
        (None, [(0, 8 * MIB)]),
    ],
)
def test_a_long_file_is_read_at_both_ends_alone(
    size: int | None, ranges: list[tuple[int, int]]
) -> None:
    assert [(r.offset, r.length) for r in first_ranges(size)] == ranges


def test_an_empty_file_holds_nothing() -> None:
    with pytest.raises(CorruptMedia):
        first_ranges(0)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (struct.pack(">I4s", 24, b"ftyp"), ("ftyp", 24)),
        (struct.pack(">I4sQ", 1, b"mdat", 90), ("mdat", 90)),
        (struct.pack(">I4s", 0, b"mdat"), ("mdat", 90)),
        (struct.pack(">I4s", 7, b"free"), None),
        (struct.pack(">I4sQ", 1, b"mdat", 15), None),
        (struct.pack(">I4s", 1, b"mdat"), None),
        (struct.pack(">I4s", 91, b"mdat"), None),
        (b"\0\0\0", None),
        (b"", None),
    ],
)
def test_a_box_is_as_long_as_its_header_says_within_the_file(
    header: bytes, found: tuple[str, int] | None
) -> None:
    box = box_at(header, 10, 100)

    assert (None if box is None else (box.kind, box.length)) == found


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ([(0, 100)], [(100, 100)]),
        ([(0, 150)], [(150, 50)]),
        ([(0, 120), (180, 100)], [(120, 60)]),
        ([(0, 300)], []),
        ([], [(100, 100)]),
    ],
)
def test_only_what_is_not_here_of_an_index_is_read(
    held: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    here = tuple(ByteRange(offset=at, length=length) for at, length in held)

    found = index_ranges(Box(kind="moov", offset=100, length=100), here)

    assert [(r.offset, r.length) for r in found] == wanted


def test_an_index_without_measure_is_refused() -> None:
    with pytest.raises(TooLarge):
        index_ranges(Box(kind="moov", offset=0, length=10**12), ())


def test_another_version_of_a_file_is_another_job() -> None:
    now_ms, hour_ms = 1_700_000_000_000, 3_600_000
    version = Validators(size=1, etag='"x"')
    names = [
        dedup_key("f", "a.mp4", version, now_ms),
        dedup_key("f", "a.mp4", Validators(size=2, etag='"x"'), now_ms),
        dedup_key("f", "a.mp4", Validators(size=1, modified_ms=5), now_ms),
        dedup_key("g", "a.mp4", version, now_ms),
        dedup_key("f", "b.mp4", version, now_ms),
        dedup_key("f", "a.mp4", Validators(size=1), now_ms),
        dedup_key("f", "a.mp4", Validators(size=1), now_ms + hour_ms),
    ]

    assert len(set(names)) == len(names)
    assert dedup_key("f", "a.mp4", version, now_ms + 99 * hour_ms) == names[0]
