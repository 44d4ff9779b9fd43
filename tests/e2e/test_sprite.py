"""Posters and sprites of files, end to end: which frame a picture shows is read off it."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests import sources
from tests.e2e.sprite_kit import board_in, number_of, numbers_in, poster, sprite
from tests.media_builder import StreamSpec, build, segment, write_mp4

NTSC = Fraction(30000, 1001)


def on_screen(spec: StreamSpec, at_ms: int) -> int:
    """The frame a player shows at a time; one that begins within the millisecond is meant."""
    times = spec.frame_times[:-1]
    return spec.first_number + max(n for n, t in enumerate(times) if t * 1000 <= at_ms + 1)


SPECS = {
    "closed gop": StreamSpec(seconds=4, gop=25, audio=()),
    "open gop": StreamSpec(seconds=4, gop=24, open_gop=True, fps=NTSC),
    "one long gop": StreamSpec(seconds=24, gop=600, fps=Fraction(25), audio=(), b_pyramid=True),
    "vfr": StreamSpec(seconds=4, gop=20, durations_ticks=(3003, 6006, 30030), audio=()),
    "hevc": StreamSpec(seconds=3, gop=25, codec="hevc", audio=()),
    "hevc 10 bit": StreamSpec(seconds=3, gop=25, codec="hevc", pix_fmt="yuv420p10le", audio=()),
    "interlaced": StreamSpec(seconds=3, gop=25, interlaced="tff", audio=()),
    "no b-frames": StreamSpec(seconds=3, gop=10, bframes=0),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_every_picture_is_the_one_on_screen_at_its_time(
    tmp_path: Path, spec: StreamSpec, container: str
) -> None:
    source = a_file(tmp_path, spec, container)

    job = sprite(source, tmp_path / "out", every_s=0.31)

    assert job.state == "succeeded", job.error
    cues = board_in(tmp_path / "out").cues
    assert numbers_in(tmp_path / "out") == [on_screen(spec, cue.start_ms) for cue in cues]


def a_file(folder: Path, spec: StreamSpec, container: str) -> Path:
    """The stream as a whole file."""
    stream = build(spec)
    path = folder / f"source.{container}"
    if container == "mp4":
        write_mp4(stream, path)
    else:
        asset = segment(stream, container="ts", segment_s=600)
        (data,) = (d for n, d in asset.files.items() if n.endswith(".ts"))
        path.write_bytes(data)
    return path


def test_the_tail_is_covered_and_long_media_takes_several_sheets(tmp_path: Path) -> None:
    source = a_file(tmp_path, StreamSpec(seconds=8, gop=25, audio=()), "mp4")

    sprite(source, tmp_path / "out", every_s=0.04)

    board = board_in(tmp_path / "out")
    assert len(board.sheets) == 2
    assert numbers_in(tmp_path / "out") == list(range(200))
    assert [c.end_ms for c in board.cues] == [*[c.start_ms for c in board.cues][1:], 8000]


@pytest.mark.parametrize("container", ["mp4", "ts"])
def test_keyframes_are_cheap_and_their_cues_tell_their_true_times(
    tmp_path: Path, container: str
) -> None:
    source = a_file(tmp_path, SPECS["open gop"], container)

    sprite(source, tmp_path / "out", every_s=0.5, times="keyframe", format="webp")

    cues = board_in(tmp_path / "out").cues
    shown = numbers_in(tmp_path / "out")
    assert shown == [0, 24, 48, 72, 96]
    assert [c.at_ms for c in cues] == [round(n * 1000 / NTSC) for n in shown if n is not None]
    assert [c.start_ms for c in cues] == [c.at_ms for c in cues]


def test_a_poster_is_as_large_as_its_source(tmp_path: Path) -> None:
    source = a_file(tmp_path, SPECS["hevc"], "mp4")

    job = poster(source, tmp_path / "p.webp", at="1.24", format="webp")

    picture = Image.open(tmp_path / "p.webp")
    assert (picture.format, picture.size, number_of(picture)) == ("WEBP", (192, 112), 31)
    assert (job.result or {})["atMs"] == 1240


@pytest.mark.parametrize(("turn", "size"), [(90, (112, 192)), (180, (192, 112)), (270, (112, 192))])
def test_a_turned_picture_is_shown_the_right_way_up(
    tmp_path: Path, turn: int, size: tuple[int, int]
) -> None:
    source = a_file(tmp_path, SPECS["closed gop"], "mp4")
    source.write_bytes(turned(source.read_bytes(), turn))

    job = poster(source, tmp_path / "p.jpg", at="2")

    picture = Image.open(tmp_path / "p.jpg")
    assert job.state == "succeeded", job.error
    assert picture.size == size
    assert number_of(picture.rotate(turn, expand=True)) == 50


def turned(data: bytes, degrees: int) -> bytes:
    """An MP4 whose track is to be shown turned clockwise, by its header's matrix."""
    one = 0x10000
    cos, sin = {90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 0x40000000)
    matrix = struct.pack(">9i", cos, sin, 0, -sin, cos, 0, 0, 0, 0x40000000)
    at = data.index(plain, data.index(b"tkhd"))
    return data[:at] + matrix + data[at + len(plain) :]


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_time_counts_from_the_zero_of_the_file_where_the_picture_begins_later(
    container: str, tmp_path: Path
) -> None:
    spec = SPECS["no b-frames"]
    source, late = str(a_file(tmp_path, spec, "mp4")), tmp_path / f"late.{container}"
    inputs = ["-itsoffset", "0.69", "-i", source, "-i", source]
    sources.run(*inputs, "-map", "0:v", "-map", "1:a", "-c", "copy", str(late))

    job = sprite(late, tmp_path / "out", every_s=1)

    assert job.state == "succeeded", job.error
    wanted = [max(0, cue.start_ms - 700) for cue in board_in(tmp_path / "out").cues]
    assert numbers_in(tmp_path / "out") == [on_screen(spec, at) for at in wanted]


