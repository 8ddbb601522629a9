"""A worker ends a job that it cannot read at once, and says so; it goes on to the next."""

import pytest

from app.db import jobs
from app.domain.jobs import JobStatus
from app.domain.projects import DEFAULT_PROJECT
from tests.integration.app.rows import new_job, put


@pytest.mark.parametrize("part", ["request", "spec"])
def test_a_job_of_another_version_fails_before_it_begins(engine, runner, part):
    with engine.begin() as connection:
        job = new_job(connection, max_attempts=3)
        put(connection, job.id, **{part: {"wish": "unheard of"}})
    assert runner.run(job.id), "the process is as good as before"
    with engine.connect() as connection:
        found = jobs.get(connection, DEFAULT_PROJECT, job.id)
    assert (found.status, found.attempt) == (JobStatus.FAILED, 1)
    assert found.error.code == "job_unreadable"
    assert "another version" in found.error.message
