"""Connectors: other people's storage, streams and guides, and what they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from client.calls import PAGE, Calls, Page, pages_of
from client.transport import Reply
from client.values import UNSET, Given, Moment, Resource, Told, epoch_ms, given, present, read
from schemas.connectors import Capability

Sort = Literal["name", "-name", "modified", "-modified", "size", "-size"]


class ConnectorType(Told):
    """A kind of connector, with the JSON Schemas of what one is told."""

    type: str
    capabilities: tuple[str, ...]
    config: dict[str, Any]
    auth: dict[str, Any]


class Connector(Resource):
    """A connector; its secrets are shown as `***`."""

    id: str
    type: str
    name: str
    config: dict[str, Any]
    auth: dict[str, Any]
    capabilities: tuple[str, ...]
    localized: bool
    created_at: str
    updated_at: str
    deleted_at: str | None = None
    links: dict[str, str] = {}


class CapabilityCheck(Told):
    """Whether one capability works."""

    capability: str
    works: bool
    code: str
    detail: str
    latency_ms: int


class AuthCheck(Told):
    """Whether a connector is let in, and what of it works."""

    valid: bool
    code: str
    detail: str
    latency_ms: int
    capabilities: tuple[str, ...]
    checks: tuple[CapabilityCheck, ...] = ()


class Found(Told):
    """A file, folder or channel."""

    file_id: str
    name: str
    kind: str
    size: int | None = None
    duration_ms: int | None = None
    modified_at: str | None = None
    content_type: str | None = None
    thumbnail_url: str | None = None
    localized: bool = False


class Reference(Told):
    """A channel made of a stretch of another, by reference to media its store has."""

    channel_id: str
    name: str
    start: str
    end: str
    start_ms: int
    end_ms: int
    objects: int
    links: dict[str, str] = {}


class Probe(Told):
    """How far it is known what a file holds."""

    state: str
    code: str | None = None
    message: str | None = None


class Source(Told):
    """A file at its source; `url` may be a credential until `url_expires_at`."""

    file_id: str
    name: str
    kind: str
    content_type: str | None = None
    url: str | None = None
    url_expires_at: str | None = None
    size: int | None = None
    modified_at: str | None = None
    duration_ms: int | None = None
    container: str | None = None
    streams: tuple[dict[str, Any], ...] | None = None
    start_timecode: str | None = None
    localized: bool = False
    probe: Probe
    links: dict[str, str] = {}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return ((name, value) for name, value in super().__repr_args__() if name != "url")


class Connectors:
    """The tenant's connectors."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def types(self) -> tuple[ConnectorType, ...]:
        """Every kind there is."""
        page = self._calls.value(Page, "listConnectorTypes")
        return tuple(read(ConnectorType, item) for item in page.items)

    def list(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the contract's word
        capability: Capability | None = None,
        with_localized: bool | None = None,
    ) -> Iterator[Connector]:
        """The tenant's connectors; `with_localized` adds deleted ones whose content is held."""
        query = {"type": type, "capability": capability, "withLocalized": with_localized}
        return self._calls.pages(Connector, "listConnectors", query=query)

    def create(
        self,
        type: str,  # noqa: A002 - the contract's word
        name: str,
        config: Mapping[str, Any] | None = None,
        auth: Mapping[str, Any] | None = None,
    ) -> Connector:
        """Set up a connector."""
        body = present(type=type, name=name, config=config, auth=auth)
        return self._calls.value(Connector, "createConnector", body=body)

    def get(self, connector_id: str) -> Connector:
        """One connector."""
        return self._calls.value(Connector, "getConnector", {"id": connector_id})

    def update(
        self,
        connector_id: str,
        *,
        name: str | Given = UNSET,
        config: Mapping[str, Any] | Given = UNSET,
        auth: Mapping[str, Any] | Given = UNSET,
        if_match: str | None = None,
    ) -> Connector:
        """Merge changes in; secrets that are left out stay."""
        return self._calls.value(
            Connector,
            "updateConnector",
            {"id": connector_id},
            body=given(name=name, config=config, auth=auth),
            headers={"If-Match": if_match},
        )

    def delete(
        self, connector_id: str, *, force: bool | None = None, if_match: str | None = None
    ) -> None:
        """Delete a connector; localized content stays. `force`: also where jobs run."""
        self._calls.reply(
            "deleteConnector",
            {"id": connector_id},
            query={"force": force},
            headers={"If-Match": if_match},
        )

    def check_auth(self, connector_id: str, auth: Mapping[str, Any] | None = None) -> AuthCheck:
        """Try each capability with the connector's credentials, or with these."""
        at, body = {"id": connector_id}, present(auth=auth)
        return self._calls.value(AuthCheck, "checkConnectorAuth", at, body=body)

    def query(
        self,
        connector_id: str,
        text: str | None = None,
        *,
        filters: Mapping[str, Any] | None = None,
        path: str | None = None,
        sort: Sort | None = None,
    ) -> Iterator[Found]:
        """What a connector holds, page by page: `text` in names below `path`."""
        body = present(text=text, filters=filters, path=path, sort=sort, limit=PAGE)

        def ask(cursor: str | None) -> Reply:
            asked = body | present(cursor=cursor)
            return self._calls.reply("queryConnector", {"id": connector_id}, body=asked)

        return pages_of(Found, ask)

    def source(self, connector_id: str, file_id: str) -> Source:
        """A file at its source: a URL for a while, and what it holds."""
        at = {"id": connector_id, "fileId": file_id}
        return self._calls.value(Source, "getSource", at, query={"format": "json"})

    def source_xmp(self, connector_id: str, file_id: str) -> bytes:
        """The XMP packet of a file."""
        at = {"id": connector_id, "fileId": file_id}
        said = {"Accept": "application/rdf+xml"}
        return self._calls.reply("getSource", at, query={"format": "xmp"}, headers=said).data

    def keep_reference(
        self, connector_id: str, channel_id: str, name: str, start: Moment, end: Moment
    ) -> Reference:
        """Keep a stretch of a channel at its own store, which fetches and copies nothing."""
        span = {"startMs": epoch_ms(start), "endMs": epoch_ms(end)}
        at, body = {"id": connector_id, "channelId": channel_id}, {"name": name, "range": span}
        return self._calls.value(Reference, "createReference", at, body=body)
