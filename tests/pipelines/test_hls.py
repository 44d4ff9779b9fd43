"""Playlists from anywhere become values, or are refused with a code."""

from __future__ import annotations

import random
import tracemalloc
from fractions import Fraction

import pytest

from pipelines.hls import MAX_DEPTH, descend, parse
from pipelines.refresh import merged
from schemas.errors import CorruptMedia, CuttingRoomError
from schemas.media import ByteRange, MediaPlaylist, MultivariantPlaylist, Segment
from schemas.times import parse_rfc3339_us
from tests.hostile_playlists import HOSTILE, URI, Hostile

S = 1_000_000
NOW_US = 5_000_000 * S
T0 = "2022-02-04T06:44:06Z"
T0_US = parse_rfc3339_us(T0)


def media(*lines: str, head: str = "#EXT-X-TARGETDURATION:4") -> MediaPlaylist:
    found = parse("\n".join(["#EXTM3U", head, *lines]), URI, fetched_at_us=NOW_US)
    assert isinstance(found, MediaPlaylist)
    return found


def multivariant(*lines: str) -> MultivariantPlaylist:
    found = parse("\n".join(["#EXTM3U", *lines]), URI, fetched_at_us=NOW_US)
    assert isinstance(found, MultivariantPlaylist)
    return found


def seg(name: str, seconds: float = 4) -> tuple[str, str]:
    return f"#EXTINF:{seconds},", name


def pdt(text: str) -> str:
    return f"#EXT-X-PROGRAM-DATE-TIME:{text}"


def starts_s(playlist: MediaPlaylist, zero_us: int = T0_US) -> list[float]:
    return [(s.start_us - zero_us) / S for s in playlist.segments]


@pytest.mark.parametrize("row", HOSTILE, ids=lambda row: row.name)
def test_a_hostile_playlist_is_refused_with_its_code(row: Hostile) -> None:
    with pytest.raises(CuttingRoomError) as caught:
        parse(row.body, URI, fetched_at_us=NOW_US)

    assert caught.value.error_code == row.code
    assert len(caught.value.message) < 300


def test_a_million_lines_are_refused_before_they_are_copied() -> None:
    row = next(row for row in HOSTILE if row.name == "a million lines")
    tracemalloc.start()

    with pytest.raises(CuttingRoomError):
        parse(row.body, URI, fetched_at_us=NOW_US)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(row.body) / 10


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_playlist_is_read_or_refused_never_more(seed: int) -> None:
    dice = random.Random(seed)
    body = bytearray(_everything().encode())
    for _ in range(dice.randint(1, 40)):
        at = dice.randrange(8, len(body))
        match dice.randrange(3):
            case 0:
                body[at] = dice.randrange(256)
            case 1:
                del body[at : at + dice.randint(1, 30)]
            case _:
                body[at:at] = body[dice.randrange(len(body)) :][: dice.randint(1, 60)]

    assert _outcome(bytes(body)) in {
        "read",
        "media_invalid",
        "too_large",
        "manifest_unreachable",
    }


def _outcome(body: bytes) -> str:
    try:
        parse(body, URI, fetched_at_us=NOW_US)
    except CuttingRoomError as error:
        return error.error_code
    return "read"


