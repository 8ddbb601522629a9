"""A transaction is done once, whatever happens to its connection; deadlocks pass."""

import threading

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError

from app.db import transactions
from app.db.transactions import transact


@pytest.fixture
def table(engine):
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE counted (name text PRIMARY KEY, n int)"))
        connection.execute(text("INSERT INTO counted VALUES ('a', 0), ('b', 0)"))


def count(connection, name="a"):
    query = text("UPDATE counted SET n = n + 1 WHERE name = :name RETURNING n")
    return connection.execute(query, {"name": name}).scalar_one()


def counted(engine):
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT name, n FROM counted"))
        return dict(list(rows))


@pytest.mark.parametrize(
    "cuts", [[], ["before"], ["after"], ["before", "after"], ["before"] * 5, ["", "after"]]
)
def test_it_is_done_once_however_the_connection_is_cut(table, engine, cut_engine, lines, cuts):
    lines.cuts = list(cuts)
    assert transact(cut_engine, count) == 1
    assert counted(engine) == {"a": 1, "b": 0}


def test_without_asking_the_server_it_would_be_done_twice(
    table, engine, cut_engine, lines, monkeypatch
):
    monkeypatch.setattr(transactions, "_committed", lambda _engine, _number: False)
    lines.cuts = ["after"]
    assert transact(cut_engine, count) == 2


def test_a_connection_that_the_server_ends_is_replaced(table, engine):
    ended = []

    def work(connection):
        found = count(connection)
        if len(ended) < 3:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            ended.append(pid)
            with engine.connect() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        return found

    assert transact(engine, work) == 1
    assert len(set(ended)) == 3


def test_the_victim_of_a_deadlock_tries_again(table, engine):
    both, tries = threading.Barrier(2), []

    def crossing(first, second):
        met = []

        def work(connection):
            tries.append(1)
            count(connection, first)
            if not met:
                met.append(1)
                both.wait()
            count(connection, second)

        transact(engine, work)

    threads = [threading.Thread(target=crossing, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted(engine) == {"a": 2, "b": 2}
    assert len(tries) == 3


def test_serialization_failures_at_commit_pass(table, engine):
    tries = []

    def work(connection):
        tries.append(1)
        if len(tries) == 1:
            raise OperationalError("COMMIT", {}, psycopg.errors.SerializationFailure())
        return count(connection)

    assert transact(engine, work) == 1


def test_what_does_not_pass_is_raised_at_once(table, engine):
    tries = []

    def work(connection):
        tries.append(1)
        connection.execute(text("SELECT nothing FROM counted"))

    with pytest.raises(ProgrammingError):
        transact(engine, work)
    assert len(tries) == 1


def test_patience_ends(table, engine, cut_engine, lines):
    lines.cuts = ["before"] * 1000
    with pytest.raises(DBAPIError):
        transact(cut_engine, count, seconds=1)
    assert counted(engine)["a"] == 0


def test_a_server_that_took_over_and_never_heard_of_it_means_it_did_not_happen(engine):
    assert not transactions._committed(engine, str(2**40))
