"""Weights in 8 bits over HTTP: planned, made, packed, downloaded, loaded by plain transformers."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file

from app.errors import ModelLoadError
from workers.pruning.models.loading import load_model

JOB = {
    "model": "minilm",
    "method": "magnitude",
    "sparsity": 0.5,
    "structure": [{"kind": "width", "mlp_removed": 0.5, "score": "magnitude", "solve": False}],
    "calibration": {"samples": 8},
    "quantization": "int8",
}
EVALUATION = {"set": "sentences", "samples": 8, "metrics": ["similarity"]}


@pytest.fixture(scope="module")
def done(service):
    job = service.finish(service.submit(**JOB, evaluation=EVALUATION), seconds=240)
    assert job["status"] == "succeeded", job["error"]
    return job


@pytest.mark.filterwarnings("ignore")  # the format's reader warns of its own ways
def test_the_result_is_as_small_as_planned_and_loads(service, done, tmp_path):
    plan = service.http.post("/v1/plans", json=JOB).json()["quantization"]
    found = done["result"]["quantization"]
    for name in ("kind", "matrices", "weights", "bytes", "bytes_before"):
        assert found[name] == plan[name], name
    assert found["block_share"] == 1
    directory = service.download(done["id"], tmp_path)
    stored = load_file(directory / "model.safetensors")
    integers = {key: each for key, each in stored.items() if each.dtype == torch.int8}
    assert len(integers) == found["matrices"]
    zeros = sum(int((each == 0).sum()) for each in integers.values())
    assert zeros == found["zeros"] == done["result"]["zeros"] + found["rounded_to_zero"]
    assert done["result"]["sizes"]["dense"] == (directory / "model.safetensors").stat().st_size
    model = transformers.AutoModel.from_pretrained(directory)
    with torch.no_grad():
        assert torch.isfinite(model(torch.tensor([[101, 7592, 102]])).last_hidden_state).all()
    assert done["result"]["evaluation"]["metrics"]["similarity"]["after"]["value"] > 0.5
    report = json.loads((directory / "pruning_report.json").read_text())["quantization"]
    assert sum(report["rounded"].values()) == found["rounded_to_zero"]
    assert "compressed-tensors" in (directory / "README.md").read_text()
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["versions"]["compressed-tensors"]
    assert manifest["request"]["quantization"] == "int8"
    with pytest.raises(ModelLoadError, match="quantised"):  # it is an end, no beginning
        load_model(directory)


def test_the_packed_form_leaves_the_zeros_out(service, done):
    path = f"/v1/jobs/{done['id']}/packed/model.safetensors"
    sizes, found = done["result"]["sizes"], done["result"]["quantization"]
    assert service.http.get(path).status_code == 200
    saved = found["zeros"] - found["weights"] // 8  # a byte each, for a bit of every weight
    assert sizes["dense"] - sizes["packed"] >= saved > 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quantization": "int4"}, "field_invalid"),
        ({"method": "par", "sparsity": None, "structure": []}, "weights_stay_dense"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_queued(service, change, code):
    for path in ("/v1/plans", "/v1/jobs"):
        answer = service.http.post(path, json=JOB | change)
        body = answer.json()
        codes = {body["code"], *(each["code"] for each in body.get("errors", ()))}
        assert answer.status_code == 422
        assert code in codes, body
