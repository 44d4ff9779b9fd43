"""HLS origins, live and on demand: where a channel's playlist is, and its bytes."""

from __future__ import annotations

from connectors._playlists import MAX_PLAYLIST_BYTES, Auth, Config, PlaylistOrigin
from connectors.base import ConnectorEnv
from connectors.egress import redacted
from schemas.connectors import Capability
from schemas.errors import CorruptMedia

__all__ = ["IDENTITY", "TYPE", "Auth", "Config", "HlsConnector", "connect"]

TYPE = "hls"
IDENTITY = ("url", "channels")


class HlsConnector(PlaylistOrigin):
    """Channels of an HLS origin."""

    def check(self, capability: Capability | None = None) -> None:
        """Fetch the first playlist, and see that it is one."""
        url = self.urls()[0]
        body = self.fetch(url, max_bytes=MAX_PLAYLIST_BYTES)
        if not body.data.removeprefix(b"\xef\xbb\xbf").startswith(b"#EXTM3U"):
            raise CorruptMedia(f"{redacted(url)} is not an HLS playlist")


def connect(config: Config, auth: Auth, env: ConnectorEnv) -> HlsConnector:
    """The connector; nothing is fetched yet."""
    return HlsConnector(config, auth, env.egress)
