"""Connectors as values: what a command carries of one, and where its output goes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from schemas.base import Value

Capability = Literal["lists", "reads", "writes", "live", "epg", "temp_credentials"]


class ConnectorRef(Value):
    """A connector as a job needs it: a snapshot, its secrets sealed for this tenant.

    `sealed_auth` opens only with the service's key ring and this tenant and connector id.
    """

    id: str
    tenant_id: str
    type: str
    config: dict[str, Any]
    sealed_auth: str | None = None


class Destination(Value):
    """Where output goes: a connector and a key below it, or the media store (`connector` None)."""

    connector: ConnectorRef | None = None
    key: str = Field(min_length=1, max_length=1024)
    content_type: str = "video/mp4"


class Published(Value):
    """What lies at the destination, as read back from it. `url` carries no credentials.

    `notes` says what differs from what was asked: a key made unique where the destination cannot
    refuse to overwrite.
    """

    destination: str
    key: str
    url: str
    size: int
    sha256: str
    etag: str | None = None
    notes: tuple[str, ...] = ()


class Connector(Value):
    """A connector as its tenant keeps it; `version` counts changes, times are epoch milliseconds.

    `fingerprint` names tenant, type and identifying config without secrets: an equal connector
    made later maps to the same content.
    """

    id: str
    tenant_id: str
    type: str
    name: str
    config: dict[str, Any]
    sealed_auth: str | None = None
    fingerprint: str
    version: int = 1
    created_ms: int
    updated_ms: int
    deleted_ms: int | None = None

    @property
    def ref(self) -> ConnectorRef:
        """The snapshot a job carries."""
        return ConnectorRef(
            id=self.id,
            tenant_id=self.tenant_id,
            type=self.type,
            config=self.config,
            sealed_auth=self.sealed_auth,
        )
