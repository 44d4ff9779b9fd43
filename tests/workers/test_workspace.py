"""A job's folder: the same for its next attempt, never shared by two at a time."""

from __future__ import annotations

import time
from pathlib import Path

from schemas.ledger import Lease
from workers.workspace import forget_older, remove, workspace


def a_lease(fence: int = 1) -> Lease:
    return Lease(
        job_id="job_" + "0" * 26,
        tenant_id="t1",
        kind="clip",
        queue="clip",
        owner="w",
        fence=fence,
        attempt=1,
        allowance=5,
        command="{}",
        created_ms=0,
    )


def test_the_next_attempt_finds_what_was_fetched(tmp_path: Path) -> None:
    with workspace(tmp_path, a_lease(1)) as first:
        (first / "seg1.ts").write_bytes(b"x")

    with workspace(tmp_path, a_lease(2)) as second:
        found = (second / "seg1.ts").read_bytes()

    assert found == b"x"


def test_a_folder_still_held_is_not_shared(tmp_path: Path) -> None:
    with workspace(tmp_path, a_lease(1)) as first, workspace(tmp_path, a_lease(2)) as second:
        assert first != second
        assert second.is_dir()


def test_old_folders_nobody_holds_are_forgotten(tmp_path: Path) -> None:
    with workspace(tmp_path, a_lease(1)) as folder:
        kept = forget_older(tmp_path, time.time() + 60)
        assert folder.is_dir()

    gone = forget_older(tmp_path, time.time() + 60)

    assert (kept, gone) == (0, 1)
    assert list(tmp_path.iterdir()) == []


def test_removal_takes_the_lock_along(tmp_path: Path) -> None:
    with workspace(tmp_path, a_lease(1)) as folder:
        remove(folder)

    assert list(tmp_path.iterdir()) == []
