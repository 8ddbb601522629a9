"""Sweeps, data sets, models, webhooks, workers, the project: what is listed, and to whom."""

import html
import json
import re

import pytest

from app.db import webhooks as stored_webhooks
from app.db import workers as stored_workers
from app.domain.projects import DEFAULT_PROJECT, Scope
from app.domain.webhooks import WebhookEvent
from app.planning.machines import Machine
from app.planning.workers import NewWorker
from app.services import workers
from app.storage.local import LocalStore
from tests.integration.app.console.test_jobs import EVIL, JOB, RESULT

READ = ("sweeps", "datasets", "models", "workers", "project")
SWEEP = {
    "model": "tiny",
    "methods": [{"method": "magnitude"}, {"method": "random"}],
    "sparsities": [0.5],
    "evaluation": {"set": "sentences"},
    "objective": {"metric": "accuracy", "max_drop": 0.2},
}


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("sweeps", "No sweeps yet"),
        ("datasets", "No uploads yet"),
        ("models", "No models yet"),
        ("webhooks", "No webhooks yet"),
        ("workers", "No worker has started yet"),
    ],
)
def test_an_empty_list_says_what_to_do(person, page, told):
    assert told in person.get(f"/console/{page}").text


def test_a_sweep_side_by_side(person, client, worker, settings):
    sweep = client.post("/v1/sweeps", json=SWEEP).json()["id"]
    page = person.get(f"/console/sweeps/{sweep}").text
    assert 'hx-trigger="every 5s"' in page
    assert "2 queued" in page
    job = worker.claim()
    store = LocalStore(settings.storage.dir)
    (store.stage(job.id, job.attempt) / "config.json").write_text("{}")
    files = store.describe(job.id, job.attempt)
    store.publish(job.id, job.attempt)
    worker.succeed(job, files, RESULT)
    worker.succeed(worker.claim(), result={"sparsity": 0.5})
    assert sweep in person.get("/console/sweeps").text
    page = person.get(f"/console/sweeps/{sweep}").text
    told = json.loads(html.unescape(re.search(r'data-plot="([^"]*)"', page)[1]))
    [drawn] = told["series"]
    assert (drawn["name"], drawn["points"]) == (job.method, [[60.0, 0.71, 0.66, 0.76]])
    assert told["dense"] == [0.8, 0.75, 0.85]
    assert told["y"] == "accuracy (higher is better)"
    sized = person.get(f"/console/sweeps/{sweep}?across=size").text
    assert "[[1.9, 0.71, 0.66, 0.76]]" in sized
    assert page.count(">unbeaten<") == 1
    assert "hx-trigger" not in page
    live = person.get(f"/console/sweeps/{sweep}", **{"hx-request": "true"})
    assert live.headers["hx-refresh"] == "true"  # a page that was open gets the form to publish
    assert "0.66 to 0.76" in page
    refused = person.send(f"/console/sweeps/{sweep}/publish", {"name": "../x"}, 422)
    assert "/name: must" in refused.text
    answer = person.send(f"/console/sweeps/{sweep}/publish", {"name": "captioner"})
    assert job.id in person.get(answer.headers["location"]).text
    assert "captioner" in person.get("/console/models").text
    person.send(f"/console/sweeps/{sweep}/cancel", status=409)


def test_a_sweep_by_a_metric_that_none_of_its_jobs_has(person, client, worker):
    asked = SWEEP | {"objective": {"metric": "perplexity", "max_drop": 0.2}}
    sweep = client.post("/v1/sweeps", json=asked).json()["id"]
    for _ in range(2):
        worker.succeed(worker.claim(), result=RESULT)
    page = person.get(f"/console/sweeps/{sweep}").text
    assert "no job has this figure" in page
    assert "accuracy (higher is better)" in html.unescape(page)  # what was measured is drawn


def test_a_sweep_without_a_job_within_its_drop(person, client, worker):
    asked = SWEEP | {"objective": {"metric": "accuracy", "max_drop": 0.01}}
    sweep = client.post("/v1/sweeps", json=asked).json()["id"]
    for _ in range(2):
        worker.succeed(worker.claim(), result=RESULT)
    page = person.get(f"/console/sweeps/{sweep}").text
    assert "no job lost so little" in page


def test_data_sets(person, client):
    rows = '{"text": "a"}\n{"text": "b"}\n'
    head = {"content-type": "application/jsonl"}
    made = client.post("/v1/datasets", content=rows, headers=head).json()["id"]
    page = person.get("/console/datasets").text
    assert made in page
    assert "scene-captions" in page


def test_workers_one_by_one(person, engine, client, worker, key_of, stranger):
    client.post("/v1/jobs", json=JOB)
    job_id = worker.claim().id
    machine = Machine("cpu", 1 << 34, 8, "cpu", 0, None, 412.0, 1.2e9)
    with engine.begin() as connection:
        for name in ("hand", EVIL):
            workers.alive(connection, NewWorker(name, machine, {"torch": "2.13.0"}))
    page = person.get("/console/workers").text
    assert f'<a id="open-{job_id}" href="/console/jobs/{job_id}">' in page
    assert [page.count(f"status {state}") for state in ("busy", "idle", "silent")] == [1, 1, 0]
    assert "torch 2.13.0" in page
    assert "<script>alert" not in page
    other = stranger.sign_in(key_of(Scope.READ, project="other")).get("/console/workers").text
    assert "a job of another project" in other
    assert job_id not in other


def test_workers(person, engine):
    machine = Machine("gpu", 1 << 34, 8, "cuda", 2, 80 * 10**9, 41_200.0, 1.2e9, ("timm",))
    with engine.begin() as connection:
        stored_workers.put(connection, machine)
    page = person.get("/console/workers").text
    assert "2 GPUs, 80 GB each" in page
    assert "alive" in page


