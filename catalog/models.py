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
        list[str]: JSON,
        list[list[Any]]: JSON,
    }


class TenantRow(Base):
    """A tenant."""

    __tablename__ = "tenants"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_ms: Mapped[int]
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
    mfa_required: Mapped[bool] = mapped_column(default=False)
    enabled: Mapped[bool] = mapped_column(default=True)
    created_ms: Mapped[int]
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
