"""HLS as it is in the field: every dress a playlist comes in, cut to the exact frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from schemas.jobs import Job
from tests.e2e.kit import clip
from tests.hls_builder import MediaPlaylist
from tests.media_builder import (
    AudioSpec,
    Discontinuity,
    Encryption,
    HlsAsset,
    StreamSpec,
    build,
    continued,
    cut_anywhere,
    multivariant,
    segment,
)
from tests.oracle import check_exact, inspect, layout, sounds
from tests.origin import URI_STYLES, Fault, Origin

pytestmark = pytest.mark.slow

PLAIN = StreamSpec()
TWO_SOUNDS = replace(PLAIN, audio=(AudioSpec(), AudioSpec(language="deu")))
WRAPPING = replace(PLAIN, start_pts_90k=(1 << 33) - 250_000)
BACK = Discontinuity(at_segment=1, pts_jump_90k=-450_000)
ON = Discontinuity(at_segment=2, pts_jump_90k=900_000)


def _two_encodes(**dress: Any) -> HlsAsset:
    first = build(replace(PLAIN, seconds=4))
    return segment(first, build(continued(first.spec, start_pts_90k=123_456)), **dress)


def _renamed_init() -> HlsAsset:
    """The same init section under another name from the third segment on."""
    asset = segment(build(PLAIN), container="fmp4")
    listed = asset.playlist().segments
    name = listed[0].init[0] if listed[0].init else ""
    later = tuple(replace(part, init=(f"later-{name}", None)) for part in listed[2:])
    playlist = MediaPlaylist("main.m3u8", (*listed[:2], *later))
    files = asset.files | {f"later-{name}": asset.files[name]}
    return replace(asset, files=files, playlists={"main.m3u8": playlist})


def _sealed(**how: Any) -> Callable[[], HlsAsset]:
    dress = {"container": how.pop("container", "ts")}
    return lambda: segment(build(PLAIN), encrypt=Encryption(**how), **dress)


PRESENTATIONS: dict[str, Callable[[], HlsAsset]] = {
    "ts": lambda: segment(build(PLAIN)),
    "fmp4": lambda: segment(build(PLAIN), container="fmp4"),
    "hevc, fmp4": lambda: segment(build(replace(PLAIN, codec="hevc")), container="fmp4"),
    "byte ranges, ts": lambda: segment(build(PLAIN), byte_range=True),
    "byte ranges, fmp4": lambda: segment(build(PLAIN), container="fmp4", byte_range=True),
    "the init section is renamed": _renamed_init,
    "the init section changes": lambda: _two_encodes(container="fmp4"),
    "aes, explicit iv": _sealed(),
    "aes, implied iv": _sealed(explicit_iv=False),
    "aes, rotation": _sealed(rotate_every=1),
    "aes, rotation and implied iv, fmp4": _sealed(
        rotate_every=2, explicit_iv=False, container="fmp4"
    ),
    "aes, encrypted init": _sealed(encrypt_init=True, container="fmp4"),
    "aes over byte ranges": lambda: segment(build(PLAIN), byte_range=True, encrypt=Encryption()),
    "aes, audio group": lambda: segment(
        build(PLAIN), separate_audio=True, encrypt=Encryption(rotate_every=2)
    ),
    "audio group, ts": lambda: segment(build(PLAIN), separate_audio=True),
    "audio group, fmp4": lambda: segment(build(PLAIN), container="fmp4", separate_audio=True),
    "audio group, packed": lambda: segment(build(PLAIN), separate_audio=True, packed_audio=True),
    "audio group of long segments": lambda: segment(
        build(PLAIN), separate_audio=True, audio_segment_s=3.5
    ),
    "audio group over a jump": lambda: segment(
        build(PLAIN), separate_audio=True, discontinuities=(BACK,)
    ),
    "audio group over a wrap": lambda: segment(build(WRAPPING), separate_audio=True),
    "two languages inside": lambda: segment(build(TWO_SOUNDS)),
    "two languages inside, fmp4": lambda: segment(build(TWO_SOUNDS), container="fmp4"),
    "two languages apart": lambda: segment(build(TWO_SOUNDS), separate_audio=True),
    "two languages apart, fmp4": lambda: segment(
        build(TWO_SOUNDS), container="fmp4", separate_audio=True
    ),
    "pts jumps back": lambda: segment(build(PLAIN), discontinuities=(BACK,)),
    "pts jumps on, fmp4": lambda: segment(build(PLAIN), container="fmp4", discontinuities=(ON,)),
    "pts jumps twice": lambda: segment(build(PLAIN), discontinuities=(BACK, ON)),
    "two encodes": _two_encodes,
    "33-bit wrap": lambda: segment(build(WRAPPING)),
    "pdt on the first only": lambda: segment(build(PLAIN), pdt="first"),
    "pdt on the first only, fmp4": lambda: segment(build(PLAIN), container="fmp4", pdt="first"),
    "pdt after discontinuities": lambda: segment(
        build(PLAIN), pdt="after_discontinuity", discontinuities=(BACK, ON)
    ),
    "pdt drifts": lambda: segment(build(PLAIN), pdt_drift_ppm=500),
    "pdt drifts the other way": lambda: segment(build(PLAIN), pdt_drift_ppm=-500),
}
FIRST_MS, LAST_MS = 1330, 4910
# Where one encoder's sound ends and another's begins, packets cannot join without a seam.
SEAMS = {"two encodes", "the init section changes"}


@cache
def presentation(name: str) -> HlsAsset:
    """A presentation by its name, made once."""
    return PRESENTATIONS[name]()


@pytest.mark.parametrize("name", PRESENTATIONS)
def test_a_clip_of_any_presentation_holds_exactly_its_frames(name: str, tmp_path: Path) -> None:
    asset, output = presentation(name), tmp_path / "out.mp4"
    start, end = asset.epoch_ms + FIRST_MS, asset.epoch_ms + LAST_MS

    with Origin(asset) as origin:
        job = clip(origin.url, start, end, output)

    assert job.error is None
    assert problems(name, output, asset, start, end) == []
    told_like_asked(job, asset, start, end)


def problems(name: str, output: Path, asset: HlsAsset, start: int, end: int) -> list[str]:
    """What the oracle finds, but for the seam between the sound of two encoders."""
    found = check_exact(output, asset, start, end)
    if name not in SEAMS:
        return found
    assert sounds(output)[0].holes <= 1024
    return [problem for problem in found if "has holes" not in problem]


def told_like_asked(job: Job, asset: HlsAsset, start: int, end: int) -> None:
    """The result stands by what was asked and delivered, tracks and languages included."""
    result = told(job)
    wanted = asset.numbers_between(start, end)
    assert result["delivered"]["frames"] == len(wanted)
    assert abs(result["delivered"]["startMs"] - asset.wall_ms(wanted[0])) <= 1
    assert (result["mode"], result["clock"], result["gaps"]) == ("exact", "pdt", [])
    assert result["coverage"] == pytest.approx(1)
    assert abs(result["avOffsetMs"]) <= 1
    assert result["reencodedMs"] < result["file"]["durationMs"]
    languages = [track["language"] for track in result["tracks"] if track["kind"] == "audio"]
    assert languages == [sound.language for sound in asset.streams[0].spec.audio]


def told(job: Job) -> dict[str, Any]:
    """The result of a job that has one."""
    assert job.result is not None, job.error
    return job.result


@pytest.mark.parametrize("style", URI_STYLES)
@pytest.mark.parametrize("name", ["byte ranges, fmp4", "aes, audio group"])
def test_addresses_of_any_style_lead_to_the_media(name: str, style: str, tmp_path: Path) -> None:
    asset, output = presentation(name), tmp_path / "out.mp4"
    start, end = asset.epoch_ms + FIRST_MS, asset.epoch_ms + LAST_MS

    with Origin(asset, style=style) as origin:
        job = clip(origin.url, start, end, output)

    assert job.error is None
    assert check_exact(output, asset, start, end) == []


def test_a_playlist_behind_a_redirect_resolves_its_media_there(tmp_path: Path) -> None:
    asset, output = presentation("ts"), tmp_path / "out.mp4"
    start, end = asset.epoch_ms + FIRST_MS, asset.epoch_ms + LAST_MS

    with Origin() as origin:
        target = origin.mount("elsewhere", asset)
        origin.put("door.m3u8", b"", "front")
        origin.fault("door.m3u8", Fault.redirect(target), "front")
        job = clip(origin.url_of("door.m3u8", "front"), start, end, output)

    assert job.error is None
    assert check_exact(output, asset, start, end) == []


# ---- clocks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dress", [{}, {"container": "fmp4"}, {"separate_audio": True}])
def test_without_any_date_the_clock_is_said_to_be_estimated(
    dress: dict[str, Any], tmp_path: Path
) -> None:
    asset, output = segment(build(PLAIN), pdt="absent", epoch_ms=0, **dress), tmp_path / "out.mp4"

    with Origin(asset) as origin:
        job = clip(origin.url, "1.33", "4.91", output)

    assert told(job)["clock"] == "estimated"
    assert check_exact(output, asset, FIRST_MS, LAST_MS) == []


def test_a_region_ends_where_the_next_begins(tmp_path: Path) -> None:
    first = build(replace(PLAIN, seconds=4))
    second = build(continued(first.spec, start_pts_90k=123_456))
    asset, output = segment(first, second, region_jumps_ms=(-400,)), tmp_path / "out.mp4"
    start, end = asset.epoch_ms + 2330, asset.epoch_ms + 5510

    with Origin(asset) as origin:
        job = clip(origin.url, start, end, output)

    assert told(job)["delivered"]["frames"] == len(asset.numbers_between(start, end))
    assert inspect(output).numbers == asset.numbers_between(start, end)


# ---- what is missing ------------------------------------------------------------------------

LONG = replace(PLAIN, seconds=8)


@dataclass(frozen=True)
class Absence:
    """A way for the third segment not to be there."""

    asset: HlsAsset
    fault: Fault | None = None


@cache
def absence(name: str) -> Absence:
    """The third segment declared a gap, gone with its entry's file, or forbidden to exist."""
    match name:
        case "EXT-X-GAP":
            return Absence(segment(build(LONG), gaps=(2,)))
        case "EXT-X-GAP, fmp4":
            return Absence(segment(build(LONG), gaps=(2,), container="fmp4"))
        case "404":
            return Absence(segment(build(LONG), missing=(2,)))
        case "410, audio group":
            return Absence(segment(build(LONG), separate_audio=True), Fault.status(410))
    return Absence(_unlisted(segment(build(LONG)), 2))


