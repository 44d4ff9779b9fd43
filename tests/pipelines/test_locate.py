"""Selected segments become fetch steps under names of our own."""

from __future__ import annotations

import re

import pytest

from pipelines.hls import parse
from pipelines.locate import Located, held, located
from pipelines.window import select
from schemas.cuts import GapPolicy
from schemas.errors import CuttingRoomError, Encrypted, TooLarge
from schemas.media import AudioRendition, ByteRange, MediaPlaylist, implied_iv
from schemas.times import TimeRange

S = 1_000_000
BASE_MS = 1_643_957_046_000
HEAD = ("#EXTM3U", "#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:10")
PDT = "#EXT-X-PROGRAM-DATE-TIME:2022-02-04T06:44:06Z"


def seg(name: str) -> tuple[str, str]:
    return "#EXTINF:4,", name


def plan(
    *lines: str,
    from_s: float = 1,
    to_s: float = 7,
    gaps: GapPolicy = "fail",
    prefix: str = "v",
    rendition: AudioRendition | None = None,
) -> Located:
    playlist = parse("\n".join([*HEAD, *lines]), "https://o.test/l/m.m3u8", fetched_at_us=0)
    assert isinstance(playlist, MediaPlaylist)
    wanted = TimeRange(start_ms=BASE_MS + round(from_s * 1000), end_ms=BASE_MS + round(to_s * 1000))
    return located(select(playlist, wanted, 0), prefix=prefix, gaps=gaps, rendition=rendition)


def test_each_segment_is_fetched_once_under_a_name_of_ours() -> None:
    found = plan(PDT, *seg("../../etc/passwd;rm"), *seg("b.ts?sig=1"), *seg("c.ts"))

    assert [(f.name, f.uri, f.optional) for f in found.fetches] == [
        ("v-0-000010.ts", "https://o.test/etc/passwd;rm", False),
        ("v-0-000011.ts", "https://o.test/l/b.ts?sig=1", False),
    ]
    assert [s.name for s in found.track.segments] == ["v-0-000010.ts", "v-0-000011.ts"]
    assert [s.start_us for s in found.track.segments] == [BASE_MS * 1000, BASE_MS * 1000 + 4 * S]
    assert (found.track.role, found.track.clock, found.key_uris) == ("main", "pdt", ())


def test_an_init_section_is_fetched_once_and_again_where_it_changes() -> None:
    found = plan(
        PDT, '#EXT-X-MAP:URI="i.mp4",BYTERANGE="700@0"', *seg("a"), *seg("b"),
        "#EXT-X-DISCONTINUITY", '#EXT-X-MAP:URI="j.mp4"', *seg("c"), *seg("d"),
        to_s=15,
    )  # fmt: skip

    inits = [f for f in found.fetches if "init" in f.name]

    assert [(f.uri.rpartition("/")[2], f.byte_range) for f in inits] == [
        ("i.mp4", ByteRange(offset=0, length=700)),
        ("j.mp4", None),
    ]
    assert all(re.fullmatch(r"v-init-[0-9a-f]{16}\.mp4", f.name) for f in inits)
    names = [s.init_name for s in found.track.segments]
    assert names == [inits[0].name] * 2 + [inits[1].name] * 2
    assert all(s.name and s.name.endswith(".m4s") for s in found.track.segments)


def test_byte_ranges_of_one_file_are_fetches_of_their_own() -> None:
    found = plan(
        PDT, "#EXT-X-BYTERANGE:100@0", *seg("all.ts"), "#EXT-X-BYTERANGE:50", *seg("all.ts")
    )

    assert [(f.byte_range, f.uri) for f in found.fetches] == [
        (ByteRange(offset=0, length=100), "https://o.test/l/all.ts"),
        (ByteRange(offset=100, length=50), "https://o.test/l/all.ts"),
    ]
    assert len({f.name for f in found.fetches}) == 2


def test_an_iv_is_the_written_one_or_the_sequence_number() -> None:
    found = plan(
        PDT, '#EXT-X-KEY:METHOD=AES-128,URI="k1"', *seg("a"),
        '#EXT-X-KEY:METHOD=AES-128,URI="k2",IV=0xABC', *seg("b"),
    )  # fmt: skip

    keys = [(f.key.uri[-2:], f.key.iv_hex) for f in found.fetches if f.key]

    assert keys == [("k1", "0000000000000000000000000000000a"), ("k2", "abc".zfill(32))]
    assert found.key_uris == ("https://o.test/l/k1", "https://o.test/l/k2")


@pytest.mark.parametrize("sequence", [0, 1, 255, 2**32, 2**63 - 1])
def test_an_implied_iv_is_128_bits_big_endian(sequence: int) -> None:
    assert bytes.fromhex(implied_iv(sequence)) == sequence.to_bytes(16, "big")


