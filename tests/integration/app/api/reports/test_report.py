"""The report as a page, with the times that its file does not tell."""

import pytest

from app.domain.jobs import EventType, FailureKind, JobError, NewEvent, Phase
from app.recipes.pruning_report import TIMELINE
from app.storage.local import LocalStore
from tests.integration.app.problem import assert_problem

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


@pytest.fixture
def job_id(client, worker, settings):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    job, store = worker.claim(), LocalStore(settings.storage.dir)
    for phase in (Phase.LOADING, Phase.PRUNING):
        worker.heartbeat(job, phase, 0.5, [NewEvent(EventType.PHASE, phase.value)])
    staging = store.stage(job.id, job.attempt)
    (staging / "report.html").write_text(f"<h1>here</h1>{TIMELINE}<p>there</p>")
    files = store.describe(job.id, job.attempt)
    store.publish(job.id, job.attempt)
    worker.succeed(job, files)
    return job_id


def test_the_page_has_a_timeline(client, job_id):
    answer = client.get(f"/v1/jobs/{job_id}/report")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.text.count("<rect") == 4
    for shown in ("<h1>here", "queued<", "running<", "loading<", "pruning<", "then succeeded."):
        assert shown in answer.text


def test_a_job_that_waits_has_a_page(client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    answer = client.get(f"/v1/jobs/{job_id}/report")
    assert answer.status_code == 200
    assert "waits for a worker" in answer.text
    assert job_id in answer.text


def test_a_failed_job_tells_what_happened_where_and_what_to_do(client, worker):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    job = worker.claim()
    entered = NewEvent(EventType.PHASE, Phase.CALIBRATING.value)
    worker.heartbeat(job, Phase.CALIBRATING, 0.1, [entered])
    worker.fail(job, JobError(FailureKind.USER, "calibration_data_invalid", "row <7> is empty"))
    answer = client.get(f"/v1/jobs/{job_id}/report")
    assert answer.status_code == 200
    for told in (
        "The job failed.",
        "row &lt;7&gt; is empty",
        "<code>calibration_data_invalid</code>: The calibration set cannot feed this model.",
        "At fault: user error. Phase: calibrating.",
        f"secateur clone {job_id}",
    ):
        assert told in answer.text, told
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_cancelled_job_has_a_page(client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    page = client.get(f"/v1/jobs/{job_id}/report").text
    assert "was cancelled" in page
    assert f"secateur retry {job_id}" in page


def test_a_result_without_a_page_of_its_own_is_shown_by_figure(client, worker):
    """As a PAR job's."""
    client.post("/v1/jobs", json=JOB)
    job = worker.claim()
    worker.succeed(job, result={"routing": {"flops_ratio": 0.39271}, "warnings": ["few <records>"]})
    page = client.get(f"/v1/jobs/{job.id}/report").text
    assert "routing.flops_ratio" in page
    assert "0.39271" in page
    assert "few &lt;records&gt;" in page


def test_the_page_of_an_unknown_job_is_not_found(client):
    assert_problem(client.get("/v1/jobs/job_x/report"), 404, "job_not_found")


def test_a_browser_opens_it_with_the_key_as_password(client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    key = client.headers.pop("authorization").removeprefix("Bearer ")
    asked = client.get(f"/v1/jobs/{job_id}/report")
    assert_problem(asked, 401, "api_key_missing")
    assert asked.headers["www-authenticate"].startswith("Basic ")
    assert client.get(f"/v1/jobs/{job_id}/report", auth=("me", key)).status_code == 200
    wrong = client.get(f"/v1/jobs/{job_id}/report", auth=("me", "sct_wrong"))
    assert_problem(wrong, 401, "api_key_invalid")
