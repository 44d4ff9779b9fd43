"""Projects: their timelines, and everybody who wrote them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=300), nullable=False),
        sa.Column("folded", sa.String(length=600), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("edited_by", sa.String(length=80), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_projects_tenant_id_tenants"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
    )
    for column in ("updated_ms", "created_ms", "folded"):
        op.create_index(
            f"ix_projects_tenant_id_{column}_id", "projects", ["tenant_id", column, "id"]
        )
    op.create_table(
        "project_timelines",
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        *_belongs_to("project_timelines"),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_project_timelines")),
    )
    op.create_index(op.f("ix_project_timelines_tenant_id"), "project_timelines", ["tenant_id"])
    op.create_table(
        "project_writers",
        sa.Column("project_id", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("first_ms", sa.BigInteger(), nullable=False),
        *_belongs_to("project_writers"),
        sa.PrimaryKeyConstraint("project_id", "subject", name=op.f("pk_project_writers")),
    )
    op.create_index(
        "ix_project_writers_tenant_id_subject", "project_writers", ["tenant_id", "subject"]
    )


def _belongs_to(table: str) -> tuple[sa.ForeignKeyConstraint, ...]:
    return tuple(
        sa.ForeignKeyConstraint(
            [column], [f"{parent}.id"], name=op.f(f"fk_{table}_{column}_{parent}"),
            ondelete="CASCADE",
        )
        for column, parent in (("project_id", "projects"), ("tenant_id", "tenants"))
    )  # fmt: skip
