"""EDL, OTIO, FCPXML and XMP of exported files, read back by others where there is somebody."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import opentimelineio  # type: ignore[import-untyped]
import pytest
from lxml import etree

from pipelines import interchange, timecode
from pipelines.interchange import Described, Part
from pipelines.xmp import xmp
from schemas.cuts import DeliveredTrack
from schemas.metadata import Marker
from tests.xmp_reader import read_xmp

NTSC, PAL, FILM = Fraction(30000, 1001), Fraction(25), Fraction(24000, 1001)
# 2022-02-04T06:44:06Z
AT = 1_643_957_046_000


def a_file(rate: Fraction | None = PAL, **changes: Any) -> Described:
    """Two ranges of two channels, of 50 and 25 frames."""
    values: dict[str, Any] = {
        "title": "Täst <&> news",
        "file_name": "news & more.mp4",
        "sha256": "ab" * 32,
        "size": 1000,
        "duration_ms": 3000,
        "rate": rate,
        "frames": 75,
        "width": 1920,
        "height": 1080,
        "sample_rate_hz": 48000,
        "parts": (
            Part(channel="ch1", first_frame=0, frames=50, start_ms=AT, end_ms=AT + 2000),
            Part(channel="bbc/two", first_frame=50, frames=25, start_ms=AT + 60_000,
                 end_ms=AT + 61_000),
        ),
        "tracks": (
            DeliveredTrack(kind="video", codec="h264", frames=75, copied=True),
            DeliveredTrack(kind="audio", codec="aac", frames=140, copied=True),
        ),
        "metadata": {"title": "Täst <&> news", "artist": "Ü", "season": "2\x01"},
    }  # fmt: skip
    return Described(**values | changes)


@pytest.mark.parametrize(
    ("frames", "label"),
    [
        (0, "00:00:00;00"),
        (1799, "00:00:59;29"),
        (1800, "00:01:00;02"),
        (17981, "00:09:59;29"),
        (17982, "00:10:00;00"),
        (107892, "01:00:00;00"),
        (2589407, "23:59:59;29"),
        (2589408, "00:00:00;00"),
    ],
)
def test_drop_frame_labels_are_those_of_the_standard(frames: int, label: str) -> None:
    assert timecode.label(frames, timecode.rate_of(NTSC)) == label


@pytest.mark.parametrize("rate", [NTSC, Fraction(60000, 1001), PAL, FILM, Fraction(50)])
def test_every_label_counts_back(rate: Fraction) -> None:
    counted = timecode.rate_of(rate)

    for frames in [*range(0, 40_000, 7), counted.day_frames - 1]:
        assert timecode.count(timecode.label(frames, counted), counted) == frames


def test_an_edl_has_right_frames_and_says_how_it_counts() -> None:
    lines = interchange.edl(a_file()).split("\r\n")

    assert lines[:2] == ["TITLE: Tast <&> news", "FCM: NON-DROP FRAME"]
    events = [line for line in lines if line[:3].isdigit()]
    assert events == [
        "001  CH1      B     C        06:44:06:00 06:44:08:00 01:00:00:00 01:00:02:00",
        "002  BBCTWO   B     C        06:45:06:00 06:45:07:00 01:00:02:00 01:00:03:00",
    ]


def test_an_edl_of_29_97_counts_with_drops() -> None:
    long = Part(channel="a", first_frame=0, frames=1800, start_ms=AT, end_ms=AT + 60_060)

    text = interchange.edl(a_file(NTSC, parts=(long,), frames=1800, start_timecode="10:00:00;00"))

    assert "FCM: DROP FRAME" in text
    assert "10:00:00;00 10:01:00;02 01:00:00;00 01:01:00;02" in text


def test_otio_is_read_by_its_own_library() -> None:
    text = interchange.otio(a_file(NTSC))

    timeline = opentimelineio.adapters.read_from_string(text, "otio_json")

    assert timeline.duration().value == 75
    assert [track.kind for track in timeline.tracks] == ["Video", "Audio"]
    clips = list(timeline.tracks[0])
    assert [clip.source_range.duration.value for clip in clips] == [50, 25]
    assert clips[1].metadata["cuttingroom"]["channel"] == "bbc/two"
    assert clips[0].media_reference.target_url == "news%20%26%20more.mp4"
    assert clips[0].media_reference.available_range.duration.value == 75


def test_fcpxml_places_every_clip_on_a_whole_frame() -> None:
    root = etree.fromstring(interchange.fcpxml(a_file(NTSC)).encode())

    clips = root.findall(".//asset-clip")
    assert [clip.get("duration") for clip in clips] == ["1001/600s", "1001/1200s"]
    offsets = [Fraction((clip.get("offset") or "").removesuffix("s")) for clip in clips]
    assert offsets[1] - offsets[0] == 50 / NTSC
    assert all((offset * NTSC).denominator == 1 for offset in offsets)
    assert root.find(".//format").get("frameDuration") == "1001/30000s"  # type: ignore[union-attr]
    assert root.find(".//media-rep").get("src") == "./news%20%26%20more.mp4"  # type: ignore[union-attr]


def test_xmp_tells_the_start_the_rate_and_the_markers() -> None:
    packet = xmp(a_file(NTSC))

    root = etree.fromstring(packet.encode())
    spaces = {
        "xmpDM": "http://ns.adobe.com/xmp/1.0/DynamicMedia/",
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "dc": "http://purl.org/dc/elements/1.1/",
    }
    assert root.findtext(".//xmpDM:startTimecode/xmpDM:timeFormat", "", spaces) == (
        "2997DropTimecode"
    )
    assert root.findtext(".//xmpDM:videoFrameRate", "", spaces) == "29.97"
    assert root.findtext(".//dc:title/rdf:Alt/rdf:li", "", spaces) == "Täst <&> news"
    starts = [node.text for node in root.iterfind(".//xmpDM:startTime", spaces)]
    assert starts == ["0", "50"]


def test_json_says_it_all() -> None:
    told = json.loads(interchange.as_json(a_file()))

    assert told["frameRate"] == "25"
    assert told["parts"][1]["firstFrame"] == 50
    assert told["metadata"]["artist"] == "Ü"


def test_sound_alone_is_counted_in_milliseconds() -> None:
    sound = (DeliveredTrack(kind="audio", codec="aac", frames=140, copied=True),)
    part = Part(channel="r", first_frame=0, frames=3000, start_ms=AT, end_ms=AT + 3000)
    file = a_file(None, tracks=sound, parts=(part,), frames=3000)

    assert "001  R        A     C        06:44:06:000 06:44:09:000" in interchange.edl(file)
    assert opentimelineio.adapters.read_from_string(interchange.otio(file), "otio_json")


# --- markers, and files as they are at their source

MARKERS = (
    Marker(view="Sport log", name="goal", comment="player: Ü & <b>", start_ms=AT + 400,
           end_ms=AT + 1400),
    Marker(view="Sport log", name="whistle", start_ms=AT + 60_500, end_ms=AT + 60_500, part=1),
)  # fmt: skip


def a_marked_file(rate: Fraction | None = PAL) -> Described:
    file = a_file(rate)
    return file.model_copy(update={"markers": interchange.marked(file, MARKERS)})


@pytest.mark.parametrize(
    ("span", "part", "found"),
    [
        ((AT, AT), 0, (0, 0)),
        ((AT + 40, AT + 120), 0, (1, 2)),
        ((AT - 500, AT + 1000), 0, (0, 25)),
        ((AT + 1000, AT + 9000), 0, (25, 25)),
        ((AT - 500, AT), 0, None),
        ((AT - 500, AT - 500), 0, None),
        ((AT + 2000, AT + 3000), 0, None),
        ((AT + 60_000, AT + 60_400), 1, (50, 10)),
        ((AT, AT + 100), 7, None),
    ],
)
def test_a_marker_stands_where_its_moment_went(
    span: tuple[int, int], part: int, found: tuple[int, int] | None
) -> None:
    given = Marker(view="v", name="n", start_ms=span[0], end_ms=span[1], part=part)

    got = interchange.marked(a_file(), [given])

    assert [(one.first_frame, one.frames) for one in got] == ([found] if found else [])


def test_times_between_frames_belong_to_the_frame_on_screen() -> None:
    given = [Marker(view="v", name="n", start_ms=ms, end_ms=ms) for ms in (0, 33, 34, 66, 67, 1001)]

    got = interchange.counted_in(a_file(NTSC), given)

    assert [one.first_frame for one in got] == [0, 0, 1, 1, 2, 30]


def test_markers_stand_in_the_edl_at_their_record_labels() -> None:
    lines = interchange.edl(a_marked_file()).split("\r\n")

    found = [line for line in lines if line.startswith("* LOC")]
    assert found == ["* LOC: 01:00:00:10 RED     goal", "* LOC: 01:00:02:12 RED     whistle"]
    assert lines.index(found[0]) < lines.index(next(line for line in lines if line[:3] == "002"))


def test_markers_are_read_by_otios_library() -> None:
    text = interchange.otio(a_marked_file())

    timeline = opentimelineio.adapters.read_from_string(text, "otio_json")

    first, second = list(timeline.tracks[0])
    (goal,) = first.markers
    assert (goal.name, goal.comment) == ("goal", "player: Ü & <b>")
    assert goal.marked_range.start_time - first.source_range.start_time == (
        opentimelineio.opentime.RationalTime(10, 25)
    )
    assert goal.marked_range.duration.value == 25
    assert [marker.name for marker in second.markers] == ["whistle"]


def test_markers_stand_in_fcpxml_on_whole_frames() -> None:
    root = etree.fromstring(interchange.fcpxml(a_marked_file(NTSC)).encode())

    clip = root.findall(".//asset-clip")[0]
    _, goal = clip.findall("marker")
    start = Fraction((goal.get("start") or "").removesuffix("s"))
    assert (goal.get("value"), goal.get("note")) == ("goal", "player: Ü & <b>")
    assert (start - Fraction((clip.get("start") or "").removesuffix("s"))) * NTSC == 11
    assert goal.get("duration") == "1001/1000s"


def test_exiv2_reads_the_packet_back_in_full(tmp_path: Path) -> None:
    words = {
        "title": "Täst <&> news", "artist": "Ü", "copyright": "CC", "description": "two\nlines",
        "subject": "fire, Wien", "publisher": "ORF", "contributor": "Bo", "language": "de",
        "date": "2022-02-04T06:44:06.000Z", "type": "MovingImage", "coverage": "Wien",
        "relation": "part of", "source": "wire", "identifier": "urn:x", "genre": "news",
        "comment": "rough", "season": "2",
    }  # fmt: skip
    file = a_marked_file().model_copy(update={"metadata": words, "start_timecode": "10:00:00:00"})

    found = read_xmp(xmp(file), tmp_path)

    track = "Xmp.xmpDM.Tracks[2]/xmpDM:markers"
    assert {
        "Xmp.dc.title": 'lang="x-default" Täst <&> news',
        "Xmp.dc.creator": "Ü",
        "Xmp.dc.rights": 'lang="x-default" CC',
        "Xmp.dc.description": 'lang="x-default" two\nlines',
        "Xmp.dc.subject": "fire, Wien",
        "Xmp.dc.publisher": "ORF",
        "Xmp.dc.contributor": "Bo",
        "Xmp.dc.language": "de",
        "Xmp.dc.date": "2022-02-04T06:44:06.000Z",
        "Xmp.dc.type": "MovingImage",
        "Xmp.dc.coverage": "Wien",
        "Xmp.dc.relation": "part of",
        "Xmp.dc.source": "wire",
        "Xmp.dc.identifier": "urn:x",
        "Xmp.dc.format": "video/mp4",
        "Xmp.xmpDM.genre": "news",
        "Xmp.xmpDM.logComment": "rough",
        "Xmp.xmpDM.videoFrameRate": "25",
        "Xmp.xmpDM.startTimecode/xmpDM:timeValue": "10:00:00:00",
        "Xmp.xmpDM.startTimecode/xmpDM:timeFormat": "25Timecode",
        "Xmp.xmpDM.duration/xmpDM:value": "3000",
        "Xmp.xmpDM.duration/xmpDM:scale": "1/1000",
        "Xmp.xmpDM.Tracks[2]/xmpDM:trackName": "Sport log",
        "Xmp.xmpDM.Tracks[2]/xmpDM:frameRate": "f25",
        f"{track}[1]/xmpDM:startTime": "10",
        f"{track}[1]/xmpDM:duration": "25",
        f"{track}[1]/xmpDM:name": "goal",
        f"{track}[1]/xmpDM:comment": "player: Ü & <b>",
        f"{track}[2]/xmpDM:name": "whistle",
    }.items() <= found.items()


def test_a_file_at_its_source_has_no_ranges_and_no_invented_label(tmp_path: Path) -> None:
    file = Described(
        title="tape", file_name="tape.mxf", sha256="", size=5, duration_ms=0, rate=PAL, frames=0,
        content_type="application/mxf",
    )  # fmt: skip

    found = read_xmp(xmp(file), tmp_path)

    assert found["Xmp.dc.format"] == "application/mxf"
    assert found["Xmp.xmpDM.videoFrameRate"] == "25"
    assert not [key for key in found if "Tracks" in key or "timecode" in key.lower()]
    assert not {"Xmp.dc.identifier", "Xmp.xmp.CreateDate"} & found.keys()


def test_a_pause_between_parts_is_a_gap() -> None:
    file = a_file()
    first, *others = file.parts
    paused = file.model_copy(
        update={
            "parts": (first, *(p.model_copy(update={"first_frame": p.first_frame + 10})
                               for p in others)),
            "frames": file.frames + 10,
        }
    )  # fmt: skip

    timeline = opentimelineio.adapters.read_from_string(interchange.otio(paused), "otio_json")

    track = timeline.tracks[0]
    assert [type(item).__name__ for item in track][:3] == ["Clip", "Gap", "Clip"]
    assert track[1].duration().to_frames() == 10
    assert track.duration().to_frames() == sum(p.frames for p in paused.parts) + 10
    assert '<gap name="Gap"' in interchange.fcpxml(paused)
