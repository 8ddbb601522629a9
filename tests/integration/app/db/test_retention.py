"""Jobs and sweeps go some time after their end, and never while somebody needs them."""

from datetime import timedelta

import pytest
from sqlalchemy import event, func, insert, select, text

from app.db import artifacts, retention
from app.db.tables import events, jobs, model_versions, models, publications, sweeps
from app.db.tables import projects as project_table
from app.domain.jobs import Artifact, JobStatus
from app.domain.publications import PublicationState
from app.domain.sweeps import SweepStatus
from app.services.lifecycle import retention as service

DEFAULT, AGE = "prj_default", timedelta(days=1)


@pytest.fixture
def ended(rows):
    """Makes a job that ended so long ago, however it ended."""

    def make(ago=2 * AGE, status=JobStatus.SUCCEEDED, **columns):
        return rows.job(status=status, finished_at=rows.now - ago, **columns)

    return make


@pytest.fixture
def sweep(rows):
    """Makes a sweep that ended so long ago, or has not ended."""

    def make(ago=2 * AGE):
        number = rows.connection.execute(select(func.count()).select_from(sweeps)).scalar_one()
        name, ends = f"swp_{number}", None if ago is None else rows.now - ago
        status = SweepStatus.RUNNING if ago is None else SweepStatus.SUCCEEDED
        values = {"id": name, "project_id": DEFAULT, "request": {}, "status": status}
        rows.connection.execute(insert(sweeps).values(**values, finished_at=ends))
        return name

    return make


def old_jobs(rows, limit=9):
    return retention.old_jobs(rows.connection, AGE, limit=limit)


def old_sweeps(rows):
    return retention.old_sweeps(rows.connection, AGE, limit=9)


def left(rows, table):
    return set(rows.connection.execute(select(table.c.id)).scalars())


def name(rows, job_id):
    rows.add(models, project_id=DEFAULT, name="best")
    rows.add(model_versions, project_id=DEFAULT, name="best", version=1, job_id=job_id)


@pytest.mark.parametrize("status", [status for status in JobStatus if status.terminal])
def test_jobs_go_after_their_time_however_they_ended(rows, ended, status):
    ended(AGE / 2, status)
    running = rows.job(status=JobStatus.RUNNING)
    older, oldest = ended(2 * AGE, status), ended(3 * AGE, status)
    assert old_jobs(rows) == [oldest, older]
    assert old_jobs(rows, limit=1) == [oldest]
    assert service.delete_job(rows.connection, AGE, older)
    assert not service.delete_job(rows.connection, AGE, running)
    assert {running, oldest} < left(rows, jobs)
    assert older not in left(rows, jobs)


def test_events_and_bytes_go_with_a_job(rows, ended):
    job_id, other = ended(), ended()
    artifacts.add(rows.connection, [Artifact(job_id, 1, "a", 10, "0", "text/plain")])
    used = select(project_table.c.artifact_bytes).where(project_table.c.id == DEFAULT)
    before = rows.connection.execute(used).scalar_one()
    assert service.delete_job(rows.connection, AGE, job_id)
    assert rows.connection.execute(used).scalar_one() == before - 10
    about = rows.connection.execute(select(events.c.subject_id)).scalars().all()
    assert job_id not in about
    assert other in about


def test_a_version_of_a_model_stays(rows, ended):
    job_id = ended()
    name(rows, job_id)
    assert old_jobs(rows) == []
    assert not service.delete_job(rows.connection, AGE, job_id)
    assert job_id in left(rows, jobs)


@pytest.mark.parametrize("state", PublicationState)
def test_what_is_on_its_way_stays(rows, ended, state):
    job_id = ended()
    rows.add(publications, id="pub", job_id=job_id, destination="d", target="t", state=state)
    pending = state is PublicationState.PENDING
    assert old_jobs(rows) == ([] if pending else [job_id])


@pytest.mark.parametrize("status", JobStatus)
def test_what_an_unfinished_job_starts_from_stays(rows, ended, status):
    job_id = ended()
    ends = {"finished_at": rows.now} if status.terminal else {}
    rows.job(spec={"model": f"hf:jobs/{job_id}"}, status=status, **ends)
    assert old_jobs(rows) == ([job_id] if status.terminal else [])


def test_members_go_with_their_sweep(rows, ended, sweep):
    over, young, open_ = sweep(), sweep(AGE / 2), sweep(None)
    members = {each: [ended(sweep_id=each), ended(sweep_id=each)] for each in (over, young, open_)}
    assert old_jobs(rows) == []
    assert not service.delete_job(rows.connection, AGE, members[over][0])
    assert old_sweeps(rows) == [over]
    assert service.delete_sweep(rows.connection, AGE, over)
    assert not service.delete_sweep(rows.connection, AGE, young)
    assert left(rows, sweeps) == {young, open_}
    assert left(rows, jobs) == {*members[young], *members[open_]}


def test_a_sweep_stays_whole_for_a_member_that_is_needed(rows, ended, sweep):
    one, other = sweep(), sweep()
    member, _ = ended(sweep_id=one), ended(sweep_id=one)
    ended(sweep_id=other)
    name(rows, member)
    assert old_sweeps(rows) == [other]
    assert not service.delete_sweep(rows.connection, AGE, one)
    assert one in left(rows, sweeps)


@pytest.mark.parametrize(
    ("find", "index"),
    [(retention.old_jobs, "ix_jobs_ended"), (retention.old_sweeps, "ix_sweeps_finished_at")],
)
def test_they_are_found_by_an_index(rows, find, index):
    asked = []

    @event.listens_for(rows.connection, "before_cursor_execute")
    def listen(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    find(rows.connection, AGE, limit=9)
    statement, parameters = asked[-1]
    rows.connection.execute(text("SET LOCAL enable_seqscan = off"))
    told = rows.connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars()
    assert index in "\n".join(told)
