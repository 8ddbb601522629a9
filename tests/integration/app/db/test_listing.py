"""Which jobs a list has, in which order."""

from datetime import timedelta

import pytest

from app.db import jobs
from app.db.tables import sweeps
from app.domain.ids import new_id
from app.domain.jobs import JobFilter, JobStatus
from tests.integration.app.rows import new_job

DEFAULT = "prj_default"
HOUR = timedelta(hours=1)


def listed(rows, project=DEFAULT, limit=9, cursor=None, **only):
    found = jobs.page(rows.connection, project, limit=limit, cursor=cursor, only=JobFilter(**only))
    return [job.id for job in found]


@pytest.fixture
def three(rows):
    return [rows.job() for _ in range(3)]


def test_a_list_is_of_one_project_newest_first_and_goes_on_after_a_cursor(rows, three):
    rows.job(project=rows.project("other"))
    first, second, third = three
    assert listed(rows) == [third, second, first]
    assert listed(rows, limit=2) == [third, second]
    assert listed(rows, cursor=second) == [first]
    assert listed(rows, oldest_first=True) == three
    assert listed(rows, oldest_first=True, cursor=second) == [third]
    assert len(listed(rows, "prj_other")) == 1


@pytest.mark.parametrize(
    ("only", "columns"),
    [
        ({"status": JobStatus.FAILED}, {"status": JobStatus.FAILED}),
        ({"method": "wanda"}, {"spec": {"method": "wanda"}}),
        ({"model": "minilm"}, {"spec": {"model": "minilm"}}),
    ],
)
def test_a_list_may_be_of_some_jobs(rows, three, only, columns):
    rows.set(three[1], **columns)
    assert listed(rows, **only) == [three[1]]


def test_a_list_may_be_of_jobs_with_labels(rows, three):
    a = new_job(rows.connection, max_attempts=1, labels={"team": "a", "run": "1"}).id
    b = new_job(rows.connection, max_attempts=1, labels={"team": "a", "run": "2"}).id
    assert listed(rows, labels={"team": "a"}) == [b, a]
    assert listed(rows, labels={"team": "a", "run": "2"}) == [b]
    assert listed(rows, labels={"team": "2"}) == []
    jobs.change(rows.connection, a, labels={"team": "b"})
    assert listed(rows, labels={"team": "b"}) == [a]
    assert listed(rows, labels={"run": "1"}) == []


def test_a_list_may_be_of_a_time(rows, three):
    now = rows.now
    for place, job_id in enumerate(three):
        rows.set(job_id, created_at=now + place * timedelta(seconds=1))
    since = now + timedelta(seconds=1)
    assert listed(rows, created_after=since) == [three[2], three[1]]
    assert listed(rows, created_before=since) == [three[0]]


def test_clocks_of_two_machines_may_differ_by_ten_minutes(rows):
    """An id has the time of the process that made it, a row that of the database."""
    [job_id] = [rows.job()]
    for minutes in (9, -9):
        skewed = rows.now + timedelta(minutes=minutes)
        rows.set(job_id, created_at=skewed)
        assert listed(rows, created_after=skewed) == [job_id]
        assert listed(rows, created_before=skewed + timedelta(microseconds=1)) == [job_id]
    assert timedelta(minutes=10) == jobs.CLOCKS


def test_one_job_is_of_its_project(rows, three):
    assert jobs.get(rows.connection, DEFAULT, three[0]).id == three[0]
    assert jobs.get(rows.connection, DEFAULT, three[0], lock=True).id == three[0]
    assert jobs.get(rows.connection, "prj_other", three[0]) is None
    assert jobs.get(rows.connection, DEFAULT, new_id("job")) is None
    assert jobs.find(rows.connection, new_id("job")) is None


def test_the_usual_time_is_the_median_of_like_successes(rows):
    def ended(seconds, **changed):
        spec = {"model": changed.pop("model", "m"), "method": changed.pop("method", "wanda")}
        status = changed.pop("status", JobStatus.SUCCEEDED)
        rows.job(spec=spec, status=status, result={"seconds": seconds}, **changed)

    def usual():
        return jobs.median_seconds(rows.connection, DEFAULT, "m", "wanda")

    assert usual() is None
    for seconds in (1, 5, 40):
        ended(seconds)
    ended(90, model="other")
    ended(90, method="magnitude")
    ended(90, status=JobStatus.FAILED)
    ended(90, project=rows.project("other"))
    assert usual() == 5
    for _ in range(100):
        ended(7)
    assert usual() == 7, "of the last hundred"


def test_a_change_makes_a_new_version(rows, three):
    before = rows.of(three[0])
    changed = jobs.change(rows.connection, three[0], priority=3)
    assert (changed.priority, changed.version) == (3, before.version + 1)
    assert rows.of(three[1]).priority == 0
    jobs.files_expired(rows.connection, three[0])
    after = rows.of(three[0])
    assert (after.files_expired_at, after.version) == (rows.now, before.version + 2)
    assert rows.of(three[1]).files_expired_at is None


def test_deleting_takes_these_jobs_and_no_other(rows, three):
    jobs.delete(rows.connection, three[:2])
    assert listed(rows) == [three[2]]


def test_members_of_sweeps_are_counted_and_listed(rows):
    for name in ("swp_1", "swp_2"):
        rows.add(sweeps, id=name, project_id=DEFAULT, request={})
    first, second = rows.job(sweep_id="swp_1"), rows.job(sweep_id="swp_1")
    other = rows.job(sweep_id="swp_2", status=JobStatus.FAILED)
    rows.set(second, status=JobStatus.RUNNING)
    found = jobs.of_sweeps(rows.connection, ["swp_1", "swp_2", "swp_3"])
    assert found["swp_1"] == {JobStatus.QUEUED: 1, JobStatus.RUNNING: 1}
    assert found["swp_2"] == {JobStatus.FAILED: 1}
    assert found["swp_3"] == {}
    assert jobs.of_sweeps(rows.connection, ["swp_2"]) == {"swp_2": {JobStatus.FAILED: 1}}
    for lock in (False, True):
        members = jobs.members(rows.connection, "swp_1", lock=lock)
        assert [job.id for job in members] == [first, second]
    assert listed(rows, sweep="swp_2") == [other]
