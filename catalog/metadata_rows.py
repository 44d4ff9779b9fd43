"""The tables of metadata: a tenant's views, records of files, and their values to search by."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models import Base


class MetadataViewRow(Base):
    """A view of a tenant's own."""

    __tablename__ = "metadata_views"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    timed: Mapped[bool]
    fields: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)


class MetadataRecordRow(Base):
    """A record of a file, whose connector is named by its fingerprint alone."""

    __tablename__ = "metadata_records"
    __table_args__ = (
        Index(
            "ix_metadata_records_file",
            "tenant_id",
            "fingerprint",
            "file_hash",
            "start_ms",
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    fingerprint: Mapped[str] = mapped_column(String(64))
    file_hash: Mapped[str] = mapped_column(String(64))
    file_id: Mapped[str] = mapped_column(String(1024))
    view: Mapped[str] = mapped_column(String(40), index=True)
    # -1 where the record is of the whole file: it sorts first, in every database.
    start_ms: Mapped[int]
    end_ms: Mapped[int | None]
    values: Mapped[dict[str, Any]]
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)


class MetadataValueRow(Base):
    """One value of a record as it is searched for: in small letters, cut to an index's length."""

    __tablename__ = "metadata_values"
    __table_args__ = (
        Index("ix_metadata_values_search", "tenant_id", "fingerprint", "name", "folded"),
    )

    record_id: Mapped[str] = mapped_column(
        ForeignKey("metadata_records.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    fingerprint: Mapped[str] = mapped_column(String(64))
    folded: Mapped[str]
