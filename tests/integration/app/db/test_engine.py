"""Whether a connection of the pool is still good: asked, unless it was used a moment ago."""

import pytest
from sqlalchemy import func, select, text

from app.db import engine as engines
from app.db.engine import make_engine

LAST = text("select query from pg_stat_activity where pid = :pid")
ASKED = ";"


@pytest.fixture
def pool(database_url):
    """An engine whose connections nobody else takes."""
    made = make_engine(database_url, pool_size=1)
    yield made
    made.dispose()


def used(pool):
    """The process of PostgreSQL that has just served the pool's connection."""
    with pool.connect() as connection:
        return connection.execute(select(func.pg_backend_pid())).scalar_one()


def last_asked(pool, engine, pid):
    """What the process was asked last, once the pool has handed its connection out again."""
    with pool.connect(), engine.connect() as other:
        return other.execute(LAST, {"pid": pid}).scalar_one()


def test_one_that_was_used_a_moment_ago_is_not_asked(pool, engine):
    assert last_asked(pool, engine, used(pool)) != ASKED


def test_one_that_lay_idle_is_asked(pool, engine, monkeypatch):
    monkeypatch.setattr(engines, "_FRESH_SECONDS", 0.0)
    assert last_asked(pool, engine, used(pool)) == ASKED


def test_one_that_the_server_has_closed_is_replaced(pool, engine):
    pid = used(pool)
    with engine.begin() as other:
        assert other.execute(select(func.pg_terminate_backend(pid, 5000))).scalar_one()
    with pool.connect() as connection:
        assert connection.execute(select(func.pg_backend_pid())).scalar_one() != pid
