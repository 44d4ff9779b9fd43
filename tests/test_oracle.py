"""The oracle calls a good file good, and names every fault of a bad one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from tests.media_builder import AudioSpec, HlsAsset, Stream, StreamSpec, build, segment, write_mp4
from tests.oracle import (
    audio_offset_ms,
    audio_offsets,
    check_exact,
    copied_packets,
    inspect,
    layout,
    libav_numbers,
    number_problems,
    quality,
    sounds,
)
from tests.streams import Sample, Track

# All frames are keyframes, so that any of them can be taken out or exchanged.
INTRA = StreamSpec(gop=1, bframes=0, seconds=3)
MS = Fraction(1, 1000)


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(INTRA))


def _with_video(stream: Stream, change: Callable[[list[Sample]], list[Sample]]) -> Stream:
    video = replace(stream.video, samples=tuple(change(list(stream.video.samples))))
    return replace(stream, tracks=(video, *stream.sounds))


def _with_sound(stream: Stream, change: Callable[[list[Sample]], list[Sample]]) -> Stream:
    sound = replace(stream.sounds[0], samples=tuple(change(list(stream.sounds[0].samples))))
    return replace(stream, tracks=(stream.video, sound, *stream.sounds[1:]))


def _later(samples: list[Sample], by: Fraction, first: int = 0) -> list[Sample]:
    return samples[:first] + [replace(s, pts=s.pts + by, dts=s.dts + by) for s in samples[first:]]


def _problems(stream: Stream, asset: HlsAsset, folder: Path) -> str:
    path = write_mp4(stream, folder / "out.mp4")
    return "; ".join(check_exact(path, asset, asset.epoch_ms, asset.epoch_ms + 3000))


def _exchange(samples: list[Sample], one: int, other: int) -> list[Sample]:
    changed = list(samples)
    changed[one] = replace(samples[one], data=samples[other].data)
    changed[other] = replace(samples[other], data=samples[one].data)
    return changed


def _twice(samples: list[Sample]) -> list[Sample]:
    return [*samples[:30], replace(samples[30], data=samples[29].data), *samples[31:]]


def _grey(samples: list[Sample]) -> list[Sample]:
    """Frame 30 damaged in the middle of its slice data."""
    data = bytearray(samples[30].data)
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(b ^ 0x5A for b in data[middle : middle + 40])
    return [*samples[:30], replace(samples[30], data=bytes(data)), *samples[31:]]


def test_a_good_file_has_no_problem(asset: HlsAsset, tmp_path: Path) -> None:
    assert _problems(asset.streams[0], asset, tmp_path) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s[:40] + s[41:], "missing: [40]"),
        (lambda s: s[:-1], "missing: [74]"),
        (lambda s: s[1:], "missing: [0]"),
        (_twice, "doubled: [29]"),
        (lambda s: _exchange(s, 20, 21), "out of order"),
        (lambda s: _later(s, 40 * MS, first=50), "frame 50 comes +0.0400 s off"),
        (lambda s: _later(s, Fraction(-1, 5)), "5 frames hide behind the edit list"),
        (_grey, "decoder:"),
    ],
    ids=["dropped", "no last", "no first", "doubled", "swapped", "late", "hidden", "damaged"],
)
def test_a_wrong_picture_is_named(
    asset: HlsAsset, tmp_path: Path, change: Callable[[list[Sample]], list[Sample]], said: str
) -> None:
    broken = _with_video(asset.streams[0], change)

    assert said in _problems(broken, asset, tmp_path)


def test_a_frame_too_many_is_named(asset: HlsAsset, tmp_path: Path) -> None:
    path = write_mp4(asset.streams[0], tmp_path / "a.mp4")

    problems = check_exact(path, asset, asset.epoch_ms, asset.epoch_ms + 2960)

    assert problems[0] == "not asked for: [74]"


@pytest.mark.parametrize("late_ms", [-40.0, -2.0, -0.5, 0.25, 1.5, 21.333, 400.0])
def test_shifted_sound_is_measured(asset: HlsAsset, tmp_path: Path, late_ms: float) -> None:
    ticks = Fraction(round(late_ms * 48), 48_000)
    stream = _with_sound(asset.streams[0], lambda s: _later(s, ticks))
    # libav's default of 1000 rounds an empty edit to the millisecond.
    path = write_mp4(stream, tmp_path / "a.mp4", movie_timescale=48_000)

    measured = audio_offset_ms(path, asset.times)

    assert measured == pytest.approx(late_ms, abs=0.02)
    assert bool(check_exact(path, asset, asset.epoch_ms, asset.epoch_ms + 3000)) == (
        abs(late_ms) > 1
    )


def test_a_join_that_slips_by_a_packet_is_found(asset: HlsAsset, tmp_path: Path) -> None:
    packet = Fraction(1024, 48_000)
    stream = _with_sound(
        asset.streams[0], lambda s: s[:60] + _later([s[59], *s[60:]], packet, first=0)
    )
    path = write_mp4(stream, tmp_path / "a.mp4")

    found = audio_offsets(path, asset.times)[0]

    assert found.worst_ms == pytest.approx(21.333, abs=0.05)
    assert abs(found.marks[0][1]) < 0.05


def test_sound_that_stops_is_lost_not_fine(asset: HlsAsset, tmp_path: Path) -> None:
    def quiet(samples: list[Sample]) -> list[Sample]:
        silence = samples[8]
        return [replace(s, data=silence.data) if 40 < i < 90 else s for i, s in enumerate(samples)]

    path = write_mp4(_with_sound(asset.streams[0], quiet), tmp_path / "a.mp4")

    found = audio_offsets(path, asset.times)[0]

    assert found.lost
    assert found.worst_ms == float("inf")


def test_sound_that_begins_late_is_named(asset: HlsAsset, tmp_path: Path) -> None:
    late = _with_sound(asset.streams[0], lambda s: s[4:])

    assert "sound 0 begins" in _problems(late, asset, tmp_path)


def test_sound_that_ends_early_is_named(asset: HlsAsset, tmp_path: Path) -> None:
    short = _with_sound(asset.streams[0], lambda s: s[:-10])

    assert "sound 0 ends" in _problems(short, asset, tmp_path)


def test_sound_that_outlives_the_picture_is_named(asset: HlsAsset, tmp_path: Path) -> None:
    short = _with_video(asset.streams[0], lambda s: s[:-5])

    assert "sound 0 goes on" in _problems(short, asset, tmp_path)


def test_a_hole_in_the_sound_is_not_clean(asset: HlsAsset, tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    stream = _with_sound(asset.streams[0], lambda s: s[:60] + s[61:])
    path.write_bytes(b"".join(segment(stream).files.values()))

    assert sounds(path)[0].holes == 1024
    assert not audio_offsets(path, asset.times)[0].clean


def test_exchanged_tracks_are_found(tmp_path: Path) -> None:
    stream = build(replace(INTRA, audio=(AudioSpec(language="eng"), AudioSpec(language="deu"))))
    one, other = stream.sounds
    wrong = replace(
        stream,
        tracks=(
            stream.video,
            replace(one, samples=other.samples),
            replace(other, samples=one.samples),
        ),
    )
    path = write_mp4(wrong, tmp_path / "a.mp4")

    assert audio_offset_ms(path, stream.times, 0) == float("inf")
    swapped = audio_offsets(path, stream.times, tracks=(1, 0))
    assert [abs(found.worst_ms) < 0.05 for found in swapped] == [True, True]


def test_a_missing_track_is_named(asset: HlsAsset, tmp_path: Path) -> None:
    mute = replace(asset.streams[0], tracks=asset.streams[0].tracks[:1])

    assert "0 sound tracks, not 1" in _problems(mute, asset, tmp_path)


def test_hidden_frames_are_counted_as_a_player_hides_them(asset: HlsAsset, tmp_path: Path) -> None:
    stream = _with_video(asset.streams[0], lambda s: _later(s, Fraction(-1, 5)))
    path = write_mp4(stream, tmp_path / "a.mp4")

    seen = inspect(path)

    assert [f.number for f in seen.hidden] == [0, 1, 2, 3, 4]
    assert seen.numbers == libav_numbers(path) == list(range(5, 75))


def test_what_was_encoded_again_is_not_called_copied(tmp_path: Path) -> None:
    source = build(StreamSpec(seconds=2))
    again = build(StreamSpec(seconds=2, crf=34))
    path = write_mp4(again, tmp_path / "a.mp4")

    found = quality(path, source)

    assert copied_packets(source, path).share == 0
    assert found.identical == 0
    assert 20 < found.min_psnr_db < 44
    assert 0.5 < found.min_ssim < 0.99


def test_one_foreign_packet_is_pointed_at(asset: HlsAsset, tmp_path: Path) -> None:
    def change(track: Track) -> Track:
        other = build(replace(INTRA, crf=30)).video.samples
        return replace(track, samples=(*track.samples[:7], other[7], *track.samples[8:]))

    stream = asset.streams[0]
    path = write_mp4(replace(stream, tracks=(change(stream.video), *stream.sounds)), tmp_path / "a")

    found = copied_packets(asset, path)

    assert found.foreign == (7,)
    assert found.share == pytest.approx(74 / 75)


def test_a_late_moov_is_seen(asset: HlsAsset, tmp_path: Path) -> None:
    stream = asset.streams[0]

    assert layout(write_mp4(stream, tmp_path / "a.mp4")).faststart
    assert not layout(write_mp4(stream, tmp_path / "b.mp4", faststart=False)).faststart


@pytest.mark.parametrize(
    ("seen", "problems"),
    [
        ([1, 2, 3], []),
        ([1, 3], ["missing: [2]"]),
        ([1, 2, 3, 4], ["not asked for: [4]"]),
        ([1, 2, 2, 3], ["doubled: [2]"]),
        ([1, 3, 2], ["out of order"]),
        ([1, None, 3], ["missing: [2]", "unreadable: 1 frames"]),
        ([], ["missing: [1, 2, 3]"]),
    ],
)
def test_number_faults_are_told_apart(seen: list[int | None], problems: list[str]) -> None:
    assert number_problems(seen, [1, 2, 3]) == problems