def test_a_matroska_that_begins_late_ends_with_its_last_picture(tmp_path: Path) -> None:
    source = str(a_file(tmp_path, SPECS["closed gop"], "mp4"))
    late = tmp_path / "late.mkv"
    sources.run("-i", source, "-c", "copy", "-output_ts_offset", "10", str(late))

    job, plain = (sprite(path, tmp_path / path.stem, every_s=1) for path in (late, Path(source)))

    assert job.result is not None
    assert plain.result is not None
    assert abs(job.result["durationMs"] - plain.result["durationMs"]) < 50


def test_a_mirrored_picture_is_shown_as_in_a_mirror(tmp_path: Path) -> None:
    plain, mirrored = sources.made("h264 and aac in mp4"), sources.mirrored()

    for name, source in (("plain", plain), ("mirrored", mirrored)):
        poster(source, tmp_path / f"{name}.jpg")

    pictures = [Image.open(tmp_path / f"{name}.jpg") for name in ("plain", "mirrored")]
    expected = pictures[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    apart = np.asarray(expected, np.int16) - np.asarray(pictures[1], np.int16)
    assert np.abs(apart).mean() < 4


def test_odd_sizes_and_squeezed_pixels_keep_their_aspect(tmp_path: Path) -> None:
    source = a_file(tmp_path, StreamSpec(seconds=1, gop=25, size=(194, 110), audio=()), "mp4")

    job = sprite(source, tmp_path / "out", count=2, width=97)

    assert ((job.result or {})["width"], (job.result or {})["height"]) == (97, 55)


def test_a_renamed_file_is_what_it_is(tmp_path: Path) -> None:
    source = a_file(tmp_path, SPECS["closed gop"], "ts").rename(tmp_path / "movie.avi")

    job = sprite(source, tmp_path / "out", count=4)

    assert job.state == "succeeded", job.error
    assert numbers_in(tmp_path / "out") == [0, 25, 50, 75]


def test_a_truncated_file_shows_what_there_is_of_it(tmp_path: Path) -> None:
    source = a_file(tmp_path, SPECS["closed gop"], "mp4")
    data = source.read_bytes()
    cut = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    if data.index(b"moov") > data.index(b"mdat"):
        source = a_file(tmp_path, SPECS["closed gop"], "ts")
        data = source.read_bytes()
        cut = len(data) // 2
    source.write_bytes(data[:cut])

    job = sprite(source, tmp_path / "out", every_s=0.5)

    assert job.state == "succeeded", job.error
    shown = numbers_in(tmp_path / "out")
    assert shown[:3] == [0, 12, 25]
    assert None not in shown


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("empty.mp4", b"", "media_invalid"),
        ("text.mp4", b"no media at all, only words\n" * 40, "media_invalid"),
        ("list.m3u8.mp4", b"#EXTM3U\nfile:///etc/passwd\n", "media_invalid"),
    ],
)
def test_what_is_no_media_fails_with_its_code(
    tmp_path: Path, name: str, data: bytes, code: str
) -> None:
    (tmp_path / name).write_bytes(data)

    job = poster(tmp_path / name, tmp_path / "p.jpg")

    assert job.error is not None
    assert job.error.code == code
    assert not (tmp_path / "p.jpg").exists()


def test_sound_alone_has_no_picture(tmp_path: Path) -> None:
    source = tmp_path / "song.m4a"
    with av.open(str(source), "w", format="mp4") as out:
        track = out.add_stream("aac", rate=48_000, layout="mono")
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        out.mux(track.encode(frame))
        out.mux(track.encode(None))

    job = poster(source, tmp_path / "p.jpg")

    assert job.error is not None
    assert (job.error.code, "no video" in job.error.message) == ("media_invalid", True)


def test_a_time_past_the_end_is_refused(tmp_path: Path) -> None:
    source = a_file(tmp_path, SPECS["closed gop"], "mp4")

    job = poster(source, tmp_path / "p.jpg", at="60")

    assert job.error is not None
    assert job.error.code == "invalid_command"
