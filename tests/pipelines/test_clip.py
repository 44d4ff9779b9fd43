"""A clip decided from readings of playlists: what to fetch, when to look again, when to give up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines import clip, spans
from pipelines.clip import ClipFacts, Reading, Source
from schemas.commands import ClipFromStream
from schemas.errors import InFuture, MissingSegments, Stalled, UnsupportedMedia
from schemas.media import AudioRendition, MediaPlaylist, MultivariantPlaylist, Variant
from schemas.plans import Cut, Fetch, Plan
from schemas.times import TimeRange
from tests.builders import a_clip_command
from tests.pipelines.test_spans import a_request, a_run, a_sound, an_index
from tests.pipelines.test_spans import a_segment as an_indexed
from tests.pipelines.test_window import a_playlist, a_segment, four_seconds_each

PLANS = Path(__file__).parents[1] / "plans"
MAIN = Source(uri="https://o.test/media.m3u8", prefix="v")
S = 1_000


def a_command(start_s: float, end_s: float, **changes: Any) -> ClipFromStream:
    wanted = TimeRange(start_ms=round(start_s * S), end_ms=round(end_s * S))
    return a_clip_command(range=wanted, **changes)


def facts(
    *playlists: MediaPlaylist, now_s: float = 1_000, moved_s: float | None = None, **changes: Any
) -> ClipFacts:
    moved_ms = round((now_s if moved_s is None else moved_s) * S)
    readings = tuple(
        Reading(source=MAIN, playlist=playlist, moved_ms=moved_ms) for playlist in playlists
    )
    return ClipFacts(readings=readings, now_ms=round(now_s * S), **changes)


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan.steps if isinstance(step, Fetch)]


def test_only_segments_of_the_range_are_fetched_and_none_twice() -> None:
    known = facts(four_seconds_each(6, ended=True), sizes={"v-0-000002.ts": 9})

    plan = clip.fetch_plan(a_command(105, 115), known)

    assert names(plan) == ["v-0-000001.ts", "v-0-000003.ts"]


@pytest.mark.parametrize(
    ("moved_s", "ended", "patient"),
    [(1_000, False, True), (985, False, False), (1_000, True, False)],
    ids=["growing", "standing still", "ended"],
)
def test_only_what_a_growing_playlist_just_listed_is_waited_for(
    moved_s: float, ended: bool, patient: bool
) -> None:
    known = facts(four_seconds_each(6, ended=ended), moved_s=moved_s)

    plan = clip.fetch_plan(a_command(101, 123), known)

    waits = {s.name: s.patience_ms for s in plan.steps if isinstance(s, Fetch) and s.patience_ms}
    # Three target durations back from the edge at 124 s.
    fresh = ["v-0-000003.ts", "v-0-000004.ts", "v-0-000005.ts"]
    assert waits == (dict.fromkeys(fresh, 12_000) if patient else {})


def test_a_range_past_the_edge_is_looked_for_again_until_it_is_listed() -> None:
    command = a_command(118, 126)

    early = facts(four_seconds_each(6), moved_s=1_000)
    late = facts(four_seconds_each(8), moved_s=1_000)

    assert clip.look_again_ms(command, early) == 1_002 * S
    assert clip.look_again_ms(command, late) is None


def test_the_slowest_playlist_says_when_to_look_again() -> None:
    command = a_command(118, 126)

    assert clip.look_again_ms(command, facts(four_seconds_each(8), four_seconds_each(6)))


def test_a_segment_after_the_range_is_waited_for_only_while_it_may_come() -> None:
    command = a_command(118, 123.9)  # the playlist's edge is at 124 s

    assert clip.look_again_ms(command, facts(four_seconds_each(6), moved_s=995)) == 1_002 * S
    assert clip.look_again_ms(command, facts(four_seconds_each(6), moved_s=991)) is None


def test_a_range_in_the_future_is_refused_where_nobody_wants_to_wait() -> None:
    known = facts(four_seconds_each(6))

    with pytest.raises(InFuture, match="up to 124000"):
        clip.fetch_plan(a_command(118, 126, on_future="reject"), known)

    assert names(clip.fetch_plan(a_command(118, 124, on_future="reject"), known))


def test_readings_of_a_live_channel_add_up() -> None:
    first = a_playlist(a_segment(0, 100), a_segment(1, 104))
    second = a_playlist(a_segment(1, 104), a_segment(2, 108))

    one = clip.updated(None, MAIN, first, 50 * S)
    two = clip.updated(one, MAIN, second, 54 * S)

    assert [s.sequence for s in two.playlist.segments] == [0, 1, 2]
    assert (one.moved_ms, two.moved_ms) == (50 * S, 54 * S)


@pytest.mark.parametrize(
    ("now_s", "due_s", "given_up"),
    [(79, 0, False), (81, 0, True), (81, 60, False), (91, 60, True)],
    ids=["patient", "stalled", "not begun yet", "stalled since it began"],
)
def test_an_edge_that_stands_still_is_given_up_after_a_while(
    now_s: int, due_s: int, given_up: bool
) -> None:
    live = four_seconds_each(3)
    before = clip.updated(None, MAIN, live, 50 * S)

    if given_up:
        with pytest.raises(Stalled):
            clip.updated(before, MAIN, live, now_s * S, due_s * S)
    else:
        assert clip.updated(before, MAIN, live, now_s * S, due_s * S).moved_ms == 50 * S


def test_a_stream_that_ends_has_not_stalled() -> None:
    before = clip.updated(None, MAIN, four_seconds_each(3), 50 * S)

    after = clip.updated(before, MAIN, four_seconds_each(3, ended=True), 500 * S)

    assert after.playlist.ended


def test_a_clip_comes_from_the_best_variant_and_the_sound_beside_it() -> None:
    def variant(name: str, bandwidth_bps: int, group: str) -> Variant:
        uri = f"https://o.test/{name}.m3u8"
        return Variant(uri=uri, bandwidth_bps=bandwidth_bps, audio_group=group)

    def audio(name: str, group: str, uri: str | None) -> AudioRendition:
        return AudioRendition(group_id=group, name=name, uri=uri)

    top = MultivariantPlaylist(
        uri="https://o.test/top.m3u8",
        variants=(variant("low", 1_000_000, "b"), variant("high", 6_000_000, "a")),
        audio=(
            audio("muxed", "a", None),
            audio("English", "a", "https://o.test/en.m3u8"),
            audio("of the other", "b", "https://o.test/other.m3u8"),
        ),
    )

    found = clip.sources(top)

    assert [(s.uri.rpartition("/")[2], s.prefix) for s in found] == [
        ("high.m3u8", "v"),
        ("en.m3u8", "a0"),
    ]
    with pytest.raises(UnsupportedMedia):
        clip.checked_media(top)


def test_what_is_expected_is_what_is_cut_once_it_is_here() -> None:
    command, playlist = a_command(105, 115), four_seconds_each(6, ended=True)
    here = dict.fromkeys(("v-0-000001.ts", "v-0-000002.ts", "v-0-000003.ts"), 7)

    expected = clip.expected_request(command, facts(playlist))
    later = clip.cut_request(command, facts(playlist, sizes=here))
    holed = clip.cut_request(command, facts(playlist, sizes={"v-0-000001.ts": 7}))

    assert expected is not None
    assert clip.sizeless(later) == clip.sizeless(expected)
    assert clip.sizeless(holed) != clip.sizeless(expected)


def test_nothing_is_expected_while_more_is_to_be_listed() -> None:
    assert clip.expected_request(a_command(118, 126), facts(four_seconds_each(6))) is None


def test_a_range_of_which_nothing_arrived_is_missing() -> None:
    with pytest.raises(MissingSegments) as told:
        clip.cut_request(a_command(105, 115), facts(four_seconds_each(6, ended=True)))

    assert told.value.gaps == ((105_000, 115_000),)


def whole_plans() -> dict[str, Plan]:
    """Plans of every phase, whole."""
    command = a_clip_command(duration_ms=9_000, gaps="skip", metadata={"title": "Goal"})
    live = four_seconds_each(4, start_s=command.range.start_ms // S - 1)
    known = facts(live, now_s=command.range.start_ms / S + 15)
    segments = tuple(an_indexed(number) for number in range(4))
    cut = spans.plan(a_request(200, 1000), an_index(a_run(segments, sounds=(a_sound(900, 80),))))
    return {
        "clip-fetch": clip.fetch_plan(command, known),
        "clip-cut": Plan(steps=(Cut(plan=cut),)),
        "clip-publish": clip.publish_plan(command),
    }


@pytest.mark.parametrize("name", sorted(whole_plans()))
def test_whole_plans_are_as_they_were_written_down(name: str) -> None:
    written = Plan.model_validate_json((PLANS / f"{name}.json").read_text())

    assert whole_plans()[name] == written
