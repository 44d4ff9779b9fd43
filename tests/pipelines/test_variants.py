"""The right variant and the right sound for a purpose."""

from __future__ import annotations

import pytest

from pipelines.variants import audio_of, best, smallest
from schemas.errors import UnsupportedMedia
from schemas.media import AudioRendition, MultivariantPlaylist, Variant

H264, HEVC, AAC = "avc1.640028", "hvc1.2.4.L120.90", "mp4a.40.2"


def a_variant(
    name: str,
    height: int | None = None,
    bandwidth_bps: int = 1_000_000,
    codecs: str | None = None,
    audio_group: str | None = None,
) -> Variant:
    return Variant(
        uri=f"https://o.test/{name}.m3u8",
        bandwidth_bps=bandwidth_bps,
        width=height and height * 16 // 9,
        height=height,
        codecs=codecs,
        audio_group=audio_group,
    )


def a_rendition(
    name: str, *, group: str = "g", uri: str | None = "", default: bool = False
) -> AudioRendition:
    return AudioRendition(
        group_id=group,
        name=name,
        language=name,
        default=default,
        uri=f"https://o.test/{name}.m3u8" if uri == "" else uri,
    )


def a_playlist(*variants: Variant, audio: tuple[AudioRendition, ...] = ()) -> MultivariantPlaylist:
    return MultivariantPlaylist(uri="https://o.test/m.m3u8", variants=variants, audio=audio)


def name_of(variant: Variant) -> str:
    return variant.uri.rpartition("/")[2].removesuffix(".m3u8")


@pytest.mark.parametrize(
    ("variants", "biggest", "least"),
    [
        ([a_variant("only")], "only", "only"),
        ([a_variant("lo", 360), a_variant("hi", 1080), a_variant("mid", 720)], "hi", "lo"),
        ([a_variant("a", 720, 3), a_variant("b", 720, 5), a_variant("c", 720, 4)], "b", "a"),
        ([a_variant("a", None, 3), a_variant("b", None, 5)], "b", "a"),
        (
            [a_variant("sound", None, 9, AAC), a_variant("v", 360, 5, f"{H264},{AAC}")],
            "v",
            "v",
        ),
        (
            [a_variant("vp9", 2160, 9, "vp09.00.51.08"), a_variant("h264", 720, 5, H264)],
            "h264",
            "h264",
        ),
        (
            [a_variant("av1", 2160, 9, f"av01.0.04M.10,{AAC}"), a_variant("hevc", 720, 5, HEVC)],
            "hevc",
            "hevc",
        ),
        (
            [a_variant("dovi", 2160, 9, "dvh1.05.06"), a_variant("h264", 720, 5, "AVC3.64001F")],
            "h264",
            "h264",
        ),
        ([a_variant("silent", None, 1), a_variant("v", 360, 5, H264)], "v", "v"),
        ([a_variant("half", 360, 5, AAC)], "half", "half"),
    ],
    ids=[
        "one",
        "by size",
        "by bits where sizes agree",
        "by bits where no size is known",
        "not the sound alone",
        "not VP9",
        "HEVC is as good",
        "not Dolby Vision without a base layer",
        "not what says nothing, where others speak",
        "a resolution means video",
    ],
)
def test_the_best_and_the_smallest_variant_hold_video_we_can_cut(
    variants: list[Variant], biggest: str, least: str
) -> None:
    playlist = a_playlist(*variants)

    assert name_of(best(playlist)) == biggest
    assert name_of(smallest(playlist)) == least


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ([], "names no variant"),
        ([a_variant("sound", None, 9, AAC)], "mp4a"),
        ([a_variant("vp9", 720, 9, "vp09.00.51.08")], "vp09"),
    ],
)
def test_a_playlist_without_video_we_can_cut_is_refused(variants: list[Variant], said: str) -> None:
    with pytest.raises(UnsupportedMedia, match=said):
        best(a_playlist(*variants))


def test_every_language_of_the_group_is_taken_the_default_first() -> None:
    variant = a_variant("v", 720, audio_group="g")
    playlist = a_playlist(
        variant,
        audio=(
            a_rendition("de"),
            a_rendition("en", default=True),
            a_rendition("fr", group="other"),
            a_rendition("muxed", uri=None),
        ),
    )

    assert [a.name for a in audio_of(playlist, variant)] == ["en", "de", "muxed"]


def test_a_playlist_named_twice_is_taken_once() -> None:
    variant = a_variant("v", 720, audio_group="g")
    same = "https://o.test/en.m3u8"
    playlist = a_playlist(
        variant, audio=(a_rendition("en", uri=same), a_rendition("descriptive", uri=same))
    )

    assert [a.name for a in audio_of(playlist, variant)] == ["en"]


def test_a_variant_without_a_group_has_no_renditions() -> None:
    variant = a_variant("v", 720)

    assert audio_of(a_playlist(variant, audio=(a_rendition("de"),)), variant) == ()
