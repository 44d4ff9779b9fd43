"""Timelines through the export engine: channels, clips and files, judged frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from media.turning import turn
from pipelines import otio, render
from schemas.cuts import GapPolicy
from schemas.jobs import Job
from schemas.profiles import AudioRecipe, Profile, VideoRecipe
from tests.builders import a_connector_ref
from tests.e2e.export_kit import carry_out
from tests.media_builder import HlsAsset, StreamSpec, build, segment, write_mp4
from tests.oracle import audio_offsets, inspect
from tests.origin import Fault, Origin
from tests.sources import run as ffmpeg
from tests.timelines import (
    Node,
    a_clip,
    a_gap,
    a_timeline,
    a_track,
    a_transition,
    of_channel,
    of_file,
)

pytestmark = pytest.mark.slow
RECIPE = Profile(
    name="small",
    video=VideoRecipe(codec="h264", width=96, height=56, speed="fast"),
    audio=AudioRecipe(codec="aac", bitrate=64_000),
)
NTSC = Fraction(30000, 1001)
RATES = pytest.mark.parametrize("fps", [Fraction(25), NTSC], ids=["25", "29.97"])


def rendered(output: Path, sources: dict[str, render.Source], *items: Node, **asked: Any) -> Job:
    """The finished job that renders a track of items to `output`."""
    timeline = otio.read(a_timeline(a_track(*items)))
    gaps: GapPolicy = asked.get("gaps", "fail")
    return carry_out(render.parts(timeline, sources, gaps), output, **asked)


class Channels:
    """Two live channels of two connectors, on one loopback origin."""

    def __init__(self, origin: Origin, one: HlsAsset, other: HlsAsset) -> None:
        origin.mount("second", other)
        urls = {"con_a": origin.url, "con_b": origin.url_of(other.entry, "second")}
        self.sources = {
            name: render.Source(
                ref=a_connector_ref(id=name, config={"url": url}), streams=True, files=False
            )
            for name, url in urls.items()
        }
        self.one = of_channel("con_a", "ch1", startMs=one.epoch_ms)
        self.other = of_channel("con_b", "ch2", startMs=other.epoch_ms)


@pytest.fixture
def channels(fps: Fraction) -> Iterator[Channels]:
    one = segment(build(StreamSpec(fps=fps)))
    other = segment(build(StreamSpec(fps=fps, first_number=500)))
    with Origin(one) as origin:
        yield Channels(origin, one, other)


@RATES
@pytest.mark.parametrize(
    ("gaps", "between"),
    [("fail", [None] * 11), ("black", [None] * 11), ("hold", [539] * 11), ("skip", [])],
)
def test_three_cuts_of_two_channels_are_one_file(
    channels: Channels, fps: Fraction, gaps: str, between: list[int | None], tmp_path: Path
) -> None:
    rate, output = float(fps), tmp_path / "out.mp4"

    job = rendered(
        output,
        channels.sources,
        a_clip(13, 40, rate, media=channels.one),
        a_clip(7, 33, rate, media=channels.other),
        a_transition(3, rate),
        a_gap(11, rate),
        a_clip(60, 21, rate, media=channels.one),
        gaps=gaps,
    )

    assert job.error is None
    seen = inspect(output)
    wanted = [*range(13, 53), *range(507, 540), *between, *range(60, 81)]
    assert list(seen.numbers) == wanted
    assert seen.clean
    made = job.result or {}
    assert made["delivered"]["frames"] == len(wanted)
    assert [(part["firstFrame"], part["frames"]) for part in made["parts"]] == [
        (0, 40),
        (40, 33),
        (73 + len(between), 21),
    ]


@RATES
def test_a_pause_before_everything_is_kept(
    channels: Channels, fps: Fraction, tmp_path: Path
) -> None:
    rate, output = float(fps), tmp_path / "out.mp4"

    for gaps, opening in (("black", None), ("hold", 30)):
        target = output.with_stem(gaps)
        clip = a_clip(30, 20, rate, media=channels.one)
        job = rendered(target, channels.sources, a_gap(9, rate), clip, gaps=gaps)

        assert job.error is None
        assert list(inspect(target).numbers) == [*[opening] * 9, *range(30, 50)]


@RATES
def test_cuts_on_every_frame_of_a_channel_miss_none(
    channels: Channels, fps: Fraction, tmp_path: Path
) -> None:
    # Every cut but the first leaves one frame out: were one off, it would show.
    rate, output = float(fps), tmp_path / "out.mp4"
    cuts = [a_clip(4 * n, 3, rate, media=channels.one) for n in range(30)]

    job = rendered(output, channels.sources, *cuts)

    assert job.error is None
    assert list(inspect(output).numbers) == [4 * n + k for n in range(30) for k in range(3)]


class Files:
    """A folder of ordinary files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        ref = a_connector_ref(id="con_f", type="local", config={"folder": str(folder)})
        self.sources = {"con_f": render.Source(ref=ref, streams=False, files=True)}

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def cut(self, output: Path, name: str, rate: Fraction, **asked: Any) -> Job:
        """Three cuts of one file, the last from its first frame."""
        media = of_file("con_f", name)
        cuts = [a_clip(a, n, float(rate), media=media) for a, n in ((13, 40), (61, 33), (0, 10))]
        return rendered(output, self.sources, *cuts, folders=(str(self.folder),), **asked)