@pytest.fixture
def endpoint(engine):
    with engine.begin() as connection:
        return stored_webhooks.create(
            connection,
            DEFAULT_PROJECT,
            url="https://example.org/<b>",
            secret="whsec_" + "0" * 32,
            events=[WebhookEvent.SUCCEEDED],
        )


def test_webhooks_with_their_deliveries(person, client, endpoint, worker):
    page = person.get("/console/webhooks").text
    assert "https://example.org/&lt;b&gt;" in page
    assert "whsec_" not in page
    here = f"/console/webhooks/{endpoint.id}"
    assert "Nothing was sent yet" in person.get(here).text
    client.post("/v1/jobs", json={"model": "tiny", "method": "magnitude", "sparsity": 0.5})
    worker.succeed(worker.claim())
    page = person.get(here).text
    assert "job.succeeded" in page
    replay = re.search(r'action="(/console/webhooks/[^"]*/replay)"', page)[1]
    assert person.send(replay).headers["location"] == here


def test_an_endpoint_is_made_disabled_and_deleted(person, client, caplog, settings):
    caplog.set_level("DEBUG")
    form = {"url": "https://8.8.8.8/x", "events": ["job.failed", "sweep.failed"]}
    told = person.send("/console/webhooks", form | {"url": "https://127.0.0.1/x"}, 422).text
    assert "No endpoint was made" in told
    assert 'value="https://127.0.0.1/x"' in told
    assert person.send("/console/webhooks", form | {"events": []}, 422)
    assert client.get("/v1/webhooks").json()["webhooks"] == []
    page = person.send("/console/webhooks", form, 200)
    secret = re.search(r"whsec_[\w+/=]{20,}", html.unescape(page.text))[0]
    assert "no-store" in page.headers["cache-control"]
    [made] = client.get("/v1/webhooks").json()["webhooks"]
    assert made["events"] == ["job.failed", "sweep.failed"]
    here = f"/console/webhooks/{made['id']}"
    assert secret not in person.get(here).text + caplog.text
    for change, enabled in (("disable", False), ("enable", True)):
        assert f'action="{here}/{change}"' in person.get(here).text
        assert person.send(f"{here}/{change}").headers["location"] == here
        assert client.get(f"/v1/webhooks/{made['id']}").json()["enabled"] is enabled
    person.send(f"{here}/explode", status=422)
    assert person.send(f"{here}/delete").headers["location"] == "/console/webhooks"
    person.send(f"{here}/delete", status=404)
    assert client.get("/v1/webhooks").json()["webhooks"] == []


def test_the_project_with_its_keys_and_changes(person, secret, client):
    client.post("/v1/jobs", json={"model": "tiny", "method": "magnitude", "sparsity": 0.5})
    page = person.get("/console/project").text
    assert f"{secret[0].id}</code> · this session" in page
    assert "job.submit" in page
    assert secret[1] not in page


def test_a_key_is_made_shown_once_and_revoked(person, caplog):
    caplog.set_level("DEBUG")
    page = person.send("/console/project/keys", {"name": "<ci>", "scope": "read"}, 200)
    secret = re.search(r"sct_[\w-]{43}", page.text)[0]
    assert "no-store" in page.headers["cache-control"]
    assert person.get("/v1/jobs", authorization=f"Bearer {secret}").json()["jobs"] == []
    listed = person.get("/console/project").text
    assert secret not in listed + caplog.text
    assert "&lt;ci&gt;" in listed
    revoke = re.search(r'action="([^"]*/revoke)" data-confirm="Revoke &lt;ci', listed)[1]
    assert person.send(revoke).headers["location"] == "/console/project"
    person.get("/v1/jobs", 401, authorization=f"Bearer {secret}")
    person.send(revoke, status=404)
    person.send("/console/project/keys", {"name": "", "scope": "read"}, 422)
    refused = person.send("/console/project/keys", {"name": "a", "scope": "root"}, 422)
    assert "/scope: must" in refused.text


@pytest.mark.parametrize("scope", [Scope.READ, Scope.SUBMIT])
def test_keys_and_webhooks_are_for_admins(stranger, key_of, endpoint, scope):
    page = stranger.sign_in(key_of(scope)).get("/console/project").text
    assert "API keys" not in page
    assert 'href="/console/webhooks"' not in page
    for path in ("", f"/{endpoint.id}"):
        stranger.get(f"/console/webhooks{path}", 403)
    stranger.send(f"/console/webhooks/{endpoint.id}/deliveries/x/replay", status=403)
    for path in ("", f"/{endpoint.id}/disable", f"/{endpoint.id}/delete"):
        stranger.send(f"/console/webhooks{path}", {"url": "https://8.8.8.8"}, 403)
    stranger.send("/console/project/keys", {"name": "a", "scope": "read"}, 403)
    stranger.send("/console/project/keys/key_0/revoke", status=403)
    for page in READ:
        stranger.get(f"/console/{page}")


def test_another_project_sees_nothing(stranger, key_of, client, endpoint):
    sweep = client.post("/v1/sweeps", json=SWEEP).json()["id"]
    other = stranger.sign_in(key_of(Scope.ADMIN, "other"))
    assert sweep not in other.get("/console/sweeps").text
    assert endpoint.id not in other.get("/console/webhooks").text
    for path in (f"sweeps/{sweep}", f"webhooks/{endpoint.id}", "models/captioner"):
        other.get(f"/console/{path}", 404)
    other.send(f"/console/sweeps/{sweep}/publish", {"name": "x"}, 404)
    other.send(f"/console/sweeps/{sweep}/cancel", status=404)
    for change in ("disable", "delete"):
        other.send(f"/console/webhooks/{endpoint.id}/{change}", status=404)
