"""The database engine; made by composition roots, one per process."""

import select
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg.abc import RV, PQGen
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# What a database that is not reachable, or does not answer in time, looks like.
AWAY = (OperationalError, InterfaceError, PoolTimeoutError, psycopg.OperationalError)
ANSWER_SECONDS = 30.0
# The server ends a statement by itself; one that does not has had this much longer.
_MARGIN = 2.0
_CONNECT_SECONDS = 5
# For the question whether a connection of the pool is still good.
_PING_SECONDS = 3.0
# One that was used so lately is not asked, unless the server has sent something: its goodbye, say.
_FRESH_SECONDS = 0.5


def make_engine(url: str, *, pool_size: int = 20, answer_seconds: float = ANSWER_SECONDS) -> Engine:
    """An engine whose connections fail fast, are checked before use, and never wait for ever.

    Args:
        url: `postgresql+psycopg://...`.
        pool_size: most connections at a time; each is opened once it is needed, and kept.
        answer_seconds: longest a statement may take. A server that does not say so itself, since
            it is stopped or its machine is gone, is given up a little later.
    """
    milliseconds = round(1000 * answer_seconds)
    locks = min(milliseconds, 10_000)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,  # a connection that is closed again costs more than what it was opened for
        pool_use_lifo=True,  # those used most have their statements prepared
        pool_timeout=min(answer_seconds, 10),
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text goes to logs; what was bound are customers' texts
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={locks} "
            "-c timezone=UTC",
            # A machine that is gone says nothing at all.
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": round(1000 * (answer_seconds + _MARGIN)),
        },
    )

    ask = engine.dialect.do_ping
    engine.dialect.do_ping = partial(_is_good, ask)  # type: ignore[method-assign]

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: Any, options: dict[str, Any]) -> _Connection:
        connection = _Connection.connect(*args, **options)
        connection.answer_seconds = answer_seconds + _MARGIN
        return connection

    @event.listens_for(engine, "checkin")
    def checked_in(connection: Any, _record: Any) -> None:
        if connection is not None:
            connection.answer_seconds = _PING_SECONDS
            connection.used_at = time.monotonic()

    @event.listens_for(engine, "checkout")
    def checked_out(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.answer_seconds = answer_seconds + _MARGIN

    return engine


class _Connection(psycopg.Connection[Any]):
    """As psycopg's, which waits for ever: for a server that is stopped, say."""

    answer_seconds = ANSWER_SECONDS + _MARGIN
    used_at = 0.0

    @property
    def silent(self) -> bool:
        """Whether the server has sent nothing since the last answer; it does before it goes."""
        arrived = select.poll()
        arrived.register(self.fileno(), select.POLLIN)
        return not arrived.poll(0)

    def wait(self, gen: PQGen[RV], *args: Any, **options: Any) -> RV:
        """Wait for an answer; a connection without one is of no more use.

        Raises:
            OperationalError: there was none in time.
        """
        try:
            return super().wait(gen, *args, **{"timeout": self.answer_seconds} | options)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001  psycopg has no public name for it
            self.close()
            raise psycopg.OperationalError("the database does not answer") from None


def _is_good(ask: Callable[[Any], bool], connection: Any) -> bool:
    """Whether a connection of the pool can be used; asking the server is a fifth of a short one."""
    fresh = time.monotonic() - connection.used_at < _FRESH_SECONDS
    return (fresh and connection.silent) or ask(connection)
