"""Playlists are read in the format their connector says, by the clock of their origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from connectors.base import Channel, Presentation
from connectors.egress import Body, Downloaded
from schemas.errors import (
    AccessDenied,
    Cancelled,
    CorruptMedia,
    SourceNotFound,
    TooLarge,
    WorkerInterrupted,
)
from schemas.media import MediaPlaylist, MultivariantPlaylist
from tests.dash_builder import sidx
from workers.playlists import CLOCK, Playlists

BASE = "http://origin.test/live"
MPD = f"{BASE}/a.mpd"
ZERO_MS = 1_643_957_046_000
NOW_MS = ZERO_MS + 60_000
Answer = bytes | Exception | Callable[[], Body]


@dataclass
class OneOrigin:
    """A connector to an origin in memory: answers by address, and what was asked for."""

    answers: dict[str, Answer]
    format: Presentation = "dash"
    asked: list[tuple[str, tuple[int, int] | None]] = field(default_factory=list)

    def channels(self) -> tuple[Channel, ...]:
        return (Channel(id="main", name="main"),)

    def playlist_url(self, channel_id: str) -> str:
        return MPD

    def presentation(self, url: str) -> Presentation:
        return self.format

    def fetch(
        self, url: str, *, max_bytes: int, byte_range: Any = None, control: Any = None
    ) -> Body:
        self.asked.append((url, byte_range and (byte_range.offset, byte_range.length)))
        answer = self.answers.get(url, SourceNotFound("not here"))
        if isinstance(answer, Exception):
            raise answer
        body = answer() if callable(answer) else Body(data=answer, url=url)
        data = body.data
        if byte_range is not None:
            data = data[byte_range.offset : byte_range.offset + byte_range.length]
        if len(data) > max_bytes:
            raise TooLarge("too much")
        return body.model_copy(update={"data": data})

    def download(self, url: str, path: Path, *, max_bytes: int, **_: Any) -> Downloaded:
        raise AssertionError("nothing is downloaded to be read")


def manifest(*timings: str, addressing: str | None = None, kind: str = "dynamic") -> bytes:
    """A manifest of pictures and sound in two-second segments."""
    addressing = addressing or (
        '<SegmentTemplate duration="2" media="$RepresentationID$-$Number$.m4s" '
        'initialization="$RepresentationID$.mp4"/>'
    )
    clock = "".join(timings)
    head = f'type="{kind}" availabilityStartTime="2022-02-04T06:44:06Z"'
    head += ' mediaPresentationDuration="PT20S"' if kind == "static" else ""
    sets = "".join(
        f'<AdaptationSet mimeType="{mime}/mp4"><Representation id="{mime}" bandwidth="9" '
        f'codecs="{codec}">{addressing}</Representation></AdaptationSet>'
        for mime, codec in (("video", "avc1.640028"), ("audio", "mp4a.40.2"))
    )
    return (
        f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" {head}>{clock}'
        f'<Period start="PT0S">{sets}</Period></MPD>'
    ).encode()


def utc(scheme: str, value: str) -> str:
    """A UTCTiming element."""
    return f'<UTCTiming schemeIdUri="urn:mpeg:dash:utc:{scheme}" value="{value}"/>'


def looked(origin: OneOrigin, now_ms: int = NOW_MS) -> Playlists:
    """One look at it."""
    return Playlists(origin, now_ms, lambda: None)


def top_of(origin: OneOrigin) -> MultivariantPlaylist:
    """What its manifest offers."""
    found = looked(origin).read(MPD)
    assert isinstance(found, MultivariantPlaylist)
    return found


def track_of(origin: OneOrigin, playlists: Playlists | None = None) -> MediaPlaylist:
    """The playlist of its pictures."""
    playlists = playlists or looked(origin)
    top = playlists.read(MPD)
    assert isinstance(top, MultivariantPlaylist)
    found = playlists.read(top.variants[0].uri, top.variables)
    assert isinstance(found, MediaPlaylist)
    return found


def test_the_connector_says_which_format_it_is() -> None:
    text = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na.ts\n#EXT-X-ENDLIST\n"
    origin = OneOrigin({MPD: text}, format="hls")

    assert isinstance(looked(origin).read(MPD), MediaPlaylist)
    with pytest.raises(CorruptMedia, match="not XML"):
        looked(OneOrigin({MPD: text})).read(MPD)


def test_a_manifest_is_fetched_once_a_look_for_all_its_tracks() -> None:
    origin = OneOrigin({MPD: manifest()})
    playlists = looked(origin)

    top = playlists.read(MPD)
    assert isinstance(top, MultivariantPlaylist)
    for uri in (top.variants[0].uri, top.audio[0].uri or ""):
        assert isinstance(playlists.read(uri, top.variables), MediaPlaylist)

    assert [url for url, _ in origin.asked] == [MPD]


def test_a_manifest_is_read_again_from_where_it_says() -> None:
    placed = manifest().replace(b"<Period", b"<Location>/elsewhere.mpd?s=1</Location><Period")
    origin = OneOrigin({MPD: placed, "http://origin.test/elsewhere.mpd?s=1": manifest()})

    (variant,) = top_of(origin).variants
    looked(origin).read(variant.uri)

    assert variant.uri.startswith("http://origin.test/elsewhere.mpd?s=1#")
    assert origin.asked[-1][0] == "http://origin.test/elsewhere.mpd?s=1"


def test_segments_are_named_from_where_redirects_ended() -> None:
    moved = Body(data=manifest(), url="http://edge.test/x/a.mpd")
    origin = OneOrigin({MPD: lambda: moved})

    found = track_of(origin)

    assert found.segments[0].uri.startswith("http://edge.test/x/video-")
    assert found.uri.startswith(MPD)


def test_a_fragment_somebody_typed_names_no_track() -> None:
    origin = OneOrigin({MPD: manifest()})

    assert isinstance(looked(origin).read(f"{MPD}#t=30"), MultivariantPlaylist)


# ---- the origin's clock


DATED = Body(data=b"", url=BASE, date="Fri, 04 Feb 2022 06:44:26 GMT")  # 40 s behind us
CLOCKS: dict[str, tuple[list[str], int]] = {
    "none": ([], 0),
    "direct": ([utc("direct:2014", "2022-02-04T06:44:26Z")], -40),
    "xs:dateTime": ([utc("http-xsdate:2014", "/time")], -40),
    "ISO": ([utc("http-iso:2014", "http://clock.test/iso")], -40),
    "ISO, several addresses": ([utc("http-iso:2014", "http://clock.test/iso http://x/")], -40),
    "the head of an answer": ([utc("http-head:2014", "/dated")], -40),
    "the first that works": (
        [utc("ntp:2014", "ntp.test"), utc("http-iso:2014", "/gone"), utc("direct:2014", "soon"),
         utc("http-head:2014", "/undated"), utc("direct:2014", "2022-02-04T06:45:16Z")],
        10,
    ),
    "nothing that works": ([utc("http-iso:2014", "/gone"), utc("http-iso:2014", "/words")], 0),
    "out of all reason": ([utc("direct:2014", "1999-01-01T00:00:00Z")], 0),
    "another scheme": ([utc("http-iso:2014", "file:///etc/hostname")], 0),
    "no address": ([utc("http-iso:2014", "")], 0),
}  # fmt: skip


def clocks(*timings: str) -> OneOrigin:
    """An origin with servers of time beside it."""
    return OneOrigin(
        {
            MPD: manifest(*timings),
            "http://origin.test/time": b"2022-02-04T06:44:26.000Z",
            "http://clock.test/iso": b"2022-02-04T06:44:26Z\n",
            "http://origin.test/dated": lambda: DATED,
            "http://origin.test/undated": b"",
            "http://origin.test/words": "läßt sich nicht sagen".encode(),
        }
    )


@pytest.mark.parametrize("name", CLOCKS)
def test_what_there_is_depends_on_the_origins_clock(name: str) -> None:
    timings, ahead_s = CLOCKS[name]

    found = track_of(clocks(*timings))

    assert found.held is not None
    assert (found.held.end_ms - ZERO_MS) // 1000 == 60 + ahead_s


def test_the_clock_is_asked_once_a_channel() -> None:
    origin = clocks(utc("http-iso:2014", "http://clock.test/iso"))
    top = top_of(origin)

    later = looked(origin, NOW_MS + 10_000).read(top.variants[0].uri, top.variables)

    assert isinstance(later, MediaPlaylist)
    assert later.held is not None
    assert later.held.end_ms - ZERO_MS == 30_000
    assert [url for url, _ in origin.asked].count("http://clock.test/iso") == 1
    assert top.variables == {CLOCK: "-40000000"}


def test_a_manifest_that_lists_what_there_is_asks_no_clock() -> None:
    line = '<SegmentTimeline><S t="0" d="2" r="4"/></SegmentTimeline>'
    template = f'<SegmentTemplate media="$Time$" initialization="i">{line}</SegmentTemplate>'
    origin = OneOrigin({MPD: manifest(utc("http-iso:2014", "/time"), addressing=template)})

    track_of(origin)

    assert [url for url, _ in origin.asked] == [MPD]


@pytest.mark.parametrize("error", [Cancelled("stop"), WorkerInterrupted("stop")])
def test_who_is_told_to_stop_asks_no_further(error: Exception) -> None:
    origin = clocks(utc("http-iso:2014", "/stop"), utc("direct:2014", "2022-02-04T06:44:26Z"))
    origin.answers["http://origin.test/stop"] = error

    with pytest.raises(type(error)):
        track_of(origin)


# ---- files with an index


def indexed(spans: str = "100-151") -> bytes:
    """A manifest on demand whose tracks are files."""
    base = '<BaseURL>v.mp4</BaseURL><SegmentBase indexRange="{}"/>'
    return manifest(addressing=base.format(spans), kind="static")


def test_an_index_is_fetched_by_its_range_and_lists_the_segments() -> None:
    index = sidx(1, 0, [(50, 2)])
    origin = OneOrigin({MPD: indexed(), f"{BASE}/v.mp4": bytes(100) + index + bytes(50)})

    found = track_of(origin)

    assert origin.asked[-1] == (f"{BASE}/v.mp4", (100, 52))
    (segment,) = found.segments
    assert segment.byte_range is not None
    assert (segment.byte_range.offset, segment.byte_range.length) == (152, 50)
    assert segment.init is not None
    assert segment.init.byte_range is not None
    assert segment.init.byte_range.length == 100


def test_an_index_out_of_all_proportion_is_not_fetched() -> None:
    origin = OneOrigin({MPD: indexed(f"100-{10**9}")})

    with pytest.raises(TooLarge, match="index"):
        track_of(origin)


def test_an_origin_that_refuses_its_index_says_so() -> None:
    origin = OneOrigin({MPD: indexed(), f"{BASE}/v.mp4": AccessDenied("no")})

    with pytest.raises(AccessDenied):
        track_of(origin)
