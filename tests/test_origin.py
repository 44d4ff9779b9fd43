"""The test origin serves, moves, refuses and misbehaves exactly as told."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import requests

from tests.media_builder import (
    Encryption,
    HlsAsset,
    StreamSpec,
    build,
    continued,
    multivariant,
    segment,
)
from tests.origin import Fault, Live, ManualClock, Origin

SPEC = StreamSpec(seconds=8, audio=())


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(SPEC))


def _get(url: str, **options: object) -> requests.Response:
    return requests.get(url, timeout=5, **options)  # type: ignore[arg-type]


def _names(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_a_vod_presentation_is_served_whole_and_every_request_is_remembered(
    asset: HlsAsset,
) -> None:
    with Origin(asset) as origin:
        playlist = _get(origin.url)
        first = _get(origin.url_of(_names(playlist.text)[0]))

        assert "#EXT-X-ENDLIST" in playlist.text
        assert first.content == asset.files["main-0.ts"]
        origin.wait_for(lambda: origin.count("main-0.ts") == 1)
        assert origin.bytes_sent() == len(first.content)
        assert origin.paths() == ["main.m3u8", "main-0.ts"]


def test_the_live_edge_grows_and_the_window_rolls_with_the_clock(asset: HlsAsset) -> None:
    clock = ManualClock(asset.epoch_ms)
    with Origin(asset, live=Live(clock, window_s=4, linger_s=2)) as origin:
        seen = []
        for _ in range(4):
            clock.advance(2)
            seen.append(_names(_get(origin.url).text))
        early = _get(origin.url_of("main-0.ts")).status_code
        clock.advance(4)
        late = _get(origin.url_of("main-0.ts")).status_code
        text = _get(origin.url).text

    assert seen[0] == ["main-0.ts"]
    assert seen[1] == ["main-0.ts", "main-1.ts"]
    assert seen[3] == ["main-2.ts", "main-3.ts"]
    assert (early, late) == (404, 404)
    assert "#EXT-X-MEDIA-SEQUENCE:4" in text


def test_a_segment_is_not_there_before_it_ended_and_lingers_after_it_left(
    asset: HlsAsset,
) -> None:
    clock = ManualClock(asset.epoch_ms)
    with Origin(asset, live=Live(clock, window_s=2, delay_s=0.5, linger_s=3)) as origin:
        codes = []
        for step in (2.0, 0.6, 2.0, 3.0):
            clock.advance(step)
            codes.append(_get(origin.url_of("main-0.ts")).status_code)

    assert codes == [404, 200, 200, 404]


@pytest.mark.parametrize("style", ["relative", "absolute", "root", "signed", "redirect"])
def test_every_uri_style_leads_to_the_same_bytes(asset: HlsAsset, style: str) -> None:
    with Origin(multivariant({"hi": asset}), style=style) as origin:
        master = _get(origin.url)
        variant = _get(requests.compat.urljoin(master.url, _names(master.text)[0]))
        media = _get(requests.compat.urljoin(variant.url, _names(variant.text)[1]))

    assert media.content == asset.files["main-1.ts"]


def test_an_unsigned_or_forged_uri_is_refused(asset: HlsAsset) -> None:
    with Origin(asset, style="signed") as origin:
        bare = origin.url_of("main-0.ts").partition("?")[0]

        assert _get(bare).status_code == 403
        assert _get(bare + "?sig=&expires=9").status_code == 403
        assert _get(origin.url_of("main-1.ts").replace("main-1", "main-0")).status_code == 403


def test_ranges_and_entity_tags_work_as_http_says(asset: HlsAsset) -> None:
    whole = asset.files["main-0.ts"]
    with Origin(asset) as origin:
        url = origin.url_of("main-0.ts")
        tag = _get(url).headers["ETag"]

        part = _get(url, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole[10:20])
        assert part.headers["Content-Range"] == f"bytes 10-19/{len(whole)}"
        assert _get(url, headers={"Range": "bytes=-5"}).content == whole[-5:]
        assert _get(url, headers={"Range": f"bytes={len(whole)}-"}).status_code == 416
        assert _get(url, headers={"Range": "bytes=0-1", "If-Range": '"x"'}).status_code == 200
        assert _get(url, headers={"If-None-Match": tag}).status_code == 304


def test_keys_can_ask_for_a_header(asset: HlsAsset) -> None:
    sealed = segment(build(SPEC), encrypt=Encryption())
    with Origin(sealed, key_header=("X-Token", "yes")) as origin:
        url = origin.url_of("key-0.bin")

        assert _get(url).status_code == 403
        assert len(_get(url, headers={"X-Token": "yes"}).content) == 16


def test_a_fault_with_a_count_heals(asset: HlsAsset) -> None:
    with Origin(asset) as origin:
        origin.fault("main-0.ts", Fault.status(503, times=2, retry_after_s=1))
        answers = [_get(origin.url_of("main-0.ts")) for _ in range(3)]

    assert [a.status_code for a in answers] == [503, 503, 200]
    assert answers[0].headers["Retry-After"] == "1"


def _broken(response: requests.Response) -> bool:
    try:
        for _ in response.iter_content(4096):
            pass
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return True
    return False


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.truncate(100), lambda r, data: r.content == data[:100]),
        (Fault.truncate(100, honest_length=False), lambda r, data: _broken(r)),
        (Fault.reset(100), lambda r, data: _broken(r)),
        (Fault.stall(100), lambda r, data: _broken(r)),
        (Fault.content_type("text/html"), lambda r, d: r.headers["Content-Type"] == "text/html"),
        (Fault.body("<html>"), lambda r, data: r.text == "<html>"),
        (
            Fault.flip(188),
            lambda r, d: sum(a != b for a, b in zip(r.content, d, strict=True)) == 16,
        ),
        (Fault.no_length(), lambda r, d: "Content-Length" not in r.headers and r.content == d),
        (Fault.trickle(10**6), lambda r, data: r.content == data),
        (Fault.infinite(), lambda r, data: len(next(r.iter_content(10**6))) == 10**6),
        (
            Fault.redirect("http://10.0.0.1/"),
            lambda r, d: r.headers["Location"] == "http://10.0.0.1/",
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_each_fault_looks_as_named(
    asset: HlsAsset, fault: Fault, seen: Callable[[requests.Response, bytes], bool]
) -> None:
    with Origin(asset) as origin:
        origin.fault("main-0.ts", fault)
        with requests.get(
            origin.url_of("main-0.ts"), stream=True, timeout=0.5, allow_redirects=False
        ) as response:
            assert seen(response, asset.files["main-0.ts"])


def test_a_redirect_loop_never_ends(asset: HlsAsset) -> None:
    with Origin(asset) as origin:
        origin.fault("main-0.ts", Fault.redirect_loop())
        with pytest.raises(requests.TooManyRedirects):
            _get(origin.url_of("main-0.ts"))


def test_a_hanging_request_is_known_before_it_is_answered(asset: HlsAsset) -> None:
    with Origin(asset) as origin:
        origin.fault("main-0.ts", Fault.hang())
        with pytest.raises(requests.Timeout):
            requests.get(origin.url_of("main-0.ts"), timeout=0.2)
        assert origin.asked("main-0.ts") == 1


def test_a_discontinuity_that_left_the_window_is_counted() -> None:
    asset = segment(build(SPEC), build(continued(SPEC, seconds=4)))
    clock = ManualClock(int(asset.playlist().segments[-1].end_wall_ms))
    with Origin(asset, live=Live(clock, window_s=2)) as origin:
        text = _get(origin.url).text

    assert re.search("#EXT-X-DISCONTINUITY-SEQUENCE:1\n", text)
    assert "#EXT-X-DISCONTINUITY\n" not in text
