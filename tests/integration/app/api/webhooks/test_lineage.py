"""OpenLineage: what a receiver is told of jobs, as the project's own client would have said it."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from uuid import UUID

import pytest
from openlineage.client import event_v2 as spec
from openlineage.client.facet_v2 import (
    error_message_run,
    execution_parameters_run,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    tags_run,
)
from openlineage.client.serde import Serde
from pydantic import SecretStr

from app.db import webhooks
from app.domain.jobs import FailureKind, JobError
from app.domain.webhooks import WebhookEvent
from app.services.webhooks.lineage import Lineage
from tests.integration.app.api.webhooks.deliveries import JOB, end_a_job

FACETS = {
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "executionParameters": execution_parameters_run.ExecutionParametersRunFacet,
    "jobType": job_type_job.JobTypeJobFacet,
    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "parent": parent_run.ParentRunFacet,
    "processing_engine": processing_engine_run.ProcessingEngineRunFacet,
    "tags": tags_run.TagsRunFacet,
}
LISTED = {
    "parameters": execution_parameters_run.ExecutionParameter,
    "tags": tags_run.TagsRunFacetFields,
}


def facets_of(told):
    """The same facets, made by the classes that the client's authors generate from the schema."""
    made = {}
    for name, facet in told.items():
        values = {key: value for key, value in facet.items() if not key.startswith("_")}
        for key, kind in LISTED.items():
            if key in values:
                values[key] = [kind(**each) for each in values[key]]
        made[name] = FACETS[name](producer=facet["_producer"], **values)
    return made


def datasets_of(told, kind, own):
    for each in told:
        yield kind(each["namespace"], each["name"], **{own: facets_of(each.get(own, {}))})


def as_the_client_says(event):
    """The event, built by the client. It refuses what its schema does not have."""
    run, job = event["run"], event["job"]
    rebuilt = spec.RunEvent(
        eventType=spec.RunState(event["eventType"]),
        eventTime=event["eventTime"],
        producer=event["producer"],
        run=spec.Run(run["runId"], facets_of(run["facets"])),
        job=spec.Job(job["namespace"], job["name"], facets_of(job["facets"])),
        inputs=list(datasets_of(event["inputs"], spec.InputDataset, "inputFacets")),
        outputs=list(datasets_of(event["outputs"], spec.OutputDataset, "outputFacets")),
    )
    return without_nothing(Serde.to_dict(rebuilt))


