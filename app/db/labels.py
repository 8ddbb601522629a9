"""Labels as rows, so that the list of jobs with one is read from an index, in order."""

from typing import Any

from sqlalchemy import Connection, Select, delete, insert

from app.db.tables import jobs, labels
from app.domain.jobs import Job

_ADD = insert(labels)


def add(connection: Connection, job: Job) -> None:
    """Store the labels of a job that has none here."""
    if job.labels:
        kept = {"project_id": job.project_id, "job_id": job.id}
        rows = [kept | {"key": key, "value": value} for key, value in job.labels.items()]
        connection.execute(_ADD, rows)


def replace(connection: Connection, job: Job) -> None:
    """Store the labels of a job that has others here."""
    connection.execute(delete(labels).where(labels.c.job_id == job.id))
    add(connection, job)


def having(query: Select[Any], project_id: str, key: str, value: str) -> Select[Any]:
    """Of a query over jobs, those with the label."""
    label = labels.alias()
    wanted = (label.c.project_id == project_id, label.c.key == key, label.c.value == value)
    return query.join(label, label.c.job_id == jobs.c.id).where(*wanted)
