"""Which pictures are taken of what, and what is said of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipelines import sprite, webvtt
from pipelines.sprite import SpriteFacts
from pipelines.window import Selection
from schemas.commands import MakeThumbnails
from schemas.connectors import Destination
from schemas.errors import CorruptMedia, InvalidCommand, TooLarge, UnsupportedMedia
from schemas.media import MediaInfo, Segment, StreamInfo
from schemas.plans import Plan
from schemas.thumbnails import Pictures, Shot
from tests.builders import a_connector_ref

PLANS = Path(__file__).parent.parent / "plans"
VIDEO = StreamInfo(index=0, kind="video", codec="h264", width=1920, height=1080)


def a_command(**changes: Any) -> MakeThumbnails:
    usual: dict[str, Any] = {
        "tenant_id": "t1",
        "requested_by": "k1",
        "connector": a_connector_ref(),
        "file_id": "a.mp4",
        "type": "sprite",
        "destination": Destination(key="thumbs/t1/f/d/sprite"),
    }
    return MakeThumbnails(**{**usual, **changes})


def facts(lasts_ms: int, **changes: Any) -> SpriteFacts:
    stream = VIDEO.model_copy(update=changes)
    info = MediaInfo(container="mp4", size=1, duration_ms=lasts_ms, streams=(stream,))
    return SpriteFacts(info=info, lasts_ms=lasts_ms)


@pytest.mark.parametrize(
    ("asked", "lasts_ms", "found"),
    [
        ({"every_ms": 400}, 1000, (0, 400, 800)),
        ({"every_ms": 400}, 800, (0, 400)),
        ({"every_ms": 400}, 0, (0,)),
        ({"count": 3}, 1000, (0, 333, 666)),
        ({"count": 5}, 2, (0, 1)),
        ({}, 4000, (0, 1000, 2000, 3000)),
        ({"type": "poster", "at_ms": 70}, 1000, (70,)),
    ],
)
def test_times_begin_with_the_first_and_stay_within(
    asked: dict[str, Any], lasts_ms: int, found: tuple[int, ...]
) -> None:
    assert sprite.times(a_command(**asked), lasts_ms) == found


def test_by_default_there_are_a_hundred_at_most() -> None:
    assert len(sprite.times(a_command(), 3_600_000)) == 100


def test_more_pictures_than_anybody_looks_at_are_refused() -> None:
    with pytest.raises(TooLarge):
        sprite.times(a_command(every_ms=40), 3_600_000)


def test_a_poster_past_the_end_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="1000 ms"):
        sprite.times(a_command(type="poster", at_ms=9000), 1000)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, (160, 90)),
        ({"rotation_deg": 90}, (160, 284)),
        ({"sample_aspect": Fraction(4, 3), "width": 1440}, (160, 90)),
        ({"width": 2, "height": 8192}, (2, 4096)),
    ],
    ids=["plain", "turned", "squeezed", "a stripe"],
)
def test_a_picture_keeps_the_shape_it_is_shown_in(
    changes: dict[str, Any], size: tuple[int, int]
) -> None:
    (step,) = sprite.take_plan(a_command(), facts(10_000, **changes)).steps

    grid = getattr(step, "grid", None)
    assert grid is not None
    assert (min(grid.width, 160), grid.height) == size


def test_a_file_that_was_cut_off_is_refused() -> None:
    info = MediaInfo(container="mxf", size=1, duration_ms=1, streams=())

    assert sprite.checked(info) is info
    with pytest.raises(CorruptMedia, match="5 bytes are not there"):
        sprite.checked(info.model_copy(update={"lacking_bytes": 5}))


def test_sound_alone_is_refused() -> None:
    info = MediaInfo(
        container="mp4",
        size=1,
        duration_ms=1,
        streams=(StreamInfo(index=0, kind="audio", codec="aac"),),
    )
    with pytest.raises(UnsupportedMedia, match="no video"):
        sprite.video_of(info)


def a_segment(number: int, *, dated: bool = True) -> Segment:
    start_us = number * 2_000_000
    return Segment(
        uri=f"{number}.ts",
        sequence=number,
        discontinuity_sequence=0,
        duration_us=2_000_000,
        start_us=start_us,
        pdt_us=start_us if dated else None,
    )


def test_only_segments_that_hold_a_time_are_kept() -> None:
    selection = Selection(segments=tuple(a_segment(n) for n in range(6)))

    kept = sprite.holding(selection, [500_000, 5_900_000, 10_500_000])

    # Of the last moments of 2, an open GOP may store pictures in 3.
    assert [s.sequence for s in kept.segments] == [0, 2, 3, 5]


def test_a_segment_that_has_the_regions_only_date_is_kept_as_its_anchor() -> None:
    selection = Selection(segments=tuple(a_segment(n, dated=n == 0) for n in range(4)))

    kept = sprite.holding(selection, [5_000_000])

    assert [s.sequence for s in kept.segments] == [2]
    assert [s.sequence for s in kept.anchors] == [0]


def taken(*at_ms: int) -> Pictures:
    shots = tuple(Shot(number=n, at_us=at * 1000) for n, at in enumerate(at_ms))
    return Pictures(sheets=("sprite-000.jpg",), shots=shots)


def test_cues_follow_each_other_to_the_end() -> None:
    known = facts(2500).model_copy(update={"pictures": taken(0, 960, 2000)})

    board = sprite.storyboard(a_command(every_ms=1000), known)

    spans = [(c.start_ms, c.end_ms, c.at_ms) for c in board.cues]
    assert spans == [(0, 1000, 0), (1000, 2000, 960), (2000, 2500, 2000)]


def test_cues_of_keyframes_begin_where_the_keyframes_do() -> None:
    known = facts(2500).model_copy(update={"pictures": taken(0, 960, 2000)})

    board = sprite.storyboard(a_command(every_ms=1000, times="keyframe"), known)

    assert [c.start_ms for c in board.cues] == [0, 960, 2000]


def test_webvtt_names_a_part_of_a_sheet() -> None:
    known = facts(2500).model_copy(update={"pictures": taken(0, 960, 2000)})
    board = sprite.storyboard(a_command(every_ms=1000), known)

    text = webvtt.storyboard(board, lambda number: f"s{number}.jpg")

    assert text.startswith(
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\ns0.jpg#xywh=0,0,160,90\n\n"
        "00:00:01.000 --> 00:00:02.000\ns0.jpg#xywh=160,0,160,90\n"
    )


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("sprite-every-second", a_command(every_ms=1000)),
        ("sprite-poster", a_command(type="poster", at_ms=1500, format="webp", width=640)),
        ("sprite-keyframes", a_command(count=2, times="keyframe", stored_key="clips/c.mp4")),
    ],
)
def test_a_plan_is_as_it_was_written_down(name: str, command: MakeThumbnails) -> None:
    known = facts(3000).model_copy(update={"pictures": taken(0)})
    plans = (
        sprite.read_plan(command),
        sprite.take_plan(command, known),
        sprite.publish_plan(command, known),
    )

    made = Plan(steps=tuple(step for plan in plans for step in plan.steps))

    assert made.model_dump_json(indent=2) + "\n" == (PLANS / f"{name}.json").read_text("utf-8")
