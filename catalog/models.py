"""The tables, typed; nothing outside this package sees a row."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
_LIVE = sql("deleted_ms IS NULL")


class Base(DeclarativeBase):
    """The base of every table; all times are epoch milliseconds."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        int: BigInteger,
        str: String(255),
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        dict[str, int]: JSON,
        list[str]: JSON,
        list[list[Any]]: JSON,
    }


class TenantRow(Base):
    """A tenant; `deletion_due_ms` is set while it waits to be deleted."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_ms: Mapped[int]
    mfa_required: Mapped[bool] = mapped_column(default=False)
    deletion_due_ms: Mapped[int | None] = mapped_column(index=True)
    deletion_asked_ms: Mapped[int | None]
    version: Mapped[int] = mapped_column(default=1)


class UserRow(Base):
    """A user of a tenant; `password_hash` is absent for people who only come by SSO."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("tenant_id", "email"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    email: Mapped[str] = mapped_column(String(320), index=True)
    name: Mapped[str]
    role: Mapped[str] = mapped_column(String(20))
    password_hash: Mapped[str | None] = mapped_column(Text)
    must_change_password: Mapped[bool] = mapped_column(default=False)
    temporary_until_ms: Mapped[int | None]
    mfa_required: Mapped[bool] = mapped_column(default=False)
    sealed_totp: Mapped[str | None] = mapped_column(Text)
    sealed_totp_pending: Mapped[str | None] = mapped_column(Text)
    totp_last_step: Mapped[int | None]
    enabled: Mapped[bool] = mapped_column(default=True)
    created_ms: Mapped[int]
    last_login_ms: Mapped[int | None]
    version: Mapped[int] = mapped_column(default=1)


class ApiKeyRow(Base):
    """An API key: its public part, and the SHA-256 of the whole."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    public_id: Mapped[str] = mapped_column(String(8), unique=True)
    secret_hash: Mapped[str] = mapped_column(String(64))
    previous_hashes: Mapped[list[list[Any]]] = mapped_column(default=list)
    scopes: Mapped[list[str]]
    enabled: Mapped[bool] = mapped_column(default=True)
    created_ms: Mapped[int]
    last_used_ms: Mapped[int | None]
    expires_ms: Mapped[int | None]
    version: Mapped[int] = mapped_column(default=1)


class ConnectorRow(Base):
    """A connector; a deleted one keeps its row while content of its fingerprint may be held."""

    __tablename__ = "connectors"
    __table_args__ = (
        Index(
            "uq_connectors_tenant_id_name",
            "tenant_id",
            "name",
            unique=True,
            sqlite_where=_LIVE,
            postgresql_where=_LIVE,
        ),
        Index("ix_connectors_tenant_id_fingerprint", "tenant_id", "fingerprint"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(60))
    name: Mapped[str]
    config: Mapped[dict[str, Any]]
    sealed_auth: Mapped[str | None] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(64))
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    deleted_ms: Mapped[int | None]
    version: Mapped[int] = mapped_column(default=1)


class RenditionRow(Base):
    """A named recipe of a tenant."""

    __tablename__ = "renditions"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)


class AnswerRow(Base):
    """The first answer to a request with an Idempotency-Key; `sealed` opens with the key ring."""

    __tablename__ = "answers"

    tenant_id: Mapped[str] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    sealed: Mapped[str] = mapped_column(Text)
    created_ms: Mapped[int] = mapped_column(index=True)


def _tenant_key() -> Mapped[str]:
    return mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)


def _user_key() -> Mapped[str]:
    return mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)


class SessionRow(Base):
    """A log-in; its refresh tokens are one family, which ends as a whole."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = _tenant_key()
    user_id: Mapped[str] = _user_key()
    created_ms: Mapped[int]
    expires_ms: Mapped[int] = mapped_column(index=True)
    ended_ms: Mapped[int | None]
    sso_subject: Mapped[str | None]
    sso_session: Mapped[str | None]
    sealed_id_token: Mapped[str | None] = mapped_column(Text)


class RefreshTokenRow(Base):
    """A refresh token: its SHA-256, and when it was used or replaced."""

    __tablename__ = "refresh_tokens"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    session_id: Mapped[str] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), index=True
    )
    created_ms: Mapped[int]
    used_ms: Mapped[int | None]
    # Replaced by a second answer within the grace: whoever shows it later stole it.
    void: Mapped[bool] = mapped_column(default=False)
    next_hash: Mapped[str | None] = mapped_column(String(64))


