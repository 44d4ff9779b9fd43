"""The pace of a file's packets, and the rotation flag, told from tiny streams."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.jail import Jail
from media.pace import pace
from media.probe import probe
from media.process import ForkServer
from media.turning import turn
from media.workspace import Workspace
from schemas.errors import CorruptMedia, UnsupportedMedia
from tests import sources
from tests.media_builder import StreamSpec, build, write_mp4


def a_file(workspace: Workspace, spec: StreamSpec) -> Path:
    path = workspace.path / "a.mp4"
    write_mp4(build(spec), path)
    return path


def test_a_steady_stream_tells_its_step_and_keyframes(
    server: ForkServer, workspace: Workspace
) -> None:
    path = a_file(workspace, StreamSpec(seconds=2, gop=25))

    video, sound = pace(server, path, jail=Jail(workspace=workspace.path)).tracks

    assert (video.packets, video.step_us, video.variable) == (50, 40_000, False)
    assert video.keyframes_us == (0, 1_000_000)
    assert video.length_us == 2_000_000
    assert not video.open_gop
    assert sound.keyframes_us is None
    assert sound.bitrate_bps > 10_000


def test_uneven_frames_and_leading_pictures_are_seen(
    server: ForkServer, workspace: Workspace
) -> None:
    jail = Jail(workspace=workspace.path)
    uneven = a_file(workspace, StreamSpec(seconds=2, durations_ticks=(3600, 7200), bframes=0))
    first = pace(server, uneven, jail=jail).tracks[0]
    leaning = a_file(workspace, StreamSpec(seconds=2, gop=24, open_gop=True))

    second = pace(server, leaning, jail=jail).tracks[0]

    assert (first.variable, first.open_gop) == (True, False)
    assert (second.variable, second.open_gop) == (False, True)


def test_what_an_edit_list_hides_is_not_counted(server: ForkServer, workspace: Workspace) -> None:
    video, sound = pace(server, sources.trimmed(), jail=Jail(workspace=workspace.path)).tracks

    assert (video.packets, video.first_us, video.length_us) == (35, 0, 1_400_000)
    assert video.keyframes_us == (400_000,)
    assert abs(sound.first_us) < 25_000


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", CorruptMedia),
        (b"words", CorruptMedia),
        (b"#EXTM3U\n", UnsupportedMedia),
        (b"\x00\x00\x00\x18ftypisom" + bytes(200), CorruptMedia),
    ],
)
def test_what_is_no_media_has_no_pace(
    server: ForkServer, workspace: Workspace, data: bytes, error: type[Exception]
) -> None:
    path = workspace.path / "a.mp4"
    path.write_bytes(data)

    with pytest.raises(error):
        pace(server, path, jail=Jail(workspace=workspace.path))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turn_is_read_back(
    server: ForkServer, workspace: Workspace, degrees: int, mirrored: bool
) -> None:
    path = a_file(workspace, StreamSpec(seconds=1))
    before = path.stat().st_size

    turn(path, degrees, mirrored=mirrored)

    info = probe(server, path, jail=Jail(workspace=workspace.path), edges=True)
    (video,) = (s for s in info.streams if s.kind == "video")
    assert (video.rotation_deg, video.mirrored) == (degrees, mirrored)
    assert path.stat().st_size == before


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"\x00\x00\x00\x01mdat" + bytes(8)])
def test_a_file_without_a_header_is_not_turned(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)

    with pytest.raises(CorruptMedia, match="no header"):
        turn(path, 90)

    assert path.read_bytes() == data
