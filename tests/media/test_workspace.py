"""Workspaces are made, metered, removed, and swept once their owner is dead."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from media.workspace import Workspace, check_meter, check_room, metered, sweep, used_bytes
from schemas.errors import DiskFull, InvalidCommand, TooLarge

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_next_attempt_finds_what_was_fetched(tmp_path: Path) -> None:
    with Workspace.create(tmp_path, "job", 1) as first:
        first.file("seg1.ts").write_bytes(b"x")

    with Workspace.create(tmp_path, "job", 2) as second:
        found = second.file("seg1.ts").read_bytes()

    assert (second.path, found) == (first.path, b"x")


def test_a_folder_still_held_is_not_shared_and_removal_leaves_nothing(tmp_path: Path) -> None:
    first = Workspace.create(tmp_path, "job/../../x", 1)
    second = Workspace.create(tmp_path, "job/../../x", 2)
    assert first.path != second.path
    assert first.path.parent == second.path.parent == tmp_path

    first.remove()
    second.remove()
    second.remove()

    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_swept_away_meanwhile_is_taken_anew(tmp_path: Path) -> None:
    with Workspace.create(tmp_path, "job", 1):
        (tmp_path / "job.lock").unlink()

        with Workspace.create(tmp_path, "job", 2) as second:
            third = Workspace.create(tmp_path, "job", 3)

    assert third.path != second.path
    third.remove()


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "/etc/passwd", "-i", ".hidden", "a\0b", "a" * 200]
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with Workspace.create(tmp_path, "job", 1) as workspace, pytest.raises(InvalidCommand):
        workspace.file(name)


def test_the_meter_counts_files_below_and_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "huge").write_bytes(bytes(1_000_000))
    with Workspace.create(tmp_path / "work", "job", 1) as workspace:
        (workspace.path / "sub").mkdir()
        (workspace.path / "sub" / "a").write_bytes(os.urandom(100_000))
        (workspace.path / "link").symlink_to(tmp_path / "huge")

        used = used_bytes(workspace.path)

        assert 100_000 <= used < 200_000
        check_meter(workspace.path, 200_000)
        with pytest.raises(TooLarge):
            check_meter(workspace.path, 50_000)


def test_a_metered_control_asks_the_given_one_and_holds_the_meter(tmp_path: Path) -> None:
    asked: list[int] = []
    with Workspace.create(tmp_path, "job", 1) as workspace:
        metered(workspace.path, lambda: asked.append(1), 100_000)()
        workspace.file("big").write_bytes(os.urandom(200_000))

        with pytest.raises(TooLarge):
            metered(workspace.path, lambda: asked.append(2), 100_000)()

    assert asked == [1, 2]


def test_a_disk_without_three_times_the_estimate_is_full(tmp_path: Path) -> None:
    with Workspace.create(tmp_path, "job", 1) as workspace:
        check_room(workspace.path, 1)
        with pytest.raises(DiskFull):
            check_room(workspace.path, 10**18)


def test_a_root_that_cannot_be_written_is_a_full_disk(tmp_path: Path) -> None:
    root = tmp_path / "work"
    root.symlink_to("/proc/self/fdinfo")

    with pytest.raises(DiskFull):
        Workspace.create(root, "job", 1)


OWNER = """
import os, sys
from pathlib import Path
from media.workspace import Workspace
made = Workspace.create(Path(sys.argv[1]), "dead", 1)
made.file("segment.ts").write_text("left behind")
os._exit(9)
"""


def test_a_sweep_removes_what_nobody_came_back_for_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", OWNER, str(tmp_path)], cwd=REPOSITORY, check=False, env={}
    )
    (tmp_path / "alone.lock").touch()
    with Workspace.create(tmp_path, "alive", 1) as alive:
        alive.file("segment.ts").write_text("still needed")

        early = sweep(tmp_path, time.time() - 60)
        swept = sweep(tmp_path, time.time() + 60)

        assert (early, swept) == (0, 2)
        assert {path.name for path in tmp_path.iterdir()} == {"alive", "alive.lock"}
        assert alive.file("segment.ts").read_text() == "still needed"


def test_a_sweep_of_nothing_does_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path / "absent", time.time()) == 0
