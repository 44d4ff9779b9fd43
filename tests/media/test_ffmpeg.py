"""ffmpeg is found, read, held to its version and run on local files only."""

from __future__ import annotations

from pathlib import Path

import pytest

from media.ffmpeg import (
    Encoding,
    Ffmpeg,
    check_inputs,
    encoding,
    failure,
    locate,
    packaged,
    run_ffmpeg,
    version_of,
)
from media.process import ForkServer
from media.workspace import Workspace
from pipelines.ffargs import LocalInput, encode
from schemas.errors import (
    Cancelled,
    CorruptMedia,
    CuttingRoomError,
    DiskFull,
    InvalidCommand,
    TooLarge,
    UnsupportedMedia,
)
from schemas.profiles import AudioRecipe, Profile, VideoRecipe
from tests.media_builder import StreamSpec, build, write_mp4

needs_ffmpeg = pytest.mark.skipif(packaged() is None, reason="the embedded extra is not installed")
SMALL = Profile(
    name="small", video=VideoRecipe(codec="h264", width=96, crf=35), audio=AudioRecipe(codec="aac")
)


def a_program(folder: Path, version: str, encoders: str = " V..... libx264 x\n") -> Path:
    """A shell script that answers like ffmpeg of some version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ffmpeg"
    path.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        f"*-version*) echo 'ffmpeg version {version} Copyright (c)';;\n"
        f"*-encoders*) printf ' V..... = Video\\n{encoders}';;\n"
        "*-filters*) printf ' ... scale V->V Scale\\n';;\n"
        "esac\n"
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("ffmpeg version 5.1.9-0+deb12u1 Copyright", (5, 1, 9)),
        ("ffmpeg version n8.1.2 Copyright", (8, 1, 2)),
        ("ffmpeg version 7.0 Copyright", (7, 0, 0)),
        ("ffmpeg version N-118000-gabcdef Copyright", None),
    ],
)
def test_a_version_is_read_from_the_banner(banner: str, version: tuple[int, ...] | None) -> None:
    assert version_of(banner)[1] == version


def test_a_program_that_is_no_ffmpeg_is_refused() -> None:
    with pytest.raises(UnsupportedMedia):
        version_of("bash 5.2")


def test_the_one_that_is_set_comes_first(tmp_path: Path) -> None:
    chosen = a_program(tmp_path / "a", "6.1")
    a_program(tmp_path / "b", "8.1.3")

    found = locate(str(chosen), search_path=str(tmp_path / "b"))

    assert found is not None
    assert (found.path, found.origin, found.version) == (chosen, "setting", (6, 1, 0))


@pytest.mark.parametrize("setting", ["/no/such/ffmpeg", "/bin/cat", "old"])
def test_one_that_is_set_and_does_not_serve_is_refused(tmp_path: Path, setting: str) -> None:
    old = a_program(tmp_path, "4.4.2")

    with pytest.raises(UnsupportedMedia):
        locate(str(old) if setting == "old" else setting, search_path="")


def test_one_on_the_path_is_used_where_new_enough(tmp_path: Path) -> None:
    on_path = a_program(tmp_path, "5.1.9-0+deb12u1")

    found = locate(None, search_path=str(tmp_path))

    assert found is not None
    assert (found.path, found.origin) == (on_path, "path")
    assert (found.new_enough, found.current) == (True, False)


@needs_ffmpeg
def test_an_old_one_on_the_path_gives_way_to_the_packaged_one(tmp_path: Path) -> None:
    a_program(tmp_path, "4.4.2")

    found = locate(None, search_path=str(tmp_path))

    assert found is not None
    assert (found.origin, found.path) == ("package", packaged())
    assert {"libx264", "libx265", "aac"} <= found.encoders
    assert {"scale", "trim"} <= found.filters


def test_what_a_build_lacks_is_named(tmp_path: Path) -> None:
    found = locate(str(a_program(tmp_path, "8.1.3")), search_path="")
    assert found is not None

    found.require(encoders=("libx264",), filters=("scale",))
    with pytest.raises(UnsupportedMedia, match=r"encoder libx265, filter zscale"):
        found.require(encoders=("libx264", "libx265"), filters=("zscale",))


GUARDED = ("-f", "mov", "-protocol_whitelist", "file,pipe")


@pytest.mark.parametrize(
    "argv",
    [
        ("-i", "file:/w/in.mp4"),
        ("-f", "mov", "-i", "file:/w/in.mp4"),
        ("-protocol_whitelist", "file,pipe", "-i", "file:/w/in.mp4"),
        ("-f", "mov", "-protocol_whitelist", "file,http", "-i", "file:/w/in.mp4"),
        (*GUARDED, "-i", "http://example.test/x"),
        (*GUARDED, "-i", "in.mp4"),
        (*GUARDED, "-i", "concat:/w/a|/w/b"),
        (*GUARDED, "-i", "file:/w/a.mp4", "-i", "file:/w/b.mp4"),
        (*GUARDED, "-i"),
    ],
)
def test_an_input_that_is_not_a_guarded_local_file_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(InvalidCommand):
        check_inputs(argv)


def test_guarded_inputs_pass() -> None:
    check_inputs((*GUARDED, "-i", "file:/w/a.mp4", *GUARDED, "-i", "file:/w/b.mp4", "out.mp4"))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("av_interleaved_write_frame(): No space left on device", DiskFull),
        ("Error writing trailer: File too large", TooLarge),
        ("Cannot allocate memory", TooLarge),
        ("Invalid data found when processing input", CorruptMedia),
    ],
)
def test_a_failure_is_what_ffmpeg_said(said: str, kind: type[CuttingRoomError]) -> None:
    assert type(failure(f"[mp4 @ 0x1] {said}\n")) is kind


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            {"out_time_us": "1500000", "frame": "37", "speed": "2.5x"},
            Encoding(out_ms=1500, frames=37, fraction=0.5, speed=2.5),
        ),
        (
            {"out_time_us": "N/A", "frame": "0", "speed": "N/A"},
            Encoding(out_ms=0, frames=0, fraction=0.0, speed=None),
        ),
        (
            {"out_time_us": "-40000", "frame": "1"},
            Encoding(out_ms=0, frames=1, fraction=0.0, speed=None),
        ),
        (
            {"out_time_us": "99" * 40, "speed": "1e999x"},
            Encoding(out_ms=0, frames=0, fraction=0.0, speed=None),
        ),
    ],
)
def test_progress_is_read_as_numbers(block: dict[str, str], expected: Encoding) -> None:
    assert encoding(dict(block), 3000) == expected


@pytest.fixture(scope="module")
def ffmpeg() -> Ffmpeg:
    found = locate(None, search_path="")
    if found is None:
        pytest.skip("the embedded extra is not installed")
    return found


@pytest.fixture
def clip(workspace: Workspace) -> LocalInput:
    path = workspace.file("in.mp4")
    write_mp4(build(StreamSpec(seconds=2)), path)
    return LocalInput(path=str(path), demuxer="mov")


def test_an_encode_reports_progress_and_makes_the_file(
    server: ForkServer, ffmpeg: Ffmpeg, workspace: Workspace, clip: LocalInput
) -> None:
    seen: list[Encoding] = []

    run_ffmpeg(
        server,
        ffmpeg,
        encode(clip, str(workspace.file("out.mp4")), SMALL),
        jail=workspace.jail(),
        duration_ms=2000,
        on_progress=seen.append,
    )

    assert workspace.file("out.mp4").read_bytes()[4:8] == b"ftyp"
    assert seen[-1].frames == 50
    assert seen[-1].fraction is not None
    assert seen[-1].fraction > 0.9


def test_a_damaged_input_is_corrupt_media(
    server: ForkServer, ffmpeg: Ffmpeg, workspace: Workspace
) -> None:
    workspace.file("bad.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(2000))
    source = LocalInput(path=str(workspace.file("bad.mp4")), demuxer="mov")

    with pytest.raises(CorruptMedia):
        run_ffmpeg(
            server,
            ffmpeg,
            encode(source, str(workspace.file("out.mp4")), SMALL),
            jail=workspace.jail(),
        )


def test_an_output_over_the_limit_is_too_large(
    server: ForkServer, ffmpeg: Ffmpeg, workspace: Workspace, clip: LocalInput
) -> None:
    with pytest.raises(TooLarge):
        run_ffmpeg(
            server,
            ffmpeg,
            encode(clip, str(workspace.file("out.mp4")), SMALL),
            jail=workspace.jail(file_bytes=4096),
        )


def test_a_cancelled_encode_is_ended(
    server: ForkServer, ffmpeg: Ffmpeg, workspace: Workspace, clip: LocalInput
) -> None:
    def cancel() -> None:
        raise Cancelled("somebody changed their mind")

    with pytest.raises(Cancelled):
        run_ffmpeg(
            server,
            ffmpeg,
            encode(clip, str(workspace.file("out.mp4")), SMALL),
            jail=workspace.jail(),
            control=cancel,
        )
