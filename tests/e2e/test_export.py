"""Exports through the whole engine: single ranges, joined ranges, several channels, sidecars."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
import pytest

from schemas.commands import ExportPart
from schemas.jobs import Job
from schemas.profiles import AudioRecipe, Profile, VideoRecipe
from schemas.times import TimeRange
from tests.builders import a_connector_ref
from tests.e2e.export_kit import carry_out, export
from tests.media_builder import AudioSpec, HlsAsset, StreamSpec, build, cut_anywhere, segment
from tests.oracle import audio_offsets, check_exact, inspect, layout
from tests.origin import Origin

pytestmark = pytest.mark.slow
RECIPE = Profile(
    name="small",
    video=VideoRecipe(codec="h264", width=96, height=56, speed="fast"),
    audio=AudioRecipe(codec="aac", bitrate=64_000),
)


def test_a_single_range_is_exported_exactly(tmp_path: Path) -> None:
    asset, output = segment(build(StreamSpec())), tmp_path / "out.mp4"
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4910

    with Origin(asset) as origin:
        job = export(origin.url, [(start, end)], output)

    assert job.error is None
    assert check_exact(output, asset, start, end) == []


def test_ranges_are_joined_in_the_order_given(tmp_path: Path) -> None:
    asset, output = segment(build(StreamSpec())), tmp_path / "out.mp4"
    spans = [(3330, 4910), (400, 1900), (3000, 3520)]
    ranges = [(asset.epoch_ms + a, asset.epoch_ms + b) for a, b in spans]

    with Origin(asset) as origin:
        job = export(origin.url, ranges, output)

    assert job.error is None
    assert problems(output, asset, ranges) == []
    assert [part["startMs"] for part in told(job)["parts"]] == [
        ceil(asset.wall_ms(asset.numbers_between(a, b)[0])) for a, b in ranges
    ]
    delivered = told(job)["delivered"]
    assert delivered["startMs"] == min(part["startMs"] for part in told(job)["parts"])
    assert delivered["endMs"] == max(part["endMs"] for part in told(job)["parts"])


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001)], ids=["25", "29.97"])
def test_after_forty_joins_sound_is_less_than_a_frame_off(fps: Fraction, tmp_path: Path) -> None:
    asset, output = segment(build(StreamSpec(fps=fps, seconds=8))), tmp_path / "out.mp4"
    starts = [asset.epoch_ms + 137 + (n * 1511) % 6500 for n in range(41)]
    ranges = [(start, start + 613 + n) for n, start in enumerate(starts)]

    with Origin(asset) as origin:
        job = export(origin.url, ranges, output)

    assert job.error is None
    assert problems(output, asset, ranges) == []
    # A player that only counts sound frames is never a frame off either.
    (heard,) = (track for track in layout(output).tracks if track.handler == "soun")
    counted = Fraction(heard.sample_count * 1024 - heard.edits[-1].media_time, 48000)
    assert abs(counted - picture_length(output)) <= Fraction(1024, 48000)


def test_parts_whose_keyframes_lie_in_earlier_segments_are_joined(tmp_path: Path) -> None:
    spec = StreamSpec(gop=100, bframes=0, audio=())
    asset = segment(cut_anywhere(build(spec), every=25), segment_s=1)
    output = tmp_path / "out.mp4"
    ranges = [(asset.epoch_ms + a, asset.epoch_ms + b) for a, b in [(2330, 3510), (1040, 1800)]]

    with Origin(asset) as origin:
        job = export(origin.url, ranges, output)

    assert job.error is None
    assert problems(output, asset, ranges) == []


def test_channels_of_several_connectors_are_joined(tmp_path: Path) -> None:
    one, other = segment(build(StreamSpec())), segment(build(StreamSpec(first_number=500)))
    output = tmp_path / "out.mp4"
    with Origin(one) as origin:
        origin.mount("second", other)
        urls = [origin.url, origin.url_of(other.entry, "second")]
        refs = [a_connector_ref(id=f"con_{n}", config={"url": u}) for n, u in enumerate(urls)]
        wanted = [
            ExportPart(connector=ref, channel_id=f"ch{n}", range=span(asset, 700, 2300))
            for n, (ref, asset) in enumerate(zip(refs, (one, other), strict=True))
        ]
        job = carry_out(wanted, output)

    assert job.error is None
    expected = [n for asset in (one, other) for n in asset.numbers_between(*ends(asset))]
    assert inspect(output).numbers == expected
    assert inspect(output).clean


def test_ranges_of_different_pictures_are_refused(tmp_path: Path) -> None:
    one, other = segment(build(StreamSpec())), segment(build(StreamSpec(size=(128, 96))))
    with Origin(one) as origin:
        origin.mount("second", other)
        urls = [origin.url, origin.url_of(other.entry, "second")]
        refs = [a_connector_ref(id=f"con_{n}", config={"url": u}) for n, u in enumerate(urls)]
        wanted = [
            ExportPart(connector=ref, channel_id="ch", range=span(asset, 700, 2300))
            for ref, asset in zip(refs, (one, other), strict=True)
        ]
        job = carry_out(wanted, tmp_path / "out.mp4")

    assert job.error is not None
    assert job.error.code == "format_change"
    assert "renditionId" in job.error.message


def test_a_recipe_makes_the_joined_file_anew(tmp_path: Path) -> None:
    asset, output = segment(build(StreamSpec())), tmp_path / "out.mp4"
    ranges = [(asset.epoch_ms + 400, asset.epoch_ms + 1900), (asset.epoch_ms, asset.epoch_ms + 800)]

    with Origin(asset) as origin:
        job = export(origin.url, ranges, output, recipe=RECIPE, sidecars=("json",))

    assert job.error is None
    assert told(job)["mode"] == "encode"
    assert [t["codec"] for t in told(job)["tracks"]] == ["h264", "aac"]
    expected = [n for a, b in ranges for n in asset.numbers_between(a, b)]
    assert len(inspect(output).frames) == len(expected)
    with av.open(str(output)) as made:
        assert (made.streams.video[0].width, made.streams.video[0].height) == (96, 56)


def test_encoding_all_without_a_recipe_makes_the_joined_sound_aac(tmp_path: Path) -> None:
    spec = StreamSpec(audio=(AudioSpec(codec="ac3"),))
    asset, output = segment(build(spec)), tmp_path / "out.mp4"
    ranges = [(asset.epoch_ms + 400, asset.epoch_ms + 1900), (asset.epoch_ms, asset.epoch_ms + 800)]

    with Origin(asset) as origin:
        job = export(origin.url, ranges, output, mode="encode", sidecars=("json",))

    assert job.error is None
    assert [(t["codec"], t["copied"]) for t in told(job)["tracks"]] == [
        ("h264", False),
        ("aac", False),
    ]
    assert [track.tag for track in layout(output).sounds] == ["mp4a"]
    (offsets,) = audio_offsets(output, asset.times)
    assert abs(offsets.worst_ms) < 1


def test_ranges_of_different_pictures_are_joined_by_a_recipe(tmp_path: Path) -> None:
    one = segment(build(StreamSpec()))
    other = segment(build(StreamSpec(size=(128, 96), fps=Fraction(50), audio=())))
    output = tmp_path / "out.mp4"
    with Origin(one) as origin:
        origin.mount("second", other)
        urls = [origin.url, origin.url_of(other.entry, "second")]
        refs = [a_connector_ref(id=f"con_{n}", config={"url": u}) for n, u in enumerate(urls)]
        wanted = [
            ExportPart(connector=ref, channel_id="ch", range=span(asset, 700, 2300))
            for ref, asset in zip(refs, (one, other), strict=True)
        ]
        job = carry_out(wanted, output, recipe=RECIPE, sidecars=("edl",))

    assert job.error is None
    assert told(job)["file"]["durationMs"] == pytest.approx(3200, abs=45)
    assert len(told(job)["parts"]) == 2
    assert inspect(output).clean
    assert len(inspect(output).frames) == pytest.approx(80, abs=2)


def test_everything_stands_beside_the_file_and_is_listed(tmp_path: Path) -> None:
    asset, output = segment(build(StreamSpec())), tmp_path / "goal.mp4"
    ranges = [(asset.epoch_ms + 400, asset.epoch_ms + 1900), (asset.epoch_ms, asset.epoch_ms + 800)]
    kinds = ("json", "xmp", "otio", "edl", "fcpxml")

    with Origin(asset) as origin:
        job = export(
            origin.url, ranges, output, sidecars=kinds, metadata={"artist": "Ä", "season": "2"}
        )

    assert job.error is None
    listed = told(job)["sidecars"]
    assert [each["key"] for each in listed] == [f"goal.{kind}" for kind in kinds]
    for each in listed:
        data = (tmp_path / each["key"]).read_bytes()
        assert (each["size"], each["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    known = json.loads((tmp_path / "goal.json").read_text())
    assert known["sha256"] == told(job)["file"]["sha256"]
    assert known["frames"] == told(job)["delivered"]["frames"]
    with av.open(str(output)) as made:
        assert (made.metadata["artist"], made.metadata["season"]) == ("Ä", "2")


def test_only_the_sound_that_is_wanted_is_fetched_and_delivered(tmp_path: Path) -> None:
    spec = StreamSpec(audio=(AudioSpec(language="eng"), AudioSpec(language="deu")))
    asset = segment(build(spec), separate_audio=True)
    span_ms = (asset.epoch_ms + 400, asset.epoch_ms + 1900)

    with Origin(asset) as origin:
        job = export(origin.url, [span_ms], tmp_path / "de.mp4", audio=("de",))
        none = export(origin.url, [span_ms], tmp_path / "none.mp4", audio=())
        wrong = export(origin.url, [span_ms], tmp_path / "fr.mp4", audio=("fr",))

    assert [t["language"] for t in told(job)["tracks"] if t["kind"] == "audio"] == ["deu"]
    assert [t["kind"] for t in told(none)["tracks"]] == ["video"]
    assert wrong.error is not None
    assert wrong.error.code == "track_unknown"


# ---- what they share ------------------------------------------------------------------------


def told(job: Job) -> dict[str, Any]:
    """The result of a job that has one."""
    assert job.result is not None, job.error
    return job.result


def ends(asset: HlsAsset) -> tuple[int, int]:
    """A range of every asset."""
    return asset.epoch_ms + 700, asset.epoch_ms + 2300


def span(asset: HlsAsset, start: int, end: int) -> TimeRange:
    """A range by its place in an asset."""
    return TimeRange(start_ms=asset.epoch_ms + start, end_ms=asset.epoch_ms + end)


def problems(output: Path, asset: HlsAsset, ranges: list[tuple[int, int]]) -> list[str]:
    """What is wrong with joined ranges of one asset: frames, spacing, decoding, sound."""
    seen = inspect(output)
    expected = [n for a, b in ranges for n in asset.numbers_between(a, b)]
    found = [] if seen.numbers == expected else [f"{seen.numbers} are not {expected}"]
    found += [] if seen.clean else [f"decoder: {seen.errors[:3]}"]
    found += ["hidden frames"] if seen.hidden else []
    for offsets in audio_offsets(output, asset.times):
        if any(abs(ms) > 1000 * 1024 / 48000 for _, ms in offsets.marks) or not offsets.marks:
            found.append(f"sound is off by {offsets.worst_ms} ms")
    return found


def picture_length(path: Path) -> Fraction:
    """How long the pictures of a file are shown."""
    with av.open(str(path)) as made:
        video = made.streams.video[0]
        return Fraction(video.duration or 0) * (video.time_base or 0)
