"""The database engine; made by composition roots, one per process."""

from sqlalchemy import Engine, create_engine


def make_engine(url: str, *, pool_size: int = 10) -> Engine:
    """An engine whose connections fail fast, are checked before use, and never wait for ever.

    Args:
        url: `postgresql+psycopg://...`.
        pool_size: connections kept open; as many again may be opened under load.
    """
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "options": "-c statement_timeout=30000 -c lock_timeout=10000 -c timezone=UTC",
        },
    )
