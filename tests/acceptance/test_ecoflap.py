"""ECoFLaP over HTTP: scores measured by one job serve the next at another sparsity."""

import pytest

LLAVA = {"model": "llava", "method": "ecoflap", "calibration": {"set": "shapes", "samples": 16}}


def report_of(service, job_id):
    return service.http.get(f"/v1/jobs/{job_id}/artifacts/pruning_report.json").json()


@pytest.fixture(scope="module")
def measured(service):
    parameters = {"samples": 16, "local": "sparsegpt"}
    job = service.finish(service.submit(**LLAVA, sparsity=0.5, parameters=parameters))
    assert job["status"] == "succeeded", job
    return job


def test_scores_are_in_the_report(service, measured):
    allocation = report_of(service, measured["id"])["allocation"]
    assert 0 <= allocation["resolved"] <= 1
    assert all(group["stderr"] > 0 for group in allocation["groups"])
    assert any("allocating model." in text for text in service.messages(measured["id"]))


def test_scores_serve_another_job(service, measured):
    parameters = {"scores_from": measured["id"]}
    job_id = service.submit(**LLAVA, sparsity=0.7, parameters=parameters)
    job = service.finish(job_id)
    assert job["status"] == "succeeded", job
    assert job["result"]["sparsity"] == pytest.approx(0.7, abs=1e-3)
    assert "scores" not in job
    first, second = report_of(service, measured["id"]), report_of(service, job_id)
    assert second["allocation"]["scores"] == first["allocation"]["scores"]
    assert second["recipe"]["allocation"]["scores"] == {"kind": "reused", "job": measured["id"]}
    assert not any(text.startswith("allocating") for text in service.messages(job_id))


def test_jobs_without_scores_are_refused(service, measured):
    magnitude = service.submit(model="llava", method="magnitude", sparsity=0.3)
    service.finish(magnitude)
    cases = [
        (LLAVA, "job_absent", "there is no job"),
        (LLAVA, magnitude, "measured no scores"),
        (LLAVA | {"model": "bert"}, measured["id"], "pruned 'llava', not 'bert'"),
    ]
    for job, source, message in cases:
        body = job | {"sparsity": 0.5, "parameters": {"scores_from": source}}
        answer = service.http.post("/v1/jobs", json=body)
        assert answer.status_code == 422
        assert answer.json()["code"] == "allocation_score_invalid"
        assert message in answer.json()["detail"]
