"""The list of jobs: what it shows, to whom, and what can be done from it."""

import json

import pytest
from sqlalchemy import text

from app.console.routes import jobs
from app.domain.projects import Scope

JOBS = "/console/jobs"
EVIL = '"><script>alert(1)</script>'
JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.6}
ESTIMATE = {"value": 0.8, "low": 0.75, "high": 0.85}
RESULT = {
    "sparsity": 0.6,
    "sizes": {"dense": 4_000_000, "packed": 1_900_000, "elements": 1, "nonzeros": 1},
    "evaluation": {
        "set": "scenes",
        "sha256": "0" * 64,
        "samples": 64,
        "metrics": {
            "accuracy": {
                "samples": 64,
                "before": ESTIMATE,
                "after": {"value": 0.71, "low": 0.66, "high": 0.76},
                "change": {"value": -0.09, "low": -0.12, "high": -0.05},
            }
        },
        "answers": [
            {
                "record": 1,
                "prompt": "what colour is the square?",
                "expected": "red",
                "dense": "red",
                "pruned": "<b>blue</b>",
            }
        ],
    },
}


@pytest.fixture
def submit(person, client):
    """Submit by the API, with a key of the same project."""

    def send(**changes):
        answer = client.post("/v1/jobs", json=JOB | changes)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    return send


def test_without_jobs_it_says_what_to_do(person):
    page = person.get(JOBS).text
    assert "No jobs yet" in page
    assert 'href="/console/new"' in page


def test_a_job_with_its_figures(person, submit, worker):
    submit(sparsity=0.6)
    page = person.get(JOBS).text
    assert "60 %" in page
    assert 'hx-trigger="every 3s"' in page
    job = worker.claim()
    worker.heartbeat(job, "pruning", 0.25)
    page = person.get(JOBS).text
    assert 'value="25.0"' in page
    assert "pruning" in page
    assert ">hand<" in page
    worker.succeed(job, result=RESULT)
    page = person.get(JOBS).text
    assert "+0.09" in page
    assert "accuracy" in page
    assert "1.9 MB" in page


def test_foreign_texts_are_texts(person, submit, worker, engine):
    submit()
    job = worker.claim()
    values = {"spec": json.dumps({"model": EVIL, "method": EVIL}), "id": job.id}
    with engine.begin() as connection:
        connection.execute(text("update jobs set spec = :spec where id = :id"), values)
    page = person.get(JOBS).text
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert") >= 2


def test_filters_and_pages(person, submit, worker, monkeypatch):
    monkeypatch.setattr(jobs, "PAGE", 2)
    made = [submit(labels={"team": "a" if number else "b"}) for number in range(3)]
    page = person.get(f"{JOBS}?status=&method=magnitude&model=&label=").text
    assert made[2] in page
    assert made[0] not in page
    older = f"{JOBS}?method=magnitude&cursor={made[1]}"
    assert older.replace("&", "&amp;") in page
    page = person.get(older).text
    assert made[0] in page
    assert f'id="open-{made[1]}' not in page
    assert made[0] in person.get(f"{JOBS}?label=team%3Db").text
    assert "No job fits" in person.get(f"{JOBS}?status=failed").text
    assert "unknown_field" in person.get(f"{JOBS}?colour=red", 422).text


def test_cancel_and_retry(person, submit):
    job_id = submit()
    assert person.send(f"{JOBS}/{job_id}/cancel").headers["location"] == f"{JOBS}/{job_id}"
    page = person.get(JOBS).text
    assert "cancelled" in page
    answer = person.send(f"{JOBS}/{job_id}/retry")
    assert answer.headers["location"] != f"{JOBS}/{job_id}"
    assert (
        "job_not_retryable" in person.send(answer.headers["location"] + "/retry", status=409).text
    )


def test_a_key_that_reads_changes_nothing(stranger, key_of, client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    reader = stranger.sign_in(key_of(Scope.READ))
    assert job_id in reader.get(JOBS).text
    assert "/cancel" not in reader.get(JOBS).text
    assert "scope_missing" in reader.send(f"{JOBS}/{job_id}/cancel", status=403).text


def test_another_project_sees_nothing(stranger, key_of, client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    other = stranger.sign_in(key_of(Scope.ADMIN, "other"))
    assert job_id not in other.get(JOBS).text
    other.send(f"{JOBS}/{job_id}/cancel", status=404)
