"""A smaller model over HTTP: planned, made, downloaded, loaded by plain transformers."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file

JOB = {"model": "minilm", "calibration": {"samples": 16}}
WIDTH = {"method": "width", "parameters": {"mlp_removed": 0.5}}
PLAIN = {
    "method": "width",
    "parameters": {"mlp_removed": 0.5, "score": "magnitude", "solve": False},
}
EVALUATION = {"set": "sentences", "samples": 16, "metrics": ["similarity"]}


@pytest.fixture(scope="module")
def done(service):
    ids = [service.submit(**JOB, **how, evaluation=EVALUATION) for how in (WIDTH, PLAIN)]
    return [service.finish(job_id, seconds=240) for job_id in ids]


def similarity(job):
    return job["result"]["evaluation"]["metrics"]["similarity"]["after"]["value"]


def test_the_model_is_as_small_as_planned_and_close_to_the_dense_one(service, done, tmp_path):
    solved, plain = done
    assert solved["status"] == "succeeded", solved["error"]
    assert plain["status"] == "succeeded", plain["error"]
    assert similarity(plain) < similarity(solved) < 1
    assert similarity(solved) > 0.8
    plan = service.http.post("/v1/plans", json=JOB | WIDTH).json()
    told = solved["result"]["structure"]
    for name in ("parameters", "parameters_kept", "bytes", "bytes_kept"):
        assert told[name] == plan["structure"][name]
    assert plan["matrices"] == []
    directory = service.download(solved["id"], tmp_path)
    model = transformers.AutoModel.from_pretrained(directory)
    assert model.config.intermediate_size == told["towers"][0]["width_kept"] == 768
    stored = load_file(directory / "model.safetensors").values()
    assert sum(tensor.numel() for tensor in stored) == told["parameters_kept"]
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([[101, 7592, 102]])).last_hidden_state).all()
    report = json.loads((directory / "pruning_report.json").read_text())
    assert all(block["error"] < 0.5 for block in report["structure"]["blocks"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (WIDTH | {"sparsity": 0.5}, "weights_stay_dense"),
        (
            {"method": "width", "parameters": {"mlp_removed": 0.0001}},
            "structure_share_out_of_reach",
        ),
        ({"method": "depth", "parameters": {"removed": 0.9}}, "structure_share_out_of_reach"),
        ({"recipe": {"structure": [{"kind": "width"}, {"kind": "width"}]}}, "structure_repeated"),
        (
            {"method": "width", "parameters": {"mlp_removed": {"vision": 0.5}}},
            "recipe_not_applicable",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(service, body, code):
    for path in ("/v1/plans", "/v1/jobs"):
        answer = service.http.post(path, json=JOB | body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)
