"""The report as a page, with the times that its file does not tell."""

import pytest

from app.domain.jobs import EventType, NewEvent, Phase
from app.domain.report import TIMELINE
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


def test_a_job_without_a_page_says_so(client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    assert_problem(client.get(f"/v1/jobs/{job_id}/report"), 404, "artifact_not_found")
