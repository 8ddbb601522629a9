"""Alembic's entry: one transaction per upgrade, one upgrade at a time."""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from app.db.tables import metadata

# Any fixed number: processes that start together upgrade one after the other.
ADVISORY_LOCK = 7_302_231

engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
with engine.begin() as connection:
    connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    connection.execute(text("SET LOCAL statement_timeout = '5min'"))
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    context.run_migrations()
