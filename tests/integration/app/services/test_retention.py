"""What is too old goes little by little, so that nothing else waits for it."""

from datetime import timedelta

from sqlalchemy import func, select

from app import maintenance
from app.db.tables import jobs
from app.domain.jobs import JobStatus
from tests.integration.app.rows import new_job, put

DAY = timedelta(days=1)


def ended(engine, count, ago):
    for _ in range(count):
        with engine.begin() as connection:
            at = connection.execute(select(func.now())).scalar_one() - ago
            job = new_job(connection, max_attempts=1)
            put(connection, job.id, status=JobStatus.FAILED, finished_at=at)


def left(engine):
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(jobs)).scalar_one()


def test_a_round_deletes_a_few_and_tells_whether_more_are_left(engine, monkeypatch):
    monkeypatch.setattr(maintenance, "BATCH", 2)
    ended(engine, 3, 2 * DAY)
    ended(engine, 1, DAY / 2)
    assert maintenance.retire(engine, rows=DAY)
    assert left(engine) == 2
    assert not maintenance.retire(engine, rows=DAY)
    assert left(engine) == 1


def test_nothing_is_deleted_where_no_age_is_set(engine):
    ended(engine, 1, 1000 * DAY)
    assert not maintenance.retire(engine)
    assert left(engine) == 1
