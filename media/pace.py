"""How the packets of a file are paced, found by reading all of them in a jailed child."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from media.jail import Jail
from media.probe import recognised
from media.process import Control, ForkServer, Progress
from schemas.base import Value
from schemas.errors import CorruptMedia
from schemas.renditions import Pace

PACE_LIMIT_S = 3600.0


class PaceRequest(Value):
    """One file to read through, with the demuxer that was sniffed."""

    path: str
    demuxer: str
    size: int


def pace(
    server: ForkServer,
    path: Path,
    *,
    jail: Jail,
    on_progress: Callable[[float], None] | None = None,
    control: Control | None = None,
) -> Pace:
    """The pace of every timed stream; raises CorruptMedia where packets cannot be read."""
    _, demuxer = recognised(path)
    request = PaceRequest(path=str(path.resolve()), demuxer=demuxer, size=path.stat().st_size)
    answer = server.call(
        "media.pace_child:pace",
        request,
        jail=jail.model_copy(update={"reads": (*jail.reads, path.resolve())}),
        limit_s=PACE_LIMIT_S,
        on_progress=None if on_progress is None else _told(on_progress),
        control=control,
    )
    try:
        return Pace.model_validate(answer)
    except ValidationError as error:
        raise CorruptMedia("the pace of the file makes no sense") from error


def _told(tell: Callable[[float], None]) -> Callable[[Progress], None]:
    def listen(said: Progress) -> None:
        done = said.get("done")
        if isinstance(done, int | float):
            tell(min(1.0, max(0.0, float(done))))

    return listen