CUT = [*range(13, 53), *range(61, 94), *range(10)]
# What ffmpeg makes of an ordinary MP4, and whether its pictures can be copied.
FILES = {
    "goal.mp4": (("-c", "copy"), True),
    "goal.mov": (("-c", "copy"), True),
    "goal.ts": (("-c", "copy"), True),
    "goal.mkv": (("-c", "copy"), True),
    "pieces.mp4": (("-c", "copy", "-movflags", "frag_keyframe+empty_moov"), True),
    "tape.mov": (("-c:v", "prores_ks", "-c:a", "pcm_s16le"), False),
    "old.ts": (("-c:v", "mpeg2video", "-q:v", "2", "-c:a", "mp2"), False),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_container_are_cut_at_the_frame(name: str, tmp_path: Path) -> None:
    files, output = Files(tmp_path / "media"), tmp_path / "out.mp4"
    options, copied = FILES[name]
    whole = write_mp4(build(StreamSpec(fps=NTSC)), tmp_path / "whole.mp4")
    ffmpeg("-i", str(whole), *options, files.path(name))

    job = files.cut(output, name, NTSC)

    assert job.error is None
    assert list(inspect(output).numbers) == CUT
    assert inspect(output).clean
    made = job.result or {}
    length_ms = len(CUT) * 1001 / 30
    assert (made["reencodedMs"] < length_ms / 2) == copied
    assert any("encoded as h264" in note for note in made["notes"]) != copied


@pytest.mark.parametrize(
    "spec",
    [
        StreamSpec(codec="hevc", open_gop=True, gop=24),
        StreamSpec(fps=Fraction(24000, 1001), bframes=3, b_pyramid=True),
        StreamSpec(fps=Fraction(50), audio=()),
        StreamSpec(interlaced="tff"),
    ],
    ids=["hevc, open", "23.976, pyramid", "50, silent", "interlaced"],
)
def test_frames_are_found_whatever_their_order(spec: StreamSpec, tmp_path: Path) -> None:
    files, output = Files(tmp_path / "media"), tmp_path / "out.mp4"
    write_mp4(build(spec), files.folder / "a.mp4")

    job = files.cut(output, "a.mp4", spec.fps)

    assert job.error is None
    assert list(inspect(output).numbers) == CUT


def test_pictures_that_are_flagged_as_turned_are_turned(tmp_path: Path) -> None:
    files, output = Files(tmp_path / "media"), tmp_path / "out.mp4"
    turn(write_mp4(build(StreamSpec(size=(192, 112))), files.folder / "phone.mp4"), 90)

    job = files.cut(output, "phone.mp4", Fraction(25))

    assert job.error is None
    assert any("turned by" in note for note in (job.result or {})["notes"])
    with av.open(str(output)) as made:
        assert (made.streams.video[0].width, made.streams.video[0].height) == (112, 192)
        assert sum(1 for _ in made.decode(video=0)) == len(CUT)


def test_frames_are_counted_from_the_first_that_an_edit_list_shows(tmp_path: Path) -> None:
    files, output = Files(tmp_path / "media"), tmp_path / "out.mp4"
    stream = build(StreamSpec())
    whole = write_mp4(stream, tmp_path / "whole.mp4")
    ffmpeg("-ss", "0.4", "-i", str(whole), "-c", "copy", files.path("trimmed.mp4"))

    job = files.cut(output, "trimmed.mp4", Fraction(25))

    assert job.error is None
    assert list(inspect(output).numbers) == [number + 10 for number in CUT]


def test_sound_stays_with_the_pictures_of_a_file(tmp_path: Path) -> None:
    files, output = Files(tmp_path / "media"), tmp_path / "out.mp4"
    stream = build(StreamSpec())
    write_mp4(stream, files.folder / "a.mp4")
    clip = a_clip(20, 100, media=of_file("con_f", "a.mp4"))

    job = rendered(output, files.sources, clip, folders=(str(files.folder),))

    assert job.error is None
    (offset,) = audio_offsets(output, stream.times)
    assert abs(offset.worst_ms) < 25


def test_a_file_a_channel_and_a_whole_stream_are_joined(tmp_path: Path) -> None:
    files, output = Files(tmp_path / "media"), tmp_path / "out.mp4"
    write_mp4(build(StreamSpec(first_number=700)), files.folder / "a.mp4")
    one, other = segment(build(StreamSpec())), segment(build(StreamSpec(first_number=500)))
    with Origin(one) as origin:
        found = Channels(origin, one, other)
        job = rendered(
            output,
            found.sources | files.sources,
            a_clip(30, 25, media=of_file("con_f", "a.mp4")),
            a_clip(13, 20, media=found.one),
            a_clip(41, 30, media=of_file("con_b", "ch2")),
            folders=(str(files.folder),),
        )

    assert job.error is None
    wanted = [*range(730, 755), *range(13, 33), *range(541, 571)]
    assert list(inspect(output).numbers) == wanted
    assert inspect(output).clean


def test_another_attempt_goes_on_with_what_was_split(tmp_path: Path) -> None:
    files, output = Files(tmp_path / "media"), tmp_path / "out.mp4"
    write_mp4(build(StreamSpec(first_number=700)), files.folder / "a.mp4")
    one, other = segment(build(StreamSpec())), segment(build(StreamSpec(first_number=500)))
    with Origin(one) as origin:
        found = Channels(origin, one, other)
        origin.fault(one.entry, Fault.status(503, times=1))
        job = rendered(
            output,
            found.sources | files.sources,
            a_clip(30, 25, media=of_file("con_f", "a.mp4")),
            a_clip(13, 20, media=found.one),
            folders=(str(files.folder),),
            attempts=8,
        )

    assert job.error is None
    assert job.attempt > 1
    assert list(inspect(output).numbers) == [*range(730, 755), *range(13, 33)]


def test_files_that_differ_are_made_alike_by_a_recipe(tmp_path: Path) -> None:
    files, output = Files(tmp_path / "media"), tmp_path / "out.mp4"
    write_mp4(build(StreamSpec()), files.folder / "a.mp4")
    write_mp4(build(StreamSpec(codec="hevc", size=(128, 96))), files.folder / "b.mp4")
    items = [
        a_clip(10, 25, media=of_file("con_f", "a.mp4")),
        a_gap(10),
        a_clip(20, 25, media=of_file("con_f", "b.mp4")),
    ]
    folders = (str(files.folder),)

    refused = rendered(output, files.sources, *items, folders=folders)
    made = rendered(output, files.sources, *items, folders=folders, recipe=RECIPE)

    assert refused.error is not None
    assert refused.error.code == "format_change"
    assert made.error is None
    assert len(inspect(output).numbers) == 60


def test_a_clip_that_runs_past_its_file_follows_the_gaps(tmp_path: Path) -> None:
    files = Files(tmp_path / "media")
    write_mp4(build(StreamSpec()), files.folder / "a.mp4")
    clip = a_clip(140, 25, media=of_file("con_f", "a.mp4"))
    folders = (str(files.folder),)

    failed = rendered(tmp_path / "fail.mp4", files.sources, clip, folders=folders)
    black = rendered(tmp_path / "black.mp4", files.sources, clip, folders=folders, gaps="black")

    assert failed.error is not None
    assert failed.error.code == "segment_missing"
    assert black.error is None
    assert list(inspect(tmp_path / "black.mp4").numbers) == [*range(140, 150), *[None] * 15]


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"#EXTM3U\n/etc/passwd\n", "media_invalid"), (b"\0" * 5000, "media_invalid")],
)
def test_a_file_that_is_no_media_ends_the_job(content: bytes, code: str, tmp_path: Path) -> None:
    files = Files(tmp_path / "media")
    (files.folder / "a.mp4").write_bytes(content)

    job = files.cut(tmp_path / "out.mp4", "a.mp4", Fraction(25))

    assert job.error is not None
    assert job.error.code == code
    assert not job.error.retryable
