"""The repository of sign-on: a tenant's provider, sign-ons under way, who is who."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from catalog.models import IdentityRow, SsoConfigRow, SsoStateRow
from catalog.tokens import digest
from schemas.accounts import SsoConfig, SsoState

STATE_MS = 10 * 60_000


class Sso:
    """Sign-on of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def config(self, tenant_id: str) -> SsoConfig | None:
        """How the tenant signs on, where it does."""
        row = self._session.get(SsoConfigRow, tenant_id)
        if row is None:
            return None
        names = SsoConfig.model_fields
        return SsoConfig.model_validate({name: getattr(row, name) for name in names})

    def keep(self, tenant_id: str, config: SsoConfig) -> SsoConfig:
        """Store a configuration in place of an older one."""
        row = self._session.get(SsoConfigRow, tenant_id)
        values = config.model_dump(exclude={"tenant_id", "version"})
        if row is None:
            row = SsoConfigRow(tenant_id=tenant_id, version=0, **values)
            self._session.add(row)
        for name, value in values.items():
            setattr(row, name, value)
        row.version += 1
        self._session.flush()
        return config.model_copy(update={"version": row.version})

    def remove(self, tenant_id: str) -> None:
        """Forget the provider; who was who there is kept, should it come back."""
        self._session.execute(delete(SsoConfigRow).where(SsoConfigRow.tenant_id == tenant_id))

    def begin(self, tenant_id: str, state: str, value: SsoState) -> None:
        """Keep what is needed when a visitor comes back with `state`."""
        now = self._clock()
        self._session.execute(delete(SsoStateRow).where(SsoStateRow.expires_ms <= now))
        self._session.add(
            SsoStateRow(
                hash=digest(state),
                tenant_id=tenant_id,
                nonce=value.nonce,
                sealed_verifier=value.sealed_verifier,
                issuer=value.issuer,
                expires_ms=now + STATE_MS,
            )
        )
        self._session.flush()

    def resume(self, tenant_id: str, state: str) -> SsoState | None:
        """What was kept under `state`, once."""
        row = self._session.get(SsoStateRow, digest(state), with_for_update=True)
        if row is None or row.tenant_id != tenant_id or row.expires_ms <= self._clock():
            return None
        self._session.delete(row)
        self._session.flush()
        return SsoState(
            tenant_id=tenant_id,
            nonce=row.nonce,
            sealed_verifier=row.sealed_verifier,
            issuer=row.issuer,
        )

    def user_of(self, tenant_id: str, issuer: str, subject: str) -> str | None:
        """The id of the user who is this subject there."""
        return self._session.scalar(
            select(IdentityRow.user_id).where(
                IdentityRow.tenant_id == tenant_id,
                IdentityRow.issuer_hash == digest(issuer),
                IdentityRow.subject == subject,
            )
        )

    def link(self, tenant_id: str, issuer: str, subject: str, user_id: str) -> None:
        """Note that a user is this subject there."""
        self._session.add(
            IdentityRow(
                tenant_id=tenant_id,
                issuer_hash=digest(issuer),
                subject=subject,
                user_id=user_id,
                created_ms=self._clock(),
            )
        )
        self._session.flush()
