"""Delivered clips in a real browser: they play to the end, and a seek shows the very frame."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser import chromium, firefox
from tests.browser.chromium import Chromium
from tests.browser.firefox import Firefox
from tests.e2e.kit import clip
from tests.hls_builder import boxes
from tests.marks import decoded
from tests.media_builder import (
    AudioSpec,
    Discontinuity,
    HlsAsset,
    StreamSpec,
    build,
    continued,
    segment,
)
from tests.oracle import FrameSeen, inspect, layout
from tests.origin import Fault, Origin

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PLAYER = Path(__file__).with_name("player.js")
NTSC = Fraction(30000, 1001)
PLAIN = StreamSpec(seconds=5)
OPEN = replace(PLAIN, gop=24, open_gop=True)
PYRAMID = replace(OPEN, bframes=3, b_pyramid=True, refs=4)
RANGE = (1330, 3510)
BLACK_LUMA = 40
# Chromium's guess of the sound's delay, which quick seeks disturb; a true hole has its own message.
GUESS_NOTE = "Failed to reconcile encoded audio times with decoded output."
Numbers = list[int | None]
Browser = Chromium | Firefox


def _as_is(numbers: Sequence[int]) -> Numbers:
    return list(numbers)


@dataclass(frozen=True)
class Case:
    """A clip to be played: what it is cut from, which range, and what it must show."""

    asset: Callable[[], HlsAsset]
    range_ms: tuple[int, int] = RANGE
    asked: dict[str, Any] = field(default_factory=dict)
    shown: Callable[[Sequence[int]], Numbers] = _as_is
    audible: bool = True


def _one(spec: StreamSpec, **options: Any) -> Callable[[], HlsAsset]:
    return lambda: segment(build(spec), **options)


def _two_encodes() -> HlsAsset:
    first = build(replace(PLAIN, seconds=3))
    second = build(continued(first.spec, start_pts_90k=123_456, b_pyramid=True, bframes=3, refs=4))
    return segment(first, second)


def _in_gap(number: int) -> bool:
    return 50 <= number < 75


WITH_HOLE = _one(PLAIN, segment_s=Fraction(1), gaps=(2,))
CASES = {
    "closed GOP": Case(_one(PLAIN)),
    "open GOP": Case(_one(OPEN)),
    "open GOP, b-pyramid": Case(_one(PYRAMID)),
    "open GOP, CAVLC, four slices": Case(_one(replace(OPEN, cavlc=True, slices=4))),
    "no B-frames": Case(_one(replace(PLAIN, bframes=0))),
    "interlaced, top field first": Case(_one(replace(PLAIN, interlaced="tff"))),
    "29.97": Case(_one(replace(PLAIN, fps=NTSC, gop=30))),
    "59.94": Case(_one(replace(PLAIN, fps=2 * NTSC, gop=60)), (1330, 2710)),
    "variable rate": Case(_one(replace(PLAIN, durations_ticks=(3000, 4500, 3600, 7200)))),
    "one frame long": Case(_one(PLAIN), (1340, 1380)),
    "one frame long, open GOP": Case(_one(PYRAMID), (1340, 1380)),
    "shorter than a GOP": Case(_one(PYRAMID), (1130, 1520)),
    "on keyframes": Case(_one(PLAIN), (1000, 3000)),
    "across a PTS jump": Case(
        _one(PLAIN, discontinuities=(Discontinuity(at_segment=1, pts_jump_90k=-450_000),))
    ),
    "across two encodes": Case(_two_encodes, (1330, 4510)),
    "gap in black": Case(
        WITH_HOLE, asked={"gaps": "black"}, shown=lambda ns: [None if _in_gap(n) else n for n in ns]
    ),
    "gap held": Case(
        WITH_HOLE, asked={"gaps": "hold"}, shown=lambda ns: [49 if _in_gap(n) else n for n in ns]
    ),
    "gap skipped": Case(
        WITH_HOLE,
        asked={"gaps": "skip"},
        shown=lambda ns: [n for n in ns if not _in_gap(n)],
    ),
    "wide pixels": Case(_one(replace(PLAIN, extra="sar=16/11"))),
    "fMP4 source": Case(_one(PLAIN, container="fmp4")),
    "fMP4 source, open GOP": Case(_one(PYRAMID, container="fmp4")),
    "several languages": Case(
        _one(replace(PLAIN, audio=(AudioSpec(), AudioSpec(language="deu"))), separate_audio=True)
    ),
    "LATM sound": Case(_one(replace(PLAIN, audio=(AudioSpec(latm=True),)))),
    "no sound": Case(_one(replace(PLAIN, audio=())), audible=False),
    "AC-3 sound": Case(_one(replace(PLAIN, audio=(AudioSpec(codec="ac3"),))), audible=False),
    "wrap of the clock": Case(_one(replace(PLAIN, start_pts_90k=(1 << 33) - 270_000))),
    "timecode track": Case(_one(replace(PLAIN, timecode="10:00:00:00"))),
    "whole re-encoded": Case(_one(PYRAMID), asked={"mode": "encode"}),
    "copied outward": Case(_one(PLAIN), (1000, 3000), asked={"mode": "copy"}),
    "HEVC": Case(_one(replace(PLAIN, codec="hevc"))),
    "HEVC, on keyframes": Case(_one(replace(PLAIN, codec="hevc")), (1000, 3000)),
    "HEVC, open GOP": Case(
        _one(replace(PLAIN, codec="hevc", gop=24, open_gop=True, bframes=3, b_pyramid=True))
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    profile = tmp_path_factory.mktemp("profile")
    module, kind = (chromium, Chromium) if request.param == "chromium" else (firefox, Firefox)
    program = module.found()
    if program is None:
        pytest.skip(module.INSTALL)
    with kind(program, profile) as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Origin) -> Browser:
    """The browser on a page that knows how to play."""
    text = f"<!doctype html><title>player</title><body><script>{PLAYER.read_text()}</script>"
    server.put("page.html", text.encode())
    server.mend("page.html")
    server.fault("page.html", Fault.content_type("text/html"))
    browser.open(server.url_of("page.html"))
    return browser


def _made(case: Case, path: Path) -> list[FrameSeen]:
    """The clip through the whole engine; what a strict reader sees in it."""
    asset = case.asset()
    start, end = (asset.epoch_ms + at for at in case.range_ms)
    with Origin(asset) as origin:
        job = clip(origin.url, start, end, path, **case.asked)
    assert job.error is None
    seen = inspect(path)
    assert seen.numbers == case.shown(asset.numbers_between(start, end))
    return list(seen.frames)


def _shape(case: Case) -> tuple[int, int]:
    """How large a picture is shown, with the shape of its pixels."""
    spec = case.asset().streams[0].spec
    width, height = spec.size
    return (round(width * 16 / 11) if "sar" in spec.extra else width), height


def _number(look: dict[str, Any]) -> int | None:
    """The frame number both fields of a picture agree on."""
    fields = [decoded(np.array([int(bit) for bit in bits])) for bits in look["fields"] if bits]
    numbers = [read[0] for read in fields if read is not None]
    if len(numbers) == 2 and numbers[0] == numbers[1]:
        return numbers[0]
    assert look["brightest"] < BLACK_LUMA, f"neither a frame nor black: {look}"
    return None


def _places(frames: Sequence[FrameSeen], end_s: float) -> list[tuple[float, FrameSeen]]:
    """Every frame once, in a shuffled order: near its begin, in its middle, near its end."""
    starts = [float(frame.time or 0) for frame in frames]
    rng = random.Random(len(frames))
    places = []
    for turn, ((start, stop), frame) in enumerate(
        zip(pairwise([*starts, end_s]), frames, strict=True)
    ):
        near = (start + 0.001, (start + stop) / 2, stop - 0.001)[turn % 3]
        places.append((near, frame))
    edges = [(0.0, frames[0]), (starts[-1] + 0.001, frames[-1]), (0.0, frames[0])]
    return [*edges, *rng.sample(places, len(places))]


def _mime(path: Path) -> str:
    """The type and codec string of a clip's picture, from its configuration record."""
    data = path.read_bytes()
    if (at := data.find(b"avcC")) >= 0:
        return f'video/mp4; codecs="avc1.{data[at + 5 : at + 8].hex()}"'
    at = data.find(b"hvcC") + 4
    return f'video/mp4; codecs="hvc1.1.6.L{data[at + 12]}.{data[at + 6]:X}"'


