"""What handlers and gatherings use of the world outside: connectors, media tools, settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from connectors.base import ConnectorEnv, Epg, Live, Reads, TempCredentials, Writes
from connectors.registry import Registry
from connectors.sealing import Sealer
from media.process import ForkServer
from schemas.connectors import Capability, ConnectorRef, Destination
from schemas.settings import Settings
from store.epg import Guides
from store.localized import Localized
from store.pacing import Pacing
from workers.run import Run


@dataclass(frozen=True)
class World:
    """Put together once by a composition root; safe to share between threads.

    `localized` is the index of localized files and `pacing` what keeps connectors' rates, None in
    a process without Redis.
    """

    settings: Settings
    registry: Registry
    sealer: Sealer
    env: ConnectorEnv
    media: ForkServer
    media_store: Writes
    guides: Guides
    localized: Localized | None = None
    pacing: Pacing | None = None

    def live(self, ref: ConnectorRef) -> Live:
        """The connector as a source of channels, or `Unsupported`."""
        return cast("Live", self._open(ref, "live"))

    def reads(self, ref: ConnectorRef) -> Reads:
        """The connector as a source of files, or `Unsupported`."""
        return cast("Reads", self._open(ref, "reads"))

    def epg(self, ref: ConnectorRef) -> Epg:
        """The connector as a source of programme guides, or `Unsupported`."""
        return cast("Epg", self._open(ref, "epg"))

    def writes(self, to: Destination) -> Writes:
        """Where output goes: a connector, or the media store where none is named."""
        if to.connector is None:
            return self.media_store
        return cast("Writes", self._open(to.connector, "writes"))

    def uploads(self, to: Destination) -> TempCredentials:
        """What takes clients' uploads: a connector, or the media store where none is named."""
        if to.connector is None:
            return cast("TempCredentials", self.media_store)
        return cast("TempCredentials", self._open(to.connector, "temp_credentials"))

    def _open(self, ref: ConnectorRef, capability: Capability) -> object:
        self.registry.require(ref.type, capability)
        return self.registry.open(ref, self.sealer, self.env)


def world_of(run: Run) -> World:
    """The run's world, which the composition root made."""
    return cast("World", run.world)