def _everything() -> str:
    return "\n".join(
        [
            "#EXTM3U",
            "#EXT-X-VERSION:9",
            "#EXT-X-TARGETDURATION:4",
            "#EXT-X-MEDIA-SEQUENCE:2680",
            "#EXT-X-DISCONTINUITY-SEQUENCE:8",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=12.0",
            "#EXT-X-PART-INF:PART-TARGET=0.33334",
            '#EXT-X-DEFINE:NAME="t",VALUE="abc"',
            '#EXT-X-KEY:METHOD=AES-128,URI="https://k.test/k?a=1",IV=0x1f',
            '#EXT-X-MAP:URI="init-{$t}.mp4",BYTERANGE="720@0"',
            pdt(T0),
            *seg("a.m4s", 4.00008),
            '#EXT-X-DATERANGE:ID="ad",START-DATE="2022-02-04T06:44:10Z",DURATION=x,SCTE35-OUT=0xF',
            "#EXT-X-CUE-OUT:Duration=garbage",
            "#EXT-X-GAP",
            *seg("b.m4s"),
            "#EXT-X-DISCONTINUITY",
            "#EXT-X-KEY:METHOD=NONE",
            '#EXT-X-MAP:URI="init2.mp4"',
            '#EXT-X-PART:DURATION=0.33334,URI="c.0.m4s",INDEPENDENT=YES',
            '#EXT-X-PART:DURATION=0.33334,URI="c.1.m4s",GAP=YES',
            "#EXTINF:4.0,Caf\u00e9, with a comma",
            "c.m4s",
            '#EXT-X-PART:DURATION=0.33334,URI="d.0.m4s",INDEPENDENT=YES',
            '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="d.1.m4s"',
            '#EXT-X-RENDITION-REPORT:URI="../x/w.m3u8",LAST-MSN=2682,LAST-PART=0',
        ]
    )


def test_a_low_latency_playlist_is_read_by_its_whole_segments() -> None:
    found = parse(_everything(), URI, fetched_at_us=NOW_US)

    assert isinstance(found, MediaPlaylist)
    assert [(s.sequence, s.discontinuity_sequence, s.gap) for s in found.segments] == [
        (2680, 8, False),
        (2681, 8, True),
        (2682, 9, False),
    ]
    assert found.part_target_us == 333_340
    assert found.independent_segments
    assert [r.clock for r in found.regions] == ["pdt", "estimated"]
    a, _, c = found.segments
    assert a.duration_us == 4_000_080
    assert a.init is not None
    assert a.init.uri == "https://origin.test/live/init-abc.mp4"
    assert a.init.byte_range == ByteRange(offset=0, length=720)
    assert a.init.key == a.key
    assert a.key is not None
    assert (a.key.uri, a.key.iv_hex) == ("https://k.test/k?a=1", "1f".zfill(32))
    assert (c.key, c.init and c.init.uri) == (None, "https://origin.test/live/init2.mp4")


@pytest.mark.parametrize(
    ("lines", "clocks", "starts"),
    [
        ([pdt(T0), *seg("a"), *seg("b")], ["pdt"], [0, 4]),
        ([*seg("a"), pdt(T0), *seg("b"), *seg("c")], ["pdt"], [-4, 0, 4]),
        (
            [pdt(T0), *seg("a"), pdt("2022-02-04T06:44:10.250Z"), *seg("b"), *seg("c")],
            ["pdt"],
            [0, 4.25, 8.25],
        ),
        (
            [pdt(T0), *seg("a"), "#EXT-X-DISCONTINUITY", *seg("b")],
            ["pdt", "estimated"],
            [0, 4],
        ),
        (
            [*seg("a"), "#EXT-X-DISCONTINUITY", pdt(T0), *seg("b")],
            ["estimated", "pdt"],
            [-4, 0],
        ),
        (
            [*seg("z", 2), "#EXT-X-DISCONTINUITY", *seg("a"), *seg("b"), "#EXT-X-DISCONTINUITY",
             *seg("c"), pdt(T0), *seg("d")],
            ["estimated", "estimated", "pdt"],
            [-14, -12, -8, -4, 0],
        ),
        (
            [pdt(T0), *seg("a"), "#EXT-X-DISCONTINUITY", pdt("2022-02-04T07:44:06Z"), *seg("b")],
            ["pdt", "pdt"],
            [0, 3600],
        ),
    ],
    ids=[
        "date on the first only",
        "date on a later one counts backwards",
        "own date wins",
        "a region without a date stands after its neighbour",
        "a region without a date stands before its neighbour",
        "several regions before the first date",
        "a jump between regions",
    ],
)  # fmt: skip
def test_segments_are_placed_by_the_dates_of_their_region(
    lines: list[str], clocks: list[str], starts: list[float]
) -> None:
    found = media(*lines)

    assert [region.clock for region in found.regions] == clocks
    assert starts_s(found) == starts


