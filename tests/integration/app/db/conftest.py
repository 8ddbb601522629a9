"""One database for each module: every test's transaction is undone, and its clock stands still."""

from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select

from app.db import jobs, leases, outbox
from app.db.engine import make_engine
from app.db.tables import jobs as table
from app.db.tables import projects
from app.domain.jobs import JobStatus
from tests.integration.app.rows import new_job, put


@pytest.fixture(scope="module")
def engine(postgres_server, template_database):
    engine = make_engine(postgres_server.create_database("rows", template=template_database))
    yield engine
    engine.dispose()
    postgres_server.drop_database("rows")


DEFAULT = "prj_default"


class Rows:
    """A transaction, and rows as they are stored."""

    def __init__(self, connection):
        self.connection = connection

    @property
    def now(self):
        return self.connection.execute(select(func.now())).scalar_one()

    def job(self, **columns):
        """A job with these columns, whatever way it could have come by them."""
        made = new_job(self.connection, max_attempts=3, project_id=columns.pop("project", DEFAULT))
        if columns:
            self.set(made.id, **columns)
        if "worker_class" in columns:
            outbox.move(self.connection, made.id, columns["worker_class"])
        return made.id

    def set(self, job_id, **columns):
        put(self.connection, job_id, **columns)

    def of(self, job_id):
        return self.connection.execute(select(table).where(table.c.id == job_id)).one()

    def get(self, job_id):
        return jobs.find(self.connection, job_id)

    def add(self, table, **values):
        self.connection.execute(insert(table).values(**values))

    def project(self, name):
        self.add(projects, id=f"prj_{name}", name=name, limits={})
        return f"prj_{name}"


@pytest.fixture
def connection(engine):
    with engine.connect() as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def rows(connection):
    return Rows(connection)


@pytest.fixture
def job(connection):
    """Makes a job in a status, at its second attempt."""

    def make(status=JobStatus.RUNNING, **columns):
        made = new_job(connection, max_attempts=3, max_runtime_seconds=600)
        for _ in range(2):
            put(connection, made.id, status=JobStatus.QUEUED)
            leases.claim(connection, made.id, worker="w", lease=timedelta(seconds=30))
        put(connection, made.id, status=status, **columns)
        return made.id

    return make
