"""The MP4 writer alone: times, and an index that outgrows the room left for it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from media.cut.mp4 import Mp4Writer, Track, set_picture_times, set_sound_times
from media.cut.sound import box
from media.cut.verify import written


@pytest.mark.parametrize("room", [16, 600, 5000])
def test_the_index_stands_in_front_whatever_room_was_left(room: int, tmp_path: Path) -> None:
    samples = [bytes((n,)) * (n + 1) for n in range(40)]
    path = tmp_path / "x.mp4"
    with Mp4Writer(path, room) as writer:
        track = Track("soun", 48_000, entry=box(b"mp4a", bytes(28)))
        writer.tracks = [track]
        for at in range(0, 40, 8):
            writer.write(track, samples[at : at + 8])
        set_sound_times(track, [(-500, 20), (19_990, 20)], 1024, 40_000)
        size = writer.finish()

    data = path.read_bytes()
    with path.open("rb") as file:
        (found,) = written(file)
    assert len(data) == size
    assert [data[o : o + s] for o, s in zip(found.offsets, found.sizes, strict=True)] == samples
    assert found.shown_at(found.pts[0]) == Fraction(-500, 48_000)
    assert found.shown_at(found.pts[20]) == Fraction(19_990, 48_000)


def test_pictures_are_shown_from_zero_and_decoded_before_they_are_shown() -> None:
    track = Track("vide", 90_000)

    set_picture_times(track, [0, 10_800, 3600, 7200, 14_400], 18_000)

    assert track.durations == [3600] * 5
    assert all(shift >= 0 for shift in track.shifts)
    assert track.media_start == track.shifts[0]
    assert track.shown_ticks == 18_000
