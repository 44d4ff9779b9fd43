"""OpenTimelineIO documents: what editors write is read, what cannot be used is refused by place."""

from __future__ import annotations

import copy
import json
import re
import runpy
from fractions import Fraction
from pathlib import Path
from typing import Any

import opentimelineio as otio_library  # type: ignore[import-untyped]
import pytest

from pipelines.otio import MAX_ITEMS, TimelineRefused, read
from schemas.timelines import MediaRef, Timeline
from tests.timelines import (
    a_clip,
    a_gap,
    a_stack,
    a_timeline,
    a_track,
    a_transition,
    of_channel,
    of_file,
    span,
    time,
)

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "projects.md"
FILM = of_file("con_1", "news/goal.mp4")
S = Fraction(1, 25)


def shown(timeline: Timeline) -> list[tuple[str, int, int, int]]:
    """What is seen: its name, and in frames where, how long, and from where in its media."""
    return [(e.name, int(e.at / S), int(e.duration / S), int(e.start / S)) for e in timeline.edits]


def codes(timeline: Timeline) -> list[str]:
    return [warning.code for warning in timeline.warnings]


def test_clips_follow_each_other_and_gaps_keep_their_time() -> None:
    document = a_timeline(a_track(a_clip(10, 20, media=FILM), a_gap(5), a_clip(0, 7, media=FILM)))

    timeline = read(document)

    assert shown(timeline) == [("clip", 0, 20, 10), ("clip", 25, 7, 0)]
    assert timeline.edits[0].media == MediaRef(connector_id="con_1", file_id="news/goal.mp4")
    assert timeline.connectors == {"con_1": "/tracks/children/0/children/0"}
    assert (timeline.rate, timeline.length) == (Fraction(25), 32 * S)
    assert timeline.warnings == ()


