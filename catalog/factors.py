"""The repository of second factors: sealed TOTP secrets, and codes for when the phone is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import CursorResult, delete, func, select, update
from sqlalchemy.orm import Session

from catalog.challenges import code_hash
from catalog.models import RecoveryCodeRow, UserRow
from schemas.accounts import TotpState
from schemas.errors import NotFound


class Factors:
    """Second factors of a tenant's users."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def state(self, tenant_id: str, user_id: str) -> TotpState:
        """What is kept of a user's factor."""
        row = self._row(tenant_id, user_id)
        return TotpState(
            sealed=row.sealed_totp,
            sealed_pending=row.sealed_totp_pending,
            last_step=row.totp_last_step,
        )

    def propose(self, tenant_id: str, user_id: str, sealed: str) -> None:
        """Keep a secret that has not been confirmed; the one in force stays in force."""
        self._row(tenant_id, user_id).sealed_totp_pending = sealed

    def confirm(
        self, tenant_id: str, user_id: str, step: int, recovery_codes: Iterable[str]
    ) -> None:
        """Put the proposed secret in force, with new recovery codes."""
        row = self._row(tenant_id, user_id)
        row.sealed_totp, row.sealed_totp_pending = row.sealed_totp_pending, None
        row.totp_last_step = step
        row.version += 1
        self._forget_codes(user_id)
        self._session.add_all(
            RecoveryCodeRow(user_id=user_id, hash=code_hash(code)) for code in recovery_codes
        )
        self._session.flush()

    def use_step(self, tenant_id: str, user_id: str, step: int) -> bool:
        """Note that a step was used; False where it, or a later one, was used before."""
        used = self._session.execute(
            update(UserRow)
            .where(UserRow.tenant_id == tenant_id, UserRow.id == user_id)
            .where(func.coalesce(UserRow.totp_last_step, -1) < step)
            .values(totp_last_step=step)
        )
        return _changed(used)

    def use_code(self, tenant_id: str, user_id: str, code: str) -> bool:
        """Use up a recovery code; False where it is none, or was used before."""
        self._row(tenant_id, user_id)
        used = self._session.execute(
            update(RecoveryCodeRow)
            .where(RecoveryCodeRow.user_id == user_id, RecoveryCodeRow.hash == code_hash(code))
            .where(RecoveryCodeRow.used_ms.is_(None))
            .values(used_ms=self._clock())
        )
        return _changed(used)

    def remove(self, tenant_id: str, user_id: str) -> None:
        """Forget a user's factor and its recovery codes."""
        row = self._row(tenant_id, user_id)
        row.sealed_totp = row.sealed_totp_pending = row.totp_last_step = None
        row.version += 1
        self._forget_codes(user_id)

    def _forget_codes(self, user_id: str) -> None:
        self._session.execute(delete(RecoveryCodeRow).where(RecoveryCodeRow.user_id == user_id))

    def _row(self, tenant_id: str, user_id: str) -> UserRow:
        row = self._session.scalar(
            select(UserRow).where(UserRow.tenant_id == tenant_id, UserRow.id == user_id)
        )
        if row is None:
            raise NotFound("no such user")
        return row


def _changed(result: object) -> bool:
    return isinstance(result, CursorResult) and result.rowcount == 1
