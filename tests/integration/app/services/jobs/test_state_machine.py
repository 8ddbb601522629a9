"""A job under random requests, workers and faults, against a model of a dozen lines."""

from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import func, text, update

from app.db import events, tables
from app.domain.job_result import JobResult
from app.domain.jobs import FailureKind, JobError, JobStatus, Lease, Phase
from app.domain.projects import DEFAULT_PROJECT, Caller, Limits, Scope
from app.errors import JobFinishedError, JobNotFinishedError
from app.services.jobs import attempts
from app.services.jobs import service as client
from tests.integration.app.rows import new_job

CALLER = Caller("key_test", DEFAULT_PROJECT, Scope.ADMIN, Limits())
ERROR = JobError(FailureKind.SYSTEM, "storage_failed", "disk gone")
LEASE = timedelta(minutes=1)
ENDS = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED}


class Life(RuleBasedStateMachine):
    """`held` are all attempts ever granted; only the newest of a live job may write."""

    engine = None

    def __init__(self):
        super().__init__()
        with self.engine.begin() as connection:
            connection.execute(text("TRUNCATE jobs CASCADE"))
            job = new_job(connection, max_attempts=2)
        self.job_id, self.status, self.attempt, self.held = job.id, JobStatus.QUEUED, 0, []
        self.last = 2

    def do(self, function, *arguments, **options):
        with self.engine.begin() as connection:
            return function(connection, *arguments, **options)

    def owns(self, job):
        live = {JobStatus.RUNNING, JobStatus.CANCELLING}
        return job.attempt == self.attempt and self.status in live

    def given_back(self, more=0):
        used_up = self.attempt >= self.last + more
        self.status = JobStatus.FAILED if used_up else JobStatus.QUEUED

    @rule()
    def claim(self):
        with self.engine.begin() as connection:
            connection.execute(update(tables.outbox).values(due_at=func.now()))
        job = self.do(attempts.claim, worker="w", lease=LEASE)
        assert (job is not None) == (self.status is JobStatus.QUEUED)
        if job is not None:
            self.status, self.attempt = JobStatus.RUNNING, self.attempt + 1
            self.held.append(job)
            assert job.attempt == self.attempt

    @rule()
    def cancel(self):
        refused = self.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}
        try:
            self.do(client.cancel, CALLER, self.job_id)
            assert not refused
        except JobFinishedError:
            assert refused
        after = {JobStatus.QUEUED: JobStatus.CANCELLED, JobStatus.RUNNING: JobStatus.CANCELLING}
        self.status = after.get(self.status, self.status)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def heartbeat(self, data):
        job = data.draw(st.sampled_from(self.held))
        found = self.do(
            attempts.heartbeat, job, lease=LEASE, phase=Phase.PRUNING, progress=0.5, log=()
        )
        running = self.status is JobStatus.RUNNING
        expected = Lease.HELD if running else Lease.CANCEL_REQUESTED
        assert found is (expected if self.owns(job) else Lease.LOST)

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        how=st.sampled_from(["succeed", "fail", "retry", "hand_back", "end_cancelled"]),
    )
    def end(self, data, how):
        job = data.draw(st.sampled_from(self.held))
        options = {"succeed": {"result": JobResult(), "files": ()}, "fail": {}, "retry": {}}.get(
            how, {}
        )
        error = (ERROR,) if how in {"fail", "retry"} else ()
        self.do(getattr(attempts, how), job, *error, log=(), **options)
        if not self.owns(job):
            return
        if self.status is JobStatus.CANCELLING:
            self.status = self.status if how == "succeed" else JobStatus.CANCELLED
        elif how == "succeed":
            self.status = JobStatus.SUCCEEDED
        elif how == "fail":
            self.status = JobStatus.FAILED
        elif how == "retry":
            self.given_back(attempts.OUTAGE_ATTEMPTS)
        elif how == "hand_back":
            self.status, self.last = JobStatus.QUEUED, self.last + 1

    @rule()
    def lose_the_worker(self):
        with self.engine.begin() as connection:
            past = func.now() - timedelta(seconds=1)
            leased = tables.jobs.c.lease_expires_at.is_not(None)
            connection.execute(update(tables.jobs).where(leased).values(lease_expires_at=past))
        self.do(attempts.reap, self.job_id)
        if self.status is JobStatus.CANCELLING:
            self.status = JobStatus.CANCELLED
        elif self.status is JobStatus.RUNNING:
            self.given_back()

    @rule()
    def delete_is_for_ended_jobs(self):
        if self.status not in ENDS:
            try:
                self.do(client.delete, CALLER, self.job_id)
            except JobNotFinishedError:
                return
            raise AssertionError("a live job was deleted")

    @invariant()
    def the_row_is_what_the_model_says(self):
        job = self.do(client.get, CALLER, self.job_id)
        assert (job.status, job.attempt) == (self.status, self.attempt)
        assert (job.finished_at is not None) == (self.status in ENDS)

    @invariant()
    def a_message_waits_for_exactly_the_queued(self):
        with self.engine.begin() as connection:
            waiting = connection.execute(func.count(tables.outbox.c.job_id).select()).scalar_one()
        assert waiting == (self.status is JobStatus.QUEUED)

    @invariant()
    def the_log_ends_with_the_status_and_has_one_end(self):
        log = self.do(events.page, self.job_id, after=0, limit=999)
        assert log[-1].data["status"] == self.status
        assert sum(event.last for event in log) == (self.status in ENDS)


def test_every_sequence_follows_the_model(engine):
    machine = type("Life", (Life,), {"engine": engine})
    machine.TestCase.settings = settings(
        max_examples=20,
        stateful_step_count=12,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase().runTest()
