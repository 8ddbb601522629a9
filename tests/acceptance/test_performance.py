"""Memory and time of a result beside the dense model, over HTTP."""

import json
import os
import signal

import psutil
import pytest

from app.recipes.performance import ROUNDS, PerformanceReport
from tests.acceptance.conftest import commands

SPARSE = {"model": "bert", "method": "magnitude", "sparsity": 0.5, "measure": True}
WIDTH = {
    "model": "internvl",
    "method": "width",
    "parameters": {"mlp_removed": 0.5, "score": "magnitude", "solve": False},
    "calibration": {"samples": 8},
    "measure": True,
}


def report_of(job):
    assert job["status"] == "succeeded", job["error"]
    return PerformanceReport.model_validate(job["result"]["performance"])


def test_zeros_take_as_much_as_before(service, tmp_path):
    job = service.finish(service.submit(**SPARSE), seconds=240)
    found = report_of(job)
    assert found.bytes.ratio == 1
    assert found.seconds.keys() == {"encode"}
    assert (found.rounds, found.together) == (ROUNDS, True)
    phases = [each for each in service.messages(job["id"]) if each in {"measuring", "publishing"}]
    assert phases == ["measuring", "publishing"]
    directory = service.download(job["id"], tmp_path)
    report = json.loads((directory / "pruning_report.json").read_text())
    assert report["performance"] == job["result"]["performance"]
    assert "| Weights in use | " in (directory / "README.md").read_text()
    assert "Beside the dense model" in (directory / "report.html").read_text()


def test_a_narrower_model_takes_less_memory(service):
    plan = service.http.post("/v1/plans", json=WIDTH).json()
    assert plan["spec"]["measure"]
    assert plan["phases"]["measuring"] > 0
    assert plan["memory"]["stages"]["measuring"] > 0
    found = report_of(service.finish(service.submit(**WIDTH), seconds=240))
    assert found.bytes.ratio < 1
    assert found.seconds.keys() == {"prefill", "decode"}
    assert found.shapes.image_tokens > 0


def test_a_quantised_result_is_measured_as_it_is_loaded(service):
    job = service.finish(service.submit(**SPARSE, quantization="int8"), seconds=240)
    assert report_of(job).bytes.dense > 0


def test_a_job_whose_worker_is_killed_while_measuring_is_measured_again(service):
    job_id = service.submit(**WIDTH)
    service.wait(job_id, lambda job: job["phase"] == "measuring", seconds=240)
    run = service.running.settings.data_dir / "run" / "worker"
    (worker,) = psutil.Process(int(run.read_text().split()[0])).children()
    below = worker.children(recursive=True)
    os.kill(worker.pid, signal.SIGKILL)
    job = service.finish(job_id, seconds=240)
    assert report_of(job).rounds == ROUNDS
    assert job["attempt"] == 2
    assert not [each for each in psutil.wait_procs(below, timeout=30)[1] if each.is_running()]


def test_a_job_that_is_cancelled_while_measuring_ends_with_its_processes(service):
    job_id = service.submit(**WIDTH)
    service.wait(job_id, lambda job: job["phase"] == "measuring", seconds=240)
    run = service.running.settings.data_dir / "run" / "worker"
    below = psutil.Process(int(run.read_text().split()[0])).children(recursive=True)
    measuring = commands("workers.pipeline.performance", below)
    service.http.post(f"/v1/jobs/{job_id}/cancel")
    assert service.finish(job_id, seconds=60)["status"] == "cancelled"
    assert not psutil.wait_procs(measuring, timeout=30)[1]


@pytest.mark.parametrize("path", ["/v1/plans", "/v1/jobs"])
def test_a_router_is_not_measured(service, path):
    answer = service.http.post(path, json={"model": "llava", "method": "par", "measure": True})
    assert answer.status_code == 422
    body = answer.json()
    codes = {body["code"], *(each["code"] for each in body.get("errors", ()))}
    assert "measure_not_of_routers" in codes
    assert "par decides anew" in json.dumps(body)
