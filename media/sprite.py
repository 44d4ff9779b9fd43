"""Pictures out of media, taken by a jailed child."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from media.jail import Jail
from media.process import Control, ForkServer, OnProgress
from schemas.errors import CorruptMedia
from schemas.plans import TakePictures
from schemas.thumbnails import Pictures

# Twice real time of what is looked through, and never less than two minutes.
LEAST_LIMIT_S = 120.0


def take_pictures(
    server: ForkServer,
    workspace: Path,
    step: TakePictures,
    *,
    on_progress: OnProgress | None = None,
    control: Control | None = None,
) -> Pictures:
    """Carry out the step in a workspace that holds its sources; the sheets are written there."""
    answer = server.call(
        "media.sprite_child:take",
        step,
        jail=Jail(workspace=workspace),
        limit_s=max(LEAST_LIMIT_S, 2 * step.span_ms / 1000),
        on_progress=on_progress,
        control=control,
        stall_s=None,
    )
    try:
        return Pictures.model_validate(answer)
    except ValidationError as error:
        raise CorruptMedia("the answer about the pictures makes no sense") from error
