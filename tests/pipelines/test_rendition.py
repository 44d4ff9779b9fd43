"""Rendition plans, compared whole with those in tests/plans; and every decision by itself."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from pipelines import ffargs, rendition
from pipelines.recipes import RECIPES
from pipelines.rendition import RenditionFacts, Source, check_together, design, encode_plan
from schemas.commands import CreateRenditions
from schemas.connectors import ConnectorRef, Destination
from schemas.errors import CorruptMedia, FieldInvalid, UnsupportedMedia
from schemas.media import MediaInfo, StreamInfo
from schemas.plans import Turn
from schemas.profiles import Profile
from schemas.renditions import Loudness, Pace, TrackPace

PLANS = Path(__file__).parents[1] / "plans"
KEYS_2S = tuple(range(0, 60_000_000, 2_000_000))
HEARD = Loudness(
    integrated_lufs=-27.3, range_lu=5.1, true_peak_dbtp=-6.2, threshold_lufs=-37.4, offset_lu=0.2
)


def a_video(**changes: Any) -> StreamInfo:
    fields: dict[str, Any] = {
        "index": 0, "kind": "video", "codec": "h264", "width": 1920, "height": 1080,
        "frame_rate": Fraction(25), "pixel_format": "yuv420p", "field_order": "progressive",
        "timebase": Fraction(1, 12800), "duration_ticks": 60 * 12800, "default": True,
    }  # fmt: skip
    return StreamInfo(**fields | changes)


def a_sound(**changes: Any) -> StreamInfo:
    fields: dict[str, Any] = {
        "index": 1, "kind": "audio", "codec": "aac", "channels": 2, "sample_rate_hz": 48000,
        "language": "eng", "timebase": Fraction(1, 48000), "duration_ticks": 60 * 48000,
    }  # fmt: skip
    return StreamInfo(**fields | changes)


def a_source(*streams: StreamInfo, bitrate_bps: int = 6_000_000, **video: Any) -> Source:
    found = streams or (a_video(), a_sound())
    tracks = []
    for stream in found:
        rate = bitrate_bps if stream.kind == "video" else 128_000
        pace: dict[str, Any] = {
            "index": stream.index,
            "packets": 1500,
            "first_us": 0,
            "end_us": 60_000_000,
            "bytes": rate * 60 // 8,
            "step_us": 40_000,
        }
        if stream.kind == "video":
            pace = {**pace, "keyframes_us": KEYS_2S, **video}
        tracks.append(TrackPace.model_validate(pace))
    info = MediaInfo(container="mp4", size=1, duration_ms=60_000, streams=found)
    return Source(path="/w/source", demuxer="mov", info=info, pace=Pace(tracks=tuple(tracks)))


def a_recipe(**changes: Any) -> Profile:
    recipe = {"name": "r", "video": {"codec": "h264", "height": 720}, "audio": {"codec": "aac"}}
    return Profile.model_validate(recipe | changes)


def a_video_recipe(**changes: Any) -> Profile:
    return a_recipe(video={"codec": "h264"} | changes)


def a_command(*recipes: Profile) -> CreateRenditions:
    return CreateRenditions(
        tenant_id="t",
        requested_by="u",
        connector=ConnectorRef(id="c", tenant_id="t", type="local", config={}),
        file_id="film.mp4",
        recipes=recipes,
        destination=Destination(key="out"),
    )


def made(source: Source, *recipes: Profile, heard: tuple[Loudness | None, ...] = ()) -> Any:
    return design(a_command(*recipes), RenditionFacts(source=source, heard=heard))


GOLDEN: dict[str, tuple[Source, tuple[Profile, ...]]] = {
    **{name: (a_source(), recipes) for name, recipes in RECIPES.items()},
    "ladder-with-copied-top": (a_source(bitrate_bps=4_000_000), RECIPES["ladder-hls"]),
    "ladder-dash": (
        a_source(),
        tuple(r.model_copy(update={"packaging": "dash"}) for r in RECIPES["ladder-hls"]),
    ),
    "variable-rate": (a_source(variable=True), (a_recipe(),)),
    "interlaced-29.97": (
        a_source(a_video(field_order="tt", frame_rate=Fraction(30000, 1001)), a_sound()),
        (a_recipe(),),
    ),
    "hdr-to-sdr": (
        a_source(a_video(codec="hevc", pixel_format="yuv420p10le", color_transfer="smpte2084")),
        (a_video_recipe(height=1080, toneMap="sdr"), a_video_recipe(codec="hevc", bitDepth=10)),
    ),
    "loudness": (
        a_source(),
        (a_recipe(audio={"codec": "aac", "loudnessLufs": -16}),
         a_recipe(name="s", audio={"codec": "aac", "loudnessLufs": -16})),
    ),
    "burnt-in-subtitles": (
        a_source(a_video(), a_sound(), StreamInfo(index=2, kind="subtitle", codec="subrip")),
        (a_recipe(subtitles="burn_in"), a_recipe(name="s", subtitles="sidecar")),
    ),
    "rotation-kept": (
        a_source(a_video(rotation_deg=90), a_sound()), (a_video_recipe(rotation="keep"),)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_a_plan_is_the_one_that_was_reviewed(name: str) -> None:
    source, recipes = GOLDEN[name]
    heard = (HEARD,) if name == "loudness" else ()

    plan = encode_plan(a_command(*recipes), RenditionFacts(source=source, heard=heard), "TABLE")

    kept = PLANS / f"rendition-{name}.json"
    assert plan.model_dump(mode="json") == json.loads(kept.read_text(encoding="utf-8"))


def test_sound_is_measured_before_it_is_levelled() -> None:
    command = a_command(a_recipe(audio={"codec": "aac", "loudnessLufs": -16}))

    plan = rendition.measure_plan(command, RenditionFacts(source=a_source()))

    (step,) = plan.steps
    assert " ".join(getattr(step, "argv", ())) == (
        "-f mov -max_pixels 35389440 -max_streams 64 -protocol_whitelist file,pipe "
        "-i file:/w/source -filter_complex "
        "[0:1]loudnorm=I=-16.0:LRA=7.0:TP=-1.5:print_format=json[s0] "
        "-map [s0] -f null -loglevel info -"
    )


@pytest.mark.parametrize(
    ("recipe", "source", "copied"),
    [
        (a_video_recipe(), a_source(), True),
        (a_video_recipe(height=1080), a_source(), True),
        (a_video_recipe(width=1920, height=1080, fit="crop"), a_source(), True),
        (a_video_recipe(height=2160), a_source(), True),
        (a_video_recipe(height=720), a_source(), False),
        (a_video_recipe(codec="hevc"), a_source(), False),
        (a_video_recipe(fps=25), a_source(), True),
        (a_video_recipe(fps=50), a_source(), False),
        (a_video_recipe(bitrate=6_000_000), a_source(), True),
        (a_video_recipe(bitrate=3_000_000), a_source(), False),
        (a_video_recipe(gop=50), a_source(), True),
        (a_video_recipe(gop=25), a_source(), False),
        (a_video_recipe(deinterlace="always"), a_source(), False),
        (a_video_recipe(), a_source(a_video(rotation_deg=90)), False),
        (a_video_recipe(rotation="keep"), a_source(a_video(rotation_deg=90)), True),
        (a_video_recipe(), a_source(a_video(field_order="tb")), False),
        (a_video_recipe(), a_source(a_video(sample_aspect=Fraction(4, 3))), False),
        (a_video_recipe(), a_source(a_video(pixel_format="yuv422p")), False),
        (a_video_recipe(), a_source(a_video(pixel_format="yuv420p10le")), False),
        (a_recipe(packaging="hls", video={"codec": "h264"}), a_source(), True),
        (a_recipe(packaging="hls", video={"codec": "h264"}), a_source(open_gop=True), False),
        (a_recipe(packaging="hls", video={"codec": "h264"}), a_source(variable=True), False),
        (a_recipe(packaging="hls", video={"codec": "h264"}),
         a_source(keyframes_us=(0, 5_000_000)), False),
        (a_recipe(packaging="hls", video={"codec": "h264"}), a_source(keyframes_us=None), False),
    ],
)  # fmt: skip
def test_a_picture_is_copied_exactly_where_it_meets_the_recipe(
    recipe: Profile, source: Source, copied: bool
) -> None:
    found = made(source, recipe)

    assert found.encoding.pictures[0].copied == copied
    assert any("copied" in note for note in found.rungs[0].notes) or not copied


def test_a_turn_that_is_no_quarter_is_left_out_and_said_so() -> None:
    source = a_source(a_video(tilted_deg=30), a_sound())

    found = made(source, a_video_recipe())

    assert found.sizes == ((1920, 1080),)
    assert found.encoding.keep_rotation
    assert not found.encoding.pictures[0].copied
    assert any("about 30 degrees" in note for note in found.rungs[0].notes)
    steps = encode_plan(a_command(a_video_recipe()), RenditionFacts(source=source), None).steps
    assert [(s.degrees, s.mirrored) for s in steps if isinstance(s, Turn)] == [(0, False)]


@pytest.mark.parametrize(
    ("recipes", "notes"),
    [
        ((a_recipe(),), ()),
        ((a_recipe(packaging="hls"),), ("2 chapter(s) of the source are not in r",)),
    ],
    ids=["a file", "a ladder"],
)
def test_chapters_are_no_track_that_is_left_out(
    recipes: tuple[Profile, ...], notes: tuple[str, ...]
) -> None:
    source = a_source()
    listed = StreamInfo(index=2, kind="data", codec="unknown", frames=2)
    info = source.info.model_copy(update={"chapters": 2, "streams": (*source.info.streams, listed)})

    found = made(source.model_copy(update={"info": info}), *recipes)

    assert found.notes == notes


@pytest.mark.parametrize(
    ("audio", "sound", "copied"),
    [
        ({"codec": "aac", "bitrate": 128_000}, {}, True),
        ({"codec": "aac", "bitrate": 96_000}, {}, False),
        ({"codec": "opus"}, {}, False),
        ({"codec": "aac", "channels": 1}, {}, False),
        ({"codec": "aac", "bitrate": 128_000, "loudnessLufs": -23}, {}, False),
        ({"codec": "aac", "bitrate": 128_000}, {"codec": "ac3"}, False),
    ],
)
def test_sound_is_copied_exactly_where_it_meets_the_recipe(
    audio: dict[str, Any], sound: dict[str, Any], copied: bool
) -> None:
    found = made(a_source(a_video(), a_sound(**sound)), a_recipe(audio=audio), heard=(HEARD,))

    assert found.encoding.sounds[0].copied == copied


def test_small_rungs_are_scaled_from_the_smallest_large_one() -> None:
    found = made(a_source(), *RECIPES["ladder-hls"])

    assert [p.beneath for p in found.encoding.pictures] == [None, None, 1, 1]


def test_a_ladder_leaves_out_the_rungs_a_small_source_would_repeat() -> None:
    found = made(a_source(a_video(width=854, height=480), a_sound()), *RECIPES["ladder-hls"])

    assert found.sizes == ((854, 480), (640, 360))
    assert [note.partition(":")[0] for note in found.notes] == ["720p", "480p"]


def test_one_encoder_makes_the_sound_of_every_file() -> None:
    argv = ffargs.ladder(
        made(a_source(bitrate_bps=9_000_000), a_recipe(audio={"codec": "opus"}),
             a_recipe(name="b", audio={"codec": "opus"})).encoding
    )  # fmt: skip

    assert [part for part in argv if part == "libopus"] == ["libopus"]
    assert sum("split=2" in part for part in argv) == 1


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ((a_video_recipe(rotation="keep"), a_video_recipe()), "rotation"),
        ((a_recipe(packaging="hls"), a_recipe(packaging="hls", segmentMs=4000)), "one length"),
        ((a_recipe(packaging="dash"), a_recipe(packaging="dash", audio={"codec": "opus"})),
         "share their sound"),
        ((a_recipe(packaging="hls", video={"codec": "h264", "fps": 25, "gop": 50}),
          a_recipe(packaging="hls", video={"codec": "h264", "fps": 25, "gop": 25})), "GOPs"),
    ],
)  # fmt: skip
def test_recipes_that_one_run_cannot_make_together_are_refused(
    recipes: tuple[Profile, ...], message: str
) -> None:
    with pytest.raises(FieldInvalid, match=message) as refused:
        check_together(recipes)

    assert refused.value.error_code == "recipes_clash"


def test_rungs_without_a_common_keyframe_grid_are_refused() -> None:
    source = a_source(a_video(frame_rate=Fraction(30000, 1001)), a_sound())
    rungs = (
        a_recipe(packaging="hls"),
        a_recipe(packaging="hls", video={"codec": "h264", "height": 360, "fps": 25}),
    )

    with pytest.raises(UnsupportedMedia, match="keyframe grid"):
        made(source, *rungs)


@pytest.mark.parametrize(
    ("source", "recipe"),
    [
        (a_source(a_sound()), Profile.model_validate({"name": "v", "video": {"codec": "h264"}})),
        (a_source(a_video()), Profile.model_validate({"name": "a", "audio": {"codec": "aac"}})),
    ],
    ids=["no picture", "no sound"],
)
def test_a_source_without_what_the_recipe_makes_is_refused(source: Source, recipe: Profile) -> None:
    with pytest.raises(UnsupportedMedia, match="the source has none"):
        made(source, recipe)


def test_a_still_beside_sound_is_no_picture() -> None:
    source = a_source(a_video(codec="mjpeg"), a_sound(), packets=1)

    assert source.video is None


def test_a_source_that_ends_before_its_declared_end_is_refused() -> None:
    source = a_source(end_us=30_000_000)

    with pytest.raises(CorruptMedia, match="30000 ms of 60000"):
        rendition.check_whole(source)
