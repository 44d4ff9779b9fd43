"""What the media tests share: one fork server, a workspace, and ffmpeg where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from media.process import DEFAULT_PRELOAD, ForkServer
from media.workspace import Workspace


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    with ForkServer(preload=(*DEFAULT_PRELOAD, "tests.media.children")) as started:
        yield started


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.create(tmp_path / "work", "job", 1) as made:
        yield made