def test_without_any_date_a_live_playlist_ends_when_it_was_fetched() -> None:
    found = media(*seg("a"), *seg("b"))

    assert [s.start_us for s in found.segments] == [NOW_US - 8 * S, NOW_US - 4 * S]
    assert found.regions[0].clock == "estimated"


@pytest.mark.parametrize("ending", ["#EXT-X-ENDLIST", "#EXT-X-PLAYLIST-TYPE:VOD"])
def test_without_any_date_an_ended_playlist_starts_at_zero(ending: str) -> None:
    found = media(*seg("a"), "#EXT-X-DISCONTINUITY", *seg("b"), ending)

    assert found.ended
    assert [s.start_us for s in found.segments] == [0, 4 * S]


@pytest.mark.parametrize(
    "spelling",
    [
        "2022-02-04T06:44:06Z",
        "2022-02-04T06:44:06.000Z",
        "2022-02-04T06:44:06.000000000Z",
        "2022-02-04T06:44:06z",
        "2022-02-04 06:44:06Z",
        "2022-02-04T06:44:06",
        "2022-02-04T07:44:06+01:00",
        "2022-02-04T07:44:06+0100",
        "2022-02-04T07:44:06+01",
        "2022-02-03T18:44:06,0-12:00",
    ],
)
def test_dates_are_read_in_every_spelling_seen_in_the_field(spelling: str) -> None:
    found = media(pdt(spelling), *seg("a"))

    assert found.segments[0].pdt_us == T0_US


@pytest.mark.parametrize(
    ("text", "duration_us"),
    [
        ("4", 4 * S),
        ("4,", 4 * S),
        ("4.0,title, with comma", 4 * S),
        ("3.003003003,", 3_003_003),
        ("0.0000005,", 1),
        ("5.,", 5 * S),
        (" 6.006 ,", 6_006_000),
        ("0,", 0),
        ("86400,", 86_400 * S),
    ],
)
def test_durations_are_exact_to_the_microsecond(text: str, duration_us: int) -> None:
    found = media(f"#EXTINF:{text}", "a.ts")

    assert found.segments[0].duration_us == duration_us


@pytest.mark.parametrize(
    ("reference", "uri"),
    [
        ("a.ts", "https://origin.test/live/a.ts"),
        ("./a.ts", "https://origin.test/live/a.ts"),
        ("sub/a.ts?x=1&y=%2F", "https://origin.test/live/sub/a.ts?x=1&y=%2F"),
        ("../a.ts", "https://origin.test/a.ts"),
        ("../" * 500 + "a.ts", "https://origin.test/a.ts"),
        ("/a.ts", "https://origin.test/a.ts"),
        ("//cdn.test/a.ts", "https://cdn.test/a.ts"),
        ("http://cdn.test:8080/a.ts", "http://cdn.test:8080/a.ts"),
        ("HTTPS://cdn.test/a.ts", "https://cdn.test/a.ts"),
        ("a.ts#t=1", "https://origin.test/live/a.ts"),
        ("?id=7", "https://origin.test/live/media.m3u8?id=7"),
        ("a:b.ts", None),
        ("C:/a.ts", None),
    ],
)
def test_addresses_become_absolute(reference: str, uri: str | None) -> None:
    if uri is None:
        with pytest.raises(CorruptMedia):
            media("#EXTINF:4,", reference)
        return

    found = media("#EXTINF:4,", reference)

    assert found.segments[0].uri == uri


def test_a_refusal_names_the_line_and_never_the_address() -> None:
    with pytest.raises(CorruptMedia) as caught:
        media(*seg("a.ts"), "#EXTINF:4,", "ftp://user:secret@h.test/x?token=secret")

    assert "line 6" in caught.value.message
    assert "secret" not in caught.value.message