class ChallengeRow(Base):
    """A question between password and tokens; only the hash of its handle is kept."""

    __tablename__ = "challenges"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = _tenant_key()
    user_id: Mapped[str] = _user_key()
    kind: Mapped[str] = mapped_column(String(20))
    tries_left: Mapped[int]
    expires_ms: Mapped[int] = mapped_column(index=True)


class AttemptRow(Base):
    """How often something was tried in a row; kept alike for known and unknown names."""

    __tablename__ = "attempts"

    name_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    expires_ms: Mapped[int] = mapped_column(index=True)


class RecoveryRow(Base):
    """A mailed code; one without a user stands for an address nobody has."""

    __tablename__ = "recoveries"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    email_hash: Mapped[str] = mapped_column(String(64), index=True)
    user_id: Mapped[str | None] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    code_hash: Mapped[str] = mapped_column(String(64))
    tries_left: Mapped[int]
    expires_ms: Mapped[int] = mapped_column(index=True)


class RecoveryCodeRow(Base):
    """A code that stands in for a lost second factor, once."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    used_ms: Mapped[int | None]


class SigningKeyRow(Base):
    """A key for access tokens; the private half is sealed."""

    __tablename__ = "signing_keys"

    kid: Mapped[str] = mapped_column(String(40), primary_key=True)
    sealed: Mapped[str] = mapped_column(Text)
    public: Mapped[dict[str, str]]
    created_ms: Mapped[int]
    retired_ms: Mapped[int | None]


class InvitationRow(Base):
    """Leave to make one tenant; only the hash of its code is kept."""

    __tablename__ = "invitations"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    email: Mapped[str | None] = mapped_column(String(320))
    created_ms: Mapped[int]
    expires_ms: Mapped[int]
    used_ms: Mapped[int | None]


class SsoConfigRow(Base):
    """A tenant's provider of sign-on."""

    __tablename__ = "sso_configs"

    tenant_id: Mapped[str] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    enabled: Mapped[bool]
    issuer: Mapped[str] = mapped_column(Text)
    client_id: Mapped[str]
    sealed_secret: Mapped[str | None] = mapped_column(Text)
    group_claim: Mapped[str]
    roles: Mapped[dict[str, str]]
    default_role: Mapped[str | None] = mapped_column(String(20))
    version: Mapped[int] = mapped_column(default=1)


class SsoStateRow(Base):
    """A sign-on under way; used once."""

    __tablename__ = "sso_states"

    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = _tenant_key()
    nonce: Mapped[str]
    sealed_verifier: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str] = mapped_column(Text)
    expires_ms: Mapped[int] = mapped_column(index=True)


class IdentityRow(Base):
    """Who a user is at a provider."""

    __tablename__ = "identities"

    tenant_id: Mapped[str] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    # The issuer's hash: a primary key of two whole URLs would outgrow an index page.
    issuer_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[str] = _user_key()
    created_ms: Mapped[int]


class AuditRow(Base):
    """An entry of the audit log. No foreign key: only the deletion of the tenant removes it, and
    the database itself refuses every other change (see the migration)."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_tenant_id_id", "tenant_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(40))
    occurred_ms: Mapped[int]
    subject: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(80))
    target: Mapped[str | None] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(String(64))
    agent: Mapped[str | None]
    detail: Mapped[dict[str, str]]


class DeletionRow(Base):
    """What deleting a tenant removed; it outlives the tenant and names nobody."""

    __tablename__ = "deletions"

    tenant_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    requested_ms: Mapped[int]
    finished_ms: Mapped[int]
    rows: Mapped[dict[str, int]]
    objects: Mapped[int]
    object_bytes: Mapped[int]
    redis_keys: Mapped[int]


class ChannelStationRow(Base):
    """Which station of which guide a channel is; `offset_ms` is added to the guide's times."""

    __tablename__ = "channel_stations"
    __table_args__ = (
        Index("ix_channel_stations_tenant_id_epg_connector_id", "tenant_id", "epg_connector_id"),
    )

    tenant_id: Mapped[str] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True
    )
    connector_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    channel_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    epg_connector_id: Mapped[str] = mapped_column(String(40))
    station_id: Mapped[str] = mapped_column(String(255))
    offset_ms: Mapped[int]
    updated_ms: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)


class WebhookRow(Base):
    """A receiver of a tenant's events; no `events` means all of them."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = _tenant_key()
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]]
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None] = mapped_column(String(20))
    since: Mapped[str] = mapped_column(String(50))
    sealed_secret: Mapped[str] = mapped_column(Text)
    sealed_previous: Mapped[str | None] = mapped_column(Text)
    previous_until_ms: Mapped[int | None]
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)
