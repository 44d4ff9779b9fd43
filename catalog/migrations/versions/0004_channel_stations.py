"""Which station of which guide a channel is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "channel_stations",
        sa.Column("tenant_id", sa.String(length=40), nullable=False),
        sa.Column("connector_id", sa.String(length=40), nullable=False),
        sa.Column("channel_id", sa.String(length=255), nullable=False),
        sa.Column("epg_connector_id", sa.String(length=40), nullable=False),
        sa.Column("station_id", sa.String(length=255), nullable=False),
        sa.Column("offset_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_channel_stations_tenant_id_tenants"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "connector_id", "channel_id", name=op.f("pk_channel_stations")
        ),
    )
    op.create_index(
        "ix_channel_stations_tenant_id_epg_connector_id",
        "channel_stations",
        ["tenant_id", "epg_connector_id"],
        unique=False,
    )