def test_byte_ranges_without_an_offset_go_on_where_the_last_ended() -> None:
    found = media(
        "#EXT-X-BYTERANGE:100@50", *seg("a.ts"),
        *seg("a.ts")[:1], "#EXT-X-BYTERANGE:10", "a.ts",
        "#EXT-X-BYTERANGE:7", *seg("b.ts"),
        "#EXT-X-BYTERANGE:5", *seg("b.ts"),
        *seg("c.ts"),
    )  # fmt: skip

    spans = [(r.offset, r.length) if (r := s.byte_range) else None for s in found.segments]

    assert spans == [(50, 100), (150, 10), (0, 7), (7, 5), None]


def test_keys_rotate_and_stop() -> None:
    found = media(
        *seg("clear"),
        '#EXT-X-KEY:METHOD=AES-128,URI="k1"', *seg("one"), *seg("still"),
        '#EXT-X-KEY:METHOD=AES-128,URI="k2",IV=0X0A', *seg("two"),
        "#EXT-X-KEY:METHOD=NONE", *seg("clear again"[:5]),
    )  # fmt: skip

    keys = [(k.uri[-2:], k.iv_hex) if (k := s.key) else None for s in found.segments]

    assert keys == [None, ("k1", None), ("k1", None), ("k2", "a".zfill(32)), None]


DRM = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"'
WIDEVINE = (
    '#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI="data:text/plain;base64,AAAA",'
    'KEYFORMAT="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"'
)
PLAIN = '#EXT-X-KEY:METHOD=AES-128,URI="k"'


@pytest.mark.parametrize(
    ("keys", "method"),
    [
        ([DRM], "SAMPLE-AES"),
        ([WIDEVINE], "SAMPLE-AES-CTR"),
        ([DRM, WIDEVINE], "SAMPLE-AES-CTR"),
        ([PLAIN, DRM], "AES-128"),
        ([DRM, PLAIN, WIDEVINE], "AES-128"),
        (['#EXT-X-KEY:METHOD=AES-128,URI="skd://k",KEYFORMAT="x"'], "OTHER"),
        (['#EXT-X-KEY:METHOD=AES-256,URI="k"'], "OTHER"),
        ([DRM, "#EXT-X-KEY:METHOD=NONE"], None),
    ],
)
def test_of_several_keys_the_plain_one_is_used(keys: list[str], method: str | None) -> None:
    found = media(*keys, *seg("a"))

    key = found.segments[0].key
    assert (key.method if key else None) == method


def test_maps_change_and_carry_their_key() -> None:
    found = media(
        '#EXT-X-MAP:URI="i1"', *seg("a"),
        PLAIN, '#EXT-X-MAP:URI="i2",BYTERANGE="9"', *seg("b"), *seg("c"),
    )  # fmt: skip

    inits = [s.init for s in found.segments]

    assert [init and init.uri[-2:] for init in inits] == ["i1", "i2", "i2"]
    assert [bool(init and init.key) for init in inits] == [False, True, True]
    assert [init and init.byte_range for init in inits][1] == ByteRange(offset=0, length=9)


def test_a_map_without_an_iv_takes_the_number_of_the_segment_it_stands_before() -> None:
    found = media("#EXT-X-MEDIA-SEQUENCE:7", PLAIN, *seg("a"), '#EXT-X-MAP:URI="i"', *seg("b"))

    init = found.segments[1].init
    assert init is not None
    assert init.key is not None
    assert init.key.iv_hex == "8".zfill(32)


def test_regions_are_numbered_from_the_discontinuity_sequence() -> None:
    found = media(
        "#EXT-X-DISCONTINUITY-SEQUENCE:5", "#EXT-X-MEDIA-SEQUENCE:7",
        "#EXT-X-DISCONTINUITY", *seg("a"), *seg("b"), "#EXT-X-DISCONTINUITY", *seg("c"),
    )  # fmt: skip

    assert [(s.sequence, s.discontinuity_sequence) for s in found.segments] == [
        (7, 6),
        (8, 6),
        (9, 7),
    ]


