"""Alembic's entry: a transaction for each migration, one upgrade at a time."""

import time

from alembic import context
from sqlalchemy import Connection, create_engine, func, select
from sqlalchemy.pool import NullPool

from app.db.tables import metadata

# Any fixed number: processes that start together upgrade one after the other.
ADVISORY_LOCK = 7_302_231
_PAUSE = 0.2  # seconds
TIMEOUTS = "-c lock_timeout=10s -c statement_timeout=5min"


def wait_for_lock(connection: Connection) -> None:
    """Ask again and again: an index that is built concurrently waits for every statement.

    A process that waited inside of one would wait for the upgrade, and the upgrade for it.
    """
    while not connection.scalar(select(func.pg_try_advisory_lock(ADVISORY_LOCK))):
        connection.rollback()
        time.sleep(_PAUSE)
    connection.commit()  # the lock is the connection's, until it closes


engine = create_engine(
    context.config.attributes["url"], poolclass=NullPool, connect_args={"options": TIMEOUTS}
)
with engine.connect() as connection:
    wait_for_lock(connection)
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()
