"""The streams tests stand on are what their specs say, in every container and variation."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.hls_builder import annexb_units, boxes
from tests.media_builder import (
    AudioSpec,
    Discontinuity,
    Encryption,
    HlsAsset,
    MediaSegment,
    Stream,
    StreamSpec,
    build,
    continued,
    multivariant,
    segment,
    write_mp4,
)
from tests.oracle import (
    audio_offsets,
    check_exact,
    continuity_errors,
    copied_packets,
    inspect,
    layout,
    libav_numbers,
    quality,
    sounds,
    timecodes,
)
from tests.streams import timecode_of

FILM = Fraction(30_000, 1001)
VARIANTS = {
    "plain": StreamSpec(),
    "no B-frames": StreamSpec(bframes=0),
    "b-pyramid": StreamSpec(bframes=3, b_pyramid=True, refs=3),
    "open GOP": StreamSpec(open_gop=True, gop=24, bframes=3, b_pyramid=True, refs=3),
    "irregular GOPs": StreamSpec(gops=(10, 33, 7, 60)),
    "29.97": StreamSpec(fps=FILM, gop=30),
    "50": StreamSpec(fps=Fraction(50), gop=50),
    "59.94": StreamSpec(fps=2 * FILM, gop=60),
    "VFR": StreamSpec(durations_ticks=(3600, 7200, 1800, 3600, 5400)),
    "interlaced tff": StreamSpec(interlaced="tff"),
    "interlaced bff": StreamSpec(interlaced="bff", fps=FILM, gop=15),
    "10 bit": StreamSpec(pix_fmt="yuv420p10le"),
    "4:2:2": StreamSpec(pix_fmt="yuv422p"),
    "slices": StreamSpec(slices=4),
    "CAVLC": StreamSpec(cavlc=True, profile="main"),
    "weighted": StreamSpec(weightp=2, refs=3),
    "baseline": StreamSpec(profile="baseline", bframes=0, cavlc=True),
    "poor quality": StreamSpec(crf=44),
    "HEVC": StreamSpec(codec="hevc"),
    "HEVC open GOP": StreamSpec(codec="hevc", open_gop=True, gop=24, bframes=3, b_pyramid=True),
    "HEVC 10 bit": StreamSpec(codec="hevc", pix_fmt="yuv420p10le"),
    "wide": StreamSpec(size=(640, 360), seconds=2),
}
SOUNDS = {
    "AAC": AudioSpec(),
    "AAC 44.1 mono": AudioSpec(rate=44_100, channels=1),
    "AAC 5.1": AudioSpec(channels=6, bitrate_bps=256_000),
    "AAC LATM": AudioSpec(latm=True),
    "AC-3": AudioSpec("ac3"),
    "AC-3 5.1": AudioSpec("ac3", channels=6, bitrate_bps=384_000),
    "E-AC-3": AudioSpec("eac3"),
    "MP2": AudioSpec("mp2"),
}


def _numbers(spec: StreamSpec) -> list[int]:
    return list(range(spec.first_number, spec.first_number + spec.frame_count))


def _joined(asset: HlsAsset, folder: Path, playlist: str = "main.m3u8") -> Path:
    """All the segments of a playlist as one file, init first."""
    parts = asset.playlist(playlist).segments
    path = folder / f"joined{Path(parts[0].name).suffix}"
    init = asset.files[parts[0].init[0]] if parts[0].init else b""
    path.write_bytes(init + b"".join(asset.files[p.name] for p in parts))
    return path


def _worst_ms(path: Path, stream: Stream) -> list[float]:
    return [abs(found.worst_ms) for found in audio_offsets(path, stream.times)]


@pytest.mark.parametrize("container", ["ts", "fmp4"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_frame_can_be_read_back_with_its_time(
    name: str, container: str, tmp_path: Path
) -> None:
    stream = build(replace(VARIANTS[name], seconds=3.2))
    path = _joined(segment(stream, container=container), tmp_path)

    seen = inspect(path)

    assert seen.numbers == _numbers(stream.spec)
    assert seen.clean
    assert not seen.hidden
    first = seen.frames[0].time or Fraction(0)
    for frame, wanted in zip(seen.frames, stream.spec.frame_times, strict=False):
        assert frame.time is not None
        # 90 kHz is the finest a transport stream can say.
        assert abs(frame.time - first - wanted) <= Fraction(1, 90_000)


@pytest.mark.parametrize(
    ("name", "container"),
    [
        (n, c)
        for n, sound in SOUNDS.items()
        for c in ("ts", "fmp4")
        if not (sound.latm and c != "ts")
    ],
)
def test_sound_stands_where_the_picture_says(name: str, container: str, tmp_path: Path) -> None:
    stream = build(StreamSpec(seconds=3, audio=(SOUNDS[name],)))
    path = _joined(segment(stream, container=container), tmp_path)

    heard = sounds(path)[0]

    assert _worst_ms(path, stream)[0] < 0.05
    assert (heard.rate, heard.channels) == (SOUNDS[name].rate, SOUNDS[name].channels)
    assert not heard.errors
    assert not heard.holes
    codec = "aac_latm" if SOUNDS[name].latm else SOUNDS[name].codec
    # MP4 has one mark for all layers of MPEG audio.
    assert heard.codec in ({"mp2", "mp2float", "mp3float"} if codec == "mp2" else {codec})


def test_all_sound_tracks_are_there_with_their_languages(tmp_path: Path) -> None:
    tracks = tuple(AudioSpec(language=language) for language in ("eng", "deu", "fra"))
    stream = build(StreamSpec(seconds=3, audio=tracks))
    path = _joined(segment(stream), tmp_path)

    assert [s.language for s in sounds(path)] == ["eng", "deu", "fra"]
    assert max(_worst_ms(path, stream)) < 0.05


def _kinds(stream: Stream) -> list[tuple[bool, set[int]]]:
    """For each packet: is it a keyframe, and its slice NAL unit types."""
    hevc = stream.spec.codec == "hevc"
    found = []
    for sample in stream.video.samples:
        types = {u[0] >> 1 & 0x3F if hevc else u[0] & 0x1F for u in annexb_units(sample.data) if u}
        found.append((sample.key, {t for t in types if t < 32 and (hevc or 1 <= t <= 5)}))
    return found


@pytest.mark.parametrize(
    ("name", "closed", "opened"),
    [("plain", {5}, set()), ("open GOP", {5}, {1}), ("HEVC", {19, 20}, set())],
)
def test_keyframes_are_of_the_kind_asked_for(name: str, closed: set[int], opened: set[int]) -> None:
    kinds = [types for key, types in _kinds(build(VARIANTS[name])) if key]

    assert len(kinds) in {6, 7}
    assert kinds[0] <= closed
    assert all(types <= (opened or closed) for types in kinds[1:])


@pytest.mark.parametrize("name", ["open GOP", "HEVC open GOP"])
def test_an_open_gop_has_pictures_that_lead_its_keyframe(name: str) -> None:
    samples = build(VARIANTS[name]).video.samples

    leading = [
        sum(later.pts < sample.pts for later in samples[index:])
        for index, sample in enumerate(samples)
        if sample.key
    ]

    assert leading == [0, 3, 3, 3, 3, 3, 3]


def test_keyframes_stand_exactly_where_the_gops_say() -> None:
    stream = build(VARIANTS["irregular GOPs"])

    keys = [s.pts * 25 for s in stream.video.samples if s.key]

    assert keys == [0, 10, 43, 50, 110, 120]


@pytest.mark.parametrize("order", ["tff", "bff"])
def test_interlaced_frames_carry_their_number_in_both_fields(order: str, tmp_path: Path) -> None:
    path = write_mp4(build(StreamSpec(interlaced=order, seconds=1)), tmp_path / "a.mp4")

    fields = [f.fields for f in inspect(path).frames]

    assert fields == [((n, 0), (n, 1)) for n in range(25)]
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame


def test_counters_run_on_and_clocks_wrap(tmp_path: Path) -> None:
    stream = build(StreamSpec(start_pts_90k=2**33 - 90_000, seconds=4))
    asset = segment(stream)
    data = b"".join(asset.files[s.name] for s in asset.playlist().segments)

    assert continuity_errors(data) == 0
    with av.open(io.BytesIO(asset.files["main-1.ts"]), "r") as container:
        packet = next(p for p in container.demux(video=0) if p.size)
        assert packet.pts == 90_000


def test_fragmented_mp4_has_the_edit_lists_of_ffmpeg(tmp_path: Path) -> None:
    path = _joined(segment(build(VARIANTS["b-pyramid"]), container="fmp4"), tmp_path)
    found = layout(path)

    assert found.fragmented
    # Two frames of reordering; 1024 samples of priming.
    video, audio = found.video, found.sounds[0]
    assert Fraction(video.edits[0].media_time, video.timescale) == Fraction(2, 25)
    assert audio.edits[0].media_time == 1024
    assert libav_numbers(path) == list(range(150))


@pytest.mark.parametrize(
    ("codec", "tag"), [("h264", "avc1"), ("hevc", "hvc1")], ids=["h264", "hevc"]
)
def test_mp4_carries_the_tags_players_ask_for(codec: str, tag: str, tmp_path: Path) -> None:
    stream = build(StreamSpec(codec=codec, seconds=1))
    init = segment(stream, container="fmp4").files["main-init-0.mp4"]

    assert tag.encode() in init
    assert layout(write_mp4(stream, tmp_path / "a.mp4")).video.tag == tag


def test_fragments_can_begin_at_any_clock(tmp_path: Path) -> None:
    late = segment(build(StreamSpec(seconds=4, start_pts_90k=90_000 * 1000)), container="fmp4")
    path = _joined(late, tmp_path)

    seen = inspect(path)

    assert seen.frames[0].time == 1000
    assert abs(_worst_ms(path, late.streams[0])[0]) < 0.05


def test_separate_sound_has_its_own_grid_and_the_same_clock(tmp_path: Path) -> None:
    stream = build(StreamSpec(seconds=6))
    asset = segment(stream, separate_audio=True, audio_segment_s=1.5)

    video, audio = asset.playlist("main.m3u8"), asset.playlist("audio-0.m3u8")

    assert asset.entry == "master.m3u8"
    assert [s.start_s for s in video.segments] == [0, 2, 4]
    assert len(audio.segments) == 4
    assert audio.segments[1].start_s % Fraction(1024, 48_000) == 0
    heard = sounds(_joined(asset, tmp_path, "audio-0.m3u8"))[0]
    assert heard.first_s == 10 - Fraction(1024, 48_000)
    assert 'AUDIO="sound-all"' in asset.masters["master.m3u8"]


def test_one_file_with_ranges_holds_the_same_bytes() -> None:
    stream = build(StreamSpec(seconds=4))
    apart = segment(stream, container="fmp4")
    whole = segment(stream, container="fmp4", byte_range=True)

    def cut(part: MediaSegment) -> bytes:
        assert part.byte_range is not None
        length, offset = part.byte_range
        return whole.files[part.name][offset : offset + length]

    assert [cut(p) for p in whole.playlist().segments] == [
        apart.files[p.name] for p in apart.playlist().segments
    ]
    assert f'BYTERANGE="{len(apart.files["main-init-0.mp4"])}@0"' in whole.playlist().text()


def _opened(data: bytes, key: bytes, iv: bytes) -> bytes:
    box = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    plain = box.update(data) + box.finalize()
    return plain[: -plain[-1]]


@pytest.mark.parametrize("explicit", [True, False])
def test_encrypted_segments_open_with_their_key_and_vector(explicit: bool) -> None:
    stream = build(StreamSpec(seconds=6, audio=()))
    clear = segment(stream)
    sealed = segment(stream, encrypt=Encryption(rotate_every=2, explicit_iv=explicit))

    for part in sealed.playlist().segments:
        assert part.key is not None
        iv = part.key[1] or part.sequence.to_bytes(16, "big")
        opened = _opened(sealed.files[part.name], sealed.files[part.key[0]], iv)
        assert opened == clear.files[part.name]
    assert sealed.playlist().text().count("#EXT-X-KEY") == (3 if explicit else 2)


def test_an_init_segment_in_the_clear_stands_outside_the_key() -> None:
    stream = build(StreamSpec(seconds=2, audio=()))
    clear = segment(stream, container="fmp4", encrypt=Encryption()).playlist().text()
    sealed = segment(stream, container="fmp4", encrypt=Encryption(encrypt_init=True))

    assert clear.index("#EXT-X-MAP") < clear.index("#EXT-X-KEY")
    text = sealed.playlist().text()
    assert text.index("#EXT-X-KEY") < text.index("#EXT-X-MAP")
    part = sealed.playlist().segments[0]
    assert part.key is not None
    assert part.key[1] is not None
    init = _opened(sealed.files["main-init-0.mp4"], sealed.files[part.key[0]], part.key[1])
    assert [kind for kind, _, _ in boxes(init)] == ["ftyp", "moov"]


@pytest.mark.parametrize(
    ("policy", "count"), [("every", 5), ("first", 1), ("after_discontinuity", 2), ("absent", 0)]
)
def test_dates_are_written_where_the_policy_says(policy: str, count: int) -> None:
    first = StreamSpec(seconds=4, audio=())
    asset = segment(build(first), build(continued(first, seconds=6)), pdt=policy)

    assert asset.playlist().text().count("PROGRAM-DATE-TIME") == count


def test_dates_can_drift_from_the_media_clock() -> None:
    asset = segment(build(StreamSpec(seconds=6, audio=())), pdt_drift_ppm=1000)

    dates = [s.pdt_ms for s in asset.playlist().segments]

    assert [(d or 0) - asset.epoch_ms for d in dates] == [0, 2002, 4004]
    assert asset.wall_ms(100) == asset.epoch_ms + 4000


def test_a_break_inside_an_encode_jumps_in_clock_and_date() -> None:
    stream = build(StreamSpec(seconds=8, audio=()))
    breaks = (Discontinuity(at_segment=2, pts_jump_90k=-180_000, pdt_jump_ms=5000),)
    asset = segment(stream, discontinuities=breaks)

    parts = asset.playlist().segments
    assert [p.discontinuity for p in parts] == [False, False, True, False]
    assert parts[2].pdt_ms == asset.epoch_ms + 9000
    with av.open(io.BytesIO(asset.files["main-2.ts"]), "r") as container:
        assert next(p for p in container.demux(video=0) if p.size).pts == 900_000 + 180_000
    assert asset.wall_ms(99) == asset.epoch_ms + 99 * 40
    assert asset.wall_ms(100) == asset.epoch_ms + 9000
    assert asset.numbers_between(asset.epoch_ms + 3960, asset.epoch_ms + 9001) == [99, 100]


def test_regions_that_overlap_end_where_the_next_begins() -> None:
    first = StreamSpec(seconds=4, audio=())
    asset = segment(build(first), build(continued(first)), region_jumps_ms=(-200,))

    numbers = asset.numbers_between(asset.epoch_ms + 3600, asset.epoch_ms + 3900)

    # The second region's clock starts at 3800: frames 95 to 99 stand past that and are out.
    assert numbers == [90, 91, 92, 93, 94, 100, 101, 102]


def test_a_second_stream_goes_on_in_numbers_sound_and_date(tmp_path: Path) -> None:
    first = StreamSpec(seconds=4)
    second = continued(first, size=(320, 192), start_pts_90k=0)
    asset = segment(build(first), build(second), container="fmp4")

    parts = asset.playlist().segments
    assert parts[2].init == ("main-init-1.mp4", None)
    assert parts[2].pdt_ms == asset.epoch_ms + 4000
    path = tmp_path / "second.mp4"
    path.write_bytes(b"".join(asset.files[n] for n in ("main-init-1.mp4", "main-2.m4s")))
    assert inspect(path).numbers == list(range(100, 150))
    assert abs(audio_offsets(path, asset.times)[0].worst_ms) < 0.05


def test_gaps_are_marked_and_absent_segments_are_not() -> None:
    asset = segment(build(StreamSpec(seconds=6, audio=())), gaps=(1,), missing=(2,))

    assert sorted(n for n in asset.files) == ["main-0.ts"]
    assert asset.playlist().text().count("#EXT-X-GAP") == 1


def test_a_multivariant_playlist_names_every_variant() -> None:
    high = segment(build(StreamSpec(seconds=2, size=(320, 192))), separate_audio=True)
    low = segment(build(StreamSpec(seconds=2)), separate_audio=True)

    asset = multivariant({"hi": high, "lo": low})

    text = asset.masters["master.m3u8"]
    assert text.count("#EXT-X-STREAM-INF") == 2
    assert "hi/main.m3u8" in text
    assert 'URI="lo/audio-0.m3u8"' in text
    assert "hi/main-0.ts" in asset.files


def test_a_whole_stream_is_exact_lossless_and_identical(tmp_path: Path) -> None:
    asset = segment(build(StreamSpec()))
    path = write_mp4(asset.streams[0], tmp_path / "a.mp4")

    assert check_exact(path, asset, asset.epoch_ms, asset.epoch_ms + 6000) == []
    assert copied_packets(asset, path).share == 1
    assert quality(path, asset).identical == 150
    assert layout(path).faststart


def test_building_again_costs_nothing() -> None:
    assert build(StreamSpec()) is build(StreamSpec())


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(
    ("start", "fps", "number", "label"),
    [
        ("10:00:00:00", Fraction(25), 30, (10, 0, 1, 5)),
        ("23:59:59:20", Fraction(25), 5, (0, 0, 0, 0)),
        ("00:00:59;28", FILM, 2, (0, 1, 0, 2)),
        ("00:09:59;28", FILM, 2, (0, 10, 0, 0)),
        ("01:00:00;00", FILM, 45, (1, 0, 1, 15)),
    ],
)
def test_every_frame_carries_its_timecode(
    codec: str,
    start: str,
    fps: Fraction,
    number: int,
    label: tuple[int, int, int, int],
    tmp_path: Path,
) -> None:
    spec = StreamSpec(codec=codec, fps=fps, timecode=start, seconds=2, audio=())
    path = _joined(segment(build(spec)), tmp_path)

    labels = timecodes(path)

    assert labels == [timecode_of(spec, n) for n in range(spec.frame_count)]
    assert labels[number] == label
    assert inspect(path).clean


@pytest.mark.parametrize("interlaced", ["", "tff", "bff"])
def test_mp4_names_its_first_timecode(interlaced: str, tmp_path: Path) -> None:
    stream = build(StreamSpec(timecode="10:00:00:00", interlaced=interlaced, seconds=2))
    whole = write_mp4(stream, tmp_path / "a.mp4")
    pieces = _joined(segment(stream, container="fmp4"), tmp_path)

    assert [t.handler for t in layout(whole).tracks] == ["vide", "soun", "tmcd"]
    assert inspect(pieces).numbers == list(range(50))
    assert timecodes(whole)[26] == (10, 0, 1, 1)
    with av.open(str(whole), "r") as container:
        assert container.streams.video[0].metadata["timecode"] == "10:00:00:00"


@pytest.mark.parametrize(("codec", "suffix"), [("aac", "aac"), ("ac3", "ac3"), ("eac3", "ec3")])
def test_packed_sound_opens_with_its_clock(codec: str, suffix: str, tmp_path: Path) -> None:
    stream = build(StreamSpec(seconds=4, audio=(AudioSpec(codec),), start_pts_90k=180_000))
    asset = segment(stream, separate_audio=True, packed_audio=True)

    parts = asset.playlist("audio-0.m3u8").segments
    data = asset.files[parts[1].name]
    clock = int.from_bytes(data[data.index(b"Timestamp\0") + 10 :][:8], "big")

    assert parts[1].name == f"audio-0-1.{suffix}"
    assert clock == 180_000 + round(parts[1].start_s * 90_000)
    path = tmp_path / f"joined.{suffix}"
    path.write_bytes(b"".join(asset.files[p.name] for p in parts))
    assert len(sounds(path)[0].samples) >= 4 * 48_000
