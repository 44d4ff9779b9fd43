"""rclone is found, started on a private socket, and looked at by the doctor."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cli.doctor import findings
from cli.rclone import find_rclone, start_rclone
from schemas.errors import StoreUnavailable
from schemas.settings import Settings


def test_its_socket_lies_in_a_folder_of_ours_alone(tmp_path: Path) -> None:
    service, place = start_rclone(tmp_path / "deep" / ("x" * 120))

    try:
        folder = Path(place).parent
        mode = stat.S_IMODE(folder.stat().st_mode)
        listens = Path(place).is_socket()
    finally:
        service.stop()
    assert (mode, listens, len(place) < 108) == (0o700, True, True)


def test_one_that_does_not_listen_is_said_so(tmp_path: Path) -> None:
    program = tmp_path / "rclone"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)

    with pytest.raises(StoreUnavailable, match="does not listen"):
        start_rclone(tmp_path / "data", program)


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({}, None),
        ({"rclone_backends": ("dropbox",)}, "ok"),
        ({"rclone_backends": ("dropbox",), "rclone_socket": "/nowhere"}, "missing"),
    ],
    ids=["not wanted", "found", "set and gone"],
)
def test_the_doctor_looks_at_it_where_it_is_wanted(
    settings: dict[str, object], level: str | None
) -> None:
    found = findings(Settings.model_validate(settings), search_path="")

    assert next((f.level for f in found if f.name == "rclone"), None) == level
    assert find_rclone("") is not None