def _sets_of_each_kind(path: Path) -> int:
    """How many video parameter sets an HEVC track's configuration holds."""
    data = path.read_bytes()
    at = data.find(b"hvcC") + 4 + 24
    return int.from_bytes(data[at : at + 2], "big")


def _complaints(page: Browser) -> list[str]:
    """What the browser's own media log holds against the clip."""
    found: list[str] = []
    for event in page.events:
        if event["method"] == "Media.playerErrorsRaised":
            found += [json.dumps(error) for error in event["params"]["errors"]]
        if event["method"] == "Media.playerMessagesLogged":
            logged = event["params"]["messages"]
            found += [m["message"] for m in logged if m["level"] in {"error", "warning"}]
    return [text for text in found if text != GUESS_NOTE]


@pytest.mark.parametrize("name", CASES)
def test_a_clip_plays_and_every_seek_shows_its_frame(
    name: str, page: Browser, server: Origin, tmp_path: Path
) -> None:
    case, path, gecko = CASES[name], tmp_path / "clip.mp4", isinstance(page, Firefox)
    frames = _made(case, path)
    kind = _mime(path)
    can = page.run(f"document.createElement('video').canPlayType({json.dumps(kind)})")
    if "hvc1" in kind and not can:
        pytest.skip(f"{page.version} does not play {kind}")
    if "hvc1" in kind and gecko and _sets_of_each_kind(path) > 1:
        pytest.skip("Firefox keeps only the first parameter sets of an HEVC track")
    # A name of its own: Firefox would go on with what it holds of a clip of the same address.
    url = server.put(f"{tmp_path.name}.mp4", path.read_bytes())

    loaded = page.run(f"load({json.dumps(url)})")
    places = _places(frames, loaded["duration"])
    sought = page.run(f"seekAll({json.dumps([place for place, _ in places])})")
    played = page.run("play(2)")
    after = page.run("state()")

    assert can == "probably"
    # Firefox counts to the end of the last sound frame, edit list or not.
    length = pytest.approx(float(layout(path).duration_s), abs=0.03 if gecko else 0.001)
    assert (loaded["width"], loaded["height"]) == _shape(case)
    assert loaded["duration"] == length
    assert after["seekable"] == [[0, pytest.approx(loaded["duration"], abs=0.03)]]
    assert after["buffered"] == [[0, pytest.approx(loaded["duration"], abs=0.03)]]
    for (place, frame), seen in zip(places, sought, strict=True):
        assert _number(seen) == frame.number, f"at {place:.4f} s"
        # Firefox answers the place asked for where it should name the frame's own time.
        own = place if gecko else float(frame.time or 0)
        assert seen["mediaTime"] == pytest.approx(own, abs=0.0005)
    _check_played([_number(look) for look in played], [frame.number for frame in frames])
    assert after["ended"]
    assert not after["corrupted"]
    assert (after["error"], after["heard"]) == (None, [])
    assert _complaints(page) == []
    assert gecko or (after["audioBytes"] > 0) == case.audible


def _check_played(played: Numbers, shown: Numbers) -> None:
    """From the first frame to the last, none back in time (a busy machine may leave some out)."""
    assert (played[0], played[-1]) == (shown[0], shown[-1])
    places = iter(shown)
    runs = played[:1] + [now for before, now in pairwise(played) if now != before]
    assert all(number in places for number in runs), f"out of order: {played}"


def test_playing_begins_before_the_whole_clip_is_there(
    page: Browser, server: Origin, tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    frames = _made(CASES["open GOP, b-pyramid"], path)
    data = path.read_bytes()
    media = next(at for kind, at, _ in boxes(data) if kind == "mdat")
    url = server.put("slow.mp4", data)
    server.fault("slow.mp4", Fault.stall(after_bytes=(media + len(data)) // 2))

    loaded = page.run(f"load({json.dumps(url)})")
    first = page.run("look()")

    assert loaded["duration"] == pytest.approx(float(layout(path).duration_s), abs=0.001)
    assert _number(first) == frames[0].number
