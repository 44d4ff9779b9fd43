"""The repository of the audit log: entries are added and read, never changed."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from catalog.ids import new_id
from catalog.models import AuditRow
from schemas.accounts import AuditEntry
from schemas.base import Value

_MAX_AGENT = 200
_MAX_TARGET = 400


class AuditFilter(Value):
    """Which entries are asked for; `from_ms` is in, `to_ms` is out."""

    subject: str | None = None
    action: str | None = None
    from_ms: int | None = None
    to_ms: int | None = None


class Audit:
    """The audit log of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def add(
        self,
        tenant_id: str,
        subject: str,
        action: str,
        *,
        target: str | None = None,
        address: str | None = None,
        agent: str | None = None,
        detail: dict[str, str] | None = None,
    ) -> None:
        """Write down who did what, and from where."""
        now = self._clock()
        row = AuditRow(
            id=new_id("aud", now),
            tenant_id=tenant_id,
            occurred_ms=now,
            subject=subject,
            action=action,
            target=_storable(target, _MAX_TARGET),
            address=address,
            agent=_storable(agent, _MAX_AGENT),
            detail=detail or {},
        )
        self._session.add(row)
        self._session.flush()

    def page(
        self, tenant_id: str, before: str | None, limit: int, wanted: AuditFilter
    ) -> tuple[AuditEntry, ...]:
        """Up to `limit` entries, the newest first, before an id."""
        query = select(AuditRow).where(AuditRow.tenant_id == tenant_id)
        if before is not None:
            query = query.where(AuditRow.id < before)
        if wanted.subject is not None:
            query = query.where(AuditRow.subject == wanted.subject)
        if wanted.action is not None:
            query = query.where(AuditRow.action == wanted.action)
        if wanted.from_ms is not None:
            query = query.where(AuditRow.occurred_ms >= wanted.from_ms)
        if wanted.to_ms is not None:
            query = query.where(AuditRow.occurred_ms < wanted.to_ms)
        rows = self._session.scalars(query.order_by(AuditRow.id.desc()).limit(limit))
        return tuple(_entry(row) for row in rows)


def _storable(text: str | None, length: int) -> str | None:
    # PostgreSQL refuses NUL in text.
    return None if text is None else text.replace("\0", "\ufffd")[:length]


def _entry(row: AuditRow) -> AuditEntry:
    names = AuditEntry.model_fields
    return AuditEntry.model_validate({name: getattr(row, name) for name in names})
