"""Renditions of many kinds of files, through the whole engine, read back and compared."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import m3u8
import pytest
from typer.testing import CliRunner

from cli.main import app
from media.process import shared
from schemas.jobs import Job
from schemas.media import MediaInfo, StreamInfo
from tests import sources
from tests.e2e.render_kit import SOUND, a_recipe, lacks, read_back, render
from tests.rendition_table import PAGE, TRIED, Tried, outcome_of, page_with_table


@pytest.mark.slow
@pytest.mark.parametrize("tried", TRIED, ids=[f"{one.what}: {one.wanted}" for one in TRIED])
def test_what_comes_out_of_a_file(tried: Tried, tmp_path: Path) -> None:
    output = tmp_path / f"out.{tried.recipe.get('container', 'mp4')}"

    job = render(tried.source(), [tried.recipe], output)

    info = read_back(output, tmp_path / "check")[0] if job.state == "succeeded" else None
    found = outcome_of(job, *_looks(info))
    expected = tried.outcome.replace("; shorter", "; ")
    if "fuller build" in str(job.error):
        pytest.skip("the machine's ffmpeg lacks what this needs, and says so")
    if " in 10 bits" in expected and "8 bits only" in str(job.result):
        expected = expected.replace(" in 10 bits", "")
    assert found.startswith(expected), (found, job.error)
    assert tried.note in json.dumps(job.model_dump(mode="json"))
    assert (job.state == "succeeded") == output.exists()


def test_the_page_shows_this_table() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == page_with_table(page), "python -m tests.rendition_table"


def _looks(info: MediaInfo | None) -> tuple[str | None, bool, str]:
    video = _first(info, "video") if info else None
    if video is None:
        return None, False, ""
    turned = f" turned {video.rotation_deg}" if video.rotation_deg else ""
    turned += " and mirrored" if video.mirrored else ""
    return video.color_transfer, "10" in (video.pixel_format or ""), turned


def _first(info: MediaInfo, kind: str) -> StreamInfo | None:
    return next((s for s in info.streams if s.kind == kind), None)


RUNGS: list[dict[str, Any]] = [
    {"name": f"{height}", "packaging": "hls", "segmentMs": 1000, "audio": SOUND,
     "video": {"codec": "h264", "speed": "fast", "height": height, "bitrate": rate, "gop": 25,
               "fps": 25}}
    for height, rate in ((96, 300_000), (64, 150_000), (48, 80_000))
]  # fmt: skip


def packaged(packaging: str, codec: str = "h264", **changes: Any) -> list[dict[str, Any]]:
    return [
        {**rung, "packaging": packaging, "video": {**rung["video"], "codec": codec, **changes}}
        for rung in RUNGS
    ]


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_a_ladder_of_hls_passes_another_reader(codec: str, tmp_path: Path) -> None:
    wanted = [r for r in packaged("hls", codec) if r["video"]["height"] >= 64]

    job = render(sources.made("50 frames a second"), wanted, tmp_path / "web")

    assert job.state == "succeeded", job.error
    master = m3u8.load(str(tmp_path / "web" / "master.m3u8"))
    assert master.is_variant
    assert [p.stream_info.resolution for p in master.playlists] == [(128, 96), (86, 64)]
    assert all(codec_name(codec) in p.stream_info.codecs for p in master.playlists)
    assert all(p.stream_info.frame_rate == 25 for p in master.playlists)
    grids = []
    for variant in (*master.playlists, *master.media):
        playlist = m3u8.load(str(tmp_path / "web" / variant.uri))
        grids.append([round(segment.duration, 2) for segment in playlist.segments])
        assert playlist.is_endlist
        for segment in playlist.segments:
            assert (tmp_path / "web" / segment.uri).stat().st_size > 0
    assert grids[0] == grids[1] == [1.0, 1.0]
    peak = max(
        (tmp_path / "web" / s.uri).stat().st_size * 8 / s.duration
        for s in m3u8.load(str(tmp_path / "web" / master.playlists[0].uri)).segments
    )
    assert master.playlists[0].stream_info.bandwidth >= peak


def codec_name(codec: str) -> str:
    return {"h264": "avc1.64", "hevc": "hvc1.1.", "av1": "av01.0.", "vp9": "vp09.00."}[codec]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "length_s"),
    [(lambda: sources.made("a pause in the last second"), 2.0), (sources.trimmed, 1.4)],
    ids=["a pause", "a hidden beginning"],
)
def test_a_ladder_lasts_as_long_as_what_is_shown_of_its_source(
    source: Callable[[], Path], length_s: float, tmp_path: Path
) -> None:
    wanted = packaged("hls", fps=None, gop=None, bitrate=2_000_000)

    job = render(source(), [r | {"audio": {"codec": "aac"}} for r in wanted], tmp_path / "web")

    assert job.state == "succeeded", job.error
    master = m3u8.load(str(tmp_path / "web" / "master.m3u8"))
    for variant in (*master.playlists, *master.media):
        playlist = m3u8.load(str(tmp_path / "web" / variant.uri))
        assert abs(sum(s.duration for s in playlist.segments) - length_s) < 0.1


@pytest.mark.slow
def test_a_manifest_of_dash_says_its_length_to_the_frame(tmp_path: Path) -> None:
    source = tmp_path / "short.mp4"
    sources.run("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=1.48", str(source))

    job = render(source, packaged("dash"), tmp_path / "m.mpd")

    assert job.state == "succeeded", job.error
    text = (tmp_path / "m.mpd").read_text(encoding="utf-8")
    assert 'mediaPresentationDuration="PT1.480000S"' in text


@pytest.mark.slow
def test_a_rung_the_source_meets_is_copied_beside_those_that_are_made(tmp_path: Path) -> None:
    wanted = packaged("hls", bitrate=2_000_000)

    job = render(sources.made("h264 and aac in mp4"), wanted, tmp_path / "web")

    assert job.state == "succeeded", job.error
    copied = [r["video"]["copied"] for r in (job.result or {})["renditions"]]
    assert copied == [True, False, False]
    lengths = [
        [s.duration for s in m3u8.load(str(tmp_path / "web" / f"hls-{name}.m3u8")).segments]
        for name in ("96p", "64p", "48p")
    ]
    assert lengths[0] == lengths[1] == lengths[2]


@pytest.mark.slow
def test_a_ladder_of_dash_names_files_that_are_there(tmp_path: Path) -> None:
    job = render(sources.made("h264 and aac in mpeg-ts"), packaged("dash"), tmp_path / "m.mpd")

    assert job.state == "succeeded", job.error
    text = (tmp_path / "m.mpd").read_text(encoding="utf-8")
    assert text.count("<Representation ") == 4
    assert set(re.findall(r'codecs="([a-z0-9]+)\.', text)) == {"avc1", "mp4a"}
    assert {p.name for p in tmp_path.glob("dash-0-*.m4s")} == {
        "dash-0-00001.m4s",
        "dash-0-00002.m4s",
    }
    assert (job.result or {})["manifests"][0]["key"] == "m.mpd"


@pytest.mark.slow
def test_files_and_ladders_of_one_job_come_from_one_run(tmp_path: Path) -> None:
    plain = [a_recipe(name="one"), a_recipe(name="two"), a_recipe(name="two", container="mkv")]

    job = render(
        sources.made("h264 and aac in mp4"),
        [*plain, *packaged("hls"), *packaged("dash")],
        tmp_path / "all",
    )

    assert job.state == "succeeded", job.error
    names = {p.name for p in (tmp_path / "all").iterdir()}
    assert {"one.mp4", "two.mp4", "two.mkv", "master.m3u8", "manifest.mpd"} <= names
    assert (job.result or {})["files"] == len(names)


@pytest.mark.slow
def test_sound_is_brought_to_its_loudness(tmp_path: Path) -> None:
    recipe = {"name": "s", "audio": {**SOUND, "bitrate": 96_000, "loudnessLufs": -16}}
    first = render(sources.made("sound only, as wav"), [recipe], tmp_path / "a.mp4")

    again = render(tmp_path / "a.mp4", [recipe], tmp_path / "b.mp4")

    before, after = (job.result["loudness"] for job in (first, again) if job.result)
    assert abs(before["measuredLufs"] + 16) > 2
    assert abs(after["measuredLufs"] + 16) <= 1
    assert after["measuredTruePeakDbtp"] <= -1


@pytest.mark.slow
def test_sound_is_as_loud_as_asked_after_its_channels_were_mixed(tmp_path: Path) -> None:
    recipe = {"name": "s", "audio": {**SOUND, "bitrate": 96_000, "loudnessLufs": -20}}
    render(sources.made("two channels, not alike"), [recipe], tmp_path / "a.mp4")

    again = render(tmp_path / "a.mp4", [recipe], tmp_path / "b.mp4")

    assert again.result is not None
    assert abs(again.result["loudness"]["measuredLufs"] + 20) <= 1


@pytest.mark.slow
def test_frames_keep_times_that_are_no_steps_of_any_rate(tmp_path: Path) -> None:
    source = sources.made("times beside any rate")

    job = render(source, [a_recipe()], tmp_path / "o.mp4")

    assert job.state == "succeeded", job.error
    assert _shown(tmp_path / "o.mp4") == _shown(source)


@pytest.mark.slow
def test_a_picture_that_begins_beside_the_steps_of_its_rate_is_not_moved(tmp_path: Path) -> None:
    late = tmp_path / "late.mp4"
    source = str(sources.made("h264 and aac in mp4"))
    sources.run(
        "-itsoffset", "0.7", "-i", source, "-i", source, "-map", "0:v", "-map", "1:a", "-c", "copy",
        str(late),
    )  # fmt: skip

    job = render(late, [a_recipe()], tmp_path / "o.mp4")

    assert job.state == "succeeded", job.error
    assert _shown(tmp_path / "o.mp4")[0] == Fraction(7, 10)


def _shown(path: Path) -> list[Fraction]:
    """When each picture is shown, in seconds."""
    with av.open(str(path)) as file:
        found = [frame.pts * frame.time_base for frame in file.decode(video=0)]
    return [Fraction(round(at * 10_000), 10_000) for at in found]


@pytest.mark.slow
@pytest.mark.parametrize(("codec", "apart"), [("hevc", 0), ("av1", 0.001)])
def test_the_display_that_hdr_was_made_on_is_told_again(
    codec: str, apart: float, tmp_path: Path
) -> None:
    source = sources.made("HDR, its display named")
    given = read_back(source, tmp_path / "check")[0].streams[0]
    recipe = a_recipe(video={"codec": codec, "height": 64, "speed": "fast"})

    job = render(source, [recipe], tmp_path / "o.mp4")

    assert job.state == "succeeded", job.error
    made = read_back(tmp_path / "o.mp4", tmp_path / "check")[0].streams[0]
    assert given.mastering is not None
    assert made.mastering is not None
    assert made.light_levels == given.light_levels == (1000, 400)
    assert given.mastering.most_nits == made.mastering.most_nits == 1000
    colours = zip(given.mastering.colours, made.mastering.colours, strict=True)
    assert all(abs(one - other) <= apart for one, other in colours)


@pytest.mark.slow
def test_a_mapped_picture_names_no_display(tmp_path: Path) -> None:
    recipe = a_recipe(video={"codec": "hevc", "height": 64, "speed": "fast", "toneMap": "sdr"})

    job = render(sources.made("HDR, its display named"), [recipe], tmp_path / "o.mp4")

    assert job.state == "succeeded", job.error
    assert read_back(tmp_path / "o.mp4", tmp_path / "check")[0].streams[0].mastering is None


@pytest.mark.slow
def test_picture_and_sound_keep_their_distance(tmp_path: Path) -> None:
    late = tmp_path / "late.mkv"
    source = str(sources.made("h264 and aac in mp4"))
    sources.run(
        "-itsoffset", "0.3", "-i", source, "-i", source, "-map", "1:v", "-map", "0:a", "-c", "copy",
        str(late),
    )  # fmt: skip

    job = render(late, [a_recipe(name="x"), a_recipe(name="y")], tmp_path / "out")

    assert job.state == "succeeded", job.error
    for name in ("x.mp4", "y.mp4"):
        info, paced = read_back(tmp_path / "out" / name, tmp_path / "check")
        starts = {s.kind: paced.of(s.index) for s in info.streams}
        video, sound = starts["video"], starts["audio"]
        assert video is not None
        assert sound is not None
        # One frame of AAC runs in before the sound begins.
        assert 250_000 < sound.first_us - video.first_us < 310_000


@pytest.mark.slow
def test_a_variable_rate_keeps_the_time_of_every_frame(tmp_path: Path) -> None:
    source = sources.made("a variable rate")
    before = read_back(source, tmp_path / "check")[1].tracks[0]

    job = render(source, [a_recipe(video={"codec": "h264", "gop": 10})], tmp_path / "o.mp4")
    after = read_back(tmp_path / "o.mp4", tmp_path / "check")[1].tracks[0]

    assert job.state == "succeeded", job.error
    assert before.variable
    assert after.variable
    assert (after.packets, after.length_us) == (before.packets, before.length_us)
    steps = [b - a for a, b in pairwise(after.keyframes_us or ())]
    assert steps
    assert max(steps) < 600_000


@pytest.mark.slow
def test_subtitles_lie_beside_the_picture_as_webvtt(tmp_path: Path) -> None:
    job = render(sources.subtitled(), [a_recipe(subtitles="sidecar")], tmp_path / "o.mp4")

    assert job.state == "succeeded", job.error
    assert "Good evening" in (tmp_path / "o.vtt").read_text(encoding="utf-8")
    assert (job.result or {})["sidecars"][0]["key"] == "o.vtt"


@pytest.mark.slow
@pytest.mark.parametrize("loudness", [{}, {"loudnessLufs": -20}], ids=["plain", "levelled"])
def test_every_language_is_a_choice_of_the_ladder(loudness: dict[str, Any], tmp_path: Path) -> None:
    rungs = [rung | {"subtitles": "sidecar", "audio": SOUND | loudness} for rung in packaged("hls")]

    job = render(sources.bilingual(), rungs, tmp_path / "film.m3u8")

    assert job.state == "succeeded", job.error
    master = m3u8.load(str(tmp_path / "film.m3u8"))
    listed = [(m.type, m.language, m.uri) for m in master.media]
    assert listed == [
        ("AUDIO", "eng", "hls-sound.m3u8"),
        ("AUDIO", "deu", "hls-sound1.m3u8"),
        ("SUBTITLES", "eng", "hls-text.m3u8"),
        ("SUBTITLES", "deu", "hls-text1.m3u8"),
    ]
    assert {p.stream_info.subtitles for p in master.playlists} == {"text"}
    for track in master.media:
        segments = m3u8.load(str(tmp_path / track.uri)).segments
        assert all((tmp_path / segment.uri).is_file() for segment in segments)
    told = job.result or {}
    assert {s["key"] for s in told["sidecars"]} == {"film.eng.vtt", "film.deu.vtt"}
    assert [a["language"] for a in told["renditions"][0]["audio"]] == ["eng", "deu"]
    assert told["notes"] == [note for note in told["notes"] if "left out, the ladder" in note]


@pytest.mark.slow
def test_dash_offers_each_language_as_a_set_and_tells_what_it_left_out(tmp_path: Path) -> None:
    job = render(sources.bilingual(), packaged("dash"), tmp_path / "m.mpd")

    assert job.state == "succeeded", job.error
    text = (tmp_path / "m.mpd").read_text(encoding="utf-8")
    sets = re.findall(r'<AdaptationSet [^>]*contentType="audio"[^>]*>', text)
    assert [re.findall(r'lang="(\w+)"', one) for one in sets] == [["eng"], ["deu"]]
    notes = (job.result or {})["notes"]
    assert "2 of the source's subtitles (eng, deu) were left out" in notes


@pytest.mark.slow
def test_subtitles_are_drawn_or_the_lacking_filter_is_named(tmp_path: Path) -> None:
    job = render(sources.subtitled(), [a_recipe(subtitles="burn_in")], tmp_path / "o.mp4")

    if lacks("subtitles"):
        assert job.error is not None
        assert "filter subtitles" in job.error.message
    else:
        assert job.state == "succeeded", job.error


@pytest.mark.slow
def test_subtitles_that_are_pictures_are_laid_over_it(tmp_path: Path) -> None:
    if not sources.reads_bitmaps():
        pytest.skip("this machine's ffmpeg decodes no subtitles that are pictures")
    source = sources.with_bitmaps(tmp_path / "in.mkv")

    job = render(source, [a_recipe(subtitles="burn_in")], tmp_path / "o.mp4")

    assert job.state == "succeeded", job.error
    with av.open(str(tmp_path / "o.mp4")) as made:
        bright = [
            int(frame.to_ndarray(format="gray").max()) > 128 for frame in made.decode(video=0)
        ]
    assert len(bright) == 50
    assert (bright[2], bright[22], bright[30], bright[49]) == (True, True, False, False)


@pytest.mark.slow
def test_a_cancelled_job_leaves_nothing_and_nobody(tmp_path: Path) -> None:
    source = tmp_path / "long.mp4"
    sources.run(
        "-f", "lavfi", "-i", "testsrc2=s=640x360:r=25:d=60", "-c:v", "libx264", "-preset",
        "ultrafast", str(source),
    )  # fmt: skip
    recipe = {"name": "slow", "video": {"codec": "hevc", "speed": "slow", "crf": 10}}

    job = render(source, [recipe], tmp_path / "o.mp4", cancel_in="encoding")

    assert job.state == "cancelled"
    assert not (tmp_path / "o.mp4").exists()
    assert children_of(shared().pid) == []


def children_of(pid: int | None) -> list[str]:
    """The processes a fork server still has, after it has had a moment to reap them."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 10
    while (found := listed.read_text(encoding="ascii").split()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


@pytest.mark.slow
def test_progress_rises_and_says_how_long(tmp_path: Path) -> None:
    seen: list[Job] = []

    job = render(
        sources.made("h264 and aac in mp4"), [a_recipe()], tmp_path / "o.mp4", watch=seen.append
    )

    assert job.state == "succeeded"
    told = [one.progress for one in seen if one.progress is not None]
    assert told == sorted(told)
    assert {"fetching", "encoding", "verifying"} <= {one.stage for one in seen}


@pytest.mark.slow
def test_a_typed_command_replaces_a_ladder_only_where_it_is_told_to(tmp_path: Path) -> None:
    recipe = tmp_path / "ladder.json"
    recipe.write_text(json.dumps(RUNGS[1:]), encoding="utf-8")
    source, output = sources.made("h264 and aac in mp4"), tmp_path / "web" / "film.m3u8"
    output.parent.mkdir()
    typed = ["render", str(source), "-r", str(recipe), "-o", str(output)]

    first, again, forced, unknown = (
        CliRunner().invoke(app, [*typed, *more])
        for more in (["--json"], [], ["--force"], ["-r", "8k-film"])
    )

    assert json.loads(first.stdout)["manifests"][0]["key"] == "film.m3u8"
    assert "is there already" in str(again.exception)
    assert forced.exit_code == 0, forced.exception
    assert "film.m3u8" in forced.stdout.replace("\n", "")
    assert "h264-720p" in str(unknown.exception)


@pytest.mark.slow
def test_files_in_a_folder_are_replaced_and_others_stay(tmp_path: Path) -> None:
    recipe = tmp_path / "two.json"
    sound = [{"name": name, "container": "mp4", "audio": SOUND} for name in ("one", "two")]
    recipe.write_text(json.dumps(sound), encoding="utf-8")
    output = tmp_path / "made"
    output.mkdir()
    (output / "one.mp4").write_bytes(b"old")
    (output / "other.mp4").write_bytes(b"mine")
    source = sources.made("sound only, as wav")
    typed = ["render", str(source), "-r", str(recipe), "-o", str(output), "--force"]

    done = CliRunner().invoke(app, typed)

    assert done.exit_code == 0, done.exception
    sizes = {path.name: path.stat().st_size for path in output.iterdir()}
    assert sizes["other.mp4"] == 4
    assert min(sizes["one.mp4"], sizes["two.mp4"]) > 1000


@pytest.mark.slow
@pytest.mark.parametrize("packaging", ["hls", "dash"])
def test_sound_alone_makes_a_ladder(packaging: str, tmp_path: Path) -> None:
    recipe = {"name": "radio", "packaging": packaging, "segmentMs": 1000, "audio": SOUND}

    job = render(sources.made("sound only, as wav"), [recipe], tmp_path / "radio")

    assert job.state == "succeeded", job.error
    made = (job.result or {})["renditions"][0]
    assert made["video"] is None
    assert [sound["codec"] for sound in made["audio"]] == ["aac"]
    manifest = "radio/master.m3u8" if packaging == "hls" else "radio/manifest.mpd"
    assert made["manifest"] == manifest
    assert (tmp_path / manifest).stat().st_size > 100
