"""What a file holds, found out by a jailed child; ceilings are refusals, not surprises."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from media import sniff
from media.jail import Jail
from media.process import Control, ForkServer
from schemas.base import Value
from schemas.errors import CorruptMedia, SourceNotFound, UnsupportedMedia
from schemas.media import MediaInfo

PROBE_LIMIT_S = 60.0
_NEVER = {"hls": "a playlist", "dash": "a manifest", "ffconcat": "a playlist", "html": "a web page"}


class ProbeLimits(Value):
    """Ceilings past which media is refused, not tried."""

    max_streams: int = 64
    max_pixels: int = 8192 * 4320
    max_duration_ms: int = 48 * 3600 * 1000
    max_frame_rate: int = 300


class ProbeRequest(Value):
    """One file to probe with the demuxer that was sniffed; `edges` also decodes both ends."""

    path: str
    container: str
    demuxer: str
    size: int
    edges: bool = False
    limits: ProbeLimits = Field(default_factory=ProbeLimits)


def probe(
    server: ForkServer,
    path: Path,
    *,
    jail: Jail,
    edges: bool = False,
    limits: ProbeLimits | None = None,
    control: Control | None = None,
) -> MediaInfo:
    """What the file holds; with `edges`, both ends of it are decoded too.

    Raises CorruptMedia, UnsupportedMedia (a container we do not open), TooLarge (over a ceiling).
    """
    container, demuxer = recognised(path)
    request = ProbeRequest(
        path=str(path.resolve()),
        container=container,
        demuxer=demuxer,
        size=path.stat().st_size,
        edges=edges,
        limits=limits or ProbeLimits(),
    )
    within = jail.model_copy(update={"reads": (*jail.reads, path.resolve())})
    answer = server.call(
        "media.probe_child:probe", request, jail=within, limit_s=PROBE_LIMIT_S, control=control
    )
    try:
        return MediaInfo.model_validate(answer)
    except ValidationError as error:
        raise CorruptMedia("the probe's answer makes no sense") from error


def recognised(path: Path) -> tuple[sniff.Container, str]:
    """The container of a file and the demuxer to force, from its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(sniff.HEAD_BYTES)
    except FileNotFoundError as error:
        raise SourceNotFound(f"{path.name} is not there") from error
    container = sniff.sniff(head)
    if container is None:
        raise CorruptMedia("it begins like no media we know" if head else "the file is empty")
    demuxer = sniff.demuxer(container)
    if demuxer is None:
        raise UnsupportedMedia(f"it is {_NEVER.get(container, container)}, not media")
    return container, demuxer
