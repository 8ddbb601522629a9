"""Nobody waits in silence for workers that are gone."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import func, update

from app.db import outbox, tables, workers
from app.planning.machines import SILENT
from app.planning.workers import NewWorker
from app.services import workers as machines
from app.services.jobs import attempts
from app.services.jobs.stranded import warn
from tests.integration.app.problem import assert_problem
from tests.integration.app.rows import each
from tests.integration.app.services.jobs.test_placements import CPU, GPU, LARGE
from tests.integration.app.services.jobs.test_plans import JOB


@pytest.fixture
def started(engine, checkpoint):
    with engine.begin() as connection:
        for machine in (CPU, LARGE, GPU):
            workers.put(connection, machine)


def later(engine, table, column, **only):
    """Put a moment six minutes back."""
    query = update(table).values({column: func.now() - timedelta(minutes=6)})
    with engine.begin() as connection:
        connection.execute(query.filter_by(**only))


def submit(client, **change):
    return client.post("/v1/jobs", json=JOB | change).json()["id"]


def warnings(client, job_id):
    events = client.get(f"/v1/jobs/{job_id}/events").json()["events"]
    return [event for event in events if event["type"] == "warning"]


def round_(engine):
    return each(engine, partial(outbox.stranded, age=SILENT, limit=100), warn)


def test_a_job_is_told_once_that_its_class_is_silent(client, engine, started):
    job_id, other = submit(client, worker_class="cpu-large"), submit(client, worker_class="cpu")
    later(engine, tables.outbox, "due_at")
    assert round_(engine) == 0, "both classes are alive"
    later(engine, tables.worker_classes, "seen_at", worker_class="cpu-large")
    assert (round_(engine), round_(engine)) == (1, 0)
    (event,) = warnings(client, job_id)
    assert "'cpu-large' has been heard of since" in event["message"]
    assert event["data"] == {"code": "no_worker", "worker_class": "cpu-large"}
    assert warnings(client, other) == []


def test_a_job_is_told_that_there_is_no_worker_at_all_or_none_with_its_memory(
    client, engine, checkpoint
):
    job_id = submit(client)
    later(engine, tables.outbox, "due_at")
    assert round_(engine) == 1
    assert "there is none" in warnings(client, job_id)[0]["message"]
    with engine.begin() as connection:
        workers.put(connection, CPU)
    large = submit(client)
    later(engine, tables.outbox, "due_at")
    with engine.begin() as connection:
        connection.execute(update(tables.jobs).values(memory_bytes=9 * 10**9))
    assert round_(engine) == 1
    assert "with 9.0 GB of memory" in warnings(client, large)[0]["message"]


def test_a_plan_tells_that_its_class_is_silent(client, engine, started):
    job = JOB | {"worker_class": "cpu"}
    later(engine, tables.worker_classes, "seen_at", worker_class="cpu")
    told = client.post("/v1/plans", json=job).json()["warnings"]
    assert any("the job would wait" in warning for warning in told)


def test_a_sign_of_life_counts_also_for_a_class_that_was_retired(engine, client, started):
    later(engine, tables.worker_classes, "seen_at")
    client.delete("/v1/workers/gpu")
    with engine.begin() as connection:
        for machine in (CPU, GPU):
            machines.alive(connection, NewWorker("host:1", machine, {}))
        found = {each.machine.worker_class: each.silent for each in machines.listing(connection)}
    assert found == {"cpu": False, "cpu-large": True, "gpu": False}


def test_jobs_of_a_retired_class_go_elsewhere_or_fail_in_words(client, engine, started):
    free, named = submit(client, device="cpu"), submit(client, worker_class="cpu")
    wants_gpu = submit(client, device="cuda")
    assert client.delete("/v1/workers/cpu").json() == {"moved": [free], "failed": [named]}
    assert client.get(f"/v1/jobs/{free}").json()["worker_class"] == "cpu-large"
    failed = client.get(f"/v1/jobs/{named}").json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "worker_class_unknown")
    assert client.delete("/v1/workers/gpu").json() == {"moved": [], "failed": [wants_gpu]}
    error = client.get(f"/v1/jobs/{wants_gpu}").json()["error"]
    assert error["code"] == "no_worker_for_device"
    actions = [entry["action"] for entry in client.get("/v1/audit").json()["entries"]]
    assert actions.count("worker_class.retire") == 2


def test_a_moved_job_is_claimed_by_its_new_class(client, engine, started, worker):
    job_id = submit(client, device="cpu")
    client.delete("/v1/workers/cpu")
    assert worker.claim() is None, "a worker of the class `cpu`"
    with engine.begin() as connection:
        found = attempts.claim(
            connection, worker="large", lease=timedelta(minutes=1), worker_class="cpu-large"
        )
    assert found.id == job_id


def test_a_class_that_is_not_there_cannot_be_retired(client):
    assert_problem(client.delete("/v1/workers/cpu"), 404, "worker_class_not_found")