def test_windows_line_ends_a_byte_order_mark_and_unknown_tags_do_no_harm() -> None:
    text = "\ufeff#EXTM3U x-tvg=1\r\n#EXT-X-FUTURE:X=\x01\r\n# note\r\n\r\n#EXTINF:4,\r\na.ts\r\n"

    found = parse(text.encode(), URI, fetched_at_us=NOW_US)

    assert isinstance(found, MediaPlaylist)
    assert [s.uri for s in found.segments] == ["https://origin.test/live/a.ts"]
    assert found.target_duration_us == 4 * S


def test_a_live_playlist_cut_short_is_read_up_to_the_cut() -> None:
    found = media(*seg("a"), "#EXTINF:4,")

    assert len(found.segments) == 1


def test_variables_come_from_the_query_and_the_multivariant_playlist() -> None:
    text = "\n".join(
        [
            "#EXTM3U",
            '#EXT-X-DEFINE:QUERYPARAM="token"',
            '#EXT-X-DEFINE:IMPORT="host"',
            *seg("https://{$host}/a.ts?t={$token}"),
        ]
    )

    found = parse(text, URI + "?token=abc", fetched_at_us=NOW_US, variables={"host": "cdn.test"})

    assert isinstance(found, MediaPlaylist)
    assert found.segments[0].uri == "https://cdn.test/a.ts?t=abc"


def test_a_multivariant_playlist_lists_variants_and_their_sound() -> None:
    found = multivariant(
        "#EXT-X-INDEPENDENT-SEGMENTS",
        '#EXT-X-DEFINE:NAME="q",VALUE="7"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="Director\'s",LANGUAGE="de",DEFAULT=YES,'
        'AUTOSELECT=YES,CHANNELS="2",URI="de.m3u8?q={$q}"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="Muxed",LANGUAGE="en"',
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s",NAME="x",URI="s.m3u8"',
        "#EXT-X-STREAM-INF:BANDWIDTH=5000000,AVERAGE-BANDWIDTH=4000000,RESOLUTION=1920X1080,"
        'FRAME-RATE=59.940,CODECS="avc1.640028,mp4a.40.2",AUDIO="aac",HDCP-LEVEL=NONE',
        "hi.m3u8",
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i.m3u8"',
        "#EXT-X-STREAM-INF:PROGRAM-ID=1",
        "/lo.m3u8",
    )

    hi, lo = found.variants
    assert (hi.width, hi.height, hi.frame_rate) == (1920, 1080, Fraction(60000, 1001))
    assert (hi.bandwidth_bps, hi.average_bandwidth_bps) == (5_000_000, 4_000_000)
    assert (hi.codecs, hi.audio_group) == ("avc1.640028,mp4a.40.2", "aac")
    assert (lo.uri, lo.bandwidth_bps, lo.codecs) == ("https://origin.test/lo.m3u8", 0, None)
    assert [(a.name, a.language, a.default) for a in found.audio] == [
        ("Director's", "de", True),
        ("Muxed", "en", False),
    ]
    assert [a.uri for a in found.audio] == ["https://origin.test/live/de.m3u8?q=7", None]
    assert found.variables == {"q": "7"}


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("23.976", Fraction(24000, 1001)),
        ("25.000", Fraction(25)),
        ("29.97", Fraction(30000, 1001)),
        ("30", Fraction(30)),
        ("59.94006", Fraction(60000, 1001)),
        ("12.5", Fraction(25, 2)),
    ],
)
def test_frame_rates_are_the_exact_ones_a_decimal_stands_for(text: str, rate: Fraction) -> None:
    found = multivariant(f"#EXT-X-STREAM-INF:BANDWIDTH=1,FRAME-RATE={text}", "v.m3u8")

    assert found.variants[0].frame_rate == rate


