"""A job that another version stored in a form that this one cannot read troubles itself alone."""

import pytest

from app.domain.jobs import JobUnreadableError
from tests.integration.app.problem import assert_problem
from tests.integration.app.rows import put

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
STRANGE = {
    "model": "tiny",
    "method": "of-another-version",
    "recipe": {"kind": "weights", "shape": ["unheard", "of"]},
    "scores": {"left": "out"},
}


def submit(client, **changes):
    answer = client.post("/v1/jobs", json=JOB | changes)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


@pytest.fixture
def strange(client, engine):
    """A queued job with a specification, and a request, of another version."""
    job_id = submit(client)
    with engine.begin() as connection:
        put(connection, job_id, spec=STRANGE, request={"wish": "unheard of"})
    return job_id


def test_it_is_listed_and_shown_as_it_is_stored(client, strange):
    plain = submit(client)
    listed = {job["id"]: job for job in client.get("/v1/jobs").json()["jobs"]}
    assert listed.keys() == {plain, strange}
    shown = client.get(f"/v1/jobs/{strange}").json()
    assert listed[strange] == shown
    assert {**shown, "scores": STRANGE["scores"]}.items() >= STRANGE.items()
    assert "scores" not in shown
    assert shown.keys() >= listed[plain].keys() - {
        *("calibration", "evaluation", "quality_gate", "device", "dtype")
    }
    assert (shown["status"], shown["labels"]) == ("queued", {})
    found = client.get("/v1/jobs", params={"method": "of-another-version"}).json()["jobs"]
    assert [job["id"] for job in found] == [strange]
    page = client.get(f"/v1/jobs/{strange}/report")
    assert "of-another-version on tiny" in page.text


def test_it_is_changed_cancelled_and_deleted(client, strange):
    assert client.patch(f"/v1/jobs/{strange}", json={"priority": 3}).json()["priority"] == 3
    assert client.post(f"/v1/jobs/{strange}/cancel").json()["status"] == "cancelled"
    assert client.get(f"/v1/jobs/{strange}/result").json()["status"] == "cancelled"
    assert client.delete(f"/v1/jobs/{strange}").status_code == 204
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_a_retry_needs_its_request_and_says_so(client, strange):
    client.post(f"/v1/jobs/{strange}/cancel")
    problem = assert_problem(client.post(f"/v1/jobs/{strange}/retry"), 409, "job_unreadable")
    assert strange in problem["detail"]
    assert "request" in problem["detail"]


def test_a_clone_may_mend_its_request(client, engine):
    job_id = submit(client, labels={"team": "a"})
    with engine.begin() as connection:
        put(connection, job_id, request=JOB | {"labels": {"team": "a"}, "seed": "of old"})
    cloned = client.post(f"/v1/jobs/{job_id}/clone", json={"seed": 7})
    assert cloned.status_code == 202, cloned.text
    assert cloned.json()["recipe"]["seed"] == 7
    assert cloned.json()["labels"] == {"team": "a"}
    assert client.post(f"/v1/jobs/{job_id}/clone", json={}).status_code == 422


def test_it_ends_with_files_that_stay_available(client, worker, engine, strange):
    job = worker.claim()
    worker.fail(job)
    assert client.get(f"/v1/jobs/{strange}").json()["error"]["code"] == "model_load_failed"
    other = submit(client)
    claimed = worker.claim()
    worker.succeed(claimed)
    with engine.begin() as connection:
        put(connection, other, spec=STRANGE, result={"seconds": ["many"]})
    ended = client.get(f"/v1/jobs/{other}/result").json()
    assert ended["result"] == {"seconds": ["many"]}
    assert client.get(f"/v1/jobs/{other}/artifacts").json() == {"artifacts": []}


def test_its_meaning_is_asked_for_in_vain(worker, strange):
    job = worker.claim()
    for part in ("request", "spec"):
        with pytest.raises(JobUnreadableError, match=strange):
            getattr(job, part)
    assert job.result is None
    assert (job.model, job.method) == ("tiny", "of-another-version")
