"""What was listed of a channel is found again by the next attempt, and nothing else is."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from schemas.media import MediaPlaylist, PtsClock, Region, Segment
from workers import history

URL = "https://origin.example/live.m3u8"
SEGMENT = Segment(
    sequence=7,
    discontinuity_sequence=0,
    uri="https://origin.example/7.ts",
    duration_us=2_000_000,
    start_us=1_643_957_046_000_000,
)
CLOCK = PtsClock(discontinuity_sequence=0, zero_us=Fraction(1, 3), start_us=0)
PLAYLIST = MediaPlaylist(
    uri=URL,
    regions=(Region(discontinuity_sequence=0, clock="pdt", segments=(SEGMENT,), pts_clock=CLOCK),),
    target_duration_us=2_000_000,
    ended=False,
    media_sequence=7,
)


def test_what_was_kept_is_known(tmp_path: Path) -> None:
    place = tmp_path / history.NAME
    history.keep(place, {})
    history.keep(place, {URL: PLAYLIST})

    assert history.known(place) == {URL: PLAYLIST}
    assert [path.name for path in tmp_path.iterdir()] == [history.NAME]


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"playlists":{"x":{}}}'])
def test_what_cannot_be_read_is_nothing(text: str | None, tmp_path: Path) -> None:
    place = tmp_path / history.NAME
    if text is not None:
        place.write_text(text)

    assert history.known(place) == {}


def test_what_a_child_put_there_is_not_followed(tmp_path: Path) -> None:
    place, other = tmp_path / history.NAME, tmp_path / "other"
    history.keep(other, {URL: PLAYLIST})
    place.symlink_to(other)
    linked = history.known(place)
    place.unlink()
    os.mkfifo(place)

    assert (linked, history.known(place)) == ({}, {})


def test_what_a_child_put_there_is_not_written_through(tmp_path: Path) -> None:
    place, other = tmp_path / history.NAME, tmp_path / "other"
    other.write_text("mine")
    place.with_name(f"{place.name}.part").symlink_to(other)

    history.keep(place, {URL: PLAYLIST})

    assert other.read_text() == "mine"
    assert history.known(place) == {URL: PLAYLIST}
