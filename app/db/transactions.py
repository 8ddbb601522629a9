"""One transaction that survives what passes: deadlocks, cut connections, a restarted server.

Where the connection is cut during COMMIT, nobody knows whether it happened. PostgreSQL does: it is
asked for the state of that very transaction, so the work is done once and never twice.
"""

from collections.abc import Callable
from typing import TypeVar

import psycopg
from sqlalchemy import Connection, Engine, Text, cast, func, select
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from app.retries import retried

T = TypeVar("T")

PATIENCE = 60.0  # seconds for which a transaction is tried again
_IN_DOUBT = 300.0  # seconds for which the server is asked what became of a COMMIT
_PASSING_CLASSES = ("25",)  # a transaction or a server that went read-only, or idle for too long


def passing(error: Exception) -> bool:
    """Whether the same transaction may succeed when it is tried again."""
    if isinstance(error, PoolTimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    cause = error.orig
    if error.connection_invalidated or isinstance(
        cause, (psycopg.OperationalError, psycopg.InterfaceError)
    ):
        return True
    return str(getattr(cause, "sqlstate", None) or "").startswith(_PASSING_CLASSES)


def transact(engine: Engine, work: Callable[[Connection], T], *, seconds: float = PATIENCE) -> T:
    """Carry out `work` in one transaction, again and again while its errors may pass.

    Args:
        engine: of the database.
        work: may be called several times; changes nothing but the database.
        seconds: for which it is tried.

    Raises:
        SQLAlchemyError: an error that does not pass, or one that did not pass in time.
    """
    return retried(lambda: _once(engine, work), passing, seconds=seconds)


def _once(engine: Engine, work: Callable[[Connection], T]) -> T:
    number: str | None = None
    try:
        with engine.begin() as connection:
            result = work(connection)
            # None where nothing was written: then nothing can be in doubt.
            number = connection.execute(_NUMBER).scalar_one()
    except DBAPIError as error:
        if number is None or not passing(error) or not _committed(engine, number):
            raise
    return result


_NUMBER = select(cast(func.pg_current_xact_id_if_assigned(), Text))


def _committed(engine: Engine, number: str) -> bool:
    """Whether the transaction took place, once the server tells."""
    state = select(func.pg_xact_status(func.xid8(number)))

    def ask() -> bool:
        try:
            with engine.connect() as connection:
                found = connection.execute(state).scalar_one()
        except DataError:  # the server that took over has never heard of it
            return False
        if found == "in progress":
            raise _OpenError
        return bool(found == "committed")

    return retried(
        ask, lambda error: isinstance(error, _OpenError) or passing(error), seconds=_IN_DOUBT
    )


class _OpenError(Exception):
    """The server has not noticed yet that the connection is gone."""

    def __init__(self) -> None:
        super().__init__("the transaction is still open")
