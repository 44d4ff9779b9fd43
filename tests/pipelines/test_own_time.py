"""What a file's own pictures are, and which of them are copied."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from pipelines import own_time
from schemas.media import MediaInfo, StreamInfo
from schemas.renditions import Pace, TrackPace


def a_picture(**changes: Any) -> StreamInfo:
    given = {"index": 0, "kind": "video", "codec": "h264", "frame_rate": Fraction(25)}
    return StreamInfo.model_validate(given | changes)


def a_file(*streams: StreamInfo) -> MediaInfo:
    return MediaInfo(container="mp4", size=1, duration_ms=1000, streams=streams)


def test_a_cover_is_no_picture_of_a_file() -> None:
    cover = a_picture(codec="mjpeg", frame_rate=None)
    film = a_picture(index=1)

    assert own_time.pictures(a_file(cover)) is None
    assert own_time.pictures(a_file(cover, film)) == film
    assert own_time.pictures(a_file(a_picture(codec="mjpeg"))) is not None


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, ()),
        ({"rotation_deg": 90}, ("pictures of h264 turned by 90 degrees were encoded as h264",)),
        ({"mirrored": True}, ("pictures of h264 mirrored were encoded as h264",)),
    ],
    ids=["plain", "turned", "mirrored"],
)
def test_pictures_with_a_flag_are_not_copied(flags: dict[str, Any], told: tuple[str, ...]) -> None:
    assert own_time.changes(a_file(a_picture(**flags)), frozenset()) == told


@pytest.mark.parametrize(
    ("pictures", "sounds", "told"),
    [
        (0, 0, ()),
        (0, 1, ()),
        (12, 1, ("pictures of h264 were encoded as h264",)),
        (0, 40, ("sound of aac was encoded as aac",)),
    ],
    ids=["whole", "run in", "pictures", "sound"],
)
def test_what_an_edit_list_hides_is_not_copied(
    pictures: int, sounds: int, told: tuple[str, ...]
) -> None:
    info = a_file(a_picture(), StreamInfo(index=1, kind="audio", codec="aac"))
    counts = enumerate((pictures, sounds))
    tracks = [
        TrackPace(index=n, packets=99, hidden=hidden, first_us=0, end_us=1, bytes=1)
        for n, hidden in counts
    ]

    trimmed = own_time.trimmed(info, Pace(tracks=tuple(tracks)))

    assert own_time.changes(info, trimmed) == told
