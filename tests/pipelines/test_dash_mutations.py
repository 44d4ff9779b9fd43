"""However a manifest is broken, it is read or refused: nothing else comes of it."""

from __future__ import annotations

import random
import re
from contextlib import suppress

import pytest

from pipelines import dash, dash_playlist, refresh
from pipelines.dash_timeline import MAX_SEGMENTS
from schemas.errors import CuttingRoomError
from schemas.times import TimeRange
from tests.hostile_manifests import live, mpd, one

URL = "https://origin.test/a.mpd"
NOW_US = 1_643_957_106_000_000
SPAN = TimeRange(start_ms=NOW_US // 1000 - 30_000, end_ms=NOW_US // 1000)
SOUND = 'mimeType="audio/mp4" codecs="mp4a.40.2" lang="de"'
LISTED = (
    '<SegmentTemplate media="$Time$" initialization="i"><SegmentTimeline>'
    '<S t="0" d="2" r="9"/><S d="4" r="-1"/></SegmentTimeline></SegmentTemplate>'
)
SEEDS = (
    mpd(one() + one(rep=SOUND)),
    mpd(one('<BaseURL>v.mp4</BaseURL><SegmentBase timescale="9" indexRange="9-20"/>')),
    live(one(LISTED), timeShiftBufferDepth="PT9S"),
    live(
        one(period='id="a" start="PT0S"')
        + one(
            '<SegmentTemplate timescale="90000" presentationTimeOffset="45" duration="180000" '
            'startNumber="7" availabilityTimeOffset="1.5" media="$Time%09d$" initialization="i"/>',
            period='id="b" start="PT40S"',
        ),
        minimumUpdatePeriod="PT2S",
    ),
)
VALUES = (
    b"", b"0", b"1", b"-1", b"4294967295", b"9223372036854775807", b"1e9", b"PT0S", b"P400000D",
    b"PT99999999S", b"INF", b"$Number$", b"$Time$", b"%", b"static", b"dynamic",
    b"1970-01-01T00:00:00Z", b"2999-12-31T23:59:59Z", b"../../..", b"//", b"http://[",
)  # fmt: skip


def _broken(rng: random.Random) -> bytes:
    text = rng.choice(SEEDS)
    for _ in range(rng.randint(1, 4)):
        pattern, new = rng.choice(
            (
                (rb'(?<=")[^"]*(?=")', rng.choice(VALUES)),
                (rb' \w+="[^"]*"', b""),
                (rb"<\w+[^>]*/>", b""),
            )
        )
        places = list(re.finditer(pattern, text))
        if places:
            place = rng.choice(places)
            text = text[: place.start()] + new + text[place.end() :]
    return text


def _gone_through(raw: bytes) -> int:
    """Everything that is ever asked of a manifest; how many segments it lists."""
    found = dash.parse(raw, URL)
    top = dash_playlist.multivariant(found, URL)
    dash_playlist.needs_clock(found)
    count = 0
    for uri in (*(v.uri for v in top.variants), *(a.uri or "" for a in top.audio)):
        dash_playlist.indexes_needed(found, uri)
        playlist = dash_playlist.media(found, uri, NOW_US, None, SPAN)
        assert refresh.merged(playlist, playlist).segments == playlist.segments
        assert playlist.held is None or playlist.held.length_ms > 0
        count += len(playlist.segments)
    return count


@pytest.mark.parametrize("seed", range(40))
def test_a_broken_manifest_is_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)

    for _ in range(10):
        with suppress(CuttingRoomError):
            assert _gone_through(_broken(rng)) <= 2 * MAX_SEGMENTS


@pytest.mark.parametrize("raw", SEEDS)
def test_unbroken_they_are_all_read(raw: bytes) -> None:
    _gone_through(raw)
