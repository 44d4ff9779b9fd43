"""What a command writes to: refused early where it cannot be, replaced only by something whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.output import check_output
from schemas.errors import InvalidCommand
from tests.e2e.kit import clip
from tests.media_builder import HlsAsset, StreamSpec, build, segment
from tests.oracle import check_exact
from tests.origin import Fault, Origin


@pytest.mark.parametrize("force", [False, True])
def test_only_a_file_is_ever_replaced(force: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    for name in ("pipe", "folder"):
        with pytest.raises(InvalidCommand, match="is not a file"):
            check_output(tmp_path / name, force=force)


def test_files_of_a_folder_are_replaced_where_there_may_be_several(tmp_path: Path) -> None:
    check_output(tmp_path, force=True, may_be_folder=True)
    with pytest.raises(InvalidCommand, match="--force replaces it"):
        check_output(tmp_path, force=False, may_be_folder=True)


def test_a_file_is_replaced_only_where_somebody_says_so(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").touch()

    check_output(tmp_path / "old.mp4", force=True)
    check_output(tmp_path / "new.mp4", force=False)
    with pytest.raises(InvalidCommand, match="--force replaces it"):
        check_output(tmp_path / "old.mp4", force=False)
    with pytest.raises(InvalidCommand, match="no folder"):
        check_output(tmp_path / "nowhere" / "new.mp4", force=True)


def _small() -> HlsAsset:
    return segment(build(StreamSpec(seconds=2, size=(96, 64), audio=())), segment_s=1)


def test_a_clip_that_fails_leaves_what_it_was_to_replace(tmp_path: Path) -> None:
    asset, output = _small(), tmp_path / "clip.mp4"
    output.write_bytes(b"old")

    with Origin(asset) as origin:
        origin.fault("main-1.ts", Fault.status(404))
        job = clip(origin.url, asset.epoch_ms, asset.epoch_ms + 2000, output, force=True)

    assert job.error is not None
    assert job.error.code == "segment_missing"
    assert output.read_bytes() == b"old"


def test_a_clip_that_succeeds_replaces_it(tmp_path: Path) -> None:
    asset, output = _small(), tmp_path / "clip.mp4"
    output.write_bytes(b"old")
    start, end = asset.epoch_ms + 200, asset.epoch_ms + 1800

    with Origin(asset) as origin:
        job = clip(origin.url, start, end, output, force=True)

    assert job.error is None
    assert check_exact(output, asset, start, end) == []
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