@pytest.mark.parametrize(
    ("rate", "meant"),
    [
        (29.97, Fraction(30000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (119.88, Fraction(120000, 1001)),
        (24.0, Fraction(24)),
        (30, Fraction(30)),
        (12.5, Fraction(25, 2)),
    ],
)
def test_rates_are_what_they_are_meant_to_be(rate: float, meant: Fraction) -> None:
    timeline = read(a_timeline(a_track(a_clip(100, 250, rate, media=FILM))))

    assert timeline.rate == meant
    assert timeline.edits[0].duration == 250 / meant
    assert timeline.edits[0].start == 100 / meant


@pytest.mark.parametrize(
    "reference",
    [
        {
            "OTIO_SCHEMA": "ExternalReference.1",
            "target_url": "cuttingroom://connectors/con_1/files/news/goal.mp4",
            "available_range": None,
        },
        {
            "OTIO_SCHEMA": "ExternalReference.1",
            "target_url": "cuttingroom://connectors/con_1/files/news%2Fgoal.mp4",
        },
        {
            "OTIO_SCHEMA": "ExternalReference.1",
            "target_url": "file:///Volumes/goal.mp4",
            "metadata": {"cuttingroom": FILM},
        },
    ],
    ids=["an address", "an address with one segment", "the reference's metadata"],
)
def test_media_is_named_in_three_ways(reference: dict[str, Any]) -> None:
    timeline = read(a_timeline(a_track(a_clip(reference=reference))))

    assert timeline.edits[0].media == MediaRef(connector_id="con_1", file_id="news/goal.mp4")


def test_a_channel_is_named_with_where_its_media_begins() -> None:
    live = of_channel("con_1", "ch1", startMs=1643957046000)

    timeline = read(a_timeline(a_track(a_clip(media=live))))

    assert timeline.edits[0].media == MediaRef(
        connector_id="con_1", channel_id="ch1", start_ms=1643957046000
    )


def test_a_clip_of_old_days_and_one_without_a_source_range_are_read() -> None:
    reference = {
        "OTIO_SCHEMA": "ExternalReference.1",
        "target_url": "cuttingroom://connectors/con_1/files/a.mp4",
        "available_range": span(90000, 50),
    }
    old = {"OTIO_SCHEMA": "Clip.1", "name": "old", "media_reference": reference}

    timeline = read(a_timeline(a_track({**old, "source_range": None})))

    assert shown(timeline) == [("old", 0, 50, 90000)]
    assert timeline.edits[0].available == (Fraction(3600), Fraction(2))


def test_upper_tracks_hide_what_is_below() -> None:
    below = a_track(a_clip(0, 100, media=FILM, name="below"))
    above = a_track(a_gap(20), a_clip(0, 30, media=FILM, name="above"))

    timeline = read(a_timeline(below, above))

    assert shown(timeline) == [
        ("below", 0, 20, 0),
        ("above", 20, 30, 0),
        ("below", 50, 50, 50),
    ]
    assert codes(timeline) == ["layers_flattened"]


def test_groups_are_laid_flat_and_cut_down() -> None:
    group = a_stack(
        a_track(a_clip(0, 40, media=FILM, name="a"), a_clip(100, 40, media=FILM, name="b")),
        source_range=span(30, 20),
    )

    timeline = read(a_timeline(a_track(a_gap(10), group, a_clip(0, 5, media=FILM, name="c"))))

    assert shown(timeline) == [("a", 10, 10, 30), ("b", 20, 10, 100), ("c", 30, 5, 0)]


def test_what_is_kept_but_not_shown_is_said() -> None:
    slow = {"OTIO_SCHEMA": "LinearTimeWarp.1", "time_scalar": 0.5}
    blur = {"OTIO_SCHEMA": "Effect.1", "effect_name": "Blur"}
    slug = {"OTIO_SCHEMA": "GeneratorReference.1", "generator_kind": "SMPTEBars"}
    track = a_track(
        a_clip(media=FILM, effects=[slow, blur]),
        a_transition(),
        a_clip(media=FILM, enabled=False),
        a_clip(reference=slug),
        a_clip(),
        a_clip(frames=0, media=FILM),
    )

    timeline = read(a_timeline(track, a_track(a_clip(media=FILM), kind="Subtitles")))

    assert sorted(codes(timeline)) == sorted(
        [
            *("speed_ignored", "effect_dropped", "transition_cut", "disabled_dropped"),
            *("generator_dropped", "media_offline", "empty_dropped", "track_dropped"),
        ]
    )
    assert [int(e.at / S) for e in timeline.edits] == [0, 150]


def test_sound_of_its_own_is_said_and_sound_that_follows_is_not() -> None:
    seen = a_track(a_clip(10, 20, media=FILM))
    same = a_track(a_clip(10, 20, media=FILM), kind="Audio")
    other = a_track(a_clip(0, 20, media=of_file("con_1", "music.wav")), kind="Audio")

    assert codes(read(a_timeline(seen, same))) == []
    assert codes(read(a_timeline(seen, same, other))) == ["audio_dropped"]
    alone = read(a_timeline(same, other))
    assert (alone.kind, codes(alone)) == ("audio", ["audio_dropped"])


def test_a_collection_of_one_timeline_is_that_timeline() -> None:
    timeline = a_timeline(a_track(a_clip(media=FILM)))
    bin_of = {"OTIO_SCHEMA": "SerializableCollection.1", "name": "bin"}

    assert read({**bin_of, "children": [timeline]}).clips == 1
    with pytest.raises(TimelineRefused, match="2 timelines"):
        read({**bin_of, "children": [timeline, timeline]})


def test_what_the_library_writes_is_read() -> None:
    library = otio_library
    timeline = library.schema.Timeline("By the library")
    track = library.schema.Track(kind=library.schema.TrackKind.Video)
    timeline.tracks.append(track)
    clip = library.schema.Clip(
        name="goal",
        media_reference=library.schema.ExternalReference(
            target_url="cuttingroom://connectors/con_1/files/goal.mp4",
            available_range=library.opentime.TimeRange(
                library.opentime.RationalTime(0, 25), library.opentime.RationalTime(500, 25)
            ),
        ),
        source_range=library.opentime.TimeRange(
            library.opentime.RationalTime(12, 25), library.opentime.RationalTime(30, 25)
        ),
    )
    clip.markers.append(
        library.schema.Marker("note", marked_range=clip.source_range, color="GREEN")
    )
    clip.effects.append(library.schema.FreezeFrame())
    track.extend([clip, library.schema.Gap(duration=library.opentime.RationalTime(5, 25))])
    track.append(library.schema.Transition("SMPTE_Dissolve"))
    timeline.tracks.append(library.schema.Track(kind=library.schema.TrackKind.Audio))

    read_back = read(json.loads(timeline.to_json_string()))

    assert shown(read_back) == [("goal", 0, 30, 12)]
    assert read_back.edits[0].markers[0].color == "GREEN"


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """A good document with one thing changed in its clip."""
    document = a_timeline(a_track(a_clip(media=FILM)))
    here: Any = document["tracks"]["children"][0]["children"][0]
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = to
    return document


CLIP = "/tracks/children/0/children/0"


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ([], ""),
        ({"OTIO_SCHEMA": "Clip.2"}, ""),
        ({"name": "x"}, "/OTIO_SCHEMA"),
        ({"OTIO_SCHEMA": "Timeline.2", "tracks": {}}, "/OTIO_SCHEMA"),
        ({"OTIO_SCHEMA": "Timeline.1", "tracks": None}, "/tracks"),
        ({**a_timeline(), "tenantId": "x"}, "/tenantId"),
        (a_timeline(a_track({"OTIO_SCHEMA": "Nonsense.1"})), f"{CLIP}/OTIO_SCHEMA"),
        (changed("OTIO_SCHEMA", to="Clip.3"), f"{CLIP}/OTIO_SCHEMA"),
        (changed("source_range", to=None), CLIP),
        (changed("source_range", to=7), f"{CLIP}/source_range"),
        (changed("source_range", "duration", to=time(-1)), f"{CLIP}/source_range/duration"),
        (
            changed("source_range", "duration", to=time(5, 0)),
            f"{CLIP}/source_range/duration/rate",
        ),
        (
            changed("source_range", "start_time", to=time(float("nan"))),
            f"{CLIP}/source_range/start_time/value",
        ),
        (
            changed("source_range", "start_time", to=time(1e300)),
            f"{CLIP}/source_range/start_time/value",
        ),
        (changed("source_range", "duration", to=time(1e9)), f"{CLIP}/source_range/duration"),
        (
            changed("source_range", "duration", "rate", to="25"),
            f"{CLIP}/source_range/duration/rate",
        ),
        (changed("markers", to={}), f"{CLIP}/markers"),
        (changed("markers", to=[{"OTIO_SCHEMA": "Clip.1"}]), f"{CLIP}/markers/0/OTIO_SCHEMA"),
        (changed("active_media_reference_key", to="proxy"), f"{CLIP}/active_media_reference_key"),
        (
            changed("metadata", "cuttingroom", "fileId", to="a\n"),
            f"{CLIP}/metadata/cuttingroom/fileId",
        ),
        (changed("metadata", "cuttingroom", "channelId", to="ch1"), f"{CLIP}/metadata/cuttingroom"),
        (
            changed("metadata", to={"cuttingroom": of_channel("c", "ch", startMs=1.5)}),
            f"{CLIP}/metadata/cuttingroom/startMs",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_at_its_place(document: Any, pointer: str) -> None:
    with pytest.raises(TimelineRefused) as refused:
        read(document)

    assert refused.value.pointer == pointer
    assert refused.value.error_code == "timeline_invalid"


@pytest.mark.parametrize(
    "url",
    [
        "cuttingroom://connectors/con_1",
        "cuttingroom://connectors//files/a.mp4",
        "cuttingroom://connectors/con_1/jobs/a",
        "cuttingroom://connectors/con_1/files/",
        "cuttingroom:con_1",
    ],
)
def test_an_address_that_is_none_of_ours_is_refused(url: str) -> None:
    reference = {"OTIO_SCHEMA": "ExternalReference.1", "target_url": url}

    with pytest.raises(TimelineRefused) as refused:
        read(a_timeline(a_track(a_clip(reference=reference))))

    assert refused.value.pointer.endswith("/target_url")


def test_a_timeline_is_only_so_large() -> None:
    gap = a_gap(1)

    with pytest.raises(TimelineRefused, match=f"more than {MAX_ITEMS} items"):
        read(a_timeline(a_track(*([gap] * (MAX_ITEMS + 1)))))
    with pytest.raises(TimelineRefused, match="tracks"):
        read(a_timeline(*([a_track(gap)] * 101)))
    week = a_gap(25 * 3600 * 24 * 7)
    with pytest.raises(TimelineRefused, match="days"):
        read(a_timeline(a_track(week, week, a_clip(media=FILM))))


def test_reading_changes_nothing() -> None:
    document = a_timeline(a_track(a_clip(media=FILM)), a_track(a_gap(3), a_clip(media=FILM)))
    before = copy.deepcopy(document)

    read(document)

    assert document == before


def test_the_timeline_of_the_guide_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", HOWTO.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guide.py").write_text(code, encoding="utf-8")

    runpy.run_path(str(tmp_path / "guide.py"))

    timeline = read(json.loads((tmp_path / "goals.otio").read_text(encoding="utf-8")))
    assert [int(edit.duration / S) for edit in timeline.edits] == [250, 100]
    assert set(timeline.connectors) == {"con_live", "con_archive"}
    assert timeline.warnings == ()
