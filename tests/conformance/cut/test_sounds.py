"""Sound that is not AAC: its gaps filled with silence of its own kind, or all of it made AAC."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.cuts import DeliveredTrack
from tests.cutting import clip, held_tracks
from tests.hls_builder import HlsAsset
from tests.media_builder import AudioSpec, Discontinuity, StreamSpec, build, segment
from tests.oracle import audio_offset_ms, check_exact, inspect, layout, sounds

PLAIN = StreamSpec(seconds=5, size=(96, 64))
SOUNDS = {
    "ac3": AudioSpec(codec="ac3"),
    "ac3, 5.1": AudioSpec(codec="ac3", channels=6, bitrate_bps=448_000),
    "eac3, 44.1k": AudioSpec(codec="eac3", rate=44_100),
    "mp2": AudioSpec(codec="mp2", bitrate_bps=192_000),
    "mp2, mono, 32k": AudioSpec(codec="mp2", rate=32_000, channels=1, bitrate_bps=96_000),
    "mp3": AudioSpec(codec="libmp3lame"),
}

pytestmark = pytest.mark.slow


def _heard(name: str, **dress: object) -> HlsAsset:
    spec = replace(PLAIN, audio=(SOUNDS[name],))
    return segment(build(spec), **dress)  # type: ignore[arg-type]


def _track(tracks: tuple[DeliveredTrack, ...]) -> tuple[str, bool]:
    (told,) = (track for track in tracks if track.kind == "audio")
    return told.codec, told.copied


@pytest.mark.parametrize("name", SOUNDS)
def test_a_gap_is_filled_with_silence_of_the_same_kind(name: str, tmp_path: Path) -> None:
    asset = _heard(name, segment_s=1, gaps=(2,))
    start, end = asset.epoch_ms + 330, asset.epoch_ms + 4470

    made = clip(asset, tmp_path, start, end, gaps="black")

    (heard,) = sounds(made.path)
    assert inspect(made.path).clean
    assert not heard.errors
    assert not heard.holes
    assert float(heard.end_s) == pytest.approx(4.12, abs=0.05)


def test_sound_that_ends_with_the_stream_needs_no_more_of_it(tmp_path: Path) -> None:
    asset = _heard("mp2")
    start, end = asset.epoch_ms + 3330, asset.epoch_ms + 5000

    made = clip(asset, tmp_path, start, end)

    assert check_exact(made.path, asset, start, end) == []
    assert _track(made.report.tracks)[0] == "mp2"


def test_layers_of_mpeg_sound_are_told_apart(tmp_path: Path) -> None:
    asset = _heard("mp3")

    made = clip(asset, tmp_path, asset.epoch_ms + 1330, asset.epoch_ms + 3500)

    assert _track(made.report.tracks) == ("mp3", True)


@pytest.mark.parametrize(
    ("name", "dress"),
    [
        *((name, {}) for name in SOUNDS),
        ("ac3", {"separate_audio": True}),
        ("eac3, 44.1k", {"container": "fmp4", "separate_audio": True}),
        ("mp2", {"container": "fmp4"}),
    ],
    ids=str,
)
def test_encoding_all_makes_the_sound_aac(
    name: str, dress: dict[str, object], tmp_path: Path
) -> None:
    asset = _heard(name, **dress)
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4510

    made = clip(asset, tmp_path, start, end, mode="encode")

    assert check_exact(made.path, asset, start, end) == []
    assert abs(audio_offset_ms(made.path, asset.times)) < 0.1
    assert [track.tag for track in layout(made.path).sounds] == ["mp4a"]
    assert sounds(made.path)[0].end_s == pytest.approx(made.report.duration_ms / 1000, abs=0.001)
    assert _track(made.report.tracks) == ("aac", False)
    assert made.report.av_offset_ms == 0


def test_aac_stays_what_it_is_where_all_is_encoded(tmp_path: Path) -> None:
    both = (AudioSpec(), replace(SOUNDS["ac3"], language="deu"))
    asset = segment(build(replace(PLAIN, audio=both)))
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4510

    made = clip(asset, tmp_path, start, end, mode="encode")

    assert check_exact(made.path, asset, start, end) == []
    told = [(t.codec, t.language, t.copied) for t in made.report.tracks if t.kind == "audio"]
    assert told == [("aac", "eng", True), ("aac", "deu", False)]


def test_sound_stays_under_its_pictures_across_a_jump(tmp_path: Path) -> None:
    jump = Discontinuity(at_segment=1, pts_jump_90k=900_000)
    asset = _heard("ac3", discontinuities=(jump,))
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4510

    made = clip(asset, tmp_path, start, end, mode="encode")

    assert check_exact(made.path, asset, start, end) == []
    assert _track(made.report.tracks) == ("aac", False)


def test_a_gap_is_silent_in_sound_that_is_encoded_again(tmp_path: Path) -> None:
    asset = _heard("eac3, 44.1k", segment_s=1, gaps=(2,))
    start, end = asset.epoch_ms + 330, asset.epoch_ms + 4470

    made = clip(asset, tmp_path, start, end, mode="encode", gaps="hold")

    (heard,) = sounds(made.path)
    assert not heard.errors
    assert not heard.holes
    begin, stop = (round((at - 360) * 44.1) for at in (2080, 2840))
    assert abs(heard.samples[begin:stop]).max() < 0.01
    assert abs(heard.samples[stop:]).max() > 0.1


@pytest.mark.parametrize(
    ("name", "mode", "codec"), [("ac3", "encode", "aac"), ("ac3", "exact", "ac3")]
)
def test_sound_alone_is_encoded_only_where_that_is_asked(
    name: str, mode: str, codec: str, tmp_path: Path
) -> None:
    asset = _heard(name, separate_audio=True)
    alone = held_tracks(asset, tmp_path)[1].model_copy(update={"role": "main"})
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4510

    made = clip(asset, tmp_path, start, end, tracks=(alone,), mode=mode)

    (heard,) = sounds(made.path)
    assert not heard.errors
    assert (heard.first_s, float(heard.end_s)) == (0, pytest.approx(3.18, abs=0.001))
    assert _track(made.report.tracks) == (codec, mode == "exact")
    assert made.report.mode == mode
    assert made.report.frames == layout(made.path).sounds[0].sample_count