def without_nothing(value):
    if isinstance(value, dict):
        kept = {key: without_nothing(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each not in ({}, [])}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value


@pytest.fixture
def lineage(engine, receiver):
    """A receiver that is told of everything."""
    told = Lineage(receiver.url, "vision", SecretStr("key-of-the-catalogue"))
    told.enrol(engine)
    told.enrol(engine)  # as maintenance does each minute
    return told


@pytest.fixture
def events(receiver, deliver, lineage):
    """Deliver what is due; the events that have arrived so far."""

    def arrived(**options):
        deliver(networks=(), lineage=lineage, **options)  # loopback is not open to webhooks
        found = [json.loads(body) for body, _ in receiver.received]
        for event in found:
            assert as_the_client_says(event) == without_nothing(event)
        return sorted(found, key=lambda event: event["eventTime"])

    return arrived


def test_a_run_starts_and_completes(client, worker, receiver, events):
    asked = JOB | {
        "method": "wanda",
        "calibration": {"set": "scene-captions", "samples": 8},
        "labels": {"team": "vision"},
    }
    job_id = client.post("/v1/jobs", json=asked).json()["id"]
    sizes = {"dense": 256000, "packed": 140000, "elements": 64000, "nonzeros": 32000}
    worker.succeed(worker.claim(), result={"sparsity": 0.5, "sizes": sizes})
    start, complete = events()
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == str(UUID(job_id.removeprefix("job_")))
    assert complete["run"]["runId"] == start["run"]["runId"]
    assert complete["job"] == start["job"]
    assert (start["job"]["namespace"], start["job"]["name"].split(".")[1]) == ("vision", "wanda")
    assert start["inputs"] == [
        {"namespace": "vision", "name": "local/tiny"},
        {"namespace": "vision", "name": "datasets/scene-captions"},
    ]
    assert start["outputs"] == []
    [made] = complete["outputs"]
    assert made["name"] == f"jobs/{job_id}"
    assert made["outputFacets"]["outputStatistics"]["size"] == 256000
    facets = start["run"]["facets"]
    [label] = facets["tags"]["tags"]
    assert label == {"key": "team", "value": "vision", "source": "USER"}
    assert {"key": "sparsity", "value": "0.5"} in facets["executionParameters"]["parameters"]
    headers = {name.lower(): value for name, value in receiver.received[0][1].items()}
    assert headers["authorization"] == "Bearer key-of-the-catalogue"


def test_a_run_that_fails_says_why_without_secrets(client, worker, events):
    client.post("/v1/jobs", json=JOB)
    message = "no answer from https://user:hunter2@hub.example.org, token=hf_abcdefghijklmnop"
    worker.fail(worker.claim(), JobError(FailureKind.USER, "hub_unavailable", message))
    *_, end = events()
    assert end["eventType"] == "FAIL"
    told = end["run"]["facets"]["errorMessage"]["message"]
    assert told.startswith("hub_unavailable: no answer from https://")
    assert "hunter2" not in told
    assert "abcdefghijklmnop" not in told


def test_a_run_that_is_cancelled_aborts(client, events):
    end_a_job(client)
    assert [event["eventType"] for event in events()] == ["ABORT"]


def test_runs_of_a_sweep_name_it(client, worker, events):
    sweep = {"model": "tiny", "methods": [{"method": "magnitude"}], "sparsities": [0.5, 0.6]}
    sweep_id = client.post("/v1/sweeps", json=sweep).json()["id"]
    worker.claim()
    [start] = events()
    parent = start["run"]["facets"]["parent"]
    assert parent["run"]["runId"] == str(UUID(sweep_id.partition("_")[2]))


def test_what_does_not_arrive_is_sent_again(
    client, receiver, events, make_due, deliver, lineage, caplog
):
    caplog.set_level(logging.DEBUG)
    receiver.answers = [503, 410, 200]
    end_a_job(client)
    deliver(networks=(), lineage=lineage)
    make_due()
    deliver(networks=(), lineage=lineage)
    end_a_job(client)  # not even `gone` puts an end to it for the next job
    first, again, other = events()
    assert first == again != other
    assert "is pending: the receiver answered 503" in caplog.text
    assert "is failed: the receiver answered 410" in caplog.text
    assert "key-of-the-catalogue" not in caplog.text


def test_a_project_sees_nothing_of_it(client, events):
    end_a_job(client)
    events()
    assert client.get("/v1/webhooks").json()["webhooks"] == []


def test_a_job_that_was_deleted_is_not_told(client, receiver, events):
    job_id = end_a_job(client)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert events() == []
    assert receiver.received == []


def test_without_a_receiver_nothing_is_kept_for_it(client, engine, receiver, events):
    end_a_job(client)
    Lineage().enrol(engine)
    end_a_job(client)
    assert events() == []


def test_it_takes_nothing_from_the_webhooks(client, engine, receiver, webhook, deliver, dripping):
    """A catalogue that never answers, with many messages waiting for it."""
    lineage = Lineage(dripping.url)
    lineage.enrol(engine)
    for _ in range(6):
        end_a_job(client)
    deliver(lineage=lineage, deadline=0.5)
    assert len(receiver.received) == 4  # as many as one webhook may have under way


def wait_until(holds, process):
    while not holds():
        assert process.poll() is None
        time.sleep(0.05)


def test_maintenance_tells_the_receiver_of_the_settings(client, engine, settings, receiver):
    lineage = {
        "SECATEUR_LINEAGE__URL": receiver.url,
        "SECATEUR_LINEAGE__API_KEY": "key-of-the-catalogue",
        # What webhooks may not do, an address that the operator names may.
        "SECATEUR_WEBHOOKS__ALLOW_LOOPBACK": "false",
    }
    environment = os.environ | settings.environment() | lineage
    command = [sys.executable, "-m", "app.maintenance"]

    def enrolled():
        with engine.connect() as connection:
            return webhooks.interested(connection, "any", WebhookEvent.CANCELLED)

    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(enrolled, process)
            end_a_job(client)
            wait_until(lambda: receiver.received, process)
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    [(body, headers)] = receiver.received
    event = json.loads(body)
    assert as_the_client_says(event) == without_nothing(event)
    assert event["eventType"] == "ABORT"
    assert "Bearer key-of-the-catalogue" in headers.values()
    assert "key-of-the-catalogue" not in said
