"""Where a clip lies in the media store, and under which name it is one and the same."""

from __future__ import annotations

from pipelines.clip_address import clip_key
from schemas.connectors import Connector
from schemas.file_id import ClipFileId


def media_key(connector: Connector, clip: ClipFileId) -> str:
    """The key of the clip's file."""
    return clip_key(connector.tenant_id, connector.fingerprint, clip)


def dedup_key(connector_id: str, channel_id: str, clip_id: str) -> str:
    """The name under which a clip exists once: its range is not part of it."""
    return f"clip\n{connector_id}\n{channel_id}\n{clip_id}"
