"""Whether an attempt may go on, as its watchdog asks."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update

from app.db import jobs, leases
from app.db.tables import jobs as table
from app.domain.jobs import JobStatus, Lease
from tests.integration.app.rows import new_job

LEASE = timedelta(seconds=30)
RUNNING, CANCELLING = JobStatus.RUNNING, JobStatus.CANCELLING


@pytest.fixture
def job(connection):
    """Makes a job in a status, at its second attempt."""

    def make(status=RUNNING, **columns):
        made = new_job(connection, max_attempts=3, max_runtime=600)
        for _ in range(2):
            put(connection, made.id, status=JobStatus.QUEUED)
            jobs.claim(connection, made.id, worker="w", lease=LEASE)
        put(connection, made.id, status=status, **columns)
        return made.id

    return make


def put(connection, job_id, **columns):
    connection.execute(update(table).where(table.c.id == job_id).values(**columns))


@pytest.mark.parametrize("status", JobStatus)
def test_the_state_of_a_lease(connection, job, status):
    job_id, other = job(status), job(JobStatus.FAILED)
    expected = {RUNNING: Lease.HELD, CANCELLING: Lease.CANCEL_REQUESTED}.get(status, Lease.LOST)
    put(connection, job_id, lease_expires_at=func.now() + LEASE, deadline=None)
    assert leases.state(connection, job_id, 2) is expected
    assert leases.state(connection, job_id, 1) is Lease.LOST
    assert leases.state(connection, job_id, 3) is Lease.LOST
    assert leases.state(connection, other, 2) is Lease.LOST
    put(connection, job_id, deadline=func.now() + LEASE)
    assert leases.state(connection, job_id, 2) is expected


@pytest.mark.parametrize("column", ["lease_expires_at", "deadline"])
@pytest.mark.parametrize("seconds", [0, -1])
def test_a_lease_ends_with_its_time_and_with_the_jobs(connection, job, column, seconds):
    job_id = job(lease_expires_at=func.now() + LEASE)
    put(connection, job_id, **{column: func.now() + timedelta(seconds=seconds)})
    assert leases.state(connection, job_id, 2) is Lease.LOST
