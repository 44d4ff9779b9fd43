"""Plans from ranges and indexes, without any media."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from pipelines.spans import leans_back, plan
from schemas.cuts import (
    Anchor,
    CopiedSpan,
    CutPlan,
    CutRequest,
    EncodedSpan,
    FilledSpan,
    IndexedSegment,
    IndexedSound,
    MediaIndex,
    PictureFacts,
    Run,
    Silence,
    SoundSpan,
)
from schemas.errors import FieldInvalid, FormatChange, MissingSegments
from schemas.media import HeldSegment, HeldTrack
from schemas.times import TimeRange

T0_MS = 1_700_000_000_000
TB = Fraction(1, 90_000)
FRAME = 3600
CLOSED = (0, 3, 1, 2, 6, 4, 5, 9, 7, 8)
OPEN = (2, 0, 1, 5, 3, 4, 8, 6, 7, 9)


def a_segment(
    number: int, *, first: int | None = None, order: tuple[int, ...] = CLOSED, idr: bool = True
) -> IndexedSegment:
    """Ten frames, 0.4 s: the keyframe comes first in decode order."""
    base = (number * 10 if first is None else first) * FRAME
    return IndexedSegment(
        number=number,
        name=f"s{number}",
        pts=tuple(base + at * FRAME for at in order),
        keys=(0,),
        idrs=(0,) if idr else (),
    )


def a_run(segments: tuple[IndexedSegment, ...], **changes: Any) -> Run:
    facts = PictureFacts(
        codec="h264", timebase=TB, width=64, height=64, frame_ticks=FRAME, geometry="64x64"
    )
    values = {"track": 0, "discontinuity_sequence": 0, "segments": segments, "pictures": facts}
    return Run.model_validate(values | changes)


def a_sound(first_pts: int, frames: int) -> IndexedSound:
    return IndexedSound(
        stream_id=257,
        codec="aac",
        timebase=TB,
        sample_rate_hz=48_000,
        frame_samples=1024,
        channels=2,
        entry="00" * 16,
        spans=(SoundSpan(segment=0, first_pts=first_pts, frames=frames),),
    )


def an_anchor(
    number: int, *, pts: int | None = None, ms: int | None = None, **changes: Any
) -> Anchor:
    wall = (T0_MS + number * 400 if ms is None else T0_MS + ms) * 1000
    values = {
        "track": 0,
        "discontinuity_sequence": 0,
        "pts": number * 10 * FRAME if pts is None else pts,
        "timebase": TB,
        "wall_us": wall,
        "start_us": wall,
        "held": number,
    }
    return Anchor.model_validate(values | changes)


def an_index(*runs: Run, anchors: tuple[Anchor, ...] | None = None) -> MediaIndex:
    if anchors is None:
        anchors = tuple(
            an_anchor(s.number, pts=s.pts[0], discontinuity_sequence=run.discontinuity_sequence)
            for run in runs
            for s in run.segments
        )
    return MediaIndex(runs=runs, anchors=anchors)


def a_request(start_ms: int, end_ms: int, **changes: Any) -> CutRequest:
    held = tuple(
        HeldSegment(
            name=f"s{n}", sequence=n, discontinuity_sequence=0, duration_us=400_000, start_us=0
        )
        for n in range(4)
    )
    values = {
        "wanted": TimeRange(start_ms=T0_MS + start_ms, end_ms=T0_MS + end_ms),
        "tracks": (HeldTrack(role="main", segments=held),),
        "output": "clip.mp4",
    }
    return CutRequest.model_validate(values | changes)


def planned(start_ms: int, end_ms: int, index: MediaIndex, **changes: Any) -> CutPlan:
    return plan(a_request(start_ms, end_ms, **changes), index)


def frames_of(made: CutPlan, index: MediaIndex) -> list[int]:
    """The source frames a plan delivers, in output order, as a reader of the plan finds them."""
    found: list[int] = []
    for span in made.pictures:
        assert not isinstance(span, FilledSpan)
        run = index.runs[span.run]
        flat = [
            (at, number, pts)
            for at, segment in enumerate(run.segments)
            for number, pts in enumerate(segment.pts)
        ]
        first, stop = (span.first.segment, span.first.packet), (span.stop.segment, span.stop.packet)
        inside = [pts for at, number, pts in flat if first <= (at, number) < stop]
        if isinstance(span, CopiedSpan):
            kept = sorted(pts for pts in inside if pts >= span.floor_pts)
        else:
            kept = sorted(pts for pts in inside if span.from_pts <= pts < span.to_pts)
        assert len(kept) == span.frames
        found += [pts // FRAME for pts in kept]
    return found


THREE = tuple(a_segment(n) for n in range(4))
LEADING = (a_segment(0), *(a_segment(n, order=OPEN, idr=False) for n in (1, 2, 3)))


@pytest.mark.parametrize("segments", [THREE, LEADING], ids=["closed", "open"])
@pytest.mark.parametrize("first", range(22))
@pytest.mark.parametrize("length", [1, 2, 3, 7, 10, 18])
def test_every_position_delivers_its_frames_in_order(
    segments: tuple[IndexedSegment, ...], first: int, length: int
) -> None:
    index = an_index(a_run(segments), anchors=(an_anchor(0),))

    made = planned(first * 40, (first + length) * 40, index)

    assert frames_of(made, index) == list(range(first, first + length))
    assert made.frames == length
    assert made.end_ticks == length * FRAME


def test_a_range_on_keyframes_is_copied_whole() -> None:
    index = an_index(a_run(THREE))

    made = planned(400, 1200, index)

    assert [span.kind for span in made.pictures] == ["copy"]
    assert made.copied_frames == made.frames == 20


def test_edges_are_encoded_and_the_middle_copied() -> None:
    index = an_index(a_run(THREE))

    made = planned(200, 1040, index)

    head, middle, tail = made.pictures
    assert isinstance(head, EncodedSpan)
    assert isinstance(middle, CopiedSpan)
    assert isinstance(tail, EncodedSpan)
    assert (head.frames, middle.frames, tail.frames) == (5, 14, 2)
    assert not middle.to_idr


def test_an_open_gop_becomes_an_idr_and_its_leading_pictures_are_encoded() -> None:
    index = an_index(a_run(LEADING), anchors=(an_anchor(0),))

    made = planned(200, 1200, index)

    head, middle = made.pictures[:2]
    assert isinstance(head, EncodedSpan)
    assert isinstance(middle, CopiedSpan)
    assert middle.to_idr
    assert middle.floor_pts == 12 * FRAME
    assert head.to_pts == middle.floor_pts


def test_a_range_shorter_than_a_gop_is_encoded() -> None:
    made = planned(40, 280, an_index(a_run(THREE)))

    assert [span.kind for span in made.pictures] == ["encode"]
    assert made.mode == "exact"


def test_a_range_between_two_frames_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        planned(81, 119, an_index(a_run(THREE)))


def test_copying_alone_grows_to_the_keyframes_around() -> None:
    index = an_index(a_run(THREE))

    made = planned(480, 1000, index, mode="copy")

    assert frames_of(made, index) == list(range(10, 30))
    assert (made.start_us, made.end_us) == ((T0_MS + 400) * 1000, (T0_MS + 1200) * 1000)
    assert made.notes


def test_what_cannot_be_matched_is_encoded_whole_and_says_why() -> None:
    facts = a_run(THREE).pictures
    assert facts is not None
    odd = a_run(THREE, pictures=facts.model_copy(update={"uncopyable": "a reason"}))

    made = planned(0, 1200, an_index(odd))

    assert made.mode == "encode"
    assert made.reason == "a reason"
    assert "a reason" in made.notes[0]
    assert made.copied_frames == 0


# --- the wall clock


def test_a_small_departure_of_pdt_changes_nothing() -> None:
    anchors = (an_anchor(0), an_anchor(1, ms=415), an_anchor(2, ms=790))
    index = an_index(a_run(THREE), anchors=anchors)

    made = planned(0, 1200, index)

    assert made.frames == 30
    assert len(made.mappings) == 1


def test_a_large_departure_of_pdt_sets_the_clock_anew() -> None:
    anchors = (an_anchor(0), an_anchor(1, ms=400), an_anchor(2, ms=1000))
    index = an_index(a_run(THREE), anchors=anchors)

    made = planned(960, 1200, index)

    assert frames_of(made, index)[0] == 20
    assert len(made.mappings) == 2


def test_wall_clock_never_runs_back() -> None:
    anchors = (an_anchor(0), an_anchor(1, ms=400), an_anchor(2, ms=600))
    index = an_index(a_run(THREE), anchors=anchors)

    made = planned(0, 1100, index)

    walls = [m.wall_us + (m.from_pts - m.pts) * m.timebase * 1_000_000 for m in made.mappings]
    assert walls == sorted(walls)
    assert frames_of(made, index) == sorted(frames_of(made, index))


def test_an_anchor_outside_the_range_is_used_where_the_range_has_none() -> None:
    bare = tuple(an_anchor(n, stated=False, ms=n * 400 + 70) for n in (1, 2, 3))
    index = an_index(a_run(THREE[1:]), anchors=(*bare, an_anchor(0, held=None)))

    made = planned(400, 800, index)

    assert frames_of(made, index) == list(range(10, 20))
    assert made.clock == "pdt"


def test_pts_that_wrapped_since_the_anchor_are_read_near_it() -> None:
    late = tuple(a_segment(n, first=n * 10) for n in (1, 2))
    outside = an_anchor(0, pts=(1 << 33) - 10 * FRAME, held=None)
    shifted = tuple(
        s.model_copy(update={"pts": tuple(p - 10 * FRAME for p in s.pts)}) for s in late
    )
    anchors = (
        outside.model_copy(update={"pts": (1 << 33) - 10 * FRAME}),
        *(an_anchor(s.number, pts=s.pts[0], stated=False) for s in shifted),
    )

    made = planned(400, 800, an_index(a_run(shifted), anchors=anchors))

    assert made.first_pts == 0
    assert made.frames == 10


# --- regions and gaps


def _regions(**changes: Any) -> MediaIndex:
    first = a_run((a_segment(0), a_segment(1)))
    second = a_run(
        (a_segment(2, first=500), a_segment(3, first=510)), discontinuity_sequence=1, **changes
    )
    anchors = (
        an_anchor(0),
        an_anchor(1),
        an_anchor(2, pts=500 * FRAME, discontinuity_sequence=1),
        an_anchor(3, pts=510 * FRAME, discontinuity_sequence=1),
    )
    return an_index(first, second, anchors=anchors)


def test_regions_join_without_a_gap() -> None:
    made = planned(200, 1400, _regions())

    assert made.frames == 30
    assert made.end_ticks == 30 * FRAME
    assert made.gaps == ()


def test_a_region_gives_way_where_the_next_begins() -> None:
    index = _regions()
    early = tuple(
        a.model_copy(update={"wall_us": a.wall_us - 120_000, "start_us": a.start_us - 120_000})
        if a.discontinuity_sequence
        else a
        for a in index.anchors
    )

    made = planned(0, 1400, index.model_copy(update={"anchors": early}))

    first = [span for span in made.pictures if span.kind != "fill" and span.run == 0]
    assert sum(span.frames for span in first) == 17


def test_another_geometry_is_refused() -> None:
    facts = a_run(THREE).pictures
    assert facts is not None
    other = facts.model_copy(update={"geometry": "128x64"})

    with pytest.raises(FormatChange):
        planned(0, 1400, _regions(pictures=other))


def _with_gap() -> MediaIndex:
    return an_index(a_run((a_segment(0),)), a_run((a_segment(2), a_segment(3))))


def test_a_gap_fails_and_names_its_time() -> None:
    with pytest.raises(MissingSegments) as caught:
        planned(0, 1200, _with_gap())

    assert caught.value.gaps == ((T0_MS + 400, T0_MS + 800),)


def test_a_skipped_gap_is_closed_up() -> None:
    made = planned(0, 1200, _with_gap(), gaps="skip")

    assert made.frames == 20
    assert made.end_ticks == 20 * FRAME
    assert made.gaps[0].treatment == "skip"


@pytest.mark.parametrize("policy", ["black", "hold"])
def test_a_filled_gap_keeps_its_time(policy: str) -> None:
    made = planned(0, 1200, _with_gap(), gaps=policy)

    filled = [span for span in made.pictures if isinstance(span, FilledSpan)]
    assert [(span.first_ticks, span.frames) for span in filled] == [(10 * FRAME, 10)]
    assert (filled[0].still is not None) == (policy == "hold")
    assert made.end_ticks == 30 * FRAME


@pytest.mark.parametrize(("start", "end"), [(-200, 400), (1200, 1900)], ids=["before", "after"])
def test_what_lies_outside_of_what_is_held_is_missing(start: int, end: int) -> None:
    with pytest.raises(MissingSegments):
        planned(start, end, an_index(a_run(THREE)))


def test_a_damaged_end_shows_as_missing_time() -> None:
    torn = a_run(THREE[:2], torso_pts=18 * FRAME, damaged="it is cut short")
    index = an_index(torn, a_run(THREE[2:]))

    with pytest.raises(MissingSegments):
        planned(0, 1200, index)


# --- sound


def test_sound_is_copied_from_one_frame_before_the_first_picture() -> None:
    index = an_index(a_run(THREE, sounds=(a_sound(-2000, 100),)))

    made = planned(400, 1200, index)

    (track,) = made.sounds
    (piece,) = track.pieces
    assert piece.kind == "copy"
    assert -2048 < piece.at_sample <= -1024
    assert piece.at_sample + piece.frames * 1024 >= 48_000 * 8 // 10


def test_sound_of_a_filled_gap_is_silence() -> None:
    first = a_run((a_segment(0),), sounds=(a_sound(0, 19),))
    second = a_run((a_segment(2), a_segment(3)), sounds=(a_sound(20 * FRAME, 38),))

    made = planned(0, 1200, an_index(first, second), gaps="black")

    (track,) = made.sounds
    assert [piece.kind for piece in track.pieces] == ["copy", "silence", "copy"]
    silence = track.pieces[1]
    assert isinstance(silence, Silence)
    assert abs(silence.frames * 1024 - 48_000 * 4 // 10) < 1024


def test_sound_that_is_missing_under_pictures_is_a_gap() -> None:
    torn = a_sound(0, 10)
    spans = (*torn.spans, SoundSpan(segment=0, first_pts=30_000, frames=100))
    run = a_run(THREE, sounds=(torn.model_copy(update={"spans": spans}),))

    with pytest.raises(MissingSegments):
        planned(0, 1200, an_index(run))


def test_a_plan_survives_json() -> None:
    made = planned(200, 1400, _regions())

    assert CutPlan.model_validate_json(made.model_dump_json()) == made


def test_pictures_without_any_keyframe_are_missing_and_lean_on_what_lies_before() -> None:
    index = an_index(a_run(tuple(s.model_copy(update={"keys": ()}) for s in THREE)))

    assert leans_back(a_request(480, 1000), index)
    with pytest.raises(MissingSegments):
        planned(480, 1000, index)


def test_a_range_that_begins_past_a_keyframe_leans_on_nothing_more() -> None:
    assert not leans_back(a_request(480, 1000), an_index(a_run(THREE)))
