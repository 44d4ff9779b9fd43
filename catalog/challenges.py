"""Repositories of what stands between a visitor and tokens: attempts, challenges, mailed codes."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog.accounts import normal_email
from catalog.ids import new_id
from catalog.models import AttemptRow, ChallengeRow, RecoveryRow
from catalog.tokens import digest, mint
from schemas.accounts import Challenge, ChallengeKind

TRIES = 5
CHALLENGE_MS = 10 * 60_000
RECOVERY_MS = 30 * 60_000
_CODE_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_CODE_LENGTH = 10
# A code that has run out is told apart from one nobody sent, for as long as a person may wait.
_REMEMBERED_MS = 24 * 3600_000


class Attempts:
    """Counters of what was tried in a row; a name is hashed, so it may be one nobody has."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def take(self, name: str, allowed: int, window_ms: int) -> int:
        """Count one attempt; 0 where it may be made, else the milliseconds until the next may.
        Counted before it is made, so that many at once are counted too."""
        now, key = self._clock(), digest(name)
        self._session.execute(delete(AttemptRow).where(AttemptRow.expires_ms <= now))
        row = self._row(key, now + window_ms)
        if row.count >= allowed:
            return row.expires_ms - now
        row.count += 1
        row.expires_ms = now + window_ms
        return 0

    def _row(self, key: str, expires_ms: int) -> AttemptRow:
        row = self._session.get(AttemptRow, key, with_for_update=True)
        if row is not None:
            return row
        try:
            with self._session.begin_nested():
                self._session.add(AttemptRow(name_hash=key, count=0, expires_ms=expires_ms))
        except IntegrityError:
            # Another attempt was first: wait for it, and count after it.
            pass
        return self._session.get_one(AttemptRow, key, with_for_update=True)

    def clear(self, name: str) -> None:
        """Forget the attempts, because one was right."""
        self._session.execute(delete(AttemptRow).where(AttemptRow.name_hash == digest(name)))


class Challenges:
    """Questions a log-in has to answer."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def ask(self, tenant_id: str, user_id: str, kind: ChallengeKind) -> str:
        """A new challenge; its handle is not kept."""
        now, minted = self._clock(), mint("crc")
        self._session.execute(
            delete(ChallengeRow).where(ChallengeRow.expires_ms < now - _REMEMBERED_MS)
        )
        self._session.add(
            ChallengeRow(
                hash=minted.hash,
                tenant_id=tenant_id,
                user_id=user_id,
                kind=kind,
                tries_left=TRIES,
                expires_ms=now + CHALLENGE_MS,
            )
        )
        self._session.flush()
        return minted.token

    def take(self, token: str, kind: ChallengeKind) -> Challenge | None:
        """Use up one try of a challenge; None where there is no such challenge."""
        row = self._session.get(ChallengeRow, digest(token), with_for_update=True)
        if row is None or row.kind != kind:
            return None
        expired = row.expires_ms <= self._clock() or row.tries_left <= 0
        row.tries_left = max(0, row.tries_left - 1)
        return Challenge(
            tenant_id=row.tenant_id,
            user_id=row.user_id,
            kind=kind,
            tries_left=row.tries_left,
            expired=expired,
        )

    def done(self, token: str) -> None:
        """Forget a challenge that was answered."""
        self._session.execute(delete(ChallengeRow).where(ChallengeRow.hash == digest(token)))


class Recoveries:
    """Codes that were mailed, and rows that stand for addresses nobody has."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def open(self, email: str, user_id: str | None) -> str:
        """A new code for a user; without one, a code that nobody will ever be sent."""
        now, code = self._clock(), new_code()
        self._session.execute(
            delete(RecoveryRow).where(RecoveryRow.expires_ms < now - _REMEMBERED_MS)
        )
        self._session.add(
            RecoveryRow(
                id=new_id("rec", now),
                email_hash=_email_hash(email),
                user_id=user_id,
                code_hash=code_hash(code),
                tries_left=TRIES,
                expires_ms=now + RECOVERY_MS,
            )
        )
        self._session.flush()
        return code

    def redeem(self, email: str, code: str, allowed: frozenset[str]) -> str | None:
        """The user of `allowed` a code was sent to, once; None where it is wrong.
        LookupError where codes were sent but all have run out."""
        rows = list(
            self._session.scalars(
                select(RecoveryRow)
                .where(RecoveryRow.email_hash == _email_hash(email))
                .with_for_update()
            )
        )
        living = [r for r in rows if r.tries_left > 0 and r.expires_ms > self._clock()]
        if rows and not living:
            raise LookupError
        user_id = None
        for row in living:
            row.tries_left -= 1
            fits = hmac.compare_digest(row.code_hash, code_hash(code))
            if fits and row.user_id in allowed:
                user_id = row.user_id
        return user_id

    def close(self, email: str) -> None:
        """No code that was sent to an address is good any more."""
        self._session.execute(
            delete(RecoveryRow).where(RecoveryRow.email_hash == _email_hash(email))
        )


def new_code() -> str:
    """A code that a person can type: fifty random bits."""
    return "".join(secrets.choice(_CODE_LETTERS) for _ in range(_CODE_LENGTH))


def code_hash(code: str) -> str:
    """What is kept of a code; case, spaces and dashes do not matter."""
    return digest("".join(letter for letter in code.upper() if letter.isalnum()))


def _email_hash(email: str) -> str:
    return digest(normal_email(email))