def _unlisted(asset: HlsAsset, index: int) -> HlsAsset:
    """The segment is not in the playlist, whose numbers go on as if it never was."""
    listed = asset.playlist().segments
    kept = tuple(part for at, part in enumerate(listed) if at != index)
    return replace(asset, playlists={"main.m3u8": MediaPlaylist("main.m3u8", kept)})


ABSENCES = ("EXT-X-GAP", "EXT-X-GAP, fmp4", "404", "410, audio group", "not listed")
LOST = range(100, 150)


def clip_over(name: str, gaps: str, output: Path) -> tuple[Job, HlsAsset, int, int]:
    """A clip from 1.3 s to 7.1 s, of which the third segment (4 s to 6 s) is missing."""
    how = absence(name)
    start, end = how.asset.epoch_ms + FIRST_MS, how.asset.epoch_ms + 7110
    with Origin(how.asset) as origin:
        if how.fault:
            origin.fault("main-2.ts", how.fault)
        return clip(origin.url, start, end, output, gaps=gaps), how.asset, start, end


@pytest.mark.parametrize("name", ABSENCES)
def test_a_missing_segment_fails_the_clip_by_default(name: str, tmp_path: Path) -> None:
    job, _, _, _ = clip_over(name, "fail", tmp_path / "out.mp4")

    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "segment_missing")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("name", ABSENCES)
