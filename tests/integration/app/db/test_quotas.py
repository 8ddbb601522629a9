"""Limits of projects: the last job that fits is taken, the next is not."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, update
from sqlalchemy.exc import OperationalError

from app.db import outbox, projects
from app.db.tables import outbox as messages
from app.domain.access import Caller, Limits, LimitsChange, Scope
from app.domain.errors import (
    ArtifactQuotaError,
    PreconditionError,
    ProjectExistsError,
    ProjectNotFoundError,
    QueueQuotaError,
)
from app.domain.jobs import JobStatus
from app.services import keys
from app.services import projects as service
from app.services.room import Room

DEFAULT = "prj_default"


def caller(**limits):
    return Caller("key_1", DEFAULT, Scope.ADMIN, Limits(**limits))


def check(connection, jobs=1, room=None, **limits):
    service.check_quotas(connection, caller(**limits), room or Room(), jobs=jobs)


def test_as_many_jobs_are_queued_as_may_be(connection, rows):
    for _ in range(3):
        rows.job()
    check(connection, queued_jobs=4)
    check(connection, 2, queued_jobs=5)
    for queued, jobs in ((3, 1), (4, 2)):
        words = f"may have {queued} queued jobs and has 3"
        with pytest.raises(QueueQuotaError, match=words):
            check(connection, jobs, queued_jobs=queued)


def test_counting_stops_where_it_tells_nothing_more(connection, rows):
    for _ in range(3):
        rows.job()
    rows.job(project=rows.project("other"))
    assert projects.queued(connection, DEFAULT, up_to=9) == 3
    assert projects.queued(connection, DEFAULT, up_to=2) == 2
    assert projects.queued(connection, DEFAULT, up_to=2**70) == 3
    assert projects.used(connection, DEFAULT, up_to=2) == (2, 0)
    assert projects.used(connection, DEFAULT, up_to=2**70) == (3, 0)
    assert projects._LARGEST == 2**63 - 1, "as far as the database counts"


def test_published_bytes_may_reach_their_limit(connection, rows):
    rows.project("other")
    projects.add_artifact_bytes(connection, DEFAULT, 60)
    projects.add_artifact_bytes(connection, DEFAULT, 40)
    projects.add_artifact_bytes(connection, "prj_other", 7)
    assert projects.get(connection, DEFAULT).artifact_bytes == 100
    check(connection, artifact_bytes=100)
    with pytest.raises(ArtifactQuotaError, match="take 100 of 99 bytes"):
        check(connection, artifact_bytes=99)
    projects.add_artifact_bytes(connection, DEFAULT, -1)
    check(connection, artifact_bytes=99)


def test_what_is_known_to_be_free_is_not_counted_again(connection, rows, monkeypatch):
    for _ in range(3):
        rows.job()
    room = Room()
    check(connection, 2, room, queued_jobs=121)
    monkeypatch.setattr(projects, "used", None)
    assert [room.take(caller(queued_jobs=121), 1) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("limit", "locks"), [(103, True), (104, False)])
def test_submits_wait_for_each_other_near_the_limit_only(
    connection, rows, monkeypatch, limit, locks
):
    for _ in range(3):
        rows.job()
    locked = []
    lock = projects.lock
    monkeypatch.setattr(projects, "lock", lambda *told: (locked.append(told[1]), lock(*told)))
    check(connection, queued_jobs=limit)
    assert locked == ([DEFAULT] if locks else [])


def test_a_locked_project_is_counted_once_more(connection, rows, monkeypatch):
    def another_came(connection, project_id):
        rows.job()

    monkeypatch.setattr(projects, "lock", another_came)
    check(connection, queued_jobs=2)
    with pytest.raises(QueueQuotaError, match="has 2"):
        check(connection, queued_jobs=1)


def test_projects_that_run_as_much_as_they_may_are_full(connection, rows):
    other = rows.project("other")
    projects.set_limits(connection, DEFAULT, Limits(running_jobs=2))
    leased = {"status": JobStatus.RUNNING, "lease_expires_at": func.now()}
    rows.job(**leased)
    rows.job(project=other, **leased)
    rows.job()
    assert projects.full(connection) == []
    rows.job(**leased)
    assert projects.full(connection) == [DEFAULT]
    assert projects.running(connection, DEFAULT) == 2
    assert projects.running(connection, other) == 1
    projects.set_limits(connection, other, Limits(running_jobs=1))
    assert set(projects.full(connection)) == {DEFAULT, other}


def test_a_project_without_limits_of_its_own_has_the_usual_ones(connection, rows):
    other = rows.project("other")
    for _ in range(100):
        assert projects.full(connection) == []
        rows.job(project=other, status=JobStatus.RUNNING, lease_expires_at=func.now())
    assert projects.full(connection) == [other]


def test_who_locks_a_project_keeps_nobody_from_submitting(connection, rows, engine):
    with engine.begin() as other:
        projects.lock(other, DEFAULT)
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        rows.job()
        with pytest.raises(OperationalError, match="lock timeout"):
            projects.lock(connection, DEFAULT)


def test_a_name_is_given_once(connection):
    made = service.create(connection, "vision", Limits(queued_jobs=1))
    assert service.find(connection, made.id) == made
    assert service.create(connection, "other").limits == Limits()
    with pytest.raises(ProjectExistsError, match="'vision' already"):
        service.create(connection, "vision")
    with pytest.raises(ProjectNotFoundError, match="no project 'prj_none'"):
        service.find(connection, "prj_none")
    assert {each.name for each in service.listing(connection)} == {"default", "vision", "other"}


def test_limits_are_changed_one_by_one_by_who_has_seen_them(connection, rows):
    other = rows.project("other")
    before = service.find(connection, other)

    def change(if_match=None, **wanted):
        asked = LimitsChange(**wanted)
        return service.change_limits(connection, caller(), other, asked, if_match)

    changed = change(before.etag, queued_jobs=5)
    assert changed == replace(before, limits=Limits(queued_jobs=5))
    assert service.find(connection, other) == changed
    assert service.find(connection, DEFAULT).limits == Limits()
    with pytest.raises(PreconditionError):
        change(before.etag, queued_jobs=6)
    assert change(queued_jobs=5) == changed
    entries, more = service.audit_page(connection, caller(), limit=9, cursor=None)
    assert [(each.action, each.target) for each in entries] == [("project.change", other)]
    assert more is None


def test_a_project_comes_with_an_admins_key(connection):
    made, (key, secret) = service.found(connection, caller(), "vision", Limits(queued_jobs=3))
    assert service.find(connection, made.id).limits.queued_jobs == 3
    assert (key.name, key.project_id, key.scope) == ("first", made.id, Scope.ADMIN)
    assert keys.authenticate(connection, secret).project_id == made.id


def test_changes_are_listed_page_by_page(connection):
    for name in "abc":
        service.found(connection, caller(), name, Limits())
    first, cursor = service.audit_page(connection, caller(), limit=2, cursor=None)
    rest, end = service.audit_page(connection, caller(), limit=2, cursor=cursor)
    assert (len(first), len(rest), end) == (2, 1, None)
    assert cursor == first[-1].id
    whole, end = service.audit_page(connection, caller(), limit=3, cursor=None)
    assert (whole, end) == ([*first, *rest], None)


def test_usage_counts_what_waits_and_what_runs(connection, rows):
    rows.job()
    rows.job(status=JobStatus.RUNNING, lease_expires_at=func.now())
    assert service.usage(connection, caller(queued_jobs=0)) == (2, 1)
    assert service.get(connection, caller()).id == DEFAULT


@pytest.fixture
def take(connection):
    def take(full=(), worker_class="cpu", memory_bytes=100):
        found = outbox.next_waiting(connection, full, worker_class, memory_bytes)
        return found and found[0]

    return take


def put(connection, job_id, **columns):
    connection.execute(update(messages).where(messages.c.job_id == job_id).values(**columns))


def test_the_next_job_is_the_most_urgent_then_the_longest_due(connection, rows, take):
    jobs = [rows.job() for _ in range(3)]
    for seconds, job_id in zip((5, 9, 7), jobs, strict=True):
        put(connection, job_id, due_at=func.now() - timedelta(seconds=seconds))
    assert take() == jobs[1]
    outbox.set_priority(connection, jobs[0], 3)
    assert take() == jobs[0]
    outbox.remove(connection, jobs[0])
    assert take() == jobs[1]
    put(connection, jobs[1], due_at=func.now() + timedelta(seconds=1))
    assert take() == jobs[2]
    put(connection, jobs[2], due_at=func.now())
    assert take() == jobs[2], "due now is due"


def test_a_worker_is_given_what_it_can_take(connection, rows, take):
    job_id = rows.job(worker_class="gpu", memory_bytes=50, project=rows.project("other"))
    assert take() is None
    assert take(worker_class="gpu", memory_bytes=49) is None
    assert take(worker_class="gpu", memory_bytes=50) == job_id
    assert take(full=["prj_other"], worker_class="gpu") is None
    assert take(full=[DEFAULT], worker_class="gpu") == job_id
    rows.set(job_id, memory_bytes=None)
    assert take(worker_class="gpu", memory_bytes=0) == job_id
