"""First answers by Idempotency-Key, kept for a day and sealed: some of them hold a secret."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog.models import AnswerRow
from schemas.errors import Conflict, UnderWay

KEPT_MS = 24 * 3600 * 1000


class Answers:
    """Answers of a tenant's requests."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def first(self, tenant_id: str, key: str, request_hash: str) -> str | None:
        """The sealed first answer; Conflict where the key came with another request."""
        row = self._session.get(AnswerRow, (tenant_id, key))
        if row is None or row.created_ms < self._clock() - KEPT_MS:
            return None
        if row.request_hash != request_hash:
            raise Conflict(
                "this Idempotency-Key was used with another request", code="idempotency_conflict"
            )
        return row.sealed

    def keep(self, tenant_id: str, key: str, request_hash: str, sealed: str) -> None:
        """Keep the answer; UnderWay where another request was faster."""
        now = self._clock()
        self._session.execute(delete(AnswerRow).where(AnswerRow.created_ms < now - KEPT_MS))
        self._session.add(
            AnswerRow(
                tenant_id=tenant_id,
                key=key,
                request_hash=request_hash,
                sealed=sealed,
                created_ms=now,
            )
        )
        try:
            self._session.flush()
        except IntegrityError as error:
            told = "a request with this Idempotency-Key is being answered; try again"
            raise UnderWay(told) from error
