"""The repository of log-ins and their refresh tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session as SqlSession

from catalog.ids import new_id
from catalog.models import RefreshTokenRow, SessionRow, TenantRow, UserRow
from catalog.tokens import Minted, digest, mint
from schemas.accounts import Role, Session, SessionCheck

_PREFIX = "crr"


class Refreshed(NamedTuple):
    """What came of a refresh token: a session with a new token, or why there is none."""

    session: Session | None
    token: str = ""
    reused: bool = False


class SsoLink(NamedTuple):
    """What a provider knows a session by."""

    subject: str
    session: str | None
    sealed_id_token: str


class Sessions:
    """Sessions of a tenant's users."""

    def __init__(self, session: SqlSession, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def new_id(self) -> str:
        """An id for a session to be: what is sealed for it is sealed before it is stored."""
        return new_id("ses", self._clock())

    def start(
        self,
        tenant_id: str,
        user_id: str,
        lives_ms: int,
        session_id: str | None = None,
        sso: SsoLink | None = None,
    ) -> tuple[Session, str]:
        """A new session and its first refresh token, which is not kept."""
        now = self._clock()
        self._session.execute(delete(SessionRow).where(SessionRow.expires_ms < now))
        row = SessionRow(
            id=session_id or self.new_id(),
            tenant_id=tenant_id,
            user_id=user_id,
            created_ms=now,
            expires_ms=now + lives_ms,
            sso_subject=sso.subject if sso else None,
            sso_session=sso.session if sso else None,
            sealed_id_token=sso.sealed_id_token if sso else None,
        )
        self._session.add(row)
        self._session.flush()
        return _value(row), self._mint(row.id).token

    def refresh(self, token: str, grace_ms: int) -> Refreshed:
        """Exchange a refresh token for the next one. Used again within the grace, and only while
        its successor is unused, it gives another successor and voids the first; used again later
        it ends its whole family."""
        found = self._session.execute(
            select(RefreshTokenRow, SessionRow)
            .join(SessionRow, SessionRow.id == RefreshTokenRow.session_id)
            .where(RefreshTokenRow.hash == digest(token))
            .with_for_update()
        ).one_or_none()
        if found is None:
            return Refreshed(None)
        held, family = found
        if family.ended_ms is not None or family.expires_ms <= self._clock():
            return Refreshed(None)
        if (held.used_ms is not None or held.void) and not self._forgiven(held, grace_ms):
            self._end(SessionRow.id == family.id)
            return Refreshed(_value(family), reused=True)
        minted = self._mint(family.id)
        held.used_ms = held.used_ms or self._clock()
        held.next_hash = minted.hash
        return Refreshed(_value(family), minted.token)

    def check(self, session_id: str) -> SessionCheck | None:
        """What judges an access token; None for a session that has ended."""
        found = self._session.execute(
            select(SessionRow, UserRow, TenantRow)
            .join(UserRow, UserRow.id == SessionRow.user_id)
            .join(TenantRow, TenantRow.id == SessionRow.tenant_id)
            .where(SessionRow.id == session_id, SessionRow.ended_ms.is_(None))
            .where(SessionRow.expires_ms > self._clock(), UserRow.enabled)
        ).one_or_none()
        if found is None:
            return None
        session, user, tenant = found
        return SessionCheck(
            session=_value(session),
            role=_role(user),
            enrolling=user.sealed_totp is None and _needs_factor(user, tenant, session),
            deleting=tenant.deletion_due_ms is not None,
        )

    def sso_link(self, tenant_id: str, session_id: str) -> SsoLink | None:
        """What the provider knows this session by, where it came from one."""
        row = self._session.scalar(
            select(SessionRow).where(SessionRow.tenant_id == tenant_id, SessionRow.id == session_id)
        )
        if row is None or row.sso_subject is None or row.sealed_id_token is None:
            return None
        return SsoLink(row.sso_subject, row.sso_session, row.sealed_id_token)

    def end(self, tenant_id: str, session_id: str) -> tuple[str, ...]:
        """End one session; the ids that ended."""
        return self._end(SessionRow.tenant_id == tenant_id, SessionRow.id == session_id)

    def end_all(self, tenant_id: str, user_id: str, but: str | None = None) -> tuple[str, ...]:
        """End every session of a user, but one perhaps; the ids that ended."""
        wanted = [SessionRow.tenant_id == tenant_id, SessionRow.user_id == user_id]
        if but is not None:
            wanted.append(SessionRow.id != but)
        return self._end(*wanted)

    def end_sso(self, tenant_id: str, subject: str | None, session: str | None) -> tuple[str, ...]:
        """End what a provider says has ended: one of its sessions, or all of a subject. A session
        of the subject that came without an id of the provider's may be the one."""
        wanted = [SessionRow.tenant_id == tenant_id]
        if subject is not None:
            wanted.append(SessionRow.sso_subject == subject)
        if session is not None:
            same = SessionRow.sso_session == session
            wanted.append(same if subject is None else same | SessionRow.sso_session.is_(None))
        return self._end(*wanted) if len(wanted) > 1 else ()

    def _end(self, *wanted: ColumnElement[bool]) -> tuple[str, ...]:
        living = select(SessionRow.id).where(SessionRow.ended_ms.is_(None), *wanted)
        ids = tuple(self._session.scalars(living))
        if ids:
            self._session.execute(
                update(SessionRow).where(SessionRow.id.in_(ids)).values(ended_ms=self._clock())
            )
        return ids

    def _forgiven(self, held: RefreshTokenRow, grace_ms: int) -> bool:
        if held.void or held.used_ms is None or self._clock() > held.used_ms + grace_ms:
            return False
        successor = self._session.get(RefreshTokenRow, held.next_hash)
        if successor is None or successor.used_ms is not None or successor.void:
            return False
        successor.void = True
        return True

    def _mint(self, session_id: str) -> Minted:
        minted = mint(_PREFIX)
        self._session.add(
            RefreshTokenRow(
                hash=minted.hash, session_id=session_id, created_ms=self._clock(), void=False
            )
        )
        self._session.flush()
        return minted


def _needs_factor(user: UserRow, tenant: TenantRow, session: SessionRow) -> bool:
    # Whoever comes by sign-on has shown the provider whatever factors it asks for.
    return (user.mfa_required or tenant.mfa_required) and session.sso_subject is None


def _role(user: UserRow) -> Role:
    return user.role  # type: ignore[return-value]  # only roles are ever stored


def _value(row: SessionRow) -> Session:
    return Session(
        id=row.id,
        tenant_id=row.tenant_id,
        user_id=row.user_id,
        created_ms=row.created_ms,
        expires_ms=row.expires_ms,
    )
