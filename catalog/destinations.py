"""The repository of Reporter destinations; the tenant is the first argument of every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog.destination_rows import DestinationRow
from catalog.ids import new_id
from schemas.errors import Conflict, NotFound
from schemas.uploads import ReporterDestination


class Destinations:
    """Destinations of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def create(
        self,
        tenant_id: str,
        *,
        name: str,
        connector_id: str | None,
        path_template: str,
        max_bytes: int | None,
        allowed_types: tuple[str, ...] | None,
    ) -> ReporterDestination:
        """A new destination; Conflict `name_taken` where one has the name."""
        now = self._clock()
        row = DestinationRow(
            id=new_id("dst", now),
            tenant_id=tenant_id,
            name=name,
            connector_id=connector_id,
            path_template=path_template,
            max_bytes=max_bytes,
            allowed_types=_listed(allowed_types),
            created_ms=now,
            updated_ms=now,
            version=1,
        )
        self._session.add(row)
        self._flush(name)
        return _destination(row)

    def get(self, tenant_id: str, destination_id: str) -> ReporterDestination:
        """The destination, or NotFound."""
        return _destination(self._row(tenant_id, destination_id))

    def page(
        self, tenant_id: str, after: str | None, limit: int
    ) -> tuple[ReporterDestination, ...]:
        """Up to `limit` destinations in the order they were made, after an id."""
        query = select(DestinationRow).where(DestinationRow.tenant_id == tenant_id)
        if after is not None:
            query = query.where(DestinationRow.id > after)
        rows = self._session.scalars(query.order_by(DestinationRow.id).limit(limit))
        return tuple(_destination(row) for row in rows)

    def change(self, changed: ReporterDestination) -> ReporterDestination:
        """Store a changed destination; `changed.version` is the version it was read at."""
        row = self._row(changed.tenant_id, changed.id)
        if row.version != changed.version:
            raise Conflict("the destination was changed meanwhile; read it again", code="stale")
        row.name, row.connector_id = changed.name, changed.connector_id
        row.path_template, row.max_bytes = changed.path_template, changed.max_bytes
        row.allowed_types = _listed(changed.allowed_types)
        row.updated_ms = self._clock()
        row.version += 1
        self._flush(changed.name)
        return _destination(row)

    def delete(self, tenant_id: str, destination_id: str) -> None:
        """Forget a destination; what was uploaded there stays."""
        self._session.delete(self._row(tenant_id, destination_id))
        self._session.flush()

    def _row(self, tenant_id: str, destination_id: str) -> DestinationRow:
        row = self._session.scalar(
            select(DestinationRow).where(
                DestinationRow.tenant_id == tenant_id, DestinationRow.id == destination_id
            )
        )
        if row is None:
            raise NotFound("no such destination")
        return row

    def _flush(self, name: str) -> None:
        try:
            self._session.flush()
        except IntegrityError as error:
            raise Conflict(f"a destination is named {name!r} already", code="name_taken") from error


def _listed(types: tuple[str, ...] | None) -> Any:
    return None if types is None else list(types)


def _destination(row: DestinationRow) -> ReporterDestination:
    return ReporterDestination(
        id=row.id,
        tenant_id=row.tenant_id,
        name=row.name,
        connector_id=row.connector_id,
        path_template=row.path_template,
        max_bytes=row.max_bytes,
        allowed_types=None if row.allowed_types is None else tuple(row.allowed_types),
        version=row.version,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
    )
