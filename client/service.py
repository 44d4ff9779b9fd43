"""What a service says of itself."""

from __future__ import annotations

from client.values import Told


class Version(Told):
    """Which service this is."""

    name: str
    version: str
    api: str


class Check(Told):
    """Whether one of the things a service needs answers."""

    ok: bool
    detail: str = ""


class Readiness(Told):
    """Whether a service can work, and what of it cannot."""

    ready: bool
    unjailed: bool = False
    checks: dict[str, Check] = {}
