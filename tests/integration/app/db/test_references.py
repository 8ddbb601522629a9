"""Files that somebody counts on stay: never shorter than they are needed, never longer."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from app.db import artifacts
from app.db import retention as rules
from app.db.tables import model_versions, models, publications
from app.db.tables import projects as project_table
from app.domain.jobs import Artifact, JobStatus
from app.domain.publications import PublicationState
from app.errors import JobInUseError
from app.services.lifecycle import retention

DEFAULT, AGE = "prj_default", timedelta(days=1)
LIVE = [status for status in JobStatus if not status.terminal]
ENDED = [status for status in JobStatus if status.terminal]


@pytest.fixture
def ended(rows):
    """Makes an ended job with a file of ten bytes, which ended so long ago."""

    def make(ago=2 * AGE, *, files=("a",), **columns):
        ended = {"status": JobStatus.SUCCEEDED, "finished_at": rows.now - ago, "result": {}}
        columns = ended | columns
        job_id = rows.job(**columns)
        artifacts.add(
            rows.connection, [Artifact(job_id, 1, name, 10, "0", "text/plain") for name in files]
        )
        return job_id

    return make


def starts_from(rows, job_id, status=JobStatus.QUEUED, revision="", **columns):
    if status.terminal:
        columns["finished_at"] = rows.now
    return rows.job(spec={"model": f"hf:jobs/{job_id}{revision}"}, status=status, **columns)


def publish(rows, job_id, state=PublicationState.PENDING):
    rows.add(
        publications, id=f"pub_{job_id}", job_id=job_id, destination="hub", target="t", state=state
    )


def name(rows, job_id):
    rows.add(models, project_id=DEFAULT, name="best")
    rows.add(model_versions, project_id=DEFAULT, name="best", version=3, job_id=job_id)


def needed(rows, *job_ids, project=DEFAULT):
    return artifacts.needed(rows.connection, project, job_ids)


def old(rows, limit=9):
    return rules.jobs_with_old_files(rows.connection, AGE, limit=limit)


def test_files_that_nobody_needs_go_after_their_time(rows, ended):
    ended(AGE)
    ended(AGE / 2)
    assert old(rows) == []
    oldest, older = ended(3 * AGE), ended(2 * AGE)
    assert old(rows) == [oldest, older]
    assert old(rows, limit=1) == [oldest]
    assert needed(rows, oldest, older) == {}


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_job_that_starts_from_them_keeps_them_until_it_ends(rows, ended, status, revision):
    job_id, other = ended(), ended()
    follower = starts_from(rows, job_id, status, revision)
    live = status in LIVE
    assert needed(rows, job_id, other) == ({job_id: f"{follower} starts from it"} if live else {})
    assert needed(rows, other) == {}
    assert (job_id in old(rows)) is not live
    assert other in old(rows)


def test_jobs_of_other_projects_keep_nothing(rows, ended):
    job_id = ended()
    starts_from(rows, job_id, project=rows.project("other"))
    assert needed(rows, job_id) == {}
    assert set(needed(rows, job_id, project="prj_other")) == {job_id}
    assert old(rows) == [job_id]


@pytest.mark.parametrize("state", PublicationState)
def test_a_publication_on_its_way_keeps_them(rows, ended, state):
    job_id, other = ended(), ended()
    publish(rows, job_id, state)
    pending = state is PublicationState.PENDING
    assert needed(rows, job_id, other) == ({job_id: "it is on its way to hub"} if pending else {})
    assert needed(rows, other) == {}
    assert (job_id in old(rows)) is not pending


def test_a_version_of_a_model_keeps_them(rows, ended):
    job_id, other = ended(), ended()
    name(rows, job_id)
    assert needed(rows, job_id, other) == {job_id: "it is version 3 of the model best"}
    assert needed(rows, other) == {}
    assert old(rows) == [other]


def test_a_job_without_files_has_none_to_lose(rows, ended):
    ended(files=())
    assert old(rows) == []


def test_files_are_given_up_and_the_job_stays(rows, ended):
    used = select(project_table.c.artifact_bytes).where(project_table.c.id == DEFAULT)
    rows.connection.execute(project_table.update().values(artifact_bytes=100))
    job_id, other, young = ended(files=("a", "b")), ended(), ended(AGE / 2)
    assert not retention.expire(rows.connection, AGE, young)
    assert rows.connection.execute(used).scalar_one() == 100
    assert retention.expire(rows.connection, AGE, job_id)
    assert rows.connection.execute(used).scalar_one() == 80
    assert rows.of(job_id).files_expired_at == rows.now
    assert artifacts.of_job(rows.connection, job_id) == []
    assert len(artifacts.of_job(rows.connection, other)) == 1
    assert not retention.expire(rows.connection, AGE, job_id), "once"


@pytest.mark.parametrize("how", [starts_from, publish, name])
def test_what_is_needed_cannot_be_removed(rows, ended, how):
    job_id, other = ended(), ended()
    how(rows, job_id)
    for function in (retention.refuse_needed, retention.remove):
        with pytest.raises(JobInUseError, match=f"the files of job '{job_id}' are needed: "):
            function(rows.connection, DEFAULT, [other, job_id])
    assert rows.get(other)
    retention.refuse_needed(rows.connection, DEFAULT, [other])
    assert not retention.expire(rows.connection, AGE, job_id)


def test_removed_jobs_give_their_bytes_back(rows, ended):
    used = select(project_table.c.artifact_bytes).where(project_table.c.id == DEFAULT)
    rows.connection.execute(project_table.update().values(artifact_bytes=100))
    first, second, stays = ended(files=("a", "b")), ended(), ended()
    retention.remove(rows.connection, DEFAULT, [first, second])
    assert rows.connection.execute(used).scalar_one() == 70
    assert (rows.get(first), rows.get(second)) == (None, None)
    assert rows.get(stays)


def test_a_row_that_another_process_holds_is_left_to_it(rows, ended, engine):
    job_id = ended()
    rows.connection.commit()
    try:
        with engine.connect() as other:
            assert rules.job_with_old_files(other, AGE, job_id) == DEFAULT
            assert rules.job_with_old_files(rows.connection, AGE, job_id) is None
    finally:
        rows.connection.rollback()
        retention.remove(rows.connection, DEFAULT, [job_id])
        rows.connection.commit()


def test_files_are_found_by_job_and_path(rows, ended):
    one, other = ended(files=("a", "b/c")), ended(files=("a",))
    found = artifacts.get(rows.connection, one, "b/c")
    assert (found.job_id, found.path, found.size) == (one, "b/c", 10)
    assert artifacts.get(rows.connection, other, "b/c") is None
    assert [each.path for each in artifacts.of_job(rows.connection, one)] == ["a", "b/c"]
    assert artifacts.total_size(rows.connection, [one, other]) == 30
    assert artifacts.total_size(rows.connection, [rows.job()]) == 0


def test_digests_are_those_of_one_path(rows, ended):
    one, other = ended(files=("a", "b")), ended(files=("b",))
    assert artifacts.digests(rows.connection, [one, other], "a") == {one: "0"}
    assert artifacts.digests(rows.connection, [other], "b") == {other: "0"}
    assert artifacts.digests(rows.connection, [], "b") == {}


def test_a_publication_of_another_job_keeps_nothing(rows, ended):
    job_id, other = ended(), ended(AGE / 2)
    publish(rows, other)
    assert list(old(rows)) == [job_id]


def test_a_local_model_that_has_the_name_of_a_job_keeps_nothing(rows, ended):
    job_id = ended()
    rows.job(spec={"model": job_id}, status=JobStatus.QUEUED)
    assert needed(rows, job_id) == {}
    assert list(old(rows)) == [job_id]
