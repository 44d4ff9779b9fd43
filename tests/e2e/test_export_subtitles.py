"""WebVTT beside exports: real streams with real subtitles, through the whole engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest

from pipelines import webvtt
from schemas.commands import ExportPart
from schemas.jobs import Job
from schemas.times import TimeRange
from tests.builders import a_connector_ref
from tests.e2e.export_kit import carry_out, export
from tests.media_builder import StreamSpec, build, continued, segment
from tests.origin import Fault, Origin
from tests.subtitling import subtitled

pytestmark = pytest.mark.slow
ENGLISH = ((0.5, 1.5, "one"), (1.8, 4.4, "two"), (4.4, 5.0, "<00:00:04.600>three"))
GERMAN = ((0.5, 1.5, "eins"), (1.8, 4.4, "zwei"))
STYLE = "STYLE\n::cue { color: lime }"
Spoken = list[tuple[int, int, str]]


def test_cues_lie_where_the_frames_they_belong_to_lie(tmp_path: Path) -> None:
    asset = subtitled(segment(build(StreamSpec())), {"en": ENGLISH, "de": GERMAN}, style=STYLE)
    at = asset.epoch_ms

    with Origin(asset) as origin:
        job = export(
            origin.url, [(at + 1000, at + 4600)], tmp_path / "out.mp4", sidecars=("webvtt",)
        )

    assert keys(job) == ["out.en.vtt", "out.de.vtt"]
    # "two" touches three segments and is told once; what is cut off at an edge is clipped.
    assert cues(tmp_path / "out.en.vtt") == [
        (0, 500, "one"),
        (800, 3400, "two"),
        (3400, 3600, "three"),
    ]
    assert cues(tmp_path / "out.de.vtt") == [(0, 500, "eins"), (800, 3400, "zwei")]
    text = (tmp_path / "out.en.vtt").read_text()
    assert text.startswith(f"WEBVTT\n\n{STYLE}\n\n")
    assert text.count("line:80%") == 3
    assert "X-TIMESTAMP-MAP" not in text
    assert notes(job) == []
    with av.open(str(tmp_path / "out.en.vtt")) as made:
        assert [p.pts for p in made.demux() if p.size] == [0, 800, 3400]


@pytest.mark.parametrize("container", ["ts", "fmp4"])
@pytest.mark.parametrize("announced", [True, False])
def test_ranges_over_a_discontinuity_and_a_wrap_are_joined(
    container: str, announced: bool, tmp_path: Path
) -> None:
    near_the_wrap = 2**33 - 2 * 90_000 if container == "ts" else 0
    first = build(StreamSpec(start_pts_90k=near_the_wrap, seconds=4))
    second = build(continued(first.spec, start_pts_90k=77_000))
    plain = segment(first, second, container=container)
    # Stream time four, where the second begins, is its PTS 77,000.
    asset = subtitled(
        plain,
        {"en": ((1.0, 3.0, "a"), (3.6, 4.4, "over the edge"), (5.0, 6.0, "b"))},
        bases_90k=(near_the_wrap, 77_000 - 4 * 90_000),
        announced=announced,
    )
    at = asset.epoch_ms
    ranges = [(at + 3000, at + 5480), (at + 400, at + 2400), (at + 2800, at + 3200)]

    with Origin(asset) as origin:
        job = export(origin.url, ranges, tmp_path / "out.mp4", sidecars=("webvtt",))

    assert keys(job) == ["out.en.vtt"]
    assert cues(tmp_path / "out.en.vtt") == [
        (600, 1400, "over the edge"),
        (2000, 2480, "b"),
        (3080, 4480, "a"),
        (4480, 4680, "a"),
    ]


def test_channels_and_languages_go_on_in_each_other(tmp_path: Path) -> None:
    one = subtitled(segment(build(StreamSpec())), {"en": ((0.5, 1.0, "one"),)})
    plain = segment(build(StreamSpec(first_number=500)), container="fmp4")
    other = subtitled(
        plain,
        {"eng": ((0.5, 1.0, "other"),), "fr": ((0.5, 1.0, "autre"),)},
        bases_90k=(0,),
        attributes={"fr": ",FORCED=YES"},
    )
    with Origin(one) as origin:
        origin.mount("second", other)
        urls = [origin.url, origin.url_of(other.entry, "second")]
        refs = [a_connector_ref(id=f"con_{n}", config={"url": url}) for n, url in enumerate(urls)]
        span = TimeRange(start_ms=one.epoch_ms, end_ms=one.epoch_ms + 2000)
        parts = [ExportPart(connector=ref, channel_id="ch", range=span) for ref in refs]
        job = carry_out(parts, tmp_path / "out.mp4", sidecars=("webvtt",))

    assert keys(job) == ["out.en.vtt", "out.fr.forced.vtt"]
    assert cues(tmp_path / "out.en.vtt") == [(500, 1000, "one"), (2500, 3000, "other")]
    assert cues(tmp_path / "out.fr.forced.vtt") == [(2500, 3000, "autre")]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault.status(404), "1 of 2 segments of the subtitles 'en' are missing"),
        (Fault.status(503), "1 of 2 segments of the subtitles 'en' are missing"),
    ],
    ids=["not there", "the origin fails"],
)
def test_a_missing_segment_is_told_and_fails_nothing(
    fault: Fault, told: str, tmp_path: Path
) -> None:
    asset = subtitled(segment(build(StreamSpec())), {"en": ENGLISH})
    at = asset.epoch_ms

    with Origin(asset) as origin:
        origin.fault("en-0.vtt", fault)
        job = export(origin.url, [(at, at + 3000)], tmp_path / "o.mp4", sidecars=("webvtt",))

    assert job.error is None
    assert cues(tmp_path / "o.en.vtt") == [(1800, 3000, "two")]
    assert [note for note in notes(job) if told in note]


def test_subtitles_that_cannot_be_read_are_told_and_fail_nothing(tmp_path: Path) -> None:
    asset = subtitled(segment(build(StreamSpec())), {"en": ENGLISH, "de": GERMAN})
    at = asset.epoch_ms

    with Origin(asset) as origin:
        origin.fault("en.m3u8", Fault.status(404))
        for name in ("de-0.vtt", "de-1.vtt", "de-2.vtt"):
            origin.put(name, b"<html>not here</html>")
        job = export(origin.url, [(at, at + 3000)], tmp_path / "o.mp4", sidecars=("webvtt",))

    assert job.state == "succeeded"
    assert cues(tmp_path / "o.de.vtt") == []
    assert any("'en' cannot be read" in note for note in notes(job))
    assert any("2 of 2 segments of the subtitles 'de'" in note for note in notes(job))


def test_a_stream_without_subtitles_says_so(tmp_path: Path) -> None:
    asset = segment(build(StreamSpec()))
    at = asset.epoch_ms

    with Origin(asset) as origin:
        job = export(origin.url, [(at, at + 900)], tmp_path / "o.mp4", sidecars=("webvtt",))

    assert keys(job) == []
    assert notes(job) == ["the stream lists no subtitles"]


@pytest.mark.parametrize("gaps", ["skip", "black"])
def test_a_gap_in_the_pictures_keeps_or_loses_its_time(gaps: str, tmp_path: Path) -> None:
    asset = subtitled(segment(build(StreamSpec()), gaps=(1,)), {"en": ((0.5, 5.5, "all along"),)})
    at = asset.epoch_ms

    with Origin(asset) as origin:
        job = export(
            origin.url, [(at, at + 6000)], tmp_path / "o.mp4", sidecars=("webvtt",), gaps=gaps
        )

    assert job.error is None
    # Where nothing is shown of the stream, nothing is said of it.
    expected = [(500, 3500, "all along")]
    if gaps == "black":
        expected = [(500, 2000, "all along"), (4000, 5500, "all along")]
    assert cues(tmp_path / "o.en.vtt") == expected


def test_times_without_a_map_or_dates_are_placed_by_the_pictures(tmp_path: Path) -> None:
    plain = segment(build(StreamSpec()), container="fmp4")
    asset = subtitled(plain, {"en": ENGLISH}, mapped=False, dated=False)
    at = asset.epoch_ms

    with Origin(asset) as origin:
        job = export(origin.url, [(at, at + 1600)], tmp_path / "o.mp4", sidecars=("webvtt",))

    assert job.error is None
    assert cues(tmp_path / "o.en.vtt") == [(500, 1500, "one")]


# ---- what they share ------------------------------------------------------------------------


def told(job: Job) -> dict[str, Any]:
    """The result of a job that has one."""
    assert job.result is not None, job.error
    return job.result


def keys(job: Job) -> list[str]:
    """Where the sidecars lie."""
    return [each["key"] for each in told(job)["sidecars"]]


def notes(job: Job) -> list[str]:
    """What the result tells beside."""
    return list(told(job)["notes"])


def cues(path: Path) -> Spoken:
    """What a file of subtitles says, and when."""
    read = webvtt.read(path.read_bytes())
    return [(c.start_ms, c.end_ms, c.text.rpartition(">")[2]) for c in read.cues]
