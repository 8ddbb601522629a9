"""The database engine; made by composition roots, one per process."""

import psycopg
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# What a database that is not reachable, or does not answer in time, looks like.
AWAY = (OperationalError, InterfaceError, PoolTimeoutError, psycopg.OperationalError)


def make_engine(url: str, *, pool_size: int = 20) -> Engine:
    """An engine whose connections fail fast, are checked before use, and never wait for ever.

    Args:
        url: `postgresql+psycopg://...`.
        pool_size: most connections at a time; each is opened once it is needed, and kept.
    """
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,  # a connection that is closed again costs more than what it was opened for
        pool_use_lifo=True,  # those used most have their statements prepared
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text goes to logs; what was bound are customers' texts
        connect_args={
            "connect_timeout": 5,
            "options": "-c statement_timeout=30000 -c lock_timeout=10000 -c timezone=UTC",
        },
    )
