"""The repository of connectors; the tenant is the first argument of every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog.ids import new_id
from catalog.models import ConnectorRow
from schemas.connectors import Connector
from schemas.errors import Conflict, NotFound


class Connectors:
    """Connectors of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def new_id(self) -> str:
        """An id for a connector to be: its secrets are sealed for it before it is stored."""
        return new_id("con", self._clock())

    def create(
        self,
        tenant_id: str,
        connector_id: str,
        *,
        kind: str,
        name: str,
        config: dict[str, Any],
        sealed_auth: str | None,
        fingerprint: str,
    ) -> Connector:
        """A new connector; Conflict `name_taken` where a live one has the name."""
        now = self._clock()
        row = ConnectorRow(
            id=connector_id,
            tenant_id=tenant_id,
            type=kind,
            name=name,
            config=config,
            sealed_auth=sealed_auth,
            fingerprint=fingerprint,
            created_ms=now,
            updated_ms=now,
            version=1,
        )
        self._session.add(row)
        self._flush(name)
        return _connector(row)

    def get(self, tenant_id: str, connector_id: str) -> Connector:
        """The connector, or NotFound."""
        return _connector(self._row(tenant_id, connector_id))

    def page(
        self,
        tenant_id: str,
        after: str | None,
        limit: int,
        *,
        types: frozenset[str] | None = None,
        deleted: frozenset[str] = frozenset(),
    ) -> tuple[Connector, ...]:
        """Up to `limit` connectors in the order they were made, after an id.

        Deleted ones too, where their fingerprint is among `deleted`.
        """
        there = ConnectorRow.deleted_ms.is_(None)
        query = select(ConnectorRow).where(
            ConnectorRow.tenant_id == tenant_id,
            or_(there, ConnectorRow.fingerprint.in_(deleted)) if deleted else there,
        )
        if after is not None:
            query = query.where(ConnectorRow.id > after)
        if types is not None:
            query = query.where(ConnectorRow.type.in_(types))
        rows = self._session.scalars(query.order_by(ConnectorRow.id).limit(limit))
        return tuple(_connector(row) for row in rows)

    def change(self, tenant_id: str, changed: Connector) -> Connector:
        """Store a changed connector; `changed.version` is the version it was read at."""
        row = self._row(tenant_id, changed.id)
        if row.version != changed.version:
            raise Conflict("the connector was changed meanwhile; read it again", code="stale")
        row.name, row.config = changed.name, changed.config
        row.sealed_auth, row.fingerprint = changed.sealed_auth, changed.fingerprint
        row.updated_ms = self._clock()
        row.version += 1
        self._flush(changed.name)
        return _connector(row)

    def delete(self, tenant_id: str, connector_id: str) -> None:
        """Delete a connector and its secrets; what is held under its fingerprint stays."""
        row = self._row(tenant_id, connector_id)
        row.deleted_ms = self._clock()
        row.sealed_auth = None
        row.version += 1
        self._session.flush()

    def _row(self, tenant_id: str, connector_id: str) -> ConnectorRow:
        row = self._session.scalar(
            select(ConnectorRow).where(
                ConnectorRow.tenant_id == tenant_id,
                ConnectorRow.id == connector_id,
                ConnectorRow.deleted_ms.is_(None),
            )
        )
        if row is None:
            raise NotFound("no such connector")
        return row

    def _flush(self, name: str) -> None:
        try:
            self._session.flush()
        except IntegrityError as error:
            raise Conflict(f"a connector is named {name!r} already", code="name_taken") from error


def _connector(row: ConnectorRow) -> Connector:
    return Connector(
        id=row.id,
        tenant_id=row.tenant_id,
        type=row.type,
        name=row.name,
        config=row.config,
        sealed_auth=row.sealed_auth,
        fingerprint=row.fingerprint,
        version=row.version,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        deleted_ms=row.deleted_ms,
    )
