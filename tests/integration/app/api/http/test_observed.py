"""Request ids, metrics and readiness."""

import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from app.db.tables import jobs
from app.errors import StorageUnavailableError
from app.storage.local import LocalStore

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


def samples(client):
    answer = client.get("/metrics", headers={"Authorization": ""})
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_a_client_may_name_its_request(client, engine, caplog):
    caplog.set_level(logging.INFO, "secateur.api")
    answer = client.post("/v1/jobs", json=JOB, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert "POST /v1/jobs 202" in caplog.messages
    with engine.connect() as connection:
        origin = connection.execute(select(jobs.c.origin)).scalar_one()
    assert origin == {"request_id": "mine-1"}


@pytest.mark.parametrize("bad", ["", "a b", "x" * 129, "a\tb"])
def test_a_name_that_would_spoil_the_log_is_replaced(client, bad):
    answer = client.get("/v1/jobs", headers={"X-Request-Id": bad})
    assert answer.headers["X-Request-Id"].startswith("req_")


def test_an_unexpected_error_carries_the_id_too(client, monkeypatch):
    monkeypatch.setattr("app.services.jobs.service.page", lambda *_, **__: 1 / 0)
    answer = client.get("/v1/jobs", headers={"X-Request-Id": "mine-2"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] == "mine-2"


def test_requests_are_counted_by_template(client):
    before = samples(client)
    client.get("/v1/jobs/job_unknown")
    client.get("/no/such/page")
    client.request("BREW", "/v1/jobs")
    after = samples(client)

    def more(*key):
        key = ("secateur_http_requests_total", *key)
        return after[key] - before.get(key, 0)

    assert more("GET", "/v1/jobs/{job_id}", "404") == 1
    assert sum(more(*key[1:]) for key in after if key[0].endswith("requests_total")) == 4
    assert not any("no/such" in part or part == "BREW" for key in after for part in key)
    served = ("secateur_http_response_bytes_total", "/v1/jobs/{job_id}")
    assert after[served] > before.get(served, 0)


def test_jobs_and_the_queue_are_told(client, worker):
    client.post("/v1/jobs", json=JOB)
    client.post("/v1/jobs", json=JOB)
    told = samples(client)
    assert told["secateur_jobs", "magnitude", "queued"] == 2
    assert told["secateur_queue_depth", "cpu"] == 2
    assert told["secateur_queue_age_seconds", "cpu"] > 0
    worker.succeed(worker.claim())
    told = samples(client)
    assert told["secateur_jobs", "magnitude", "queued"] == 1
    assert ("secateur_jobs", "magnitude", "succeeded") not in told  # however many have ended
    assert told["secateur_queue_depth", "cpu"] == 1


def test_ready_names_the_store(client, monkeypatch):
    def away(_):
        raise StorageUnavailableError("no disk")

    monkeypatch.setattr(LocalStore, "check", away)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "queue": "ok", "store": "not reachable"}
    assert samples(client)["secateur_ready", "store"] == 0
