"""What a file's own pictures are, and which of them are copied."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from pipelines import own_time
from schemas.media import MediaInfo, StreamInfo


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
    assert own_time.changes(a_file(a_picture(**flags))) == told