def test_a_missing_segment_is_left_out_where_it_may_be(name: str, tmp_path: Path) -> None:
    job, asset, start, end = clip_over(name, "skip", tmp_path / "out.mp4")

    seen = inspect(tmp_path / "out.mp4")
    assert seen.numbers == [n for n in asset.numbers_between(start, end) if n not in LOST]
    assert (seen.clean, seen.hidden) == (True, ())
    gap_is_told(job, asset, "skip")


@pytest.mark.parametrize("policy", ["black", "hold"])
@pytest.mark.parametrize("name", ABSENCES)
def test_a_missing_segment_keeps_its_time_where_it_is_filled(
    name: str, policy: str, tmp_path: Path
) -> None:
    job, asset, start, end = clip_over(name, policy, tmp_path / "out.mp4")

    seen = inspect(tmp_path / "out.mp4")
    shown = 99 if policy == "hold" else None
    assert seen.numbers == [shown if n in LOST else n for n in asset.numbers_between(start, end)]
    assert (seen.clean, seen.hidden) == (True, ())
    assert not sounds(tmp_path / "out.mp4")[0].holes
    gap_is_told(job, asset, policy)


def gap_is_told(job: Job, asset: HlsAsset, treatment: str) -> None:
    """The result names the hole and what was done about it."""
    (gap,) = told(job)["gaps"]
    at = asset.epoch_ms
    assert (gap["startMs"] - at, gap["endMs"] - at, gap["treatment"]) == (4000, 6000, treatment)
    assert told(job)["coverage"] == pytest.approx(1 - 2000 / 5780, abs=1e-3)


