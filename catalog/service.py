"""Repositories of what belongs to no tenant: signing keys, invitations, reports of deletions."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from catalog.models import AuditRow, Base, DeletionRow, InvitationRow, SigningKeyRow, TenantRow
from catalog.tokens import digest, mint
from schemas.accounts import DeletionReport, SigningKey


class SigningKeys:
    """The keys of access tokens."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def living(self, retired_after_ms: int) -> tuple[SigningKey, ...]:
        """Every key in use, or retired after an instant; the newest first."""
        rows = self._session.scalars(
            select(SigningKeyRow)
            .where(
                SigningKeyRow.retired_ms.is_(None) | (SigningKeyRow.retired_ms > retired_after_ms)
            )
            .order_by(SigningKeyRow.created_ms.desc(), SigningKeyRow.kid.desc())
        )
        return tuple(_signing_key(row) for row in rows)

    def add(self, kid: str, sealed: str, public: dict[str, str]) -> None:
        """A new key; every older one is retired."""
        now = self._clock()
        for row in self._session.scalars(
            select(SigningKeyRow).where(SigningKeyRow.retired_ms.is_(None))
        ):
            row.retired_ms = now
        self._session.add(SigningKeyRow(kid=kid, sealed=sealed, public=public, created_ms=now))
        self._session.flush()

    def forget(self, retired_before_ms: int) -> None:
        """Drop keys that no living token was signed with."""
        self._session.execute(
            delete(SigningKeyRow).where(SigningKeyRow.retired_ms < retired_before_ms)
        )


class Invitations:
    """Leave to make a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def make(self, email: str | None, lives_ms: int) -> str:
        """A new invitation, for one address or whoever holds it; its code is not kept."""
        now, minted = self._clock(), mint("cri")
        self._session.add(
            InvitationRow(
                hash=minted.hash,
                email=email.strip().lower() if email else None,
                created_ms=now,
                expires_ms=now + lives_ms,
            )
        )
        self._session.flush()
        return minted.token

    def use(self, code: str, email: str) -> bool:
        """Use an invitation up; False where it is unknown, used, expired or another's."""
        row = self._session.get(InvitationRow, digest(code), with_for_update=True)
        if row is None or row.used_ms is not None or row.expires_ms <= self._clock():
            return False
        if row.email is not None and row.email != email.strip().lower():
            return False
        row.used_ms = self._clock()
        return True


class Deletions:
    """Tenants that are no more."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def purge(self, tenant_id: str) -> tuple[int, dict[str, int]] | None:
        """Delete every row of a tenant; when it was asked for, and how many there were by table.
        None where it is not due: somebody else deleted it, or took it back."""
        tenant = self._session.get(TenantRow, tenant_id, with_for_update=True)
        if tenant is None or tenant.deletion_due_ms is None:
            return None
        if tenant.deletion_due_ms > self._clock():
            return None
        asked_ms, counts = tenant.deletion_asked_ms or self._clock(), self._counts(tenant_id)
        # The audit log may only go once its tenant is gone: the database sees to that.
        self._session.execute(delete(TenantRow).where(TenantRow.id == tenant_id))
        self._session.execute(delete(AuditRow).where(AuditRow.tenant_id == tenant_id))
        return asked_ms, counts

    def report(self, report: DeletionReport) -> None:
        """Keep what was deleted."""
        self._session.add(DeletionRow(**report.model_dump()))
        self._session.flush()

    def reports(self) -> tuple[DeletionReport, ...]:
        """Every report, the newest first."""
        rows = self._session.scalars(select(DeletionRow).order_by(DeletionRow.finished_ms.desc()))
        names = DeletionReport.model_fields
        return tuple(
            DeletionReport.model_validate({n: getattr(row, n) for n in names}) for row in rows
        )

    def _counts(self, tenant_id: str) -> dict[str, int]:
        tables = [t for t in Base.metadata.sorted_tables if "tenant_id" in t.columns]
        found = {
            table.name: self._session.scalar(
                select(func.count()).select_from(table).where(table.c.tenant_id == tenant_id)
            )
            for table in tables
            if table.name != DeletionRow.__tablename__
        }
        return {name: count for name, count in found.items() if count}


def _signing_key(row: SigningKeyRow) -> SigningKey:
    return SigningKey(
        kid=row.kid,
        sealed=row.sealed,
        public=row.public,
        created_ms=row.created_ms,
        retired_ms=row.retired_ms,
    )
