"""Plans of models on the hub: from configuration and headers, nothing else is fetched."""

import json

import pytest

from app.db import workers
from app.planning.machines import Machine
from tests.integration.app.headers import SHAPES, write_header
from tests.integration.app.problem import assert_problem
from tests.integration.hub_server import COMMIT, hub_server

JOB = {"model": "hf:org/sharded", "method": "wanda", "sparsity": 0.5}
GB = 10**9
LARGE = 1 << 20  # values of a tensor behind each header


@pytest.fixture
def hub(tmp_path):
    with hub_server() as server:
        files, places = {"config.json": json.dumps({"vision_config": {}}).encode()}, {}
        for number, shapes in enumerate((list(SHAPES.items())[:2], list(SHAPES.items())[2:])):
            file = tmp_path / "shard"
            write_header(file, dict(shapes) | {f"large.{number}": [LARGE]})
            name = f"model-0000{number + 1}-of-00002.safetensors"
            files[name] = file.read_bytes()
            places |= dict.fromkeys([*dict(shapes), f"large.{number}"], name)
        files["model.safetensors.index.json"] = json.dumps({"weight_map": places}).encode()
        files["consolidated.safetensors"] = bytes(LARGE)
        server.repos["org/sharded"] = files
        yield server


@pytest.fixture
def settings(settings, hub):
    endpoint = {"hub_endpoint": f"http://127.0.0.1:{hub.server_port}"}
    return settings.model_copy(update={"models": settings.models.model_copy(update=endpoint)})


@pytest.mark.parametrize("revision", ["", "@v1", f"@{COMMIT}"])
def test_a_plan_knows_what_it_knows_of_local_models(client, hub, revision):
    plan = client.post("/v1/plans", json=JOB | {"model": f"hf:org/sharded{revision}"}).json()
    assert {m["file_key"] for m in plan["matrices"]} == set(list(SHAPES)[:2])
    assert plan["model_weights"] == 64 + 128 + 64 + 8 + 800 + 2 * LARGE
    assert any("consolidated.safetensors" in warning for warning in plan["warnings"])
    assert plan["memory_bytes"] > plan["memory"]["libraries"]
    assert hub.read < LARGE, "headers alone"


def test_the_hub_is_asked_once_for_a_plan_and_its_job(client, hub):
    plan = client.post("/v1/plans", json=JOB).json()
    asked = len(hub.requests)
    job = client.post("/v1/jobs", json=JOB).json()
    assert job["memory_bytes"] == plan["memory_bytes"] > 0
    assert len(hub.requests) == asked


def test_what_fits_no_worker_is_refused(client, hub, engine):
    with engine.begin() as connection:
        small = Machine("cpu", GB // 10, 2, "cpu", 0, None, 20.0, 1e8)
        workers.put(connection, small)
    for path in ("/v1/plans", "/v1/jobs"):
        assert_problem(client.post(path, json=JOB), 422, "job_too_large")


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("hf:org/absent", "model_not_found"),
        ("hf:org/gated", "model_gated"),
        ("hf:org/good@v2", "model_revision_not_found"),
        ("hf:org/pickled", "model_weights_unsafe"),
        ("hf:org/empty", "model_files_missing"),
        ("hf:org/no-config", "model_files_missing"),
        ("hf:org/good", "model_load_failed"),  # its file is no safetensors file
    ],
)
def test_a_model_that_cannot_be_had_is_refused_in_words(client, hub, model, code):
    problem = assert_problem(client.post("/v1/plans", json=JOB | {"model": model}), 422, code)
    assert model.partition("@")[0] in problem["detail"]


def test_while_the_hub_is_away_plans_are_refused_and_jobs_wait_for_a_worker(client, hub):
    hub.broken = True
    problem = assert_problem(client.post("/v1/plans", json=JOB), 503, "hub_unavailable")
    assert "hf:org/sharded cannot be read now" in problem["detail"]
    job = client.post("/v1/jobs", json=JOB)
    assert (job.status_code, job.json()["memory_bytes"]) == (202, None)
    sized = {"model": JOB["model"], "method": "width", "target_parameters": 0.5}
    assert_problem(client.post("/v1/jobs", json=sized), 503, "hub_unavailable")


DEEP = b"[" * 100_000


@pytest.mark.parametrize(
    "header", [b"[]", b"3", b"null", b'{"a": []}', b'{"a": {"shape": 3, "dtype": "F32"}}', DEEP]
)
def test_odd_headers_of_the_hub_are_refused_before_anything_waits(client, hub, header):
    file = len(header).to_bytes(8, "little") + header
    hub.repos["org/odd"] = {"config.json": b"{}", "model.safetensors": file}
    for path in ("/v1/plans", "/v1/jobs"):
        answer = client.post(path, json=JOB | {"model": "hf:org/odd"})
        assert "hf:org/odd" in assert_problem(answer, 422, "model_load_failed")["detail"]


@pytest.mark.parametrize("config", [DEEP, b"[]", b'{"a": "' + b"x" * (5 << 20) + b'"}'])
def test_odd_configurations_of_the_hub_are_refused(client, hub, config):
    hub.repos["org/odd"] = hub.repos["org/good"] | {"config.json": config}
    answer = client.post("/v1/plans", json=JOB | {"model": "hf:org/odd"})
    assert_problem(answer, 422, "model_files_missing")
    assert hub.read < 5 << 20
