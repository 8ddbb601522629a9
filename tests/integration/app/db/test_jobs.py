"""Which attempt may write to which job, in every status, and what each write leaves behind."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, text

from app.db import artifacts, jobs, leases
from app.db.tables import jobs as table
from app.db.tables import quarantine, webhooks
from app.domain.job_result import JobResult
from app.domain.jobs import Artifact, FailureKind, JobError, JobStatus, Lease, NewJob, Phase
from app.domain.submission import JobRequest, resolve
from tests.integration.app.rows import new_job, put

LEASE = timedelta(seconds=30)
ERROR = JobError(FailureKind.SYSTEM, "storage_failed", "disk gone")
ASKED = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
RUNNING, CANCELLING = JobStatus.RUNNING, JobStatus.CANCELLING


def row(connection, job_id):
    return connection.execute(select(table).where(table.c.id == job_id)).one()


def now(connection):
    return connection.execute(select(func.now())).scalar_one()


def beat(connection, job_id, attempt=2, progress=0.5):
    return leases.heartbeat(
        connection, job_id, attempt, lease=LEASE * 2, phase=Phase.PRUNING, progress=progress
    )


ENDS = {
    "succeed": (
        lambda c, i, a: leases.succeed(c, i, a, JobResult(sparsity=0.5)),
        JobStatus.SUCCEEDED,
    ),
    "fail": (lambda c, i, a: leases.fail(c, i, a, ERROR), JobStatus.FAILED),
    "requeue": (leases.requeue, JobStatus.QUEUED),
    "hand_back": (leases.hand_back, JobStatus.QUEUED),
    "end_cancelled": (leases.end_cancelled, JobStatus.CANCELLED),
}


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("end", ENDS)
def test_an_attempt_ends_what_it_holds(connection, job, status, end):
    function, target = ENDS[end]
    holds = status is (CANCELLING if end == "end_cancelled" else RUNNING)
    mine, other = job(status), job(status)
    before, untouched = row(connection, mine), row(connection, other)
    for outdated in (1, 3):
        assert not function(connection, mine, outdated)
    assert row(connection, mine) == before
    assert function(connection, mine, 2) is holds
    assert row(connection, other) == untouched
    after = row(connection, mine)
    assert after.status == (target if holds else status)
    assert after.version == before.version + holds
    if holds:
        assert (after.worker, after.lease_expires_at, after.eta) == (None, None, None)
        assert (after.finished_at is not None) is target.terminal
        assert after.deadline == (None if target.terminal else before.deadline)


def test_a_success_has_a_result_and_no_phase(connection, job):
    job_id = job(phase=Phase.EXPORTING, progress=0.9)
    leases.succeed(connection, job_id, 2, JobResult(sparsity=0.5))
    after = row(connection, job_id)
    assert (after.result, after.progress, after.phase) == ({"sparsity": 0.5}, 1, None)
    assert after.finished_at == now(connection)


def test_a_failure_says_why(connection, job):
    plain, refused = job(phase=Phase.PRUNING, progress=0.4), job()
    secret = JobError(
        FailureKind.USER, "hub_refused", "no access with hf_abcdefghijklmnopqrstuvwxyz"
    )
    leases.fail(connection, plain, 2, secret)
    leases.fail(connection, refused, 2, ERROR, JobResult(drop=2))
    after = row(connection, plain)
    assert (after.error_kind, after.error_code) == ("user_error", "hub_refused")
    assert after.error_message == "no access with ***"
    assert (after.result, after.phase, after.progress) == (None, Phase.PRUNING, 0.4)
    assert row(connection, refused).result == {"drop": 2}
    assert jobs.find(connection, refused).error == ERROR
    null = table.c.result.is_(None)
    assert connection.execute(select(null).where(table.c.id == plain)).scalar_one()


@pytest.mark.parametrize(("end", "fruitless"), [("requeue", 2), ("hand_back", 1)])
def test_a_job_that_goes_back_begins_anew_and_keeps_its_times(connection, job, end, fruitless):
    job_id = job(phase=Phase.PRUNING, progress=0.4, eta=func.now())
    before = row(connection, job_id)
    ENDS[end][0](connection, job_id, 2)
    after = row(connection, job_id)
    assert (after.phase, after.progress, after.eta) == (None, 0, None)
    assert (after.started_at, after.deadline) == (before.started_at, before.deadline)
    assert (after.attempt, after.fruitless) == (2, fruitless)


def test_a_job_handed_back_twice_counts_no_less_than_none(connection, job):
    job_id = job(fruitless=0)
    leases.hand_back(connection, job_id, 2)
    assert row(connection, job_id).fruitless == 0


@pytest.mark.parametrize("status", JobStatus)
def test_a_claim_takes_what_is_queued(connection, job, status):
    job_id, other = job(status, progress=0.5, worker=None), job(status)
    before, untouched = row(connection, job_id), row(connection, other)
    claimed = leases.claim(connection, job_id, worker="new", lease=LEASE)
    assert row(connection, other) == untouched
    if status is not JobStatus.QUEUED:
        assert claimed is None
        assert row(connection, job_id) == before
        return
    after = row(connection, job_id)
    assert (claimed.attempt, after.attempt, after.fruitless) == (3, 3, 3)
    assert (after.status, after.worker, after.phase) == ("running", "new", "loading")
    assert (after.progress, after.version) == (0, before.version + 1)
    assert after.lease_expires_at == now(connection) + LEASE
    assert after.attempt_started_at == now(connection)


def test_the_time_of_a_job_counts_from_its_first_claim(connection):
    made = new_job(connection, max_attempts=3, max_runtime_seconds=600, max_pending_seconds=60)
    assert row(connection, made.id).deadline == now(connection) + timedelta(seconds=60)
    leases.claim(connection, made.id, worker="w", lease=LEASE)
    first = row(connection, made.id)
    assert (first.attempt, first.fruitless) == (1, 1)
    assert first.started_at == now(connection)
    assert first.deadline == now(connection) + timedelta(seconds=600)
    earlier = now(connection) - timedelta(seconds=90)
    put(connection, made.id, status="queued", started_at=earlier, deadline=earlier)
    leases.claim(connection, made.id, worker="w", lease=LEASE)
    second = row(connection, made.id)
    assert (second.started_at, second.deadline) == (earlier, earlier)
    boundless = new_job(connection, max_attempts=3)
    leases.claim(connection, boundless.id, worker="w", lease=LEASE)
    assert row(connection, boundless.id).deadline is None


@pytest.mark.parametrize("status", JobStatus)
def test_a_heartbeat_is_for_the_attempt_that_is_at_work(connection, job, status):
    job_id, other = job(status), job(status)
    before, untouched = row(connection, job_id), row(connection, other)
    assert beat(connection, job_id, 1) is Lease.LOST
    assert beat(connection, job_id, 3) is Lease.LOST
    assert row(connection, job_id) == before
    expected = {RUNNING: Lease.HELD, CANCELLING: Lease.CANCEL_REQUESTED}
    assert beat(connection, job_id) is expected.get(status, Lease.LOST)
    after = row(connection, job_id)
    if status not in expected:
        assert after == before
    else:
        assert after.lease_expires_at == now(connection) + LEASE * 2
        assert (after.phase, after.progress) == ("pruning", 0.5)
        assert after.version == before.version, "progress is no change that clients wait for"
    assert row(connection, other) == untouched


def test_the_end_is_told_from_the_pace(connection, job):
    started = now(connection) - timedelta(seconds=100)
    job_id = job(attempt_started_at=started)
    beat(connection, job_id, progress=0.1)
    assert row(connection, job_id).eta is None, "it has loaded only"
    beat(connection, job_id, progress=0.125)
    assert row(connection, job_id).eta == now(connection) + timedelta(seconds=700)
    beat(connection, job_id, progress=0.25)
    assert row(connection, job_id).eta == now(connection) + timedelta(seconds=300)
    put(connection, job_id, attempt_started_at=started - timedelta(seconds=100))
    beat(connection, job_id, progress=0.25)
    assert row(connection, job_id).eta == now(connection) + timedelta(seconds=300), "as it was"


@pytest.mark.parametrize("status", JobStatus)
def test_a_cancel_ends_what_waits_and_asks_what_runs(connection, job, status):
    job_id, other = job(status), job(status)
    before, untouched = row(connection, job_id), row(connection, other)
    found = jobs.cancel(connection, job_id)
    after = row(connection, job_id)
    assert row(connection, other) == untouched
    if status not in {JobStatus.QUEUED, RUNNING}:
        assert (found, after) == (None, before)
        return
    queued = status is JobStatus.QUEUED
    assert found.status == after.status == (JobStatus.CANCELLED if queued else CANCELLING)
    assert after.finished_at == (now(connection) if queued else None)
    assert (after.deadline, after.version) == (None, before.version + 1)


@pytest.mark.parametrize("status", JobStatus)
def test_what_is_overdue_fails_unless_it_is_being_cancelled(connection, job, status):
    job_id = job(status)
    before = row(connection, job_id)
    found = leases.fail_overdue(connection, job_id, ERROR)
    after = row(connection, job_id)
    if status not in {JobStatus.QUEUED, RUNNING}:
        assert (found, after) == (None, before)
        return
    assert (found.status, found.error) == (JobStatus.FAILED, ERROR)
    assert (after.lease_expires_at, after.deadline) == (None, None)
    assert after.finished_at == now(connection)
    assert after.version == before.version + 1


@pytest.mark.parametrize(
    ("column", "one", "every", "loop"),
    [
        ("deadline", leases.overdue, leases.all_overdue, "overdue"),
        ("lease_expires_at", leases.expired, leases.all_expired, "reap"),
    ],
)
def test_what_is_past_its_time_is_found_the_longest_first(
    connection, rows, job, column, one, every, loop
):
    ids = {}
    for seconds in (5, 0, 9, -5, 7):
        ids[seconds] = job(deadline=None, lease_expires_at=None)
        put(connection, ids[seconds], **{column: func.now() - timedelta(seconds=seconds)})
    assert every(connection, limit=9) == [ids[9], ids[7], ids[5]]
    assert every(connection, limit=2) == [ids[9], ids[7]]
    assert one(connection, ids[9]).id == ids[9]
    assert one(connection, ids[0]) is None, "its time is not over before it is"
    assert one(connection, ids[-5]) is None
    for seconds, set_aside in ((9, loop), (7, "relay")):
        told = {"item": ids[seconds], "failures": 1, "reason": "x", "next_at": rows.now + LEASE}
        rows.add(quarantine, loop=set_aside, **told)
    assert every(connection, limit=9) == [ids[7], ids[5]]


def test_a_row_that_another_process_holds_is_passed_over(connection, job, engine):
    job_id = job(deadline=func.now() - LEASE, lease_expires_at=func.now() - LEASE)
    connection.commit()
    with engine.connect() as other:
        other.execute(select(table).where(table.c.id == job_id).with_for_update())
        connection.execute(text("SET lock_timeout = '2s'"))
        assert leases.expired(connection, job_id) is None
        assert leases.overdue(connection, job_id) is None
        connection.rollback()
        other.execute(text("TRUNCATE jobs CASCADE"))
        other.commit()


def test_progress_that_was_kept_counts_for_its_attempt_alone(connection, job):
    job_id, other = job(), job()
    for outdated in (1, 3):
        leases.note_progress(connection, job_id, outdated)
    assert leases.attempts_without_progress(connection, job_id) == 2
    leases.note_progress(connection, job_id, 2)
    assert (
        leases.attempts_without_progress(connection, job_id),
        leases.attempts_without_progress(connection, other),
    ) == (0, 2)


def test_owners_are_attempts_at_work(connection, job):
    by_status = {status: job(status) for status in JobStatus}
    asked = [job_id for status, job_id in by_status.items() if status is not CANCELLING]
    assert jobs.owners(connection, asked) == {(by_status[RUNNING], 2)}
    assert jobs.owners(connection, [by_status[CANCELLING]]) == {(by_status[CANCELLING], 2)}
    unfinished = {JobStatus.QUEUED, RUNNING}
    assert jobs.unfinished(connection, asked) == {by_status[each] for each in unfinished}
    assert jobs.unfinished(connection, []) == set()


def test_an_attempt_that_ended_owns_the_files_that_it_published(connection, job):
    published, other = job(JobStatus.FAILED), job(JobStatus.FAILED)
    artifacts.add(connection, [Artifact(published, 2, "a", 10, "0", "text/plain")])
    assert jobs.owners(connection, [published, other]) == {(published, 2)}
    assert jobs.owners(connection, [other]) == set()


def queued(connection, **others):
    made = NewJob(request=JobRequest(**ASKED), spec=resolve(JobRequest(**ASKED)), **others)
    return jobs.queue(connection, made, key_id="key_1", action=None)


def test_who_wants_to_hear_of_a_new_job_is_told_with_it(connection, rows):
    there = {"max_attempts": 3, "project_id": "prj_default"}
    assert queued(connection, **there)[1] == ()
    theirs, told = rows.project("other"), {"url": "https://a", "secret": "whsec_a"}
    wants = {"id": "wants", "project_id": "prj_default", "events": ["job.queued", "job.failed"]}
    rows.add(webhooks, **told, **wants)
    for others in ({"project_id": theirs}, {"events": ["job.failed"]}, {"enabled": False}):
        rows.add(webhooks, **told, **wants | {"id": f"not {others}"} | others)
    assert queued(connection, **there)[1] == ["wants"]


def test_queued_jobs_of_a_class_are_moved_to_another(connection, job):
    first, second = job(JobStatus.QUEUED), job(JobStatus.QUEUED)
    elsewhere, running = job(JobStatus.QUEUED), job(RUNNING)
    jobs.move(connection, elsewhere, worker_class="gpu", memory_bytes=8)
    assert [each.id for each in jobs.queued_for(connection, "cpu")] == [first, second]
    [moved] = jobs.queued_for(connection, "gpu")
    assert (moved.id, moved.worker_class, moved.memory_bytes) == (elsewhere, "gpu", 8)
    assert jobs.find(connection, running).worker_class == "cpu"
    assert moved.version == jobs.find(connection, first).version + 1
