"""Rows made without HTTP."""

from sqlalchemy import update

from app.db import jobs, tables
from app.domain.jobs import NewJob
from app.domain.submission import JobRequest, resolve

OPTIONS = ("labels", "max_pending_seconds", "max_runtime_seconds", "priority")


def new_job(connection, **values):
    """A queued job that asks for little: its options and what else a new job has."""
    options = {name: values.pop(name) for name in OPTIONS if name in values}
    request = JobRequest(model="tiny", method="magnitude", sparsity=0.5, **options)
    new = NewJob(request=request, spec=resolve(request), **values)
    return jobs.queue(connection, new, key_id="", action=None)[0]


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
