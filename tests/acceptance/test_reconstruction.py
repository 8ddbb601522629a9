"""Least squares and ADMM over HTTP, on the real MiniLM: nearer to the dense model, same zeros."""

import json

import pytest
import transformers

JOB = {
    "model": "minilm",
    "sparsity": 0.6,
    "calibration": {"samples": 16},
    "evaluation": {"set": "sentences", "samples": 16, "metrics": ["similarity"]},
}
HOW = {
    "magnitude": {"method": "magnitude"},
    "least squares": {"method": "magnitude", "reconstruction": {"kind": "least-squares"}},
    "admm": {"recipe": {"importance": {"kind": "admm"}}},
}


@pytest.fixture(scope="module")
def done(service):
    ids = {name: service.submit(**JOB, **how) for name, how in HOW.items()}
    return {name: service.finish(job_id, seconds=240) for name, job_id in ids.items()}


def similarity(job):
    return job["result"]["evaluation"]["metrics"]["similarity"]["after"]["value"]


def test_what_is_solved_for_is_nearer_to_the_dense_model(done):
    for name, job in done.items():
        assert job["status"] == "succeeded", (name, job["error"])
        assert job["result"]["sparsity"] == pytest.approx(0.6, abs=1e-3)
    found = {name: similarity(job) for name, job in done.items()}
    assert found["magnitude"] < found["least squares"] < 1
    assert found["magnitude"] < found["admm"] < 1


def test_the_checkpoint_loads_and_the_report_has_errors(service, done, tmp_path):
    directory = service.download(done["least squares"]["id"], tmp_path)
    report = json.loads((directory / "pruning_report.json").read_text())
    assert all(matrix["error"] >= 0 for matrix in report["matrices"])
    model = transformers.AutoModel.from_pretrained(directory)
    zeros = {name: int((weight == 0).sum()) for name, weight in model.named_parameters()}
    for matrix in report["matrices"]:
        assert zeros[f"{matrix['module']}.weight"] == matrix["zeros"]


def test_what_solves_by_itself_is_refused_in_words(service):
    answer = service.http.post(
        "/v1/jobs",
        json={"model": "minilm", "sparsity": 0.5, "method": "chita"}
        | {"reconstruction": {"kind": "least-squares"}},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "recipe_not_applicable")
