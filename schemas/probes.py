"""What a probe found of a file, as jobs tell it and as it is read again."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic.alias_generators import to_camel, to_snake

from schemas.base import WireValue
from schemas.localized import Validators
from schemas.media import MediaInfo


class ProbeFailure(WireValue):
    """Why nothing can be said of a file."""

    code: str
    message: str


class Probed(WireValue):
    """What a file holds, or why that cannot be said, and of which version."""

    media: dict[str, Any] | None = None
    failure: ProbeFailure | None = None
    validators: Validators
    read_bytes: int = Field(ge=0)

    @property
    def info(self) -> MediaInfo | None:
        """What the file holds, where it could be read."""
        return None if self.media is None else read_back(self.media)


def spelled(media: MediaInfo) -> dict[str, Any]:
    """What a file holds, with names as the contract spells them."""
    told = media.model_dump(mode="json")
    streams = [{to_camel(k): v for k, v in stream.items()} for stream in told["streams"]]
    return {to_camel(k): v for k, v in told.items()} | {"streams": streams}


def read_back(told: dict[str, Any]) -> MediaInfo:
    """What was spelled before.

    >>> media = MediaInfo(container="mp4", size=1, duration_ms=None, streams=())
    >>> read_back(spelled(media)) == media
    True
    """
    streams = [{to_snake(k): v for k, v in stream.items()} for stream in told["streams"]]
    return MediaInfo.model_validate(
        {to_snake(k): v for k, v in told.items()} | {"streams": streams}
    )
