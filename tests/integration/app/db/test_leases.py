"""Whether an attempt may go on, as its watchdog asks."""

from datetime import timedelta

import pytest
from sqlalchemy import func

from app.db import leases
from app.domain.jobs import JobStatus, Lease
from tests.integration.app.rows import put

LEASE = timedelta(seconds=30)
RUNNING, CANCELLING = JobStatus.RUNNING, JobStatus.CANCELLING


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
