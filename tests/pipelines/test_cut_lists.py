"""Timelines told as EDL and FCPXML, read back by other people's readers."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import opentimelineio as otio  # type: ignore[import-untyped]
import pytest
from lxml import etree

from pipelines.cut_lists import address, dropped, edl, fcpxml
from pipelines.otio import read
from schemas.timelines import MediaRef, Timeline
from tests.timelines import (
    a_clip,
    a_gap,
    a_timeline,
    a_track,
    a_transition,
    of_channel,
    of_file,
    span,
    time,
)

FILM = of_file("con_1", "news/Goal of the day.mp4")
LIVE = of_channel("con_2", "ch1")
DF = 29.97
MARKER = {
    "OTIO_SCHEMA": "Marker.2",
    "name": "kick-off",
    "color": "GREEN",
    "marked_range": span(30, 1),
}


def a_cut(rate: float = 25.0, **more: Any) -> Timeline:
    """Two cuts of one file around a gap, then a channel."""
    track = a_track(
        a_clip(25, 40, rate, media=FILM, name="first", markers=[MARKER]),
        a_gap(11, rate),
        a_clip(100, 33, rate, media=FILM, name="second"),
        a_clip(0, 21, rate, media=of_channel("con_2", "ch1", startMs=1643957046000), name="live"),
    )
    return read(a_timeline(track, **more))


def clips(timeline: Any) -> list[tuple[str, int, int, int]]:
    """What a reader found: name, place on the timeline, length, and place in the media."""
    (track,) = [t for t in timeline.tracks if t.kind == "Video"]
    found = []
    for clip in track.find_clips():
        place, own = clip.range_in_parent(), clip.source_range
        found.append(
            (
                clip.name,
                place.start_time.to_frames(),
                place.duration.to_frames(),
                own.start_time.to_frames(),
            )
        )
    return found


def labelled(hours: int, minutes: int, seconds: int, rate: int = 25) -> int:
    return ((hours * 60 + minutes) * 60 + seconds) * rate


EXPECTED = [
    ("first", 0, 40, 25),
    ("second", 51, 33, 100),
    ("live", 84, 21, labelled(6, 44, 6)),
]


def test_an_edl_is_read_back_with_every_frame_in_its_place() -> None:
    text = edl(a_cut())

    found = otio.adapters.read_from_string(text, "cmx_3600", rate=25)

    assert clips(found) == EXPECTED
    assert "* SOURCE FILE: cuttingroom://connectors/con_1/files/news/Goal" in text
    assert "* LOC: 01:00:00:05 GREEN   kick-off" in text
    assert max(len(line) for line in text.splitlines() if line[:3].isdigit()) <= 80


def test_drop_frame_labels_count_no_frame_twice() -> None:
    # 01:00:59;29 is followed by 01:01:00;02.
    timeline = read(a_timeline(a_track(a_clip(0, 1800, DF, media=FILM))))

    text = edl(timeline)

    assert "FCM: DROP FRAME" in text
    assert "00:00:00;00 00:01:00;02 01:00:00;00 01:01:00;02" in text
    found = otio.adapters.read_from_string(text, "cmx_3600", rate=30000 / 1001)
    (clip,) = found.tracks[0].find_clips()
    assert clip.duration().to_frames() == 1800


def test_the_editors_own_start_is_kept() -> None:
    timeline = a_cut(global_start_time=time(25 * 3600 * 10))

    assert " 10:00:00:00 10:00:01:15" in edl(timeline)
    sequence = parsed(fcpxml(timeline)).find(".//sequence")
    assert sequence is not None
    assert sequence.get("tcStart") == "36000s"


def test_wall_clock_is_told_as_a_time_of_day() -> None:
    epoch = 1643957046  # 2022-02-04T06:44:06Z
    timeline = read(a_timeline(a_track(a_clip(epoch * 25, 50, media=LIVE))))

    assert " 06:44:06:00 06:44:08:00 " in edl(timeline)
    assert [one.code for one in dropped(timeline, "edl")] == ["dates_dropped"]
    assert 'start="24246s"' in fcpxml(timeline)


# The reader's own code, on newer Pythons.
@pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning")
def test_fcpxml_is_read_back_with_every_frame_in_its_place() -> None:
    (timeline,) = otio.adapters.read_from_string(fcpxml(a_cut()), "fcpx_xml")

    # This reader lays a spine out from midnight, whatever its sequence begins at.
    hour = labelled(1, 0, 0)
    assert clips(timeline) == [(name, at + hour, long, own) for name, at, long, own in EXPECTED]


@pytest.mark.parametrize("rate", [25.0, DF, 23.976, 59.94, 24.0])
def test_every_time_of_fcpxml_is_a_whole_frame(rate: float) -> None:
    timeline = a_cut(rate)
    root = parsed(fcpxml(timeline))
    shown = root.find(".//format")
    assert shown is not None
    frame = seconds(shown.get("frameDuration"))

    assert 1 / frame == timeline.rate
    spine = root.find(".//spine")
    assert spine is not None
    at = seconds(root.find(".//sequence").get("tcStart"))  # type: ignore[union-attr]  # is there
    for element in spine:
        for name in ("offset", "start", "duration"):
            assert (seconds(element.get(name)) / frame).denominator == 1, name
        assert seconds(element.get("offset")) == at
        at += seconds(element.get("duration"))
    assert [element.tag for element in spine] == ["asset-clip", "gap", "asset-clip", "asset-clip"]


def test_every_clip_lies_within_its_asset() -> None:
    root = parsed(fcpxml(a_cut(DF)))
    assets = {asset.get("id"): asset for asset in root.iter("asset")}

    for clip in root.iter("asset-clip"):
        asset = assets[clip.get("ref")]
        begin = seconds(asset.get("start"))
        start = seconds(clip.get("start"))
        assert begin <= start
        assert start + seconds(clip.get("duration")) <= begin + seconds(asset.get("duration"))


def test_a_clip_of_another_rate_is_conformed() -> None:
    track = a_track(a_clip(0, 100, media=FILM), a_clip(10, 20, 50.0, media=LIVE))
    timeline = read(a_timeline(track))

    conform = parsed(fcpxml(timeline)).find(".//conform-rate")

    assert conform is not None
    assert conform.get("srcFrameRate") == "50"
    assert "rates_mixed" in [one.code for one in dropped(timeline, "fcpxml")]


def test_what_a_format_cannot_say_is_told() -> None:
    music = a_track(a_clip(media=of_file("con_1", "music.wav")), kind="Audio")
    track = a_track(
        a_clip(media=FILM, name="Größe"), a_transition(), a_clip(media=LIVE), markers=[MARKER]
    )
    timeline = read(a_timeline(track, music))

    assert dropped(timeline, "otio") == ()
    in_both = ["transition_cut", "audio_dropped", "markers_dropped"]
    assert [one.code for one in dropped(timeline, "fcpxml")] == in_both
    own = ["reels_shortened", "names_plain"]
    assert [one.code for one in dropped(timeline, "edl")] == [*in_both, *own]


def test_a_list_of_a_thousand_edits_says_what_it_leaves_out() -> None:
    track = a_track(*(a_clip(10 * n, 5, media=FILM) for n in range(1001)))
    timeline = read(a_timeline(track))

    assert "events_dropped" in [one.code for one in dropped(timeline, "edl")]
    assert sum(line[:3].isdigit() for line in edl(timeline).splitlines()) == 999


def test_names_from_outside_stay_text() -> None:
    hostile = 'a"><!ENTITY x\x01 &amp;\r\n002  AX V C'
    track = a_track(a_clip(media=FILM, name=hostile))
    timeline = read(a_timeline(track, name=hostile))

    root = parsed(fcpxml(timeline))
    assert len(list(root.iter("asset-clip"))) == 1
    assert sum(line[:3].isdigit() for line in edl(timeline).splitlines()) == 1


def test_an_address_leads_back_to_its_media() -> None:
    media = MediaRef(connector_id="con 1/2", file_id="a b/ü%2F?.mp4")
    reference = {"OTIO_SCHEMA": "ExternalReference.1", "target_url": address(media)}

    (edit,) = read(a_timeline(a_track(a_clip(reference=reference)))).edits

    assert edit.media == media


def parsed(text: str) -> etree._Element:
    return etree.fromstring(text.encode(), etree.XMLParser(resolve_entities=False))


def seconds(text: str | None) -> Fraction:
    assert text is not None
    return Fraction(text.removesuffix("s"))
