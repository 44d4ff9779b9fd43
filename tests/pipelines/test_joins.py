"""Plans of several ranges: one after the other, sound in step; whole plans in tests/plans."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipelines import export, joins
from pipelines.export import ExportFacts
from pipelines.joins import Planned, joined
from pipelines.spans import plan
from schemas.commands import ExportPart, ExportSegment
from schemas.connectors import Destination
from schemas.cuts import CopiedSound, CutPlan, DeliveredPart, MediaIndex, Silence
from schemas.errors import FormatChange, InvalidCommand
from schemas.profiles import Profile, VideoRecipe
from schemas.times import TimeRange
from tests.builders import a_connector_ref
from tests.pipelines.test_clip import facts as clip_facts
from tests.pipelines.test_clip_sidecar import a_published, a_report
from tests.pipelines.test_spans import T0_MS, a_request, a_run, a_segment, a_sound, an_index
from tests.pipelines.test_window import four_seconds_each

PLANS = Path(__file__).parents[1] / "plans"
RATE, STEP = 48_000, 1024
RECIPE = Profile(name="small", video=VideoRecipe(codec="h264", height=64))


def four_segments(**changes: Any) -> MediaIndex:
    """Four segments of ten frames with sound that begins 10 ms late."""
    segments = tuple(a_segment(number) for number in range(4))
    return an_index(a_run(segments, sounds=(a_sound(900, 80),), **changes))


def parts(*ranges: tuple[int, int], index: MediaIndex | None = None) -> list[Planned]:
    found = index or four_segments()
    return [Planned(plan(a_request(a, b), found), found, "ch1") for a, b in ranges]


def sound_errors(made: CutPlan) -> list[Fraction]:
    """Samples by which every piece is off, for a player that only counts frames."""
    (track,) = made.sounds
    counted, found = track.pieces[0].at_sample, []
    for piece in track.pieces:
        found.append(Fraction(counted - piece.at_sample))
        counted += piece.frames * STEP
    return [*found, counted - made.end_ticks * Fraction(RATE, made.timescale)]


def test_one_range_joined_is_itself() -> None:
    (single,) = parts((200, 1000))

    made = joined([single], "out.mp4", {})

    assert made.pictures == single.plan.pictures
    assert made.sounds == single.plan.sounds
    assert made.end_ticks == single.plan.end_ticks


def test_ranges_follow_each_other_without_a_hole() -> None:
    made = joined(parts((800, 1400), (0, 500)), "out.mp4", {})

    assert [p.first_frame for p in made.parts] == [0, 15]
    assert made.frames == 28
    assert made.end_ticks == 28 * 3600
    first_of_second = next(s for s in made.pictures if s.run == 1)  # type: ignore[union-attr]
    assert first_of_second.offset_ticks == 15 * 3600  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [2, 7, 41, 200])
def test_sound_is_never_a_frame_off_however_many_joins(count: int) -> None:
    ranges = [((n * 37) % 900, (n * 37) % 900 + 243 + n % 13) for n in range(count)]

    made = joined(parts(*ranges), "out.mp4", {})

    errors = sound_errors(made)
    assert all(abs(error) <= STEP for error in errors)
    pieces = made.sounds[0].pieces
    ends = [p.at_sample + (p.frames - 1) * STEP for p in pieces]
    assert all(after.at_sample > end for end, after in zip(ends, pieces[1:], strict=False))


def test_a_range_without_sound_is_silent_in_between() -> None:
    loud, quiet = four_segments(), an_index(a_run(tuple(a_segment(n) for n in range(4))))
    three = [*parts((0, 600), index=loud), *parts((0, 600), index=quiet), *parts((0, 600))]

    made = joined(three, "out.mp4", {})

    (track,) = made.sounds
    kinds = [type(piece) for piece in track.pieces]
    assert kinds == [CopiedSound, Silence, CopiedSound]
    assert abs(track.pieces[1].frames * STEP - RATE * 600 // 1000) <= STEP


@pytest.mark.parametrize(
    "changes", [{"codec": "hevc"}, {"geometry": "h264 32x32", "width": 32, "height": 32}]
)
def test_other_pictures_are_a_change_of_format(changes: dict[str, Any]) -> None:
    one = four_segments()
    run = one.runs[0]
    facts = run.pictures.model_copy(update=changes) if run.pictures else None
    other = one.model_copy(update={"runs": (run.model_copy(update={"pictures": facts}),)})

    with pytest.raises(FormatChange, match="renditionId"):
        joined([*parts((0, 600), index=one), *parts((0, 600), index=other)], "o.mp4", {})


@pytest.mark.parametrize("changes", [{"sample_rate_hz": 44_100}, {"channels": 6}, {"codec": "ac3"}])
def test_other_sound_is_a_change_of_format(changes: dict[str, Any]) -> None:
    one = four_segments()
    run = one.runs[0]
    sounds = tuple(sound.model_copy(update=changes) for sound in run.sounds)
    other = one.model_copy(update={"runs": (run.model_copy(update={"sounds": sounds}),)})

    with pytest.raises(FormatChange, match="differ in their sound"):
        joined([*parts((0, 600), index=one), *parts((0, 600), index=other)], "o.mp4", {})


def test_a_language_is_known_however_it_is_written() -> None:
    made = joined(parts((0, 600)), "out.mp4", {})
    track = made.sounds[0].model_copy(update={"language": "deu"})
    spoken = made.model_copy(update={"sounds": (track,)})

    assert joins.with_languages(spoken, ["de-AT"]).sounds == (track,)
    assert joins.with_languages(spoken, ["ger", "de"]).sounds == (track,)
    assert joins.with_languages(spoken, []).sounds == ()
    with pytest.raises(InvalidCommand, match="there is deu"):
        joins.with_languages(spoken, ["fr"])


def a_command(*ranges: tuple[int, int], **changes: Any) -> ExportSegment:
    ref = a_connector_ref()
    wanted = tuple(
        ExportPart(
            connector=ref,
            channel_id="ch1",
            range=TimeRange(start_ms=T0_MS + a, end_ms=T0_MS + b),
        )
        for a, b in ranges
    )
    values: dict[str, Any] = {
        "tenant_id": "t1",
        "requested_by": "user:u1",
        "connector": ref,
        "channel_id": "ch1",
        "parts": wanted,
        "metadata": {"title": "Goal"},
        "destination": Destination(key="{channel}/{date}/{title}-{id}.mp4"),
    }
    return ExportSegment(**values | changes)


def test_what_is_delivered_runs_from_the_earliest_to_the_latest_moment() -> None:
    ranges = ((800, 1400), (0, 500), (200, 440))
    report = a_report(
        start_ms=T0_MS + 800,
        end_ms=T0_MS + 440,
        parts=tuple(
            DeliveredPart(start_ms=T0_MS + a, end_ms=T0_MS + b, first_frame=0, frames=1)
            for a, b in ranges
        ),
    )

    told = export.result(a_command(*ranges), report, [a_published("goal.mp4")])

    assert (told.delivered.start_ms, told.delivered.end_ms) == (T0_MS, T0_MS + 1400)
    assert [part.start_ms - T0_MS for part in told.parts] == [800, 0, 200]


GOLDEN: dict[str, tuple[tuple[int, int], ...]] = {
    "export-one-range": ((200, 1000),),
    "export-three-ranges": ((800, 1400), (0, 500), (200, 440)),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_plan_of_an_export_is_the_one_kept(name: str) -> None:
    ranges, index = GOLDEN[name], four_segments()
    facts = ExportFacts(
        job_id="job_1",
        requests=tuple(a_request(a, b) for a, b in ranges),
        indexes=(index,) * len(ranges),
    )

    command = a_command(*ranges)
    steps = [*export.plan_cut(command, facts).steps, *export.publish_plan(command, facts).steps]

    made = [step.model_dump(mode="json", exclude_defaults=True) for step in steps]
    assert made == json.loads((PLANS / f"{name}.json").read_text())


@pytest.mark.parametrize(("recipe", "cut"), [(RECIPE, "exact"), (None, "encode")])
def test_what_a_recipe_encodes_is_not_encoded_before(recipe: Profile | None, cut: str) -> None:
    listed = four_seconds_each(4, start_s=T0_MS // 1000, ended=True)
    sizes = {f"v-0-{number:06d}.ts": 9 for number in range(4)}
    known = ExportFacts(job_id="job_1", channels=(clip_facts(listed, sizes=sizes),))

    (request,) = export.cut_requests(a_command((5_000, 7_000), mode="encode", recipe=recipe), known)

    assert request.mode == cut
