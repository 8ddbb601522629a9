"""What an attempt's claim on its job is worth at the moment."""

from sqlalchemy import Connection, func, or_, select

from app.db.tables import jobs
from app.domain.jobs import JobStatus, Lease


def state(connection: Connection, job_id: str, attempt: int) -> Lease:
    """Whether the attempt may go on: not where its lease or the job's time is over."""
    in_time = or_(jobs.c.deadline.is_(None), jobs.c.deadline > func.now())
    query = select(jobs.c.status).where(
        jobs.c.id == job_id,
        jobs.c.attempt == attempt,
        jobs.c.status.in_([JobStatus.RUNNING, JobStatus.CANCELLING]),
        jobs.c.lease_expires_at > func.now(),
        in_time,
    )
    status = connection.execute(query).scalar_one_or_none()
    if status is None:
        return Lease.LOST
    return Lease.HELD if status == JobStatus.RUNNING else Lease.CANCEL_REQUESTED
