"""The tams connector: a store's sources as channels, its timeranges as wall clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors._tams_time import SECOND, timeline_ns, wall_ns
from connectors.base import ConnectorEnv, Query
from connectors.egress import Egress
from connectors.tams import Auth, Config, TamsStore, connect
from pipelines import hls
from schemas.commands import ExportPart
from schemas.errors import (
    AccessDenied,
    CorruptMedia,
    DestinationRejected,
    InFuture,
    OutsideWindow,
    RateLimited,
    SourceNotFound,
    SourceUnavailable,
    Stalled,
    TooLarge,
    UnsupportedMedia,
)
from schemas.jobs import Job
from schemas.media import MediaPlaylist, MultivariantPlaylist
from schemas.times import TimeRange
from tests.builders import a_connector_ref
from tests.connectors.loopback import Loopback, loopback, reply, trickle
from tests.connectors.peer import NOW_MS, WANTED, Peer, env_for
from tests.connectors.tams_store import (
    TAI_AHEAD_S,
    Store,
    collected,
    muxed,
    ns_of,
    span_of,
    stamp,
    tams_store,
    timerange,
    with_plain_segments,
)
from tests.e2e.export_kit import carry_out
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.oracle import audio_offsets, check_exact, inspect

FLOW = "361e6954-c3bb-4958-ab0f-9ed2bd41a4fc"


@cache
def camera(**dress: Any) -> HlsAsset:
    """Eight seconds of a camera in four segments."""
    return segment(build(StreamSpec(seconds=8)), **dress)


@contextmanager
def _peer(settings: dict[str, Any], auth: dict[str, Any], bad: dict[str, Any]) -> Iterator[Peer]:
    with tams_store(**settings) as store:
        source = with_plain_segments(store, WANTED.start_ms - 10_000, 40)
        yield Peer(config={"url": store.base}, auth=auth, bad_auth=bad, channel=source)


@contextmanager
def _with_basic(tmp_path: Path) -> Iterator[Peer]:
    user = {"username": "ann"}
    with _peer(
        {"basic": ("ann", "right")}, user | {"password": "right"}, user | {"password": "wrong"}
    ) as peer:
        yield peer


@contextmanager
def _with_client(tmp_path: Path) -> Iterator[Peer]:
    with tams_store(client=("us:er", "s3cr et"), paging="link") as store:
        source = with_plain_segments(store, WANTED.start_ms - 10_000, 40)
        client = {"clientId": "us:er", "tokenUrl": f"{store.base}/token"}
        yield Peer(
            config={"url": store.base},
            auth=client | {"clientSecret": "s3cr et"},
            bad_auth=client | {"clientSecret": "wrong"},
            channel=source,
        )


PEERS = {"a store with passwords": _with_basic, "a store with an OAuth client": _with_client}


@pytest.fixture
def env() -> Iterator[ConnectorEnv]:
    made = env_for(Peer(config={}).settings)
    yield made
    made.egress.close()


@pytest.fixture
def store() -> Iterator[Store]:
    with tams_store() as made:
        yield made


def opened(env: ConnectorEnv, base: str, auth: dict[str, Any] | None = None) -> TamsStore:
    return connect(Config(url=base), Auth.model_validate(auth or {}), env)


def listed(tams: TamsStore, channel: str, wanted: TimeRange | None = None) -> MediaPlaylist:
    """The media playlist of a channel, read as the engine reads it."""
    url = tams.playlist_within(channel, wanted) if wanted else tams.playlist_url(channel)
    body = tams.fetch(url, max_bytes=10**7)
    found = hls.parse(body.data, body.url, fetched_at_us=NOW_MS * 1000)
    assert isinstance(found, MediaPlaylist)
    return found


def exported(store: Store, channel: str, output: Path, *ranges: tuple[int, int]) -> Job:
    """The finished export of ranges of a channel, through the whole engine."""
    ref = a_connector_ref(type="tams", config={"url": store.base})
    spans = (TimeRange(start_ms=start, end_ms=end) for start, end in ranges)
    parts = [ExportPart(connector=ref, channel_id=channel, range=span) for span in spans]
    return carry_out(parts, output)


# ---- configs


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"url": "ftp://store.test"},
        {"url": "https://"},
        {"url": "https://user:pw@store.test"},
        {"url": "https://store.test/tams?access_token=x"},
        {"url": 'https://store.test/"'},
        {"url": "https://store.test", "timescale": "gps"},
    ],
)
def test_a_config_that_cannot_work_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate(config)


@pytest.mark.parametrize(
    "auth",
    [
        {"username": "ann"},
        {"bearer": "a", "accessToken": "b"},
        {"bearer": "a\r\nX: y"},
        {"clientId": "a", "clientSecret": "b"},
        {"clientId": "a", "clientSecret": "b", "tokenUrl": "file:///etc/passwd"},
    ],
)
def test_credentials_go_one_way_and_cannot_smuggle(auth: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Auth.model_validate(auth)


# ---- time


@pytest.mark.parametrize(
    ("tai_s", "unix_s"),
    [
        (0, 0),
        (63_072_009, 63_072_009),
        (63_072_010, 63_072_000),
        (1_483_228_836, 1_483_228_800),
        (1_483_228_837, 1_483_228_800),
        (1_694_429_247, 1_694_429_210),
    ],
    ids=["zero", "before 1972", "1972", "in the last leap second", "after it", "the example"],
)
def test_tai_is_ahead_of_utc_by_its_leap_seconds(tai_s: int, unix_s: int) -> None:
    assert wall_ns(tai_s * SECOND, "tai") == pytest.approx(unix_s * SECOND, abs=SECOND)
    assert wall_ns(timeline_ns(unix_s * SECOND, "tai"), "tai") == unix_s * SECOND
    assert wall_ns(tai_s * SECOND, "unix") == tai_s * SECOND


def test_a_segment_lies_where_its_tai_timerange_says(env: ConnectorEnv, store: Store) -> None:
    source = with_plain_segments(store, WANTED.start_ms, 3)

    playlist = listed(opened(env, store.base), source, WANTED)

    assert [s.start_us for s in playlist.segments] == [
        (WANTED.start_ms + n * 1000) * 1000 for n in range(3)
    ]
    assert {s.duration_us for s in playlist.segments} == {1_000_000}
    assert playlist.regions[0].clock == "pdt"


def test_a_store_that_counts_unix_time_is_taken_at_its_word(
    env: ConnectorEnv, store: Store
) -> None:
    source = with_plain_segments(store, WANTED.start_ms - TAI_AHEAD_S * 1000, 3)
    tams = connect(Config(url=store.base, timescale="unix"), Auth(), env)

    playlist = listed(tams, source, WANTED)

    assert playlist.segments[0].start_us == WANTED.start_ms * 1000


# ---- listings


def test_only_the_segments_of_a_range_and_its_neighbours_are_listed(
    env: ConnectorEnv, store: Store
) -> None:
    source = with_plain_segments(store, WANTED.start_ms - 60_000, 200)

    playlist = listed(opened(env, store.base), source, WANTED)

    first, last = playlist.segments[0], playlist.segments[-1]
    assert WANTED.start_ms - 3000 < first.start_us // 1000 < WANTED.start_ms
    assert WANTED.end_ms < last.end_us // 1000 < WANTED.end_ms + 3000


def test_all_of_a_flow_is_listed_over_many_pages(env: ConnectorEnv, store: Store) -> None:
    source = with_plain_segments(store, WANTED.start_ms - 3_600_000, 50)

    playlist = listed(opened(env, store.base), source)

    assert len(playlist.segments) == 50
    assert playlist.ended


def test_media_that_does_not_go_on_begins_a_region_of_its_own(
    env: ConnectorEnv, store: Store
) -> None:
    source = with_plain_segments(store, WANTED.start_ms, 4)
    (flow,) = store.segments
    for one in store.segments[flow][2:]:
        one["ts_offset"] = "100:0"

    playlist = listed(opened(env, store.base), source)

    assert [len(region.segments) for region in playlist.regions] == [2, 2]
    assert {region.clock for region in playlist.regions} == {"pdt"}


@pytest.mark.parametrize(
    ("status", "edge_ms", "ended"),
    [
        ("ingesting", -3_600_000, False),
        ("closed_complete", 0, True),
        (None, 0, False),
        (None, -3_600_000, True),
    ],
    ids=["ingesting", "closed", "says nothing, edge is now", "says nothing, edge is old"],
)
def test_a_flow_grows_while_it_says_so_or_its_edge_is_now(
    env: ConnectorEnv, store: Store, status: str | None, edge_ms: int, ended: bool
) -> None:
    source = with_plain_segments(store, NOW_MS + edge_ms - 5000, 5)
    (flow,) = store.flows.values()
    flow["tags"] = {"flow_status": status} if status else {}

    assert listed(opened(env, store.base), source).ended is ended


def test_a_hole_the_range_begins_in_is_a_declared_gap(env: ConnectorEnv, store: Store) -> None:
    source = with_plain_segments(store, WANTED.start_ms - 60_000, 120)
    (flow,) = store.segments
    kept = store.segments[flow]
    store.segments[flow] = kept[:10] + kept[65:]

    playlist = listed(opened(env, store.base), source, WANTED)

    assert playlist.segments[0].gap
    assert playlist.held is not None
    assert playlist.held.start_ms == WANTED.start_ms


@pytest.mark.parametrize(("first_ms", "count"), [(5000, 60), (-60_000, 30)], ids=["late", "over"])
def test_a_range_outside_the_flow_is_refused_with_what_is_held(
    env: ConnectorEnv, store: Store, first_ms: int, count: int
) -> None:
    source = with_plain_segments(store, WANTED.start_ms + first_ms, count)
    next(iter(store.flows.values()))["tags"] = {"flow_status": "closed_complete"}

    with pytest.raises(OutsideWindow) as raised:
        listed(opened(env, store.base), source, WANTED)

    begin = WANTED.start_ms + first_ms
    assert raised.value.held == (begin, begin + count * 1000)


def test_a_collection_is_variants_and_renditions(env: ConnectorEnv, store: Store) -> None:
    source = collected(store, camera(separate_audio=True))
    tams = opened(env, store.base)

    body = tams.fetch(tams.playlist_url(source), max_bytes=10**6)
    found = hls.parse(body.data, body.url, fetched_at_us=0)

    assert isinstance(found, MultivariantPlaylist)
    assert [(v.width, v.bandwidth_bps) for v in found.variants] == [(320, 2_479_000)]
    assert len(found.audio) == 1


def test_a_source_lists_its_flows(env: ConnectorEnv, store: Store) -> None:
    source = with_plain_segments(store, WANTED.start_ms, 1)

    page = opened(env, store.base).query(Query(path=source))

    assert [(e.file_id, e.kind) for e in page.items] == [(next(iter(store.flows)), "channel")]


# ---- credentials


@pytest.mark.parametrize(
    ("settings", "auth"),
    [
        ({"bearer": "t0ken"}, {"bearer": "t0ken"}),
        ({"url_token": "t0 ken&"}, {"accessToken": "t0 ken&"}),
        ({"basic": ("ann", "pw")}, {"username": "ann", "password": "pw"}),
    ],
    ids=["bearer", "in the URL", "basic"],
)
@pytest.mark.parametrize("paging", ["key", "link"])
def test_every_page_and_object_is_asked_for_with_credentials(
    env: ConnectorEnv, settings: dict[str, Any], auth: dict[str, Any], paging: str, tmp_path: Path
) -> None:
    with tams_store(presigned=False, paging=paging, **settings) as store:
        source = with_plain_segments(store, WANTED.start_ms, 8)
        tams = opened(env, store.base, auth)

        playlist = listed(tams, source)
        tams.download(playlist.segments[7].uri, tmp_path / "out", max_bytes=100)

    assert (tmp_path / "out").read_bytes() == b"media"
    assert "t0" not in "".join(s.uri for s in playlist.segments)


def test_credentials_never_go_to_another_host(env: ConnectorEnv, tmp_path: Path) -> None:
    with tams_store(bearer="t0ken") as store, loopback() as other:
        other.answers["/object"] = reply(b"x")

        opened(env, store.base, {"bearer": "t0ken"}).download(
            other.url("/object"), tmp_path / "out", max_bytes=10
        )

        assert "t0ken" not in str(other.requests)


def test_a_clients_token_is_kept_until_it_runs_out_or_is_refused(env: ConnectorEnv) -> None:
    with tams_store(client=("id", "secret")) as store:
        client = {"clientId": "id", "clientSecret": "secret", "tokenUrl": f"{store.base}/token"}
        tams = opened(env, store.base, client)

        tams.check()
        tams.check()
        kept = list(store.tokens)
        store.tokens[:] = ["revoked"]
        tams.check()

    assert kept == ["token-0"]
    assert store.tokens == ["revoked", "token-1"]


# ---- hostile answers


def _segments(count: int) -> bytes:
    one = {
        "object_id": "o",
        "timerange": "[1700000000:0_1700000001:0)",
        "get_urls": [{"url": "http://127.0.0.1:9/o"}],
    }
    return json.dumps([one] * count).encode()


def _one(**changes: Any) -> bytes:
    (found,) = json.loads(_segments(1))
    return json.dumps([found | changes]).encode()


def _endless(conn: Any, request: Any) -> None:
    conn.sendall(reply(_segments(1), X_Paging_NextKey="again", Connection="close"))


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        (reply(b"<html>"), CorruptMedia, "media_invalid"),
        (reply(b"{}"), CorruptMedia, "media_invalid"),
        (reply(b"[" * 100_000), CorruptMedia, "media_invalid"),
        (reply(b'{"a":' * 50_000), CorruptMedia, "media_invalid"),
        (reply(b"[1, 2]"), CorruptMedia, "media_invalid"),
        (reply(b'[{"object_id": 5}]'), CorruptMedia, "media_invalid"),
        (reply(_one(timerange="soon")), CorruptMedia, "media_invalid"),
        (reply(_one(timerange="[1:0_")), CorruptMedia, "media_invalid"),
        (reply(_one(timerange="[" + "9" * 4000 + ":0_1:0)")), CorruptMedia, "media_invalid"),
        (reply(_one(timerange="[-99:0_1:0)")), UnsupportedMedia, "media_invalid"),
        (reply(_one(get_urls=[])), CorruptMedia, "media_invalid"),
        (reply(_one(get_urls=[{"url": "file:///etc/passwd"}])), CorruptMedia, "media_invalid"),
        (reply(_one(get_urls=[{"url": 'http://a/"\n#EXT'}])), CorruptMedia, "media_invalid"),
        (reply(_one(get_urls=[{"url": "http://" + "a" * 9000}])), CorruptMedia, "media_invalid"),
        (reply(_one(object_timerange="_")), CorruptMedia, "media_invalid"),
        (reply(_segments(50_001)), TooLarge, "too_large"),
        (reply(b"[" + b" " * (17 << 20) + b"]"), TooLarge, "too_large"),
        (_endless, CorruptMedia, "media_invalid"),
        (reply(b"", "302 Found", Location="http://127.0.0.2:1/"), AccessDenied, "access_denied"),
        (
            reply(_segments(1), Link='<http://127.0.0.2:1/x>; rel="next"'),
            AccessDenied,
            "access_denied",
        ),
        (reply(b"", "401 Unauthorized"), AccessDenied, "access_denied"),
        (reply(b"", "404 Not Found"), SourceNotFound, "source_not_found"),
        (reply(b"", "429 Slow", Retry_After="3"), RateLimited, "rate_limited"),
        (reply(b"", "500 Broken"), SourceUnavailable, "manifest_unreachable"),
    ],
    ids=[
        "a web page", "no list", "deep", "deep objects", "numbers", "a wrong type", "no time",
        "an open time", "a huge time", "before 1970", "no address", "a local file",
        "a line break", "a long address", "an open object",
        "too many", "too large", "endless pages", "a redirect inside", "a next page elsewhere",
        "401", "404", "429", "500",
    ],
)  # fmt: skip
def test_a_listing_that_lies_ends_in_a_code(
    answer: bytes | Callable[..., None], error: type[Exception], code: str
) -> None:
    with loopback() as server:
        env = ConnectorEnv(
            egress=Egress(allow_cidrs=("127.0.0.1/32",)),
            settings=Peer(config={}).settings,
            clock=lambda: NOW_MS,
        )
        flow = {"id": FLOW, "format": "urn:x-nmos:format:video", "timerange": "[0:0_9:0)"}
        server.answers[f"/flows/{FLOW}"] = reply(json.dumps(flow).encode())
        server.answers[f"/flows/{FLOW}/segments"] = answer
        tams = opened(env, server.url("").rstrip("/"))

        with pytest.raises(error) as raised:
            tams.fetch(tams.playlist_url(FLOW), max_bytes=10**8)

        env.egress.close()
    assert getattr(raised.value, "error_code", None) == code


def test_a_body_that_trickles_is_given_up() -> None:
    def slow(server: Loopback) -> Callable[..., None]:
        return trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" ", server)

    limits = env_for(Peer(config={}).settings).egress.limits
    with loopback() as server:
        quick = limits.model_copy(update={"rate_window_s": 0.5})
        egress = Egress(allow_cidrs=("127.0.0.0/8",), limits=quick)
        env = ConnectorEnv(egress=egress, settings=Peer(config={}).settings, clock=lambda: NOW_MS)
        server.answers["*"] = slow(server)

        with pytest.raises(Stalled):
            opened(env, server.url("").rstrip("/")).check()

        egress.close()


# ---- through the whole engine


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dress", "made"),
    [({}, muxed), ({"separate_audio": True}, collected), ({"container": "fmp4"}, muxed)],
    ids=["muxed", "collected flows", "fmp4 with init objects"],
)
def test_a_range_of_a_flow_is_exported_exactly(
    dress: dict[str, Any], made: Callable[[Store, HlsAsset], str], store: Store, tmp_path: Path
) -> None:
    asset, output = camera(**dress), tmp_path / "out.mp4"
    source = made(store, asset)
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4910

    job = exported(store, source, output, (start, end))

    assert job.error is None
    assert check_exact(output, asset, start, end) == []
    assert len(set(store.fetched)) < len(store.objects)


@pytest.mark.slow
def test_flows_that_count_from_elsewhere_stay_in_step(store: Store, tmp_path: Path) -> None:
    asset, output = camera(separate_audio=True), tmp_path / "out.mp4"
    other = segment(
        build(StreamSpec(seconds=8, start_pts_90k=90_000 * 77_000)), separate_audio=True
    )
    source = collected(store, asset)
    (sound,) = (f for f, told in store.flows.items() if told["format"].endswith("audio"))
    store.segments[sound].clear()
    (playlist,) = (p for name, p in other.playlists.items() if name != "main.m3u8")
    store.add_playlist(sound, other, playlist)
    start, end = asset.epoch_ms + 1330, asset.epoch_ms + 4910

    job = exported(store, source, output, (start, end))

    assert job.error is None
    assert check_exact(output, asset, start, end) == []


@pytest.mark.slow
def test_ranges_of_a_flow_are_joined(store: Store, tmp_path: Path) -> None:
    asset, output = camera(), tmp_path / "out.mp4"
    source = muxed(store, asset)
    spans = [(asset.epoch_ms + a, asset.epoch_ms + b) for a, b in ((4330, 5910), (400, 1900))]

    job = exported(store, source, output, *spans)

    assert job.error is None
    assert inspect(output).numbers == [
        number for span in spans for number in asset.numbers_between(*span)
    ]


@pytest.mark.slow
def test_a_file_on_a_timeline_of_its_own_is_cut_by_its_zero(store: Store, tmp_path: Path) -> None:
    asset, output = camera(), tmp_path / "out.mp4"
    source = muxed(store, asset)
    (flow,) = store.segments
    first = span_of(store.segments[flow][0]["timerange"])[0]
    for one in store.segments[flow]:
        start, end = span_of(one["timerange"])
        one["timerange"] = timerange(start - first, end - first)
        one["ts_offset"] = stamp(start - first - span_of(one["object_timerange"])[0])

    job = exported(store, source, output, (1330, 4910))

    assert job.error is None
    assert inspect(output).numbers == asset.numbers_between(
        asset.epoch_ms + 1330, asset.epoch_ms + 4910
    )


def edited(store: Store, *parts: tuple[str, int, int]) -> str:
    """A new flow that shows stretches of others' objects one after another, by reference.

    Each part is a flow and a stretch of its own timeline in nanoseconds; answers the new source.
    """
    made = store.add_flow(
        "multi", "The edit", container="video/mp2t", tags={"flow_status": "closed_complete"}
    )
    at = 1_700_000_000 * SECOND
    for flow, begin, end in parts:
        for one in list(store.segments[flow]):
            start, stop = span_of(one["timerange"])
            first, last = max(begin, start), min(end, stop)
            if first >= last:
                continue
            moved = at + first - begin
            shift = ns_of(one["ts_offset"]) + moved - first
            reused = {
                "timerange": timerange(moved, moved + last - first), "ts_offset": stamp(shift),
            }  # fmt: skip
            store.segments[made].append(one | reused)
        at += end - begin
    return str(store.flows[made]["source_id"])


@pytest.mark.slow
@pytest.mark.parametrize("container", ["ts", "fmp4"])
def test_an_edit_that_takes_parts_of_objects_is_cut_exactly(
    container: str, store: Store, tmp_path: Path
) -> None:
    asset, output = camera(container=container), tmp_path / "out.mp4"
    muxed(store, asset)
    (flow,) = store.segments
    begin = asset.epoch_ms * 10**6 + TAI_AHEAD_S * SECOND
    takes = [(4_520, 6_120), (1_000, 2_440), (5_000, 5_480)]
    source = edited(store, *((flow, begin + a * 10**6, begin + b * 10**6) for a, b in takes))
    base = 1_700_000_000_000 - TAI_AHEAD_S * 1000

    job = exported(store, source, output, (base, base + 3_520))

    expected = [
        number
        for a, b in takes
        for number in asset.numbers_between(asset.epoch_ms + a, asset.epoch_ms + b)
    ]
    assert job.error is None
    assert inspect(output).numbers == expected
    assert audio_offset_worst(output, asset) <= 1.0


def audio_offset_worst(output: Path, asset: HlsAsset) -> float:
    """How far sound stands off its pictures at most, in milliseconds."""
    (offsets,) = audio_offsets(output, asset.times)
    return offsets.worst_ms


# ---- by reference


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dress", "made"),
    [({}, muxed), ({"separate_audio": True}, collected), ({"container": "fmp4"}, muxed)],
    ids=["muxed", "collected flows", "fmp4 with init objects"],
)
def test_what_was_kept_by_reference_is_a_channel_that_can_be_cut(
    dress: dict[str, Any],
    made: Callable[[Store, HlsAsset], str],
    env: ConnectorEnv,
    store: Store,
    tmp_path: Path,
) -> None:
    asset, output = camera(**dress), tmp_path / "out.mp4"
    source, objects = made(store, asset), dict(store.objects)
    start, end = asset.epoch_ms + 1320, asset.epoch_ms + 4920

    kept = opened(env, store.base).refer(
        source, TimeRange(start_ms=start, end_ms=end), 'The "goal"'
    )
    job = exported(store, kept.channel_id, output, (start, end))

    assert store.objects == objects
    assert job.error is None
    assert check_exact(output, asset, start, end) == []
    early = exported(store, kept.channel_id, tmp_path / "no.mp4", (start - 1000, end))
    assert early.error is not None
    assert early.error.code == "out_of_window"


def test_a_reference_says_where_it_comes_from(env: ConnectorEnv, store: Store) -> None:
    source = with_plain_segments(store, WANTED.start_ms - 10_000, 40)
    (origin,) = store.flows

    kept = opened(env, store.base).refer(source, WANTED, "A stretch")

    (made,) = [f for f in store.flows.values() if f["source_id"] == kept.channel_id]
    assert made["tags"] == {
        "flow_status": "closed_complete",
        "originating_id": origin,
        "originating_timerange": store.held(made["id"]),
    }
    assert (kept.objects, made["container"]) == (10, "video/mp2t")


def test_what_has_not_been_broadcast_is_not_referred_to(env: ConnectorEnv, store: Store) -> None:
    source = with_plain_segments(store, NOW_MS - 20_000, 20)
    wanted = TimeRange(start_ms=NOW_MS - 5000, end_ms=NOW_MS + 5000)

    with pytest.raises(InFuture):
        opened(env, store.base).refer(source, wanted, "Too early")

    assert len(store.flows) == 1


def test_a_store_that_takes_only_a_part_is_told_of(env: ConnectorEnv, store: Store) -> None:
    source = with_plain_segments(store, WANTED.start_ms - 10_000, 40)
    lost = store.segments[next(iter(store.flows))][12]["object_id"]
    store.objects.pop(lost)

    with pytest.raises(DestinationRejected):
        opened(env, store.base).refer(source, WANTED, "A part")