def test_an_encrypted_init_section_brings_its_key() -> None:
    found = plan(
        '#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x1', '#EXT-X-MAP:URI="i"', PDT, *seg("a"), *seg("b")
    )

    assert [f.key and f.key.iv_hex[-1] for f in found.fetches] == ["1", "1", "1"]


DRM = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://x",KEYFORMAT="com.apple.streamingkeydelivery"'


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ([PDT, DRM, *seg("a"), *seg("b")], Encrypted),
        ([PDT, *seg("a"), DRM, *seg("b")], Encrypted),
        ([PDT, DRM, '#EXT-X-MAP:URI="i"', "#EXT-X-KEY:METHOD=NONE", *seg("a")], Encrypted),
        ([PDT, f"#EXT-X-BYTERANGE:{2**40}@0", *seg("a")], TooLarge),
        ([PDT, f'#EXT-X-MAP:URI="i",BYTERANGE="{2**40}@0"', *seg("a")], TooLarge),
    ],
    ids=[
        "DRM",
        "DRM in half of the range",
        "a map under DRM",
        "a segment of a terabyte",
        "a map of a terabyte",
    ],
)
def test_what_cannot_be_fetched_or_opened_is_refused(
    lines: list[str], error: type[CuttingRoomError]
) -> None:
    with pytest.raises(error):
        plan(*lines, to_s=3 if len(lines) < 6 else 7)


def test_drm_outside_the_range_does_no_harm() -> None:
    found = plan(PDT, *seg("a"), *seg("b"), DRM, *seg("c"))

    assert len(found.fetches) == 2


def test_declared_gaps_keep_their_time_and_are_not_fetched() -> None:
    found = plan(PDT, *seg("a"), "#EXT-X-GAP", *seg("b"), *seg("c"), to_s=11)

    assert [s.gap for s in found.track.segments] == [False, True, False]
    assert [s.duration_us for s in found.track.segments] == [4 * S] * 3
    assert len(found.fetches) == 2


def test_anchors_and_neighbours_are_optional_and_kept_apart() -> None:
    found = plan(PDT, *seg("a"), *seg("b"), *seg("c"), *seg("d"), from_s=5, to_s=8)

    assert [(f.name[-5:-3], f.optional) for f in found.fetches] == [
        ("11", False),
        ("12", True),
        ("10", True),
    ]
    assert [s.sequence for s in found.track.segments] == [11, 12]
    assert [s.sequence for s in found.track.anchors] == [10]
    assert found.extras == {"v-0-000012.ts"}


@pytest.mark.parametrize(("gaps", "optional"), [("fail", False), ("skip", True), ("black", True)])
def test_an_absent_segment_fails_the_fetch_only_where_gaps_do(
    gaps: GapPolicy, optional: bool
) -> None:
    found = plan(PDT, *seg("a"), *seg("b"), gaps=gaps)

    assert {f.optional for f in found.fetches} == {optional}


def test_what_did_not_arrive_is_a_gap_inside_and_nothing_outside() -> None:
    found = plan(
        PDT, '#EXT-X-MAP:URI="i"', *seg("a"), *seg("b"), *seg("c"), *seg("d"), *seg("e"),
        from_s=5, to_s=12, gaps="skip",
    )  # fmt: skip
    init = found.fetches[0].name

    track = held(found, {init: 700, "v-0-000011.m4s": 5000})

    assert [(s.sequence, s.gap, s.size) for s in track.segments] == [
        (11, False, 5000),
        (12, True, 0),
    ]
    assert track.segments[1].start_us == BASE_MS * 1000 + 8 * S
    assert track.anchors == ()


def test_without_its_init_section_a_segment_is_not_here() -> None:
    found = plan(PDT, '#EXT-X-MAP:URI="i"', *seg("a"), *seg("b"))

    track = held(found, {f.name: 9 for f in found.fetches if "init" not in f.name})

    assert [s.gap for s in track.segments] == [True, True]


def test_an_audio_rendition_is_a_track_of_its_own() -> None:
    rendition = AudioRendition(group_id="g", name="Deutsch", language="de", default=True)

    found = plan(PDT, *seg("a"), *seg("b"), prefix="a1", rendition=rendition)

    track = found.track
    assert (track.role, track.name, track.language, track.default) == (
        "audio",
        "Deutsch",
        "de",
        True,
    )
    assert all(f.name.startswith("a1-") for f in found.fetches)


def test_a_later_selection_names_what_is_there_already_alike() -> None:
    early = plan(PDT, *seg("a"), *seg("b"), to_s=7)
    late = plan(PDT, *seg("a?new"), *seg("b?new"), *seg("c?new"), to_s=11)

    assert [f.name for f in early.fetches] == [f.name for f in late.fetches][:2]
