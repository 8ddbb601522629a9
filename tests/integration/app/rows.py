"""Rows made without HTTP."""

from app.db import queueing
from app.domain.jobs import NewJob


def new_job(connection, **values):
    """A queued job that says nothing."""
    return queueing.add(connection, NewJob({}, **values), key_id="", action=None)[0]
