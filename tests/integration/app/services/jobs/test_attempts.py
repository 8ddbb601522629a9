"""Claim, lease, fencing and reaping on the real database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, select, update

from app.db import events, jobs, leases, outbox, tables
from app.domain.job_result import JobResult
from app.domain.jobs import (
    Artifact,
    EventType,
    FailureKind,
    JobError,
    JobStatus,
    Lease,
    NewEvent,
    Phase,
)
from app.domain.projects import DEFAULT_PROJECT, Caller, Limits, Scope
from app.ids import new_id
from app.services.jobs import artifacts, attempts
from app.services.jobs import service as client
from app.services.jobs.garbage_collection import (
    discard_abandoned,
    discard_unowned,
    sweep_checkpoints,
)
from app.services.quarantine import Guard
from app.storage.checkpoints import CheckpointStore
from app.storage.local import LocalStore
from tests.integration.app.rows import each, new_job

CALLER = Caller("key_test", DEFAULT_PROJECT, Scope.ADMIN, Limits())
LEASE = timedelta(seconds=30)
ERROR = JobError(FailureKind.SYSTEM, "storage_failed", "disk gone")


@pytest.fixture
def job_id(engine):
    with engine.begin() as connection:
        job = new_job(connection, max_attempts=2)
        outbox.add(connection, job)
    return job.id


@pytest.fixture
def claim(engine, job_id):
    def once():
        with engine.begin() as connection:
            return attempts.claim(connection, worker="w", lease=LEASE)

    return once


@pytest.fixture
def look(engine, job_id):
    def once():
        with engine.begin() as connection:
            return jobs.get(connection, DEFAULT_PROJECT, job_id)

    return once


def beat(engine, job, log=()):
    with engine.begin() as connection:
        return attempts.heartbeat(
            connection, job, lease=LEASE, phase=Phase.PRUNING, progress=0.5, log=log
        )


def expire(engine, job_id):
    with engine.begin() as connection:
        past = func.now() - timedelta(seconds=1)
        connection.execute(
            update(tables.jobs).where(tables.jobs.c.id == job_id).values(lease_expires_at=past)
        )


def reap(engine):
    return each(engine, partial(leases.all_expired, limit=100), attempts.reap)


def waiting(engine):
    with engine.begin() as connection:
        return connection.execute(select(tables.outbox.c.job_id)).scalars().all()


def messages(engine, job_id):
    with engine.begin() as connection:
        return [event.message for event in events.page(connection, job_id, after=0, limit=99)]


def test_a_job_that_a_version_before_has_queued_is_claimed(engine, claim, job_id):
    with engine.begin() as connection:
        connection.execute(update(tables.outbox).values(worker_class=None))
    assert claim().id == job_id


def test_of_many_claims_one_succeeds(engine, claim, job_id):
    with ThreadPoolExecutor(8) as pool:
        claimed = [job for job in pool.map(lambda _: claim(), range(16)) if job]
    assert [job.attempt for job in claimed] == [1]
    assert waiting(engine) == []


def test_a_heartbeat_stores_progress_and_log(engine, claim, look):
    job = claim()
    log = [NewEvent(EventType.BLOCK, "block 1 of 2")]
    assert beat(engine, job, log) is Lease.HELD
    stored = look()
    assert (stored.phase, stored.progress) == (Phase.PRUNING, 0.5)
    assert messages(engine, job.id) == ["queued", "running", "block 1 of 2"]


def test_an_expired_lease_is_given_to_the_next_attempt(engine, claim, look, job_id):
    first = claim()
    assert reap(engine) == 0
    expire(engine, job_id)
    assert reap(engine) == 1
    assert (look().status, waiting(engine)) == (JobStatus.QUEUED, [job_id])
    second = claim()
    assert second.attempt == 2
    log = [NewEvent(EventType.BLOCK, "from the past")]
    assert beat(engine, first, log) is Lease.LOST
    assert "from the past" not in messages(engine, job_id)
    artifact = Artifact(job_id, 1, "a", 1, "0", "text/plain")
    with engine.begin() as connection:
        assert not attempts.succeed(connection, first, result=JobResult(), files=[artifact], log=())
        attempts.fail(connection, first, ERROR, log=())
    assert (look().status, look().attempt) == (JobStatus.RUNNING, 2)
    with engine.begin() as connection:
        assert artifacts.listing(connection, CALLER, job_id) == []


def test_the_last_attempt_that_is_lost_fails_the_job(engine, claim, look, job_id):
    for _ in range(2):
        claim()
        expire(engine, job_id)
        reap(engine)
    job = look()
    assert (job.status, job.error.code) == (JobStatus.FAILED, "worker_lost")
    assert waiting(engine) == []


def test_a_passing_fault_is_retried_later_and_then_fails(engine, claim, look, job_id):
    with engine.begin() as connection:
        attempts.retry(connection, claim(), ERROR, log=())
    assert look().status is JobStatus.QUEUED
    with engine.begin() as connection:
        assert outbox.due(connection, limit=9) == []
    assert waiting(engine) == [job_id]
    assert claim() is None, "not before its time"
    for _ in range(1 + attempts.OUTAGE_ATTEMPTS):
        assert look().status is JobStatus.QUEUED
        with engine.begin() as connection:
            connection.execute(update(tables.outbox).values(due_at=func.now()))
        with engine.begin() as connection:
            attempts.retry(connection, claim(), ERROR, log=())
    job = look()
    assert (job.status, job.error, job.attempt) == (JobStatus.FAILED, ERROR, 7)


def cancel(engine, job_id):
    with engine.begin() as connection:
        return client.cancel(connection, CALLER, job_id)


def test_cancelling_a_running_job_reaches_its_worker(engine, claim, look, job_id):
    job = claim()
    assert cancel(engine, job_id).status is JobStatus.CANCELLING
    assert beat(engine, job) is Lease.CANCEL_REQUESTED
    with engine.begin() as connection:
        assert not attempts.succeed(connection, job, result=JobResult(), files=[], log=())
        attempts.end_cancelled(connection, job)
    assert look().status is JobStatus.CANCELLED


@pytest.mark.parametrize("end", [attempts.fail, attempts.retry])
def test_an_error_while_cancelling_ends_as_cancelled(engine, claim, look, job_id, end):
    job = claim()
    cancel(engine, job_id)
    with engine.begin() as connection:
        end(connection, job, ERROR, log=())
    assert (look().status, look().error) == (JobStatus.CANCELLED, None)


def test_a_cancelling_job_whose_worker_is_lost_ends_as_cancelled(engine, claim, look, job_id):
    claim()
    cancel(engine, job_id)
    expire(engine, job_id)
    reap(engine)
    assert look().status is JobStatus.CANCELLED


def test_success_shows_status_result_and_files_together(engine, claim, look, job_id):
    job = claim()
    files = [Artifact(job_id, 1, name, 1, "0", "text/plain") for name in ("b", "a")]
    with engine.begin() as connection:
        assert attempts.succeed(
            connection, job, result=JobResult(sparsity=0.5), files=files, log=()
        )
    stored = look()
    assert (stored.status, stored.progress, stored.phase) == (JobStatus.SUCCEEDED, 1, None)
    assert stored.result == JobResult(sparsity=0.5)
    with engine.begin() as connection:
        assert [a.path for a in artifacts.listing(connection, CALLER, job_id)] == ["a", "b"]


def test_files_are_swept_once_no_attempt_owns_them(engine, claim, job_id, tmp_path):
    store = LocalStore(tmp_path)

    def swept():
        return discard_abandoned(Guard(engine), store, store.attempts())

    first = claim()
    store.stage(job_id, first.attempt)
    store.stage(new_id("job"), 1)
    assert swept() == 1, "the running attempt keeps its files"
    expire(engine, job_id)
    reap(engine)
    assert swept() == 1, "a lost attempt does not"
    second = claim()
    store.stage(job_id, second.attempt)
    store.publish(job_id, second.attempt)
    with engine.begin() as connection:
        attempts.succeed(
            connection,
            second,
            result=JobResult(),
            files=[Artifact(job_id, 2, "a", 1, "0", "t")],
            log=(),
        )
    assert swept() == 0
    assert store.attempts().ours == {(job_id, 2)}


def test_files_of_a_job_that_did_succeed_are_never_discarded(engine, claim, job_id, tmp_path):
    # The commit went through and its answer was lost: the worker takes the job for failed.
    store = LocalStore(tmp_path)
    job = claim()
    store.stage(job_id, job.attempt)
    store.publish(job_id, job.attempt)
    file = Artifact(job_id, 1, "a", 1, "0", "text/plain")
    with engine.begin() as connection:
        attempts.succeed(connection, job, result=JobResult(), files=[file], log=())
    with engine.begin() as connection:
        assert not attempts.fail(connection, job, ERROR, log=())
        assert discard_unowned(connection, store, [(job_id, job.attempt)]) == 0
    assert store.attempts().ours == {(job_id, 1)}


def test_an_attempt_that_kept_something_does_not_count_as_one_in_vain(engine, claim, look, job_id):
    for _ in range(5):
        job = claim()
        with engine.begin() as connection:
            attempts.note_progress(connection, job)
        expire(engine, job_id)
        reap(engine)
    for _ in range(2):
        assert look().status is JobStatus.QUEUED
        claim()
        expire(engine, job_id)
        reap(engine)
    assert (look().status, look().attempt) == (JobStatus.FAILED, 7)


def test_a_fault_after_something_was_kept_is_tried_again(engine, claim, look, job_id):
    claim()
    expire(engine, job_id)
    reap(engine)
    job = claim()
    with engine.begin() as connection:
        attempts.note_progress(connection, job)
        attempts.retry(connection, job, ERROR, log=())
    assert look().status is JobStatus.QUEUED


def test_an_outdated_attempt_keeps_nothing_for_the_count(engine, claim, look, job_id):
    first = claim()
    expire(engine, job_id)
    reap(engine)
    claim()
    with engine.begin() as connection:
        attempts.note_progress(connection, first)
    assert look().fruitless == 2


def test_checkpoints_stay_until_their_job_has_ended(engine, claim, job_id, tmp_path):
    kept = CheckpointStore(tmp_path / "checkpoints")
    job = claim()
    for name in (job_id, new_id("job")):
        kept.directory(name).mkdir(parents=True)
        (kept.directory(name) / "key.json").write_text("{}")

    def swept():
        return sweep_checkpoints(Guard(engine), kept, kept.jobs())

    assert swept() == 1
    assert kept.jobs().ours == {job_id}
    with engine.begin() as connection:
        attempts.fail(connection, job, ERROR, log=())
    assert swept() == 1
    assert kept.jobs().ours == set()
    assert swept() == 0


def test_a_job_handed_back_keeps_its_attempts(engine, claim, look, job_id):
    for number in range(1, 5):
        job = claim()
        assert job.attempt == number
        with engine.begin() as connection:
            attempts.hand_back(connection, job, log=[NewEvent(EventType.BLOCK, "the last block")])
        assert (look().status, waiting(engine)) == (JobStatus.QUEUED, [job_id])
    assert "the last block" in messages(engine, job_id)
    for _ in range(2):
        claim()
        expire(engine, job_id)
        reap(engine)
    assert look().error.code == "worker_lost"


def test_a_cancelled_job_is_not_handed_back(engine, claim, look, job_id):
    job = claim()
    cancel(engine, job_id)
    with engine.begin() as connection:
        attempts.hand_back(connection, job, log=())
    assert (look().status, waiting(engine)) == (JobStatus.CANCELLED, [])


def test_a_worker_takes_jobs_of_its_class_that_fit_it(engine):
    def queue(**where):
        with engine.begin() as connection:
            job = new_job(connection, max_attempts=2, **where)
            outbox.add(connection, job)
        return job.id

    def take(worker_class, memory_bytes):
        with engine.begin() as connection:
            job = attempts.claim(
                connection,
                worker="w",
                lease=LEASE,
                worker_class=worker_class,
                memory_bytes=memory_bytes,
            )
        return job and job.id

    large = queue(worker_class="gpu", memory_bytes=80)
    small = queue(worker_class="gpu", memory_bytes=10)
    unknown = queue(worker_class="gpu")
    assert take("cpu", 100) is None
    assert [take("gpu", 40) for _ in range(3)] == [small, unknown, None]
    assert take("gpu", 80) == large
