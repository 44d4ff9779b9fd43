"""What a fileId means on a connector: a file, a channel, or a clip of one."""

from __future__ import annotations

from typing import NamedTuple

from api_gateway.deps import Gateway
from connectors.base import key_parts
from schemas import file_id as file_ids
from schemas.connectors import Connector
from schemas.errors import Unsupported
from schemas.file_id import ClipFileId


class Named(NamedTuple):
    """A fileId as it is kept, and the clip it means, where it means one."""

    file_id: str
    clip: ClipFileId | None


def named(deps: Gateway, connector: Connector, file_id: str) -> Named:
    """What is meant; refused where it could mean another place, or the type holds nothing."""
    clip = clip_of(deps, connector, file_id)
    return Named(file_id if clip is None else clip.canonical, clip)


def clip_of(deps: Gateway, connector: Connector, file_id: str) -> ClipFileId | None:
    """The clip a fileId means on a connector of channels; None where it is a file or channel."""
    capabilities = deps.registry.capabilities(connector.type)
    if "live" in capabilities and "/" in file_id:
        return file_ids.parse(file_id)
    if not capabilities & {"live", "reads"}:
        raise Unsupported(f"{connector.type} connectors hold no files")
    key_parts(file_id)
    return None
