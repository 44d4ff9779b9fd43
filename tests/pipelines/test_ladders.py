"""Ladders: the playlists we write, and the manifests and headers we read back with distrust."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import m3u8
import pytest

from pipelines import dash_reader, hls_writer, rates
from pipelines.codec_names import codec_names
from pipelines.hls_writer import LadderTrack
from schemas.errors import CorruptMedia


def a_rung(height: int, **changes: Any) -> LadderTrack:
    fields: dict[str, Any] = {
        "label": f"{height}p", "uri": f"hls-{height}p.m3u8", "codec": "avc1.640028",
        "peak_bps": height * 4000, "average_bps": height * 3000,
        "width": height * 16 // 9, "height": height, "frame_rate": Fraction(30000, 1001),
    }  # fmt: skip
    return LadderTrack(**fields | changes)


SOUND = LadderTrack(
    label="sound", uri="hls-sound.m3u8", codec="mp4a.40.2", peak_bps=130_000, average_bps=128_000,
    language="deu",
)  # fmt: skip


def test_another_reader_understands_the_multivariant_playlist() -> None:
    read = m3u8.loads(hls_writer.master((a_rung(360), a_rung(1080, hdr="PQ")), (SOUND,)))

    best, small = read.playlists
    assert (best.stream_info.resolution, small.stream_info.resolution) == ((1920, 1080), (640, 360))
    assert best.stream_info.bandwidth == 1080 * 4000 + 130_000
    assert best.stream_info.average_bandwidth == 1080 * 3000 + 128_000
    assert best.stream_info.codecs == "avc1.640028,mp4a.40.2"
    assert best.stream_info.frame_rate == 29.97
    assert (best.stream_info.video_range, small.stream_info.video_range) == ("PQ", "SDR")
    assert [(m.type, m.group_id, m.language, m.uri) for m in read.media] == [
        ("AUDIO", "sound", "deu", "hls-sound.m3u8")
    ]


def test_a_ladder_of_sound_alone_lists_its_sound() -> None:
    text = hls_writer.master((), (SOUND,))

    read = m3u8.loads(text)
    assert [p.uri for p in read.playlists] == ["hls-sound.m3u8"]
    assert not read.media
    hls_writer.check_master(text, 1)


def a_playlist(*lengths: float, end: str = "#EXT-X-ENDLIST") -> str:
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:6", '#EXT-X-MAP:URI="i.mp4"']
    for number, length in enumerate(lengths):
        lines += [f"#EXTINF:{length:.6f},", f"s{number}.m4s"]
    return "\n".join((*lines, end)) + "\n"


def test_the_last_segment_may_end_with_its_own_rung() -> None:
    playlists = [hls_writer.media(a_playlist(*ls), "a") for ls in ((6, 6, 2.0), (6, 6, 1.96))]

    hls_writer.check_aligned(tuple(playlists))

    assert hls_writer.names(playlists[0]) == ("s0.m4s", "s1.m4s", "s2.m4s")
    assert hls_writer.length_us(playlists[1]) == 13_960_000


@pytest.mark.parametrize("lengths", [(6, 5.96, 2), (6, 8), (6, 6, 1, 1)])
def test_rungs_that_change_segments_at_other_instants_are_refused(lengths: tuple[float]) -> None:
    playlists = [hls_writer.media(a_playlist(*ls), "a") for ls in ((6, 6, 2), lengths)]

    with pytest.raises(CorruptMedia, match="boundaries"):
        hls_writer.check_aligned(tuple(playlists))


@pytest.mark.parametrize("text", [a_playlist(6, end=""), a_playlist()])
def test_an_unfinished_or_empty_playlist_is_refused(text: str) -> None:
    with pytest.raises(CorruptMedia, match="no finished media playlist"):
        hls_writer.media(text, "a")


MPD = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011"
 type="static" mediaPresentationDuration="PT1M2.5S" minBufferTime="PT4S"><Period>
<AdaptationSet contentType="video"><Representation id="0" codecs="avc1.64" bandwidth="9">
<SegmentTemplate timescale="1000" initialization="d-$RepresentationID$-i.mp4"
 media="d-$RepresentationID$-$Number%05d$.m4s" startNumber="1"><SegmentTimeline>
<S t="500" d="2000" r="1"/><S d="700"/></SegmentTimeline></SegmentTemplate>
</Representation></AdaptationSet></Period></MPD>"""


def test_a_manifest_names_its_files_and_their_times() -> None:
    (track,) = dash_reader.representations(MPD)

    assert track.init == "d-0-i.mp4"
    assert track.segments == ("d-0-00001.m4s", "d-0-00002.m4s", "d-0-00003.m4s")
    assert track.boundaries_us == (2_000_000, 4_000_000, 4_700_000)
    assert dash_reader.length_us(MPD) == 62_500_000


def test_a_manifest_is_told_how_long_it_is_from_its_segments() -> None:
    tracks = dash_reader.representations(MPD)

    told = dash_reader.exact(MPD, tracks)

    assert dash_reader.length_us(told) == 5_200_000
    assert dash_reader.representations(told) == tracks