def test_playlists_are_followed_three_deep_and_never_in_a_circle() -> None:
    trail: tuple[str, ...] = ()
    for depth in range(MAX_DEPTH):
        trail = descend(trail, f"https://o.test/{depth}")

    with pytest.raises(CorruptMedia, match="deeper"):
        descend(trail, "https://o.test/next")
    with pytest.raises(CorruptMedia, match="itself"):
        descend(trail, "https://o.test/0")


def test_a_long_window_keeps_its_order() -> None:
    lines = [line for n in range(3000) for line in seg(f"s{n}.ts", 2)]

    found = media(pdt(T0), *lines)

    segments: tuple[Segment, ...] = found.segments
    assert [s.sequence for s in segments] == list(range(3000))
    assert segments[-1].end_us == T0_US + 6000 * S


@pytest.mark.parametrize("uri", ["file:///tmp/a.m3u8", "/tmp/a.m3u8", "ftp://h.test/a.m3u8"])
def test_a_playlist_comes_from_http_alone(uri: str) -> None:
    with pytest.raises(CorruptMedia):
        parse("#EXTM3U\n#EXTINF:4,\na.ts\n", uri, fetched_at_us=NOW_US)


def test_subtitle_renditions_are_told_by_group_language_and_kind() -> None:
    subs = '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="s"'

    found = multivariant(
        f'{subs},NAME="English",LANGUAGE="en",DEFAULT=YES,URI="en.m3u8"',
        f'{subs},NAME="Signs",LANGUAGE="en",FORCED=YES,URI="signs.m3u8"',
        f'{subs},NAME="muxed, which is not allowed"',
        '#EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES="s"',
        "v.m3u8",
    )

    assert [(s.name, s.language, s.default, s.forced) for s in found.subtitles] == [
        ("English", "en", True, False),
        ("Signs", "en", False, True),
    ]
    assert found.variants[0].subtitle_group == "s"


SHOWN = "#EXT-X-CUTTINGROOM-SHOWN:"


def test_our_own_tag_says_which_part_of_the_media_is_shown() -> None:
    said = f"{SHOWN}PTS-ZERO=-1.000000500,START=10.000000000,END=12.500000000"

    one, other = media(
        *seg("a.ts"), "#EXT-X-DISCONTINUITY", pdt(T0), said, *seg("b.ts", 2.5)
    ).regions

    assert one.pts_clock is None
    assert other.pts_clock is not None
    assert other.pts_clock.zero_us == Fraction(-1_000_000_500, 1000)
    assert (other.pts_clock.start_us, other.pts_clock.end_us) == (10 * S - 1, 12_500_000 - 1)
    assert other.pts_clock.discontinuity_sequence == other.discontinuity_sequence


@pytest.mark.parametrize(
    "said",
    [
        "",
        "PTS-ZERO=1,START=1.000000000,END=2.000000000",
        "PTS-ZERO=1.000000000,START=2.000000000,END=2.000000000",
        "PTS-ZERO=1.000000000,START=1.000000000,END=" + "9" * 30 + ".000000000",
        "PTS-ZERO=nan,START=1.000000000,END=2.000000000",
    ],
)
def test_our_own_tag_is_read_as_warily_as_any(said: str) -> None:
    with pytest.raises(CorruptMedia):
        media(f"{SHOWN}{said}", *seg("a.ts"))


def test_what_is_shown_of_a_region_stays_known_at_the_next_reading() -> None:
    said = f"{SHOWN}PTS-ZERO=0.000000000,START=10.000000000,END=12.000000000"
    first = media(pdt(T0), said, *seg("a.ts"))
    edge = pdt("2022-02-04T06:44:10Z")
    again = media(pdt(T0), said, *seg("a.ts"), "#EXT-X-DISCONTINUITY", edge, said, *seg("b.ts"))

    found = merged(first, again)

    assert [r.pts_clock and r.pts_clock.discontinuity_sequence for r in found.regions] == [0, 1]
