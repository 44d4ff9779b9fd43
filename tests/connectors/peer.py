"""What the conformance suite needs of a connector type: a real peer on this machine.

`tests/connectors/test_<type>.py` exports `PEERS`: by name, functions from a folder to a context
manager that yields a `Peer`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.base import Connector, ConnectorEnv
from connectors.egress import Egress, Limits
from connectors.registry import Registry
from connectors.sealing import Sealer, new_key
from schemas.connectors import ConnectorRef
from schemas.settings import Settings
from schemas.times import TimeRange

LOOPBACK = ("127.0.0.0/8",)
FILES = {
    "clips/first.mp4": bytes(range(256)) * 40,
    "clips/second.mp4": b"second",
    "clips/a name, with ünusual & %20 letters.mp4": b"third",
    "top.txt": b"top",
}
NOW_MS = 1_700_000_000_000
WANTED = TimeRange(start_ms=NOW_MS - 20_000, end_ms=NOW_MS - 10_000)


@dataclass(frozen=True)
class Peer:
    """A system that holds `FILES`, or a channel; `bad_auth` is one it must refuse.

    `wanted` is a range of the channel that a system which shifts time still keeps.
    """

    config: dict[str, Any]
    auth: dict[str, Any] = field(default_factory=dict)
    bad_auth: dict[str, Any] | None = None
    settings: Settings = field(default_factory=Settings)
    channel: str | None = None
    wanted: TimeRange = WANTED


PeerMaker = Callable[[Path], AbstractContextManager[Peer]]


def env_for(settings: Settings, egress: Egress | None = None) -> ConnectorEnv:
    """A connector's world: loopback allowed, patience short, the clock standing."""
    limits = Limits(connect_timeout_s=3, idle_timeout_s=5, header_timeout_s=5)
    client = egress or Egress(allow_cidrs=LOOPBACK, limits=limits)
    return ConnectorEnv(egress=client, settings=settings, clock=lambda: NOW_MS)


def opened(
    kind: str,
    peer: Peer,
    auth: dict[str, Any] | None = None,
    env: ConnectorEnv | None = None,
) -> Connector:
    """The connector as the product opens it: by the registry, its auth sealed before."""
    registry, sealer = Registry.discover(), Sealer(new_key())
    secrets = registry.get(kind).parse_auth(peer.auth if auth is None else auth)
    ref = ConnectorRef(
        id="c1",
        tenant_id="t1",
        type=kind,
        config=peer.config,
        sealed_auth=sealer.seal_auth("t1", "c1", secrets),
    )
    return registry.open(ref, sealer, env or env_for(peer.settings))
