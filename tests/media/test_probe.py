"""A probe says what a file holds, and refuses what it should not."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import pytest

from media.probe import ProbeLimits, probe
from media.process import ForkServer
from media.workspace import Workspace
from schemas.errors import (
    CorruptMedia,
    CuttingRoomError,
    SourceNotFound,
    TooLarge,
    UnsupportedMedia,
)
from tests import sources
from tests.media_builder import StreamSpec, build, segment, write_mp4

SPEC = StreamSpec(fps=Fraction(30000, 1001), gop=15, seconds=2)


@pytest.fixture
def clip(workspace: Workspace) -> Path:
    path = workspace.file("in.mp4")
    write_mp4(build(SPEC), path)
    return path


def test_a_probe_names_streams_rates_and_lengths(
    server: ForkServer, workspace: Workspace, clip: Path
) -> None:
    found = probe(server, clip, jail=workspace.jail(), edges=True)

    video, audio = found.streams
    assert (found.container, found.size) == ("mp4", clip.stat().st_size)
    assert (video.kind, video.codec, video.codec_tag) == ("video", "h264", "avc1")
    assert video.frame_rate == Fraction(30000, 1001)
    assert (video.pixel_format, video.field_order, video.rotation_deg) == (
        "yuv420p",
        "progressive",
        0,
    )
    assert (audio.kind, audio.codec, audio.sample_rate_hz, audio.channels) == (
        "audio",
        "aac",
        48000,
        2,
    )
    assert found.duration_ms is not None
    assert abs(found.duration_ms - 2000) < 100


@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_a_segment_is_probed_by_what_it_is(
    server: ForkServer, workspace: Workspace, container: str
) -> None:
    asset = segment(build(SPEC), container=container)  # type: ignore[arg-type]
    parts = sorted(name for name in asset.files if "init" in name)[:1]
    parts += sorted(n for n in asset.files if n.startswith("main") and n not in parts)[:1]
    path = workspace.file("held.bin")
    path.write_bytes(b"".join(asset.files[name] for name in parts))

    found = probe(server, path, jail=workspace.jail(), edges=container == "ts")

    assert found.container == {"ts": "mpegts", "fmp4": "fmp4"}[container]
    assert {stream.kind for stream in found.streams} >= {"video"}


def test_a_file_cut_short_is_corrupt_where_its_edges_are_looked_at(
    server: ForkServer, workspace: Workspace, clip: Path
) -> None:
    whole = clip.read_bytes()
    short = workspace.file("short.mp4")
    # The index of a faststart file survives a truncation, so its declared length stays whole.
    short.write_bytes(_index_first(whole)[: len(whole) * 6 // 10])

    with pytest.raises(CorruptMedia):
        probe(server, short, jail=workspace.jail(), edges=True)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", CorruptMedia),
        (b"\0" * 4096, CorruptMedia),
        (b"\0\0\0\x18ftypisom" + b"\xff" * 4096, CorruptMedia),
        (b"\x1a\x45\xdf\xa3" + b"\xff" * 4096, CorruptMedia),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", UnsupportedMedia),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", UnsupportedMedia),
        (b"<html><body>404</body></html>", UnsupportedMedia),
    ],
    ids=["empty", "zeros", "bad mp4", "bad mkv", "playlist", "concat list", "web page"],
)
def test_what_is_no_media_is_refused_by_what_it_is(
    server: ForkServer, workspace: Workspace, content: bytes, kind: type[CuttingRoomError]
) -> None:
    path = workspace.file("given.mp4")
    path.write_bytes(content)

    with pytest.raises(kind):
        probe(server, path, jail=workspace.jail())


@pytest.mark.parametrize(
    "limits",
    [
        ProbeLimits(max_streams=1),
        ProbeLimits(max_duration_ms=1000),
        ProbeLimits(max_frame_rate=20),
        ProbeLimits(max_pixels=1000),
    ],
    ids=["streams", "duration", "frame rate", "pixels"],
)
def test_a_ceiling_is_a_refusal(
    server: ForkServer, workspace: Workspace, clip: Path, limits: ProbeLimits
) -> None:
    with pytest.raises(TooLarge):
        probe(server, clip, jail=workspace.jail(), limits=limits)


@pytest.mark.parametrize(
    "what", ["h264 and aac in mp4", "sound only, in mp4", "sound only, as mp3"]
)
def test_a_cover_has_no_rate_and_no_end(
    server: ForkServer, workspace: Workspace, what: str
) -> None:
    found = probe(server, sources.covered(what), jail=workspace.jail(), edges=True)

    cover = found.streams[-1]
    assert (cover.kind, cover.codec, cover.frame_rate) == ("video", "mjpeg", None)


@pytest.mark.parametrize("what", ["h264 and ac-3 in mkv", "vp9 and opus in webm"])
def test_a_matroska_says_in_a_tag_how_long_it_lasts(
    server: ForkServer, workspace: Workspace, what: str
) -> None:
    short = sources.cut_off(sources.made(what), 0.4, "short.mkv")

    whole = probe(server, sources.made(what), jail=workspace.jail(), edges=True)

    assert whole.streams[0].duration_ticks in range(1950, 2050)
    with pytest.raises(CorruptMedia, match="before the end it declares"):
        probe(server, short, jail=workspace.jail(), edges=True)


@pytest.mark.parametrize(
    ("name", "options", "declared"),
    [("a.aac", "-c:a aac", False), ("a.mp3", "-write_xing 0", False), ("b.mp3", "", True)],
    ids=["adts", "mp3", "mp3 with a table"],
)
def test_what_is_but_guessed_of_a_length_is_not_declared(
    server: ForkServer, workspace: Workspace, name: str, options: str, declared: bool
) -> None:
    path = workspace.file(name)
    # Its first second takes far fewer bytes than what follows.
    sources.run(
        "-f", "lavfi", "-i", "aevalsrc=gt(t\\,1)*random(0):d=3", *options.split(), str(path)
    )

    (sound,) = probe(server, path, jail=workspace.jail(), edges=True).streams

    assert (sound.duration_ticks is not None) == declared


@pytest.mark.parametrize(
    ("declared", "lacking"),
    [(192_070, 0), (0, 0), (0xFFFF_FFFF, 0), (192_070 + 44, 0), (192_400, 330), (400_000, 207_930)],
    ids=["right", "piped", "unknown", "sloppy", "cut off a little", "cut off"],
)
def test_a_riff_file_is_held_against_the_bytes_it_declares(
    server: ForkServer, workspace: Workspace, declared: int, lacking: int
) -> None:
    whole = sources.made("sound only, as wav").read_bytes()[: 192_070 + 8]
    path = workspace.file("a.wav")
    path.write_bytes(whole[:4] + declared.to_bytes(4, "little") + whole[8:])

    assert probe(server, path, jail=workspace.jail()).lacking_bytes == lacking
    if lacking:
        with pytest.raises(CorruptMedia, match="cut off"):
            probe(server, path, jail=workspace.jail(), edges=True)


@pytest.mark.parametrize("told", [True, False], ids=["tells its size", "was piped"])
@pytest.mark.parametrize("kept", ["all", "half", "but 300 bytes"])
def test_an_flv_is_held_against_its_tags(
    server: ForkServer, workspace: Workspace, kept: str, told: bool
) -> None:
    whole = sources.made("h264 and aac in flv").read_bytes()
    name, told_size, rest = whole.partition(b"\0\x08filesize\0")
    whole = whole if told else name + told_size + bytes(8) + rest[8:]
    left = {"all": len(whole), "half": len(whole) // 2, "but 300 bytes": len(whole) - 300}[kept]
    path = workspace.file("a.flv")
    path.write_bytes(whole[:left])

    found = probe(server, path, jail=workspace.jail())

    assert bool(found.lacking_bytes) == (kept != "all")
    assert not told or found.lacking_bytes == len(whole) - left
    if kept == "all":
        probe(server, path, jail=workspace.jail(), edges=True)
    else:
        with pytest.raises(CorruptMedia, match="cut off"):
            probe(server, path, jail=workspace.jail(), edges=True)


def test_an_flv_cut_off_between_two_tags_still_tells_its_size(
    server: ForkServer, workspace: Workspace
) -> None:
    whole = sources.made("h264 and aac in flv").read_bytes()
    last = int.from_bytes(whole[-4:], "big") + 4
    path = workspace.file("a.flv")
    path.write_bytes(whole[:-last])

    assert probe(server, path, jail=workspace.jail()).lacking_bytes == last


@pytest.mark.parametrize("kept", ["all", "half", "nine tenths"])
def test_an_mxf_is_held_against_its_last_partition(
    server: ForkServer, workspace: Workspace, kept: str
) -> None:
    path = workspace.file("a.mxf")
    picture = "testsrc2=s=64x48:r=25:d=1"
    sources.run("-f", "lavfi", "-i", picture, "-c:v", "mpeg2video", str(path))
    whole = path.read_bytes()
    share = {"all": 10, "half": 5, "nine tenths": 9}[kept]
    path.write_bytes(whole[: len(whole) * share // 10])

    found = probe(server, path, jail=workspace.jail())

    assert (found.lacking_bytes > 0) == (kept != "all")


def test_chapters_and_a_tilt_are_told(server: ForkServer, workspace: Workspace, clip: Path) -> None:
    told = workspace.file("chapters.txt")
    head = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\n"
    told.write_text(f"{head}START=0\nEND=500\ntitle=one\n")
    path = workspace.file("a.mp4")
    sources.run(
        *("-i", str(clip), "-i", str(told), "-map", "0", "-map_metadata", "1", "-c", "copy"),
        str(path),
    )
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    across, down = round(0.8 * 65536), round(0.6 * 65536)
    data[matrix : matrix + 20] = struct.pack(">5i", across, down, 0, -down, across)
    path.write_bytes(data)

    found = probe(server, path, jail=workspace.jail())

    video = next(s for s in found.streams if s.kind == "video")
    assert found.chapters == 1
    assert (video.rotation_deg, video.tilted_deg) == (0, 324)


def test_frames_at_no_rate_are_not_taken_for_ticks_of_a_clock(
    server: ForkServer, workspace: Workspace
) -> None:
    path = sources.made("times beside any rate, in mpeg-ts")

    video = probe(server, path, jail=workspace.jail(), edges=True).streams[0]

    assert (video.kind, video.frame_rate) == ("video", None)


def test_a_file_that_is_not_there_is_said_so(server: ForkServer, workspace: Workspace) -> None:
    with pytest.raises(SourceNotFound):
        probe(server, workspace.file("none.mp4"), jail=workspace.jail())


def test_a_file_outside_the_workspace_is_read_where_it_lies(
    server: ForkServer, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "elsewhere.mp4"
    write_mp4(build(SPEC), path)

    assert probe(server, path, jail=workspace.jail()).container == "mp4"


def _index_first(mp4: bytes) -> bytes:
    """The boxes of an MP4 reordered so that only the media data comes last, offsets corrected."""
    boxes: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(mp4):
        size = int.from_bytes(mp4[at : at + 4], "big")
        boxes.append((mp4[at + 4 : at + 8], mp4[at : at + size]))
        at += size
    kinds = [kind for kind, _ in boxes]
    if kinds.index(b"moov") < kinds.index(b"mdat"):
        return mp4
    moov = dict(boxes)[b"moov"]
    shifted = _shifted(moov, len(moov))
    rest = [box for kind, box in boxes if kind != b"moov"]
    return rest[0] + shifted + b"".join(rest[1:])


def _shifted(moov: bytes, by: int) -> bytes:
    out = bytearray(moov)
    at = out.find(b"stco")
    while at >= 0:
        count = int.from_bytes(out[at + 8 : at + 12], "big")
        for entry in range(count):
            place = at + 12 + 4 * entry
            moved = int.from_bytes(out[place : place + 4], "big") + by
            out[place : place + 4] = moved.to_bytes(4, "big")
        at = out.find(b"stco", at + 4)
    return bytes(out)
