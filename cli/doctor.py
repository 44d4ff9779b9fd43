"""`cuttingroom doctor`: what this machine has, what it lacks, and what that means."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.embedded import find_server
from cli.rclone import find_rclone
from media import ffmpeg as ffmpegs
from media.jail import JailStatus, jail_status
from media.libav import Libav, libav
from schemas.base import Value
from schemas.errors import CuttingRoomError, UnsupportedMedia
from schemas.settings import Settings
from store.client import connection, translated

Level = Literal["ok", "warning", "missing"]
MINIMUM_PYTHON = (3, 11)
OPEN_FILES = 1024
GIB = 1024**3
_LOW_DISK, _NO_DISK = 5 * GIB, GIB // 2
_WANTED_ENCODERS = ("libx264", "libx265", "libsvtav1", "aac", "libopus")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at, not written
_STYLES: dict[Level, str] = {"ok": "green", "warning": "yellow", "missing": "bold red"}
_INSTALL_FFMPEG = "install ffmpeg 5.1 or newer, or pip install 'cuttingroom[embedded]'"
_INSTALL_REDIS = "install redis-server or valkey-server, or pip install 'cuttingroom[embedded]'"


class Finding(Value):
    """One thing looked at: what was found, and in one sentence what that means.

    `needed`: without it no clip can be made.
    """

    name: str
    level: Level
    found: str
    meaning: str
    needed: bool = True


def doctor(settings: Settings, console: Console) -> int:
    """Print every finding; the exit code is 1 where no clip could be made here."""
    found = findings(settings, search_path=os.environ.get("PATH", ""))
    console.print(_table(found))
    code = exit_code(found)
    console.print("Clips can be made here." if code == 0 else "Clips cannot be made here yet.")
    return code


def findings(settings: Settings, *, search_path: str) -> tuple[Finding, ...]:
    """Everything there is to say about this machine under these settings."""
    return (
        python_finding(sys.version_info[:3]),
        _ffmpeg(settings.ffmpeg, search_path),
        _libav(),
        _redis(settings, search_path),
        *_rclone(settings, search_path),
        jail_finding(jail_status(), allow_unjailed=settings.allow_unjailed),
        _disk(Path(settings.data_dir)),
        _shared_memory(_SHARED_MEMORY),
        open_files_finding(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    )


def exit_code(found: tuple[Finding, ...]) -> int:
    """1 where something needed is missing."""
    return int(any(finding.level == "missing" and finding.needed for finding in found))


def python_finding(version: tuple[int, ...]) -> Finding:
    """Whether this Python is new enough."""
    text = f"{_dotted(version)} on {platform.system()} {platform.machine()}"
    if version >= MINIMUM_PYTHON:
        return Finding(name="Python", level="ok", found=text, meaning="new enough")
    meaning = f"too old: install Python {_dotted(MINIMUM_PYTHON)} or newer"
    return Finding(name="Python", level="missing", found=text, meaning=meaning)


def ffmpeg_finding(found: ffmpegs.Ffmpeg) -> Finding:
    """What an ffmpeg that runs means: its version, and the encoders it lacks."""
    where = "embedded" if found.origin == "package" else str(found.path)
    text = f"{found.version_text} ({where})"
    lacking = [name for name in _WANTED_ENCODERS if name not in found.encoders]
    notes = []
    if not found.current:
        notes.append(
            f"older than {_dotted(ffmpegs.CURRENT)}, whose fixes matter for hostile media: "
            "update it when you can (it runs jailed meanwhile)"
        )
    if lacking:
        notes.append(f"renditions that need {', '.join(lacking)} will be refused")
    level: Level = "warning" if notes else "ok"
    meaning = "; ".join(notes) or "current, with every encoder renditions use"
    return Finding(name="ffmpeg", level=level, found=text, meaning=meaning, needed=False)


def libav_finding(found: Libav) -> Finding:
    """Whether the PyAV here can cut."""
    text = f"PyAV {found.pyav}, libavcodec {found.libavcodec}"
    if "libx264" in found.lacking:
        meaning = "no libx264, so edges cannot be re-encoded: pip install --force-reinstall av"
        return Finding(name="PyAV", level="missing", found=text, meaning=meaning)
    if found.lacking:
        meaning = f"no {', '.join(found.lacking)}: exact clips of such streams are refused"
        return Finding(name="PyAV", level="warning", found=text, meaning=meaning)
    return Finding(name="PyAV", level="ok", found=text, meaning="cuts H.264 and HEVC exactly")


def jail_finding(status: JailStatus, *, allow_unjailed: bool) -> Finding:
    """How far media can be confined here."""
    uid = {
        "dropped": "uid dropped",
        "own": "own uid",
        "kept": "uid kept, capabilities dropped",
    }[status.uid]
    text = f"Landlock ABI {status.landlock_abi or 'none'}, "
    text += f"seccomp {'yes' if status.seccomp else 'no'}, {uid}"
    if status.complete:
        meaning = "media is opened in a jail without network or other files"
        return Finding(name="jail", level="ok", found=text, meaning=meaning)
    lacks = " and ".join(status.missing)
    if allow_unjailed:
        meaning = f"{lacks} missing and allowed: hostile media can reach what this user can"
        return Finding(name="jail", level="warning", found=text, meaning=meaning)
    meaning = (
        f"{lacks} missing: use Linux 5.13 or newer, or accept the risk with "
        "CUTTINGROOM_ALLOW_UNJAILED=true"
    )
    return Finding(name="jail", level="missing", found=text, meaning=meaning)


def disk_finding(folder: Path, free_bytes: int) -> Finding:
    """Whether there is room to work."""
    text = f"{free_bytes / GIB:.1f} GiB free at {folder}"
    if free_bytes < _NO_DISK:
        return Finding(name="disk", level="missing", found=text, meaning="too little: make room")
    if free_bytes < _LOW_DISK:
        meaning = "short: a job wants three times its clip free"
        return Finding(name="disk", level="warning", found=text, meaning=meaning)
    return Finding(name="disk", level="ok", found=text, meaning="room for clips")


def open_files_finding(limit: int) -> Finding:
    """Whether enough files and connections can be open at once."""
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES:
        text = "no limit" if limit == resource.RLIM_INFINITY else str(limit)
        return Finding(
            name="open files", level="ok", found=text, meaning="enough for the gateway and workers"
        )
    meaning = f"low: raise it with ulimit -n {OPEN_FILES} or the gateway refuses clients early"
    return Finding(
        name="open files", level="warning", found=str(limit), meaning=meaning, needed=False
    )


def _ffmpeg(setting: str | None, search_path: str) -> Finding:
    try:
        found = ffmpegs.locate(setting, search_path=search_path)
    except UnsupportedMedia as error:
        return Finding(name="ffmpeg", level="missing", found="set, unusable", meaning=error.message)
    if found is not None:
        return ffmpeg_finding(found)
    meaning = f"clips work without it, renditions do not: {_INSTALL_FFMPEG}"
    return Finding(name="ffmpeg", level="missing", found="none", meaning=meaning, needed=False)


def _libav() -> Finding:
    try:
        return libav_finding(libav())
    except UnsupportedMedia as error:
        meaning = f"{error.message}: pip install 'av>=18.1,<19'"
        return Finding(name="PyAV", level="missing", found="none", meaning=meaning)


def _redis(settings: Settings, search_path: str) -> Finding:
    if "redis_url" in settings.model_fields_set:
        return _given_redis(settings.redis_url.get_secret_value())
    found = find_server(search_path)
    if found is None:
        meaning = f"`cuttingroom clip` works without it, the service does not: {_INSTALL_REDIS}"
        return Finding(name="Redis", level="missing", found="none", meaning=meaning)
    where = "embedded" if found.origin == "package" else str(found.path)
    return Finding(
        name="Redis",
        level="ok",
        found=f"{found.spelled} ({where})",
        meaning="started and stopped with the service, its data kept in the data folder",
    )


def _rclone(settings: Settings, search_path: str) -> tuple[Finding, ...]:
    """Only of interest where back ends are listed for it."""
    if not settings.rclone_backends:
        return ()
    if settings.rclone_socket is not None:
        there = Path(settings.rclone_socket).is_socket()
        meaning = "connectors use it" if there else "nothing listens at CUTTINGROOM_RCLONE_SOCKET"
        level: Level = "ok" if there else "missing"
        return (Finding(name="rclone", level=level, found="set", meaning=meaning, needed=False),)
    found = find_rclone(search_path)
    if found is None:
        meaning = "its connectors do not work: pip install 'cuttingroom[rclone]'"
        return (
            Finding(name="rclone", level="missing", found="none", meaning=meaning, needed=False),
        )
    meaning = "started and stopped with the service, on a socket of its own"
    return (Finding(name="rclone", level="ok", found=str(found), meaning=meaning, needed=False),)


def _given_redis(url: str) -> Finding:
    try:
        with translated():
            client = connection(url)
            info = {**client.info("server"), **client.info("memory"), **client.info("persistence")}
            client.close()
    except CuttingRoomError as error:
        meaning = f"{error.message}: start it or correct CUTTINGROOM_REDIS_URL"
        return Finding(name="Redis", level="missing", found="set, no answer", meaning=meaning)
    except ValueError:
        meaning = "correct CUTTINGROOM_REDIS_URL: it reads redis://[:password@]host:port/db"
        return Finding(name="Redis", level="missing", found="set, not a URL", meaning=meaning)
    return redis_finding({str(key): str(value) for key, value in info.items()})


def redis_finding(info: dict[str, str]) -> Finding:
    """What a server of the operator's own means for accepted jobs, from its INFO."""
    text = f"{info.get('server_name', 'redis')} {info.get('redis_version', 'of unknown version')}"
    notes = []
    if info.get("maxmemory_policy", "noeviction") != "noeviction":
        notes.append("it may evict accepted jobs: set maxmemory-policy noeviction")
    if info.get("aof_enabled", "1") == "0":
        notes.append("a restart loses accepted jobs: set appendonly yes")
    level: Level = "warning" if notes else "ok"
    meaning = "; ".join(notes) or "keeps accepted jobs through a restart"
    return Finding(name="Redis", level=level, found=text, meaning=meaning)


def _disk(folder: Path) -> Finding:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return disk_finding(existing, shutil.disk_usage(existing).free)


def _shared_memory(folder: Path) -> Finding:
    if os.access(folder, os.W_OK) or not sys.platform.startswith("linux"):
        return Finding(name=str(folder), level="ok", found="writable", meaning="workers can start")
    meaning = "workers start their processes with it: mount a tmpfs there"
    return Finding(name=str(folder), level="missing", found="not writable", meaning=meaning)


def _table(found: tuple[Finding, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "found", "which means"):
        table.add_column(heading, overflow="fold")
    for finding in found:
        level = f"[{_STYLES[finding.level]}]{finding.level}[/]"
        table.add_row(level, finding.name, escape(finding.found), escape(finding.meaning))
    return table


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
