"""Cuts across discontinuities, gaps, renditions and odd clocks: judged from outside."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from schemas.errors import CuttingRoomError, FormatChange, MissingSegments
from tests.cutting import clip, held_tracks
from tests.marks import sound
from tests.media_builder import (
    AudioSpec,
    Discontinuity,
    HlsAsset,
    StreamSpec,
    build,
    continued,
    segment,
)
from tests.oracle import check_exact, inspect, sounds

PLAIN = StreamSpec()
JUMP = (Discontinuity(at_segment=1, pts_jump_90k=-450_000),)


def _two_encodes(**changes: object) -> HlsAsset:
    first = build(replace(PLAIN, seconds=4))
    second = build(continued(first.spec, start_pts_90k=123_456, **changes))
    return segment(first, second)


PRESENTATIONS = {
    "pts jump back": lambda: segment(build(PLAIN), discontinuities=JUMP),
    "pts jump back, open gop": lambda: segment(
        build(replace(PLAIN, open_gop=True)), discontinuities=JUMP
    ),
    "pts jump, fmp4": lambda: segment(
        build(PLAIN), container="fmp4", discontinuities=(Discontinuity(1, 900_000),)
    ),
    "two encodes": _two_encodes,
    "two encodes, other settings": lambda: _two_encodes(b_pyramid=True, bframes=3, refs=4),
    "two encodes, cavlc after": lambda: _two_encodes(cavlc=True),
    "wrap inside": lambda: segment(build(replace(PLAIN, start_pts_90k=(1 << 33) - 250_000))),
    "separate audio": lambda: segment(build(PLAIN), separate_audio=True),
    "separate audio, fmp4": lambda: segment(build(PLAIN), container="fmp4", separate_audio=True),
    "separate audio, wrap": lambda: segment(
        build(replace(PLAIN, start_pts_90k=(1 << 33) - 250_000)), separate_audio=True
    ),
    "separate audio, jump": lambda: segment(
        build(PLAIN), separate_audio=True, discontinuities=JUMP
    ),
    "two languages apart": lambda: segment(
        build(replace(PLAIN, audio=(AudioSpec(), AudioSpec(language="deu")))),
        separate_audio=True,
    ),
    "pdt only first": lambda: segment(build(PLAIN), pdt="first"),
    "pdt after discontinuity": lambda: segment(
        build(PLAIN), pdt="after_discontinuity", discontinuities=JUMP
    ),
    "pdt drift": lambda: segment(build(PLAIN), pdt_drift_ppm=500),
    "byte ranges": lambda: segment(build(PLAIN), byte_range=True),
    "byte ranges, fmp4": lambda: segment(build(PLAIN), container="fmp4", byte_range=True),
    "no pdt": lambda: segment(build(PLAIN), pdt="absent"),
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", PRESENTATIONS)
def test_a_clip_across_joins_holds_exactly_its_frames(name: str, tmp_path: Path) -> None:
    asset = PRESENTATIONS[name]()
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4910

    made = clip(asset, tmp_path, start, end, clock="estimated" if name == "no pdt" else "pdt")

    found = check_exact(made.path, asset, start, end)
    if name.startswith("two encodes"):
        # Where one encoder's sound ends and another's begins, frames cannot join seamlessly.
        assert sounds(made.path)[0].holes <= 512
        found = [problem for problem in found if "has holes" not in problem]
    assert found == []
    assert made.report.clock == ("estimated" if name == "no pdt" else "pdt")
    assert made.report.copied_frames > 0
    languages = [track.language for track in made.report.tracks if track.kind == "audio"]
    assert languages == [sound.language for sound in asset.streams[0].spec.audio]


def test_a_region_ends_where_the_next_begins(tmp_path: Path) -> None:
    first = build(replace(PLAIN, seconds=4))
    second = build(continued(first.spec, start_pts_90k=123_456))
    asset = segment(first, second, region_jumps_ms=(-400,))
    start, end = asset.epoch_ms + 2330, asset.epoch_ms + 5510

    made = clip(asset, tmp_path, start, end)

    assert inspect(made.path).numbers == asset.numbers_between(start, end)
    assert made.report.frames == len(asset.numbers_between(start, end))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_sets_that_change_without_a_discontinuity_are_followed(codec: str, tmp_path: Path) -> None:
    first = build(replace(PLAIN, codec=codec, seconds=4))
    changes = {"b_pyramid": True, "bframes": 3, "refs": 4}
    second = build(continued(first.spec, start_pts_90k=900_000 + 360_000, **changes))
    asset = segment(first, second)
    (track,) = held_tracks(asset, tmp_path)
    unmarked = tuple(s.model_copy(update={"discontinuity_sequence": 0}) for s in track.segments)
    start, end = asset.epoch_ms + 2330, asset.epoch_ms + 6510

    made = clip(
        asset, tmp_path, start, end, tracks=(track.model_copy(update={"segments": unmarked}),)
    )

    seen = inspect(made.path)
    assert seen.numbers == asset.numbers_between(start, end)
    assert seen.clean
    assert made.report.mode == "exact"
    assert made.report.copied_frames > 60


def _with_hole() -> HlsAsset:
    return segment(build(replace(PLAIN, seconds=8)), gaps=(2,))


def test_a_gap_fails_unless_it_is_allowed(tmp_path: Path) -> None:
    asset = _with_hole()

    with pytest.raises(MissingSegments) as caught:
        clip(asset, tmp_path, asset.epoch_ms + 1330, asset.epoch_ms + 7110)

    assert caught.value.gaps == ((asset.epoch_ms + 4000, asset.epoch_ms + 6000),)


def test_a_gap_that_is_skipped_is_closed_up(tmp_path: Path) -> None:
    asset = _with_hole()
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 7110

    made = clip(asset, tmp_path, start, end, gaps="skip")

    seen = inspect(made.path)
    held = [n for n in asset.numbers_between(start, end) if not 100 <= n < 150]
    assert seen.numbers == held
    assert seen.clean
    assert not seen.hidden
    assert [frame.time for frame in seen.frames] == [Fraction(n, 25) for n in range(len(held))]
    assert made.report.duration_ms == len(held) * 40


@pytest.mark.parametrize("policy", ["black", "hold"])
def test_a_gap_that_is_filled_keeps_its_time(policy: str, tmp_path: Path) -> None:
    asset = _with_hole()
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 7110

    made = clip(asset, tmp_path, start, end, gaps=policy)

    seen = inspect(made.path)
    wanted = asset.numbers_between(start, end)
    filler = 99 if policy == "hold" else None
    assert seen.numbers == [filler if 100 <= n < 150 else n for n in wanted]
    assert seen.clean
    assert not seen.hidden
    assert [frame.time for frame in seen.frames] == [Fraction(n, 25) for n in range(len(wanted))]
    heard = sounds(made.path)[0]
    assert not heard.holes
    assert not heard.errors
    begin, stop = ((at - 1360) * 48 for at in (4060, 5940))
    assert abs(heard.samples[begin:stop]).max() < 0.01
    assert made.report.gaps[0].treatment == policy
    assert made.report.coverage == pytest.approx(1 - 2000 / 5780, abs=1e-3)


@pytest.mark.parametrize("policy", ["black", "hold"])
@pytest.mark.parametrize("gap", [0, 3], ids=["at the start", "at the end"])
def test_a_gap_at_an_end_of_the_range_is_filled(policy: str, gap: int, tmp_path: Path) -> None:
    asset = segment(build(replace(PLAIN, seconds=8)), gaps=(gap,))
    start, end = asset.epoch_ms + 1000, asset.epoch_ms + 7000

    made = clip(asset, tmp_path, start, end, gaps=policy)

    seen = inspect(made.path)
    assert len(seen.frames) == 150
    assert seen.clean
    assert seen.frames[0].time == 0
    assert made.report.duration_ms == 6000
    assert sounds(made.path)[0].end_s == pytest.approx(6.0, abs=0.05)


def test_a_change_of_geometry_is_refused(tmp_path: Path) -> None:
    asset = _two_encodes(size=(256, 144))

    with pytest.raises(FormatChange):
        clip(asset, tmp_path, asset.epoch_ms + 3330, asset.epoch_ms + 5110)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("container", ["ts", "fmp4"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_truncated_segment_never_ends_as_a_short_clip(
    container: str, keep: float, at: int, tmp_path: Path
) -> None:
    asset = segment(build(PLAIN), container=container)
    tracks = held_tracks(asset, tmp_path)
    name = tmp_path / (tracks[0].segments[at].name or "")
    data = name.read_bytes()
    name.write_bytes(data[: int(len(data) * keep) // 188 * 188])
    start, end = asset.epoch_ms + 330, asset.epoch_ms + 5990

    with pytest.raises(CuttingRoomError) as caught:
        clip(asset, tmp_path, start, end, tracks=tracks)

    assert caught.value.error_code in {"segment_missing", "media_invalid"}


@pytest.mark.parametrize("at", [0, 1])
def test_a_few_packets_missing_before_another_segment_are_noticed(at: int, tmp_path: Path) -> None:
    asset = segment(build(PLAIN))
    tracks = held_tracks(asset, tmp_path)
    name = tmp_path / (tracks[0].segments[at].name or "")
    data = name.read_bytes()
    for lost in range(1, 24):
        name.write_bytes(data[: -188 * lost])

        with pytest.raises(CuttingRoomError) as caught:
            clip(asset, tmp_path, asset.epoch_ms + 330, asset.epoch_ms + 5510, tracks=tracks)

        assert caught.value.error_code in {"segment_missing", "media_invalid"}


def test_copying_snaps_outward_to_keyframes(tmp_path: Path) -> None:
    asset = segment(build(PLAIN))
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 3510

    made = clip(asset, tmp_path, start, end, mode="copy")

    assert inspect(made.path).numbers == list(range(25, 100))
    assert check_exact(made.path, asset, asset.epoch_ms + 1000, asset.epoch_ms + 4000) == []
    assert made.report.encoded_frames == 0
    assert (made.report.start_ms, made.report.end_ms) == (
        asset.epoch_ms + 1000,
        asset.epoch_ms + 4000,
    )
    assert any("keyframe" in note for note in made.report.notes)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2video"])
def test_encoding_the_whole_holds_exactly_the_frames(codec: str, tmp_path: Path) -> None:
    asset = segment(build(replace(PLAIN, codec=codec)))
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4510

    made = clip(asset, tmp_path, start, end, mode="encode")

    assert check_exact(made.path, asset, start, end) == []
    assert made.report.mode == "encode"
    assert made.report.copied_frames == 0


@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_sound_alone_is_cut_to_the_sample(container: str, tmp_path: Path) -> None:
    asset = segment(build(PLAIN), container=container, separate_audio=True)
    alone = held_tracks(asset, tmp_path)[1].model_copy(update={"role": "main"})
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4510

    made = clip(asset, tmp_path, start, end, tracks=(alone,))

    heard = sounds(made.path)
    assert len(heard) == 1
    assert heard[0].first_s == 0
    assert float(heard[0].end_s) == pytest.approx(3.18, abs=0.001)
    assert not heard[0].errors
    assert made.report.duration_ms == 3180
    truth = sound(0, 48_000, 1380 * 48, 24_000)
    scores = np.correlate(heard[0].samples[:28_800], truth, "valid")
    # The rendition's own PDT is rounded to a millisecond: 48 samples.
    assert abs(int(scores.argmax()) - 50 * 48) <= 48


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(("first", "label"), [(33, "10:00:01:08"), (50, "10:00:02:00")])
def test_a_timecode_is_kept(codec: str, first: int, label: str, tmp_path: Path) -> None:
    asset = segment(build(replace(PLAIN, codec=codec, timecode="10:00:00:00")))
    start, end = asset.epoch_ms + first * 40, asset.epoch_ms + 4510

    made = clip(asset, tmp_path, start, end)

    assert made.report.start_timecode == label
    assert check_exact(made.path, asset, start, end) == []
    with av.open(str(made.path)) as file:
        assert file.streams.video[0].metadata["timecode"] == label


def test_edges_keep_the_field_order(tmp_path: Path) -> None:
    asset = segment(build(replace(PLAIN, interlaced="bff")))

    made = clip(asset, tmp_path, asset.epoch_ms + 1330, asset.epoch_ms + 3510)

    with av.open(str(made.path)) as file:
        frames = list(file.decode(video=0))
    assert {frame.interlaced_frame for frame in frames} == {True}
    facts = made.plan.runs[0].pictures
    assert facts is not None
    assert facts.bottom_field_first
