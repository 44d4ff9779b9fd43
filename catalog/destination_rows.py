"""The table of Reporter destinations."""

from __future__ import annotations

from sqlalchemy import JSON, ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models import Base


class DestinationRow(Base):
    """Where a tenant's people may upload to; without a connector, the media store."""

    __tablename__ = "destinations"
    __table_args__ = (UniqueConstraint("tenant_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    name: Mapped[str]
    connector_id: Mapped[str | None] = mapped_column(String(40))
    path_template: Mapped[str] = mapped_column(Text)
    max_bytes: Mapped[int | None]
    allowed_types: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)
