"""Evaluation and the quality gate in jobs over HTTP."""

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from app.domain.bill_of_materials import BILL_FILE

JOB = {
    "model": "minilm",
    "method": "wanda",
    "sparsity": 0.6,
    "calibration": {"samples": 16},
    "evaluation": {"set": "sentences", "samples": 24},
}
GATE = {"metric": "similarity", "max_drop": 0.001}


def test_a_job_tells_what_the_model_could_do_before_and_after(service, tmp_path):
    done = service.finish(service.submit(**JOB))
    assert done["status"] == "succeeded", done
    found = done["result"]["evaluation"]
    assert (found["set"], found["samples"], found["gate"]) == ("sentences", 24, None)
    similarity = found["metrics"]["similarity"]
    assert similarity["samples"] == 24
    assert similarity["before"] == {"value": 1, "low": 1, "high": 1}
    after, change = similarity["after"], similarity["change"]
    assert 0.3 < after["low"] < after["value"] < after["high"] < 1
    assert change["value"] == pytest.approx(after["value"] - 1)
    assert service.messages(done["id"]).count("evaluating") == 2
    assert any("similarity 1 ->" in message for message in service.messages(done["id"]))

    directory = service.download(done["id"], tmp_path)
    report = json.loads((directory / "pruning_report.json").read_text())
    assert report["evaluation"] == found
    card = (directory / "README.md").read_text()
    assert f"| similarity | 24 | 1 (1 to 1) | {after['value']:.4g}" in card
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["datasets"]["evaluation"]["sha256"] == found["sha256"]
    assert manifest["datasets"]["calibration"]["records"] == 16
    bill = (directory / BILL_FILE).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    model = json.loads(bill)["metadata"]["component"]
    (metric,) = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    assert (metric["type"], float(metric["value"])) == ("similarity", after["value"])


@pytest.mark.parametrize("keep", [False, True])
def test_a_job_that_fails_its_gate_has_figures_and_files_only_on_request(service, keep):
    gate = GATE | {"keep_artifacts": keep}
    job = service.finish(service.submit(**JOB, quality_gate=gate))
    assert (job["status"], job["error"]["code"]) == ("failed", "quality_gate_failed")
    assert job["error"]["kind"] == "user_error"
    judged = job["result"]["evaluation"]["gate"]
    assert judged["passed"] is False
    assert judged["drop"] > 0.001
    paths = {file["path"] for file in service.artifacts(job["id"])}
    assert ("model.safetensors" in paths) is keep
    if keep:
        url = f"/v1/jobs/{job['id']}/artifacts/README.md"
        assert "Quality gate failed" in service.http.get(url).text


def test_a_vision_language_model_answers_questions(service):
    questions = {"set": "scenes", "samples": 9}
    job = {"model": "llava", "method": "magnitude", "sparsity": 0.3, "evaluation": questions}
    done = service.finish(service.submit(**job))
    assert done["status"] == "succeeded", done
    assert {"accuracy", "kl", "agreement"} == set(done["result"]["evaluation"]["metrics"])


def test_uploaded_records_calibrate_and_judge_but_not_both(service):
    def upload(name, numbers):
        rows = "\n".join(json.dumps({"text": f"{name} number {n} of the list"}) for n in numbers)
        answer = service.http.post("/v1/datasets", content=rows)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    job = {"model": "bert", "method": "wanda", "sparsity": 0.5}
    calibration = {"set": upload("apple", range(9)), "samples": 9}
    apart = job | {"calibration": calibration, "evaluation": {"set": upload("pear", range(9))}}
    done = service.finish(service.submit(**apart))
    assert done["status"] == "succeeded", done
    assert done["result"]["evaluation"]["samples"] == 9
    overlapping = {"set": upload("apple", range(8, 12))}
    refused = service.finish(service.submit(**apart | {"evaluation": overlapping}))
    assert (refused["status"], refused["error"]["code"]) == ("failed", "evaluation_data_overlaps")
    assert "1 of 4" in refused["error"]["message"]
