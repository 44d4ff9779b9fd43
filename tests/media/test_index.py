"""What the index finds in held segments."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from media.index import index_tracks
from schemas.cuts import CutRequest, MediaIndex
from schemas.errors import (
    CorruptMedia,
    CuttingRoomError,
    Encrypted,
    FormatChange,
    UnsupportedMedia,
)
from schemas.media import HeldTrack
from schemas.times import TimeRange
from tests.cutting import held_tracks
from tests.media_builder import AudioSpec, HlsAsset, StreamSpec, build, segment

SPEC = StreamSpec(seconds=4, size=(96, 64))


def indexed(tracks: tuple[HeldTrack, ...], folder: Path, gaps: str = "fail") -> MediaIndex:
    wanted = TimeRange(start_ms=0, end_ms=1)
    request = CutRequest.model_validate(
        {"wanted": wanted, "tracks": tracks, "output": "x.mp4", "gaps": gaps}
    )
    return index_tracks(request, folder, lambda done, total: None)


def index_of(asset: HlsAsset, folder: Path) -> MediaIndex:
    return indexed(held_tracks(asset, folder), folder)


@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_every_picture_and_every_place_to_start_is_found(container: str, tmp_path: Path) -> None:
    asset = segment(build(SPEC), container=container)

    (run,) = index_of(asset, tmp_path).runs

    assert [len(s.pts) for s in run.segments] == [50, 50]
    assert [s.keys for s in run.segments] == [(0, 25), (0, 25)]
    assert [s.idrs for s in run.segments] == [(0, 25), (0, 25)]
    assert run.pictures is not None
    assert run.pictures.frame_ticks * run.pictures.timebase == Fraction(1, 25)
    assert (run.pictures.width, run.pictures.height) == (96, 64)
    assert run.damaged is None


@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_an_open_gop_is_a_place_to_start_but_no_idr(container: str, tmp_path: Path) -> None:
    asset = segment(build(replace(SPEC, open_gop=True)), container=container)

    (run,) = index_of(asset, tmp_path).runs

    assert [s.keys for s in run.segments] == [(0, 25), (0, 25)]
    assert sum(len(s.idrs) for s in run.segments) == 1


def test_timestamps_are_straight_across_a_wrap(tmp_path: Path) -> None:
    asset = segment(build(replace(SPEC, start_pts_90k=(1 << 33) - 90_000)))

    (run,) = index_of(asset, tmp_path).runs

    every = sorted(pts for s in run.segments for pts in s.pts)
    assert [b - a for a, b in pairwise(every)] == [3600] * 99
    (span,) = run.sounds[0].spans
    assert span.frames > 180


@pytest.mark.parametrize("codec", ["aac", "ac3", "eac3", "mp2"])
def test_sound_is_one_span_without_a_hole(codec: str, tmp_path: Path) -> None:
    asset = segment(build(replace(SPEC, audio=(AudioSpec(codec=codec),))))

    (run,) = index_of(asset, tmp_path).runs

    (sound,) = run.sounds
    assert (sound.codec, sound.sample_rate_hz, sound.channels) == (codec, 48_000, 2)
    assert sound.language == "eng"
    assert len(sound.spans) == 1


def test_a_gap_splits_a_run(tmp_path: Path) -> None:
    asset = segment(build(replace(SPEC, seconds=6)), gaps=(1,))

    runs = index_of(asset, tmp_path).runs

    assert [[s.number for s in run.segments] for run in runs] == [[0], [2]]


def test_anchors_state_the_first_keyframe_of_each_segment(tmp_path: Path) -> None:
    asset = segment(build(replace(SPEC, open_gop=True)), pdt="first")

    index = index_of(asset, tmp_path)

    assert [a.stated for a in index.anchors] == [True, False]
    assert index.anchors[0].wall_us == asset.epoch_ms * 1000
    assert index.anchors[1].pts == index.runs[0].segments[1].pts[0]


@pytest.mark.parametrize("gaps", ["fail", "black"])
def test_lost_packets_are_refused_or_cut_out(gaps: str, tmp_path: Path) -> None:
    tracks = held_tracks(segment(build(SPEC)), tmp_path)
    path = tmp_path / (tracks[0].segments[0].name or "")
    data = path.read_bytes()
    path.write_bytes(data[: 188 * 20] + data[188 * 24 :])

    if gaps == "fail":
        with pytest.raises(CorruptMedia):
            indexed(tracks, tmp_path)
        return
    runs = indexed(tracks, tmp_path, gaps).runs
    assert [s.number for run in runs for s in run.segments if run.damaged is None] == [1]


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"<html>not media</html>" * 50, b"\x47" * 188, b"\x47" + bytes(187), bytes(4096)],
    ids=["empty", "a web page", "sync bytes", "one packet", "zeros"],
)
@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_rubbish_is_an_error_we_know(container: str, rubbish: bytes, tmp_path: Path) -> None:
    tracks = held_tracks(segment(build(SPEC), container=container), tmp_path)
    (tmp_path / (tracks[0].segments[1].name or "")).write_bytes(rubbish)

    with pytest.raises(CuttingRoomError):
        indexed(tracks, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_flipped_bytes_are_either_read_or_an_error_we_know(container: str, tmp_path: Path) -> None:
    tracks = held_tracks(segment(build(SPEC), container=container), tmp_path)
    path = tmp_path / (tracks[0].segments[0].name or "")
    data = path.read_bytes()

    for at in range(0, min(len(data), 4000), 17):
        path.write_bytes(data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :])
        with suppress(CorruptMedia, UnsupportedMedia, Encrypted, FormatChange):
            indexed(tracks, tmp_path)