# ---- variants -------------------------------------------------------------------------------


def test_the_best_variant_is_cut_and_no_other_is_fetched(tmp_path: Path) -> None:
    small = segment(build(PLAIN))
    large = segment(build(replace(PLAIN, size=(320, 192), crf=12)))
    asset, output = multivariant({"lo": small, "hi": large}), tmp_path / "out.mp4"
    start, end = asset.epoch_ms + FIRST_MS, asset.epoch_ms + LAST_MS

    with Origin(asset) as origin:
        job = clip(origin.url, start, end, output)
        fetched = {path.partition("/")[0] for path in origin.paths() if path.endswith(".ts")}

    assert job.error is None
    assert fetched == {"hi"}
    assert check_exact(output, large, start, end) == []


def test_every_language_of_the_best_variants_group_is_kept(tmp_path: Path) -> None:
    small = segment(build(PLAIN), separate_audio=True)
    large = segment(build(replace(TWO_SOUNDS, size=(320, 192), crf=12)), separate_audio=True)
    asset, output = multivariant({"lo": small, "hi": large}), tmp_path / "out.mp4"
    start, end = asset.epoch_ms + FIRST_MS, asset.epoch_ms + LAST_MS

    with Origin(asset) as origin:
        clip(origin.url, start, end, output)

    assert check_exact(output, large, start, end) == []
    assert [track.language for track in layout(output).sounds] == ["eng", "deu"]


@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_a_timecode_is_that_of_the_first_frame(container: str, tmp_path: Path) -> None:
    asset = segment(build(replace(PLAIN, timecode="10:00:00:00")), container=container)
    start, end = asset.epoch_ms + 1320, asset.epoch_ms + 2520

    with Origin(asset) as origin:
        job = clip(origin.url, start, end, tmp_path / "out.mp4")

    assert told(job)["startTimecode"] == "10:00:01:08"


@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_a_copy_has_the_sound_of_all_its_pictures(container: str, tmp_path: Path) -> None:
    spec, output = replace(PLAIN, gop=50), tmp_path / "out.mp4"
    dress = {"separate_audio": True, "audio_segment_s": 1.05, "container": container}
    asset = segment(build(spec), **dress)  # type: ignore[arg-type]
    start = asset.epoch_ms + 3900

    with Origin(asset) as origin:
        job = clip(origin.url, start, start + 40, output, mode="copy")

    assert job.error is None
    assert check_exact(output, asset, asset.epoch_ms + 2000, asset.epoch_ms + 4000) == []
    assert told(job)["delivered"]["startMs"] == asset.epoch_ms + 2000
    assert told(job)["coverage"] == 1


@pytest.mark.parametrize("pdt", ["every", "first"])
@pytest.mark.parametrize(
    ("span", "last"), [((2330, 4510), 4), ((1040, 1800), 1)], ids=["over a keyframe", "none at all"]
)
def test_pictures_whose_keyframe_lies_in_an_earlier_segment_are_cut(
    span: tuple[int, int], last: int, pdt: str, tmp_path: Path
) -> None:
    asset, output = keyframes_every_four_segments(pdt), tmp_path / "out.mp4"
    start, end = (asset.epoch_ms + at for at in span)

    with Origin(asset) as origin:
        job = clip(origin.url, start, end, output)
        fetched = [name for name in asset.files if origin.count(name)]

    assert job.error is None
    assert check_exact(output, asset, start, end) == []
    assert told(job)["mode"] == "exact"
    assert sorted(fetched) == [f"main-{number}.ts" for number in range(last + 1)]


def test_pictures_whose_keyframe_is_gone_are_missing(tmp_path: Path) -> None:
    asset, output = keyframes_every_four_segments("every"), tmp_path / "out.mp4"

    with Origin(asset) as origin:
        origin.fault("main-0.ts", Fault.status(404))
        job = clip(origin.url, asset.epoch_ms + 1040, asset.epoch_ms + 1800, output)

    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "segment_missing")


def keyframes_every_four_segments(pdt: str) -> HlsAsset:
    stream = build(replace(PLAIN, gop=100, bframes=0, audio=()))
    return segment(cut_anywhere(stream, every=25), segment_s=1, pdt=pdt)
