"""The tables of projects; nothing outside this package sees a row."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from catalog.models import Base


class ProjectRow(Base):
    """A project without its timeline; `folded` is the title as it is looked for and sorted."""

    __tablename__ = "projects"
    __table_args__ = (
        Index("ix_projects_tenant_id_updated_ms_id", "tenant_id", "updated_ms", "id"),
        Index("ix_projects_tenant_id_created_ms_id", "tenant_id", "created_ms", "id"),
        Index("ix_projects_tenant_id_folded_id", "tenant_id", "folded", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(String(300))
    folded: Mapped[str] = mapped_column(String(600))
    status: Mapped[str] = mapped_column(String(40))
    created_by: Mapped[str] = mapped_column(String(80))
    edited_by: Mapped[str] = mapped_column(String(80))
    created_ms: Mapped[int]
    updated_ms: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)


class ProjectTimelineRow(Base):
    """The OpenTimelineIO document of a project, as text."""

    __tablename__ = "project_timelines"

    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), index=True)
    document: Mapped[str] = mapped_column(Text)


class ProjectWriterRow(Base):
    """Somebody who ever wrote a project."""

    __tablename__ = "project_writers"
    __table_args__ = (Index("ix_project_writers_tenant_id_subject", "tenant_id", "subject"),)

    project_id: Mapped[str] = mapped_column(
        ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True
    )
    subject: Mapped[str] = mapped_column(String(80), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    first_ms: Mapped[int]
