"""The doctor says what is there, what is missing, and what each thing means."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.console import Console

from cli.doctor import (
    Finding,
    disk_finding,
    doctor,
    exit_code,
    ffmpeg_finding,
    findings,
    jail_finding,
    libav_finding,
    open_files_finding,
    python_finding,
    redis_finding,
)
from media.ffmpeg import Ffmpeg
from media.jail import JailStatus
from media.libav import Libav
from schemas.settings import Settings

ALL = frozenset(("libx264", "libx265", "libsvtav1", "aac", "libopus"))


def an_ffmpeg(version: tuple[int, ...] | None, encoders: frozenset[str] = ALL) -> Ffmpeg:
    return Ffmpeg(
        path=Path("/usr/bin/ffmpeg"),
        origin="path",
        version_text="x",
        version=version,
        encoders=encoders,
        filters=frozenset(),
    )


def a_libav(*encoders: str) -> Libav:
    return Libav(pyav="18.1.0", libavcodec="62.0.0", encoders=frozenset(encoders))


def a_jail(landlock_abi: int = 3, seccomp: bool = True) -> JailStatus:
    return JailStatus(landlock_abi=landlock_abi, seccomp=seccomp, uid="own")


@pytest.mark.parametrize(
    ("finding", "level", "words"),
    [
        (python_finding((3, 11, 7)), "ok", "new enough"),
        (python_finding((3, 10, 1)), "missing", "3.11 or newer"),
        (ffmpeg_finding(an_ffmpeg((8, 1, 3))), "ok", "current"),
        (ffmpeg_finding(an_ffmpeg(None)), "ok", "current"),
        (ffmpeg_finding(an_ffmpeg((5, 1, 9))), "warning", "8.1.3"),
        (ffmpeg_finding(an_ffmpeg((8, 1, 3), ALL - {"libx265"})), "warning", "libx265"),
        (libav_finding(a_libav("libx264", "libx265")), "ok", "H.264 and HEVC"),
        (libav_finding(a_libav("libx264")), "warning", "libx265"),
        (libav_finding(a_libav()), "missing", "libx264"),
        (jail_finding(a_jail(), allow_unjailed=False), "ok", "jail"),
        (jail_finding(a_jail(0), allow_unjailed=False), "missing", "ALLOW_UNJAILED"),
        (jail_finding(a_jail(0), allow_unjailed=True), "warning", "Landlock"),
        (jail_finding(a_jail(3, False), allow_unjailed=False), "missing", "seccomp"),
        (disk_finding(Path("/d"), 10**11), "ok", "room"),
        (disk_finding(Path("/d"), 2 * 10**9), "warning", "three times"),
        (disk_finding(Path("/d"), 10**6), "missing", "make room"),
        (open_files_finding(65536), "ok", "enough"),
        (open_files_finding(256), "warning", "ulimit -n 1024"),
        (redis_finding({"redis_version": "7.0.15"}), "ok", "keeps accepted jobs"),
        (redis_finding({"maxmemory_policy": "allkeys-lru"}), "warning", "noeviction"),
        (redis_finding({"aof_enabled": "0"}), "warning", "appendonly yes"),
    ],
)
def test_a_finding_has_its_level_and_says_what_to_do(
    finding: Finding, level: str, words: str
) -> None:
    assert finding.level == level
    assert words in finding.meaning


def test_everything_is_looked_at(tmp_path: Path) -> None:
    found = findings(Settings(data_dir=str(tmp_path / "not" / "yet")), search_path="")

    assert [finding.name for finding in found] == [
        "Python",
        "ffmpeg",
        "PyAV",
        "Redis",
        "jail",
        "disk",
        "/dev/shm",
        "open files",
    ]


@pytest.mark.parametrize(
    ("levels", "code"),
    [
        ((("ok", True), ("warning", True)), 0),
        ((("ok", True), ("missing", False)), 0),
        ((("ok", True), ("missing", True)), 1),
    ],
)
def test_the_exit_code_is_1_where_no_clip_could_be_made(
    levels: tuple[tuple[str, bool], ...], code: int
) -> None:
    found = tuple(
        Finding.model_validate(
            {"name": "x", "level": level, "found": "", "meaning": "", "needed": needed}
        )
        for level, needed in levels
    )

    assert exit_code(found) == code


def test_an_ffmpeg_that_is_set_and_absent_is_missing(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), ffmpeg="/no/such/ffmpeg")

    found = {finding.name: finding for finding in findings(settings, search_path="")}

    assert found["ffmpeg"].level == "missing"
    assert "/no/such/ffmpeg" in found["ffmpeg"].meaning


@pytest.mark.parametrize("url", ["redis://:s3cret@127.0.0.1:1/0", "nonsense://s3cret"])
def test_a_redis_that_is_set_and_away_is_missing_and_its_password_is_not_shown(
    tmp_path: Path, url: str
) -> None:
    settings = Settings(data_dir=str(tmp_path), redis_url=SecretStr(url))
    output = io.StringIO()

    code = doctor(settings, Console(file=output, width=200))

    assert code == 1
    assert "CUTTINGROOM_REDIS_URL" in output.getvalue()
    assert "s3cret" not in output.getvalue()


def test_what_to_install_is_printed_as_it_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.doctor.find_server", lambda _path: None)
    output = io.StringIO()

    code = doctor(Settings(data_dir=str(tmp_path)), Console(file=output, width=300))

    assert code == 1
    assert "pip install 'cuttingroom[embedded]'" in output.getvalue()
