"""Whether the things that the API needs do their work."""

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.api.deps import Resources
from app.db import migrate, quarantine
from app.domain.errors import StorageUnavailableError

OK = "ok"


def checks(resources: Resources) -> dict[str, str]:
    """`ok`, or what is wrong, per dependency."""
    return {
        "database": _database(resources),
        "queue": _queue(resources),
        "store": _store(resources),
    }


def _database(resources: Resources) -> str:
    try:
        with resources.engine.connect() as connection:
            return OK if migrate.current(connection) else "migrations are missing"
    except SQLAlchemyError:
        return "not reachable"


def _queue(resources: Resources) -> str:
    try:
        resources.queue.ping()
    except (RedisError, OSError):
        return "not reachable"
    return OK


def _store(resources: Resources) -> str:
    try:
        resources.store.check()
    except StorageUnavailableError:
        return "not reachable"
    return OK


def set_aside(resources: Resources) -> dict[str, int]:
    """How many items each loop of maintenance fails on; nothing where the database is away."""
    try:
        with resources.engine.connect() as connection:
            return quarantine.counts(connection)
    except SQLAlchemyError:
        return {}
