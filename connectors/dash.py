"""DASH origins, live and on demand: where a channel's manifest (MPD) is, and its bytes."""

from __future__ import annotations

import re

from connectors._playlists import MAX_PLAYLIST_BYTES, Auth, Config, PlaylistOrigin
from connectors.base import ConnectorEnv, Presentation
from connectors.egress import redacted
from schemas.connectors import Capability
from schemas.errors import CorruptMedia

__all__ = ["IDENTITY", "TYPE", "Auth", "Config", "DashConnector", "connect"]

TYPE = "dash"
IDENTITY = ("url", "channels")
_MANIFEST = re.compile(rb"<(?:[A-Za-z][\w.-]{0,40}:)?MPD[\s>]")


class DashConnector(PlaylistOrigin):
    """Channels of a DASH origin."""

    def check(self, capability: Capability | None = None) -> None:
        """Fetch the first manifest, and see that it is one."""
        url = self.urls()[0]
        body = self.fetch(url, max_bytes=MAX_PLAYLIST_BYTES)
        if not _MANIFEST.search(body.data[:65_536].replace(b"\0", b"")):
            raise CorruptMedia(f"{redacted(url)} is not a DASH manifest")

    def presentation(self, url: str) -> Presentation:
        """Every playlist is a manifest."""
        return "dash"


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> DashConnector:
    """The connector; nothing is fetched yet."""
    return DashConnector(config, auth, env.egress)
