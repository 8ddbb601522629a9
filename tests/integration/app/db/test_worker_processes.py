"""Workers one by one: what each runs, and for whom that is told."""

from datetime import timedelta

import pytest
from sqlalchemy import func, update

from app.db import worker_processes
from app.db.tables import workers as table
from app.domain.jobs import JobStatus
from app.planning.machines import SILENT, Machine
from app.planning.workers import FORGOTTEN, NewWorker, WorkerState
from tests.integration.app.db.conftest import DEFAULT

VERSIONS = {"python": "3.11.2", "torch": "2.13.0"}
GPU = Machine("gpu", 1 << 34, 4, "cuda", 2, 24 << 30, 0.0, 0.0)


def enter(connection, name, **columns):
    worker_processes.put(connection, NewWorker(name, GPU, VERSIONS))
    if columns:
        connection.execute(update(table).where(table.c.name == name).values(**columns))


def states(connection, project=DEFAULT):
    found = worker_processes.listing(connection, project)
    return {each.name: (each.state, each.job_id) for each in found}


def test_what_a_process_told_is_listed(connection):
    enter(connection, "host:7")
    [found] = worker_processes.listing(connection, DEFAULT)
    assert (found.name, found.worker_class, found.device, found.devices) == (
        *("host:7", "gpu", "cuda", 2),
    )
    assert (found.device_bytes, found.memory_bytes, found.cores) == (24 << 30, 1 << 34, 4)
    assert found.versions == VERSIONS


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.CANCELLING])
def test_its_job_is_told_to_its_project_alone(connection, rows, status):
    other = rows.project("other")
    ours, theirs = rows.job(), rows.job(project=other)
    for name, job_id in (("a:1", ours), ("b:1", theirs)):
        enter(connection, name)
        rows.set(job_id, status=status, worker=name)
    enter(connection, "c:1")
    rows.set(rows.job(), status=JobStatus.SUCCEEDED, worker="c:1")
    busy, idle = WorkerState.BUSY, (WorkerState.IDLE, None)
    assert states(connection) == {"a:1": (busy, ours), "b:1": (busy, None), "c:1": idle}
    assert states(connection, other) == {"a:1": (busy, None), "b:1": (busy, theirs), "c:1": idle}


def test_a_process_that_is_silent_is_told_and_later_forgotten(connection):
    enter(connection, "silent:1", seen_at=func.now() - SILENT - timedelta(seconds=5))
    enter(connection, "gone:1", seen_at=func.now() - FORGOTTEN - timedelta(seconds=5))
    assert states(connection) == {"silent:1": (WorkerState.SILENT, None)}
    assert worker_processes.seen(connection, "gone:1")
    assert states(connection).keys() == {"gone:1", "silent:1"}
    enter(connection, "gone:1", seen_at=func.now() - FORGOTTEN - timedelta(seconds=5))
    enter(connection, "new:1")  # which removes what was forgotten
    assert not worker_processes.seen(connection, "gone:1")


def test_a_name_that_comes_again_is_a_new_process(connection):
    before = func.now() - timedelta(hours=3)
    enter(connection, "host:1", started_at=before, versions={"torch": "2.0.0"})
    enter(connection, "host:1")
    [found] = worker_processes.listing(connection, DEFAULT)
    assert found.versions == VERSIONS
    assert found.started_at == found.seen_at
    worker_processes.remove(connection, "host:1")
    assert worker_processes.listing(connection, DEFAULT) == []
