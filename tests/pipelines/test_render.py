"""Timelines as parts of an export: which range of what, and where nothing is shown."""

from __future__ import annotations

from fractions import Fraction

import pytest

from pipelines.otio import TimelineRefused, read
from pipelines.render import Source, parts
from schemas.commands import ExportPart
from schemas.cuts import GapPolicy
from tests.builders import a_connector_ref
from tests.timelines import a_clip, a_gap, a_timeline, a_track, of_channel, of_file, span

CHANNELS = Source(ref=a_connector_ref(id="con_live", type="hls"), streams=True, files=False)
FILES = Source(ref=a_connector_ref(id="con_files", type="s3"), streams=False, files=True)
GUIDES = Source(ref=a_connector_ref(id="con_epg", type="xmltv"), streams=False, files=False)
SOURCES = {"con_live": CHANNELS, "con_files": FILES, "con_epg": GUIDES}
BEGIN = 1643957046000
GOAL = f"ch1/2022/02/04/range-{BEGIN}-{BEGIN + 60000}-clip-goal"
CLIP = of_file("con_live", GOAL)


def found(*items: dict[str, object], gaps: GapPolicy = "black") -> tuple[ExportPart, ...]:
    return parts(read(a_timeline(a_track(*items))), SOURCES, gaps)


def test_a_clip_is_a_range_of_its_channel() -> None:
    (part,) = found(a_clip(50, 250, media=CLIP))

    assert (part.connector.id, part.channel_id, part.file_id) == ("con_live", "ch1", None)
    assert (part.range.start_ms, part.range.end_ms) == (BEGIN + 2000, BEGIN + 12000)
    # Frames on the edge are found whatever a clock's rounding, alike at both ends.
    assert part.span_us == ((BEGIN + 2000) * 1000 - 600, (BEGIN + 12000) * 1000 - 600)


def test_a_clip_from_its_begin_on_begins_with_its_own_first_frame() -> None:
    (part,) = found(a_clip(0, 250, media=CLIP))

    assert part.span_us == (BEGIN * 1000, (BEGIN + 10000) * 1000)


@pytest.mark.parametrize(
    "clip",
    [
        a_clip(BEGIN / 40 + 50, 250, media=of_channel("con_live", "ch1")),
        a_clip(50, 250, media=of_channel("con_live", "ch1", startMs=BEGIN)),
        a_clip(
            90050,
            250,
            media=of_channel("con_live", "ch1", startMs=BEGIN),
            reference={"OTIO_SCHEMA": "MissingReference.1", "available_range": span(90000, 999)},
        ),
        a_clip(BEGIN / 40 + 50, 250, media=CLIP),
    ],
    ids=["wall clock", "from where media begins", "behind a start timecode", "clip by wall clock"],
)
def test_wall_clock_is_told_in_several_ways(clip: dict[str, object]) -> None:
    (part,) = found(clip)

    assert (part.range.start_ms, part.range.end_ms) == (BEGIN + 2000, BEGIN + 12000)


def test_frames_of_broadcast_rates_are_told_to_the_microsecond() -> None:
    (part,) = found(a_clip(10, 100, 29.97, media=CLIP))

    start, end = part.span_us or (0, 0)
    assert start == round(BEGIN * 1000 + 10 * Fraction(1001, 30000) * 10**6) - 600
    assert abs(end - start - 100 * Fraction(1001, 30000) * 10**6) < 1


def test_a_files_frames_are_counted_from_its_first() -> None:
    reference = {"OTIO_SCHEMA": "MissingReference.1", "available_range": span(90000, 999)}
    media = of_file("con_files", "news/goal.mp4")

    (part,) = found(a_clip(90025, 50, media=media, reference=reference))

    assert (part.file_id, part.channel_id) == ("news/goal.mp4", "goal.mp4")
    assert (part.range.start_ms, part.range.end_ms) == (1000, 3000)
    assert part.span_us == (992_000, 2_992_000)


@pytest.mark.parametrize(
    ("gaps", "pauses"),
    [("fail", [400_000, 0, 200_000]), ("hold", [400_000, 0, 200_000]), ("skip", [0, 0, 0])],
)
def test_gaps_of_the_timeline_are_pauses(gaps: GapPolicy, pauses: list[int]) -> None:
    made = found(
        a_gap(10),
        a_clip(0, 50, media=CLIP),
        a_clip(200, 50, media=CLIP),
        a_gap(5),
        a_clip(400, 50, media=CLIP),
        a_gap(99),
        gaps=gaps,
    )

    assert [part.pause_us for part in made] == pauses


def test_clips_that_go_on_are_one_part() -> None:
    (part,) = found(a_clip(0, 50, media=CLIP), a_clip(50, 25, media=CLIP))

    assert part.range.length_ms == 3000


@pytest.mark.parametrize(
    ("clip", "code"),
    [
        (a_clip(), "media_offline"),
        (a_clip(1490, 50, media=CLIP), "range_invalid"),
        (a_clip(-50, 20, media=CLIP), "range_invalid"),
        (a_clip(-50, 20, media=of_file("con_files", "a.mp4")), "range_invalid"),
        (a_clip(-50, 20, media=of_channel("con_live", "ch1")), "range_invalid"),
        (a_clip(media=of_channel("con_files", "ch1")), "not_supported"),
        (a_clip(media=of_file("con_epg", "a.mp4")), "not_supported"),
        (a_clip(media=of_file("con_live", "a/b/c.mp4")), "file_id_invalid"),
        (a_clip(media=of_file("con_files", "../../etc/passwd")), "file_id_invalid"),
        (a_clip(media=of_file("con_files", "a//b.mp4")), "file_id_invalid"),
    ],
)
def test_what_cannot_be_rendered_is_refused_at_its_place(
    clip: dict[str, object], code: str
) -> None:
    with pytest.raises(TimelineRefused) as refused:
        found(a_clip(media=CLIP), clip)

    assert refused.value.error_code == code
    assert refused.value.pointer == "/tracks/children/0/children/1"


def test_a_timeline_shows_something_and_not_too_much() -> None:
    with pytest.raises(TimelineRefused, match="no clip"):
        found(a_gap(10))
    with pytest.raises(TimelineRefused, match="201 cuts"):
        found(*(a_clip(3 * n, 1, media=CLIP) for n in range(201)))
