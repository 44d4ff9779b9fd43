"""From real playlists in every dress to bytes that hold every wanted frame."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import pytest

from media.decrypt import decrypt_bytes
from pipelines.hls import parse
from pipelines.locate import Located, located
from pipelines.refresh import merged
from pipelines.variants import audio_of, best
from pipelines.window import AUDIO, Selection, select
from schemas.media import MediaPlaylist, MultivariantPlaylist
from schemas.plans import Fetch
from schemas.times import TimeRange
from tests.media_builder import (
    Discontinuity,
    Encryption,
    HlsAsset,
    StreamSpec,
    build,
    segment,
)

BASE = "https://origin.test/vod/"
SPEC = StreamSpec(seconds=8, size=(96, 64), crf=40)
OPEN = StreamSpec(seconds=8, size=(96, 64), crf=40, open_gop=True, gop=24, bframes=3)
BREAK = Discontinuity(at_segment=2, pts_jump_90k=-500_000, pdt_jump_ms=3_000)

DRESSES: dict[str, dict[str, Any]] = {
    "TS": {},
    "fMP4": {"container": "fmp4"},
    "TS in one file": {"byte_range": True},
    "fMP4 in one file": {"container": "fmp4", "byte_range": True},
    "AES-128": {"encrypt": Encryption()},
    "AES-128, implied IV": {"encrypt": Encryption(explicit_iv=False)},
    "AES-128, keys rotate": {"encrypt": Encryption(rotate_every=2)},
    "AES-128 fMP4 with its map": {
        "container": "fmp4",
        "encrypt": Encryption(encrypt_init=True),
    },
    "AES-128 fMP4 with its map, implied IV": {
        "container": "fmp4",
        "encrypt": Encryption(encrypt_init=True, explicit_iv=False),
    },
    "date on the first": {"pdt": "first"},
    "date after a discontinuity": {"pdt": "after_discontinuity", "discontinuities": [BREAK]},
    "PTS and date jump": {"discontinuities": [BREAK]},
    "dates drift": {"pdt_drift_ppm": 2_000},
}
RANGES = [(0, 1000), (300, 4100), (1999, 2001), (2000, 4000), (3960, 4040), (5000, 7999)]


def playlist_of(asset: HlsAsset, name: str = "main.m3u8") -> MediaPlaylist:
    found = parse(asset.playlist(name).text(), BASE + name, fetched_at_us=0)
    assert isinstance(found, MediaPlaylist)
    return found


def fetched(asset: HlsAsset, step: Fetch) -> bytes:
    """What an origin and our decryption make of a step."""
    data = asset.files[urlsplit(step.uri).path.removeprefix("/vod/")]
    if step.byte_range:
        data = data[step.byte_range.offset :][: step.byte_range.length]
    if step.key:
        key = asset.files[urlsplit(step.key.uri).path.removeprefix("/vod/")]
        data = decrypt_bytes(data, key=key, iv_hex=step.key.iv_hex)
    return data


def wall_range(asset: HlsAsset, start_ms: int, end_ms: int) -> TimeRange:
    return TimeRange(start_ms=asset.epoch_ms + start_ms, end_ms=asset.epoch_ms + end_ms)


def frames_within(asset: HlsAsset, selection: Selection) -> set[int]:
    """The numbers of the frames stored in the selected segments (each begins at a keyframe)."""
    taken = {s.sequence for s in (*selection.segments, *selection.extras)}
    per_segment = _frames_by_segment(asset)
    return {number for sequence in taken for number in per_segment[sequence]}


def _frames_by_segment(asset: HlsAsset) -> dict[int, set[int]]:
    (stream,) = asset.streams
    by_time = {t: n for n, t in stream.times.items()}
    starts = [s.start_s for s in asset.playlist().segments]
    found: dict[int, set[int]] = {i: set() for i in range(len(starts))}
    at = -1
    for sample in stream.video.samples:
        # Decode order: pictures that lead a keyframe are stored with it.
        if sample.key and at + 1 < len(starts) and sample.pts == starts[at + 1]:
            at += 1
        found[at].add(by_time[sample.pts])
    return found


@lru_cache(maxsize=64)
def an_asset(gop: str, dress: str) -> HlsAsset:
    return segment(build(SPEC if gop == "closed" else OPEN), **DRESSES[dress])


@pytest.mark.parametrize("gop", ["closed", "open"])
@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("span", RANGES, ids=lambda span: f"{span[0]}-{span[1]}")
def test_what_is_fetched_opens_and_holds_every_wanted_frame(
    gop: str, dress: str, span: tuple[int, int]
) -> None:
    asset = an_asset(gop, dress)
    wanted = wall_range(asset, *span)

    selection = select(playlist_of(asset), wanted, 0)

    plan = located(selection, gaps="skip")
    for step in plan.fetches:
        assert _begins_like_media(fetched(asset, step)), step.name
    frames = asset.numbers_between(wanted.start_ms, wanted.end_ms)
    assert set(frames) <= frames_within(asset, selection)
    needed = {i for i, own in _frames_by_segment(asset).items() if own & set(frames)}
    assert len(selection.segments) <= len(needed) + 1
    assert len(selection.extras) <= 1


def _begins_like_media(data: bytes) -> bool:
    if data[:1] == b"\x47":
        return len(data) % 188 == 0
    return data[4:8] in {b"ftyp", b"styp", b"moof", b"sidx", b"emsg", b"prft", b"moov"}


def test_separate_sound_is_selected_on_its_own_grid() -> None:
    asset = segment(build(SPEC), separate_audio=True)
    top = parse(asset.all_files()[asset.entry], BASE + asset.entry, fetched_at_us=0)
    assert isinstance(top, MultivariantPlaylist)
    (sound,) = audio_of(top, best(top))
    assert sound.uri is not None
    wanted = wall_range(asset, 2_000, 4_000)

    playlist = playlist_of(asset, urlsplit(sound.uri).path.removeprefix("/vod/"))
    selection = select(playlist, wanted, 0, AUDIO)

    plan: Located = located(selection, prefix="a0", rendition=sound)
    assert plan.track.language == "eng"
    everything = (*selection.segments, *selection.extras)
    first, last = min(s.start_us for s in everything), max(s.end_us for s in everything)
    # One AAC packet is 21.3 ms: the one before the range's first must be there.
    assert first <= wanted.start_ms * 1000 - 43_000
    assert last >= wanted.end_ms * 1000
    assert all(_begins_like_media(fetched(asset, step)) for step in plan.fetches)


@pytest.mark.parametrize(
    ("pdt", "second"),
    [("every", "pdt"), ("first", "estimated"), ("after_discontinuity", "pdt")],
)
def test_a_live_window_that_rolls_is_the_same_as_the_whole(pdt: str, second: str) -> None:
    asset = segment(build(SPEC), segment_s=1, pdt=pdt, discontinuities=[BREAK])
    whole = playlist_of(asset)

    known: MediaPlaylist | None = None
    for first in range(6):
        text = asset.playlist().text(first, first + 3, ended=first == 5)
        fresh = parse(text, BASE + "main.m3u8", fetched_at_us=10**15)
        assert isinstance(fresh, MediaPlaylist)
        known = merged(known, fresh)

    assert known is not None
    assert known.ended
    assert known.segments == whole.segments
    assert [region.clock for region in known.regions] == ["pdt", second]
