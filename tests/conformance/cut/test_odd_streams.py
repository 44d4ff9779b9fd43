"""Streams as few make them: segments that begin anywhere, other formats, a pace without rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from schemas.errors import MissingSegments
from schemas.times import TimeRange
from tests.cutting import clip, held_tracks, overlapping
from tests.hls_builder import HlsAsset, segment
from tests.media_builder import AudioSpec, Discontinuity, StreamSpec, build
from tests.oracle import check_exact, inspect, layout

SMALL = StreamSpec(seconds=5, size=(96, 64), audio=())

pytestmark = pytest.mark.slow


def _begun_anywhere(codec: str) -> HlsAsset:
    """Segments of 2 s that begin 0.4 s after a keyframe, but for the first."""
    stream = build(replace(SMALL, codec=codec, bframes=0, seconds=6))
    samples = tuple(
        replace(sample, key=at % 50 == 10 or at == 0)
        for at, sample in enumerate(stream.video.samples)
    )
    return segment(replace(stream, tracks=(replace(stream.video, samples=samples),)))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("span", [(1100, 2000), (3100, 4000), (1100, 5100)], ids=str)
def test_a_segment_is_dated_where_it_begins_even_without_a_keyframe(
    codec: str, span: tuple[int, int], tmp_path: Path
) -> None:
    asset = _begun_anywhere(codec)
    start, end = (asset.epoch_ms + at for at in span)

    made = clip(asset, tmp_path, start, end)

    assert check_exact(made.path, asset, start, end) == []
    assert made.report.start_ms == asset.wall_ms(asset.numbers_between(start, end)[0])


def test_frames_whose_keyframe_is_not_held_are_missing_and_not_replaced(tmp_path: Path) -> None:
    asset = _begun_anywhere("h264")
    wanted = TimeRange(start_ms=asset.epoch_ms + 2500, end_ms=asset.epoch_ms + 4000)
    held = tuple(overlapping(t, wanted, extra=0) for t in held_tracks(asset, tmp_path))

    with pytest.raises(MissingSegments):
        clip(asset, tmp_path, wanted.start_ms, wanted.end_ms, tracks=held, everything=True)


@pytest.mark.parametrize("mode", ["exact", "encode"])
def test_edges_are_encoded_in_full_chroma(mode: str, tmp_path: Path) -> None:
    asset = segment(build(replace(SMALL, pix_fmt="yuv444p")))
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 3710

    made = clip(asset, tmp_path, start, end, mode=mode)

    assert check_exact(made.path, asset, start, end) == []
    assert made.report.mode == mode


def test_a_stream_of_no_fixed_pace_is_cut_to_its_very_end(tmp_path: Path) -> None:
    paces = (3000, 3000, 3000, 9000)
    asset = segment(build(replace(SMALL, durations_ticks=paces)))
    end = asset.playlist().segments[-1].end_wall_ms
    start = asset.epoch_ms + 1330

    made = clip(asset, tmp_path, start, end)

    assert inspect(made.path).numbers == asset.numbers_between(start, end)


@pytest.mark.parametrize("codec", ["aac", "ac3", "eac3"])
def test_packed_sound_of_every_kind_is_cut(codec: str, tmp_path: Path) -> None:
    spec = replace(SMALL, audio=(AudioSpec(codec=codec),))
    asset = segment(build(spec), separate_audio=True, packed_audio=True)
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 3710

    made = clip(asset, tmp_path, start, end)

    assert check_exact(made.path, asset, start, end) == []
    assert [t.codec for t in made.report.tracks if t.kind == "audio"] == [codec]


COLOURS = "colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"


@pytest.mark.parametrize(
    ("codec", "extra", "aspect"),
    [("h264", f"sar=16/11:{COLOURS}", (16, 11)), ("hevc", f"sar=3:{COLOURS}", (10, 11))],
)
def test_encoding_all_keeps_shape_and_colours(
    codec: str, extra: str, aspect: tuple[int, int], tmp_path: Path
) -> None:
    asset = segment(build(replace(SMALL, codec=codec, extra=extra)))

    made = clip(asset, tmp_path, asset.epoch_ms + 1330, asset.epoch_ms + 3710, mode="encode")

    with av.open(str(made.path)) as file:
        context = file.streams.video[0].codec_context
        told = (context.color_primaries, context.color_trc, context.colorspace)
        shape = context.sample_aspect_ratio
    assert told == (9, 18, 9)
    assert shape is not None
    assert (shape.numerator, shape.denominator) == aspect
    assert layout(made.path).video.tag == "avc1"


@pytest.mark.parametrize("mode", ["exact", "encode"])
def test_the_shape_of_mpeg2_is_kept_where_it_is_encoded(mode: str, tmp_path: Path) -> None:
    asset = segment(build(replace(SMALL, codec="mpeg2video", extra="32/27")))
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 3710

    made = clip(asset, tmp_path, start, end, mode=mode)

    assert check_exact(made.path, asset, start, end) == []
    assert made.report.mode == "encode"
    with av.open(str(made.path)) as file:
        assert file.streams.video[0].codec_context.sample_aspect_ratio == Fraction(32, 27)


def _packets_of_pictures(data: bytes) -> list[int]:
    """Where the packets of the picture's stream lie, which libav puts on the first free PID."""
    pids = ((at, (data[at + 1] & 0x1F) << 8 | data[at + 2]) for at in range(0, len(data), 188))
    return [at for at, pid in pids if pid == 0x100]


def _filled(data: bytes) -> bytes:
    """The segment with zeros instead of stuffing behind its last picture."""
    at = _packets_of_pictures(data)[-1]
    assert data[at + 3] & 0x20
    payload = data[at + 5 + data[at + 4] : at + 188]
    packet = data[at : at + 3] + bytes([data[at + 3] & 0xDF]) + payload.ljust(184, b"\0")
    return data[:at] + packet + data[at + 188 :]


def _torn(data: bytes) -> bytes:
    """The segment broken off inside the last picture that takes several packets."""
    packets = _packets_of_pictures(data)
    kept = next(n for n in reversed(range(len(packets))) if not data[packets[n] + 1] & 0x40)
    gone = set(packets[kept:])
    return b"".join(data[at : at + 188] for at in range(0, len(data), 188) if at not in gone)


def _before_a_jump(codec: str, change: Callable[[bytes], bytes]) -> HlsAsset:
    spec = replace(SMALL, codec=codec, size=(192, 112), crf=14)
    asset = segment(build(spec), discontinuities=(Discontinuity(1, pts_jump_90k=900_000),))
    return replace(asset, files=asset.files | {"main-0.ts": change(asset.files["main-0.ts"])})


def test_a_picture_that_fills_its_last_packet_is_whole(tmp_path: Path) -> None:
    asset = _before_a_jump("h264", _filled)
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 3710

    made = clip(asset, tmp_path, start, end)

    assert check_exact(made.path, asset, start, end) == []


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_picture_without_its_last_packets_is_missing(codec: str, tmp_path: Path) -> None:
    asset = _before_a_jump(codec, _torn)

    with pytest.raises(MissingSegments):
        clip(asset, tmp_path, asset.epoch_ms + 1330, asset.epoch_ms + 3710)
