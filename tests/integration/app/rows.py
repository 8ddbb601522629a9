"""Rows made without HTTP."""

from sqlalchemy import update

from app.db import queueing, tables
from app.domain.jobs import NewJob


def new_job(connection, **values):
    """A queued job that says nothing."""
    return queueing.add(connection, NewJob({}, **values), key_id="", action=None)[0]


def put(connection, job_id, **columns):
    """Set columns of a job, whatever way they could have come by that."""
    connection.execute(update(tables.jobs).where(tables.jobs.c.id == job_id).values(**columns))


def each(engine, ids, handle):
    """Handle each item as a round of maintenance does; returns how many there was work for."""
    with engine.connect() as connection:
        found = ids(connection)
    done = 0
    for item in found:
        with engine.begin() as connection:
            done += handle(connection, item)
    return done
