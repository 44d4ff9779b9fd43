"""How Alembic runs here: on a connection it is handed, in one transaction, forward only."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from catalog.models import Base

_LOCK = 7_236_001


def run() -> None:
    """Run the migrations on the connection the caller opened."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,
        compare_type=True,
    )
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        context.run_migrations()


run()