def test_a_manifest_is_told_what_each_track_takes_at_most() -> None:
    second = MPD.partition("<AdaptationSet")[2].partition("</Period>")[0].replace('"0"', '"1"')
    text = MPD.replace("</Period>", f"<AdaptationSet{second}</Period>")
    tracks = [
        track.model_copy(update={"bandwidth_bps": 700 + number})
        for number, track in enumerate(dash_reader.representations(text))
    ]

    told = dash_reader.exact(text, tuple(tracks))

    assert [t.bandwidth_bps for t in dash_reader.representations(told)] == [700, 701]


@pytest.mark.parametrize(
    ("sizes", "lengths_us", "peak_bps"),
    [
        ([1000, 3000, 1000], [2_000_000] * 3, 12_000),
        ([1000, 1000, 500], [2_000_000, 2_000_000, 40_000], 5_883),
        ([10], [40_000], 2_000),
        ([1000, 2500, 500], [4_000_000, 2_000_000, 4_000_000], 10_000),
        ([], [], 0),
    ],
    ids=["one is large", "a short last one", "only one", "they differ in length", "none"],
)
def test_a_short_last_segment_alone_makes_no_peak(
    sizes: list[int], lengths_us: list[int], peak_bps: int
) -> None:
    assert rates.peak_bps(sizes, lengths_us) == peak_bps


def test_whoever_buffers_twice_the_longest_segment_plays_on_at_the_peak() -> None:
    sizes, lengths_us = [900, 2500, 500, 3000, 700], [4_000_000, 2e6, 3_900_000, 2e6, 80_000]

    peak_bps = rates.peak_bps(sizes, [round(length) for length in lengths_us])

    for first in range(len(sizes)):
        for last in range(first, len(sizes)):
            bits, waited_us = 8 * sum(sizes[first : last + 1]), sum(lengths_us[first:last])
            assert bits <= peak_bps * (2 * max(lengths_us) + waited_us) / 1e6


@pytest.mark.parametrize(
    ("cut", "put"),
    [
        ("<MPD", "<MPX"),
        ('type="static"', 'type="dynamic"'),
        ('minBufferTime="PT4S"', ""),
        ('bandwidth="9"', ""),
        ('bandwidth="9"', 'bandwidth="many"'),
        ('d="2000" r="1"', 'd="2000" r="999999999"'),
        ('<S t="500" d="2000" r="1"/><S d="700"/>', ""),
        ("<Representation", "<Rep"),
        ('codecs="avc1.64"', ""),
    ],
)
def test_a_manifest_that_lacks_what_a_player_needs_is_refused(cut: str, put: str) -> None:
    with pytest.raises(CorruptMedia):
        dash_reader.representations(MPD.replace(cut, put))


def test_an_entity_is_not_opened() -> None:
    text = MPD.replace("<MPD", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><MPD', 1)

    found = dash_reader.representations(text.replace('id="0"', 'id="&e;"').replace("&e;", "0"))

    assert "root" not in str(found)


def box(kind: bytes, body: bytes) -> bytes:
    return (len(body) + 8).to_bytes(4, "big") + kind + body


def a_header(entry: bytes) -> bytes:
    table = box(b"stsd", bytes(8) + entry)
    inside = box(b"mdia", box(b"minf", box(b"stbl", table)))
    return box(b"ftyp", b"iso6") + box(b"moov", box(b"trak", inside))


@pytest.mark.parametrize(
    ("kind", "inner", "name"),
    [
        (b"avc1", box(b"avcC", bytes.fromhex("0164001f")), "avc1.64001f"),
        (b"hvc1", box(b"hvcC", bytes.fromhex("01016000000090000000000078f0")), "hvc1.1.6.L120.90"),
        (b"hvc1", box(b"hvcC", bytes.fromhex("012220000000b0000000000099f0")), "hvc1.2.4.H153.B0"),
        (b"av01", box(b"av1C", bytes.fromhex("81084c00")), "av01.0.08M.10"),
        (b"vp09", box(b"vpcC", bytes.fromhex("01000000021f8000")), "vp09.02.31.08"),
    ],
)
def test_a_codec_is_named_by_its_configuration(kind: bytes, inner: bytes, name: str) -> None:
    assert codec_names(a_header(box(kind, bytes(78) + inner))) == (name,)


def test_sound_is_named_too() -> None:
    esds = box(b"esds", bytes.fromhex("0000000003190001000411401500000000000000000000000000"
                                      "05021190060102"))  # fmt: skip

    assert codec_names(a_header(box(b"mp4a", bytes(28) + esds))) == ("mp4a.40.2",)
    assert codec_names(a_header(box(b"Opus", bytes(28)))) == ("opus",)


@pytest.mark.parametrize("entry", [box(b"avc1", bytes(78)), box(b"av01", bytes(78))])
def test_a_codec_without_configuration_is_refused(entry: bytes) -> None:
    with pytest.raises(CorruptMedia, match="configuration"):
        codec_names(a_header(entry))


@pytest.mark.parametrize("data", [b"", b"\xff" * 64, bytes(64), a_header(b"")[:20]])
def test_bytes_that_are_no_header_name_nothing(data: bytes) -> None:
    assert codec_names(data) == ()
