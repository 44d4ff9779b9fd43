"""An origin that misbehaves: the right code each time, and never a short clip called success."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.kit import clip
from tests.media_builder import Encryption, HlsAsset, StreamSpec, build, segment
from tests.oracle import check_exact
from tests.origin import Fault, Origin

SPEC = StreamSpec(seconds=8)
SECOND, THIRD = "main-1.ts", "main-2.ts"


@pytest.fixture(scope="module")
def asset() -> HlsAsset:
    return segment(build(SPEC))


HEALED = {
    "503 twice": Fault.status(503, times=2),
    "503 with Retry-After": Fault.status(503, times=1, retry_after_s=0.2),
    "429 once": Fault.status(429, times=1, retry_after_s=0.2),
    "404 once, as at the edge of a CDN": Fault.status(404, times=1),
    "reset in the middle, once": Fault.reset(2000, times=1),
    "cut short, once": Fault.truncate(2000, honest_length=False, times=1),
    "no length at all": Fault.no_length(),
    "a wrong content type": Fault.content_type("text/html"),
    "a redirect to the file": Fault.redirect(f"/live/{SECOND}", times=1),
}


@pytest.mark.parametrize("fault", HEALED.values(), ids=HEALED.keys())
def test_a_passing_fault_does_not_change_the_clip(
    asset: HlsAsset, fault: Fault, tmp_path: Path
) -> None:
    start, end = asset.epoch_ms + 1500, asset.epoch_ms + 5500
    with Origin(asset) as origin:
        origin.fault(SECOND, fault)

        job = clip(origin.url, start, end, tmp_path / "out.mp4")

    assert job.error is None
    assert check_exact(tmp_path / "out.mp4", asset, start, end) == []


BROKEN = {
    "404 for ever": (Fault.status(404), "segment_missing"),
    "410 for ever": (Fault.status(410), "segment_missing"),
    "403 for ever": (Fault.status(403), "access_denied"),
    "401 for ever": (Fault.status(401), "access_denied"),
    "503 for ever": (Fault.status(503), "segment_missing"),
    "reset for ever": (Fault.reset(500), "segment_missing"),
    "cut short, length of the whole": (
        Fault.truncate(3000, honest_length=False),
        "segment_missing",
    ),
    "cut short, honest length": (Fault.truncate(3000), "media_invalid"),
    "empty": (Fault.truncate(0), "media_invalid"),
    "an error page": (Fault.body("<html>not here</html>"), "media_invalid"),
    "a playlist": (Fault.body("#EXTM3U\n#EXT-X-ENDLIST\n"), "media_invalid"),
    "redirects without end": (Fault.redirect_loop(), "segment_missing"),
    "a redirect to a file": (Fault.redirect("file:///etc/passwd"), "access_denied"),
    "a redirect to the metadata service": (
        Fault.redirect("http://169.254.169.254/latest/meta-data/"),
        "access_denied",
    ),
    "a redirect to a private address": (Fault.redirect("http://10.0.0.1/x.ts"), "access_denied"),
}


@pytest.mark.parametrize(("fault", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_a_lasting_fault_fails_with_its_code_and_leaves_nothing(
    asset: HlsAsset, fault: Fault, code: str, tmp_path: Path
) -> None:
    start, end = asset.epoch_ms + 1500, asset.epoch_ms + 5500
    with Origin(asset) as origin:
        origin.fault(SECOND, fault)

        job = clip(origin.url, start, end, tmp_path / "out.mp4")

    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == code
    assert not list(tmp_path.iterdir())


def test_a_missing_segment_is_skipped_where_that_was_asked_and_said(
    asset: HlsAsset, tmp_path: Path
) -> None:
    start, end = asset.epoch_ms + 1500, asset.epoch_ms + 6500
    with Origin(asset) as origin:
        origin.fault(SECOND, Fault.status(404))

        job = clip(origin.url, start, end, tmp_path / "out.mp4", gaps="skip")

    assert job.result is not None
    assert job.result["coverage"] == pytest.approx(0.6, abs=0.01)
    assert [(gap["startMs"] - start, gap["endMs"] - start) for gap in job.result["gaps"]] == [
        (500, 2500)
    ]


def test_only_the_segments_of_the_range_and_one_more_are_fetched(
    asset: HlsAsset, tmp_path: Path
) -> None:
    start, end = asset.epoch_ms + 2500, asset.epoch_ms + 5500
    with Origin(asset) as origin:
        clip(origin.url, start, end, tmp_path / "out.mp4")
        fetched = [path for path in origin.paths() if path.endswith(".ts")]

    assert set(fetched) >= {SECOND, THIRD}
    assert len(fetched) <= 3


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (Fault.status(404), "encrypted"),
        (Fault.status(403), "encrypted"),
        (Fault.body("short"), "encrypted"),
        (Fault.body("0123456789abcdef0"), "encrypted"),
        (Fault.body("0123456789abcdef"), "encrypted"),
    ],
    ids=["no key", "no right to the key", "a short key", "a long key", "another key"],
)
def test_a_key_that_does_not_open_the_segments_is_told(
    key: Fault, code: str, tmp_path: Path
) -> None:
    sealed = segment(build(SPEC), encrypt=Encryption())
    name = next(name for name in sealed.files if name.endswith((".key", ".bin")))
    with Origin(sealed) as origin:
        origin.fault(name, key)

        job = clip(origin.url, sealed.epoch_ms + 500, sealed.epoch_ms + 1500, tmp_path / "o.mp4")

    assert job.error is not None
    assert job.error.code == code
