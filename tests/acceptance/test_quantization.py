"""Weights in 8 bits over HTTP: planned, made, packed, downloaded, loaded by plain transformers."""

import json
import os
import shutil
import signal
import time

import pytest
import torch
import transformers
from safetensors.torch import load_file

from app.errors import ModelLoadError
from tests.acceptance import ways_out
from tests.acceptance.test_kills import process
from tests.tiny_models import DECODER, save, tokenizer
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


LANGUAGE = {
    "model": "wide-llama",
    "structure": [{"kind": "width", "mlp_removed": 0.5, "heads_removed": 0.5}],
    "method": "wanda",
    "sparsity": 0.5,
    "calibration": {"samples": 8, "max_length": 16},
    "quantization": "int8",
}


@pytest.fixture(scope="module")
def language(service, models, tmp_path_factory):
    """A quantised language model: its job, and its files."""
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}
    config = transformers.LlamaConfig(**DECODER | sizes)
    save(models / "wide-llama", transformers.LlamaForCausalLM, config, tokenizer())
    job = service.finish(service.submit(**LANGUAGE), seconds=240)
    assert job["status"] == "succeeded", job["error"]
    return job, ways_out.bring(service, job["id"], tmp_path_factory.mktemp("quantised"))


def test_a_quantised_language_model_generates_by_every_way_out(service, language):
    job, directory = language
    found = job["result"]["quantization"]
    size, _ = ways_out.generate(directory)
    assert size == job["result"]["structure"]["parameters_kept"]  # scales go as it is loaded
    assert job["result"]["sizes"]["dense"] == (directory / "model.safetensors").stat().st_size
    half = found["bytes_before"] // 2  # float32 here; in bf16 it would be half of that
    assert found["bytes"] <= 0.52 * half
    said = ways_out.secateur(service, "reproduce", directory / "manifest.json")
    assert "files are the same" in said


def test_no_second_job_begins_with_it(service, models, language):
    shutil.copytree(language[1], models / "quantised")
    for path in ("/v1/plans", "/v1/jobs"):
        answer = service.http.post(path, json=LANGUAGE | {"model": "quantised"})
        body = answer.json()
        assert (answer.status_code, body["code"]) == (422, "model_load_failed"), body
        assert "quantised (quantization_config: compressed-tensors)" in body["detail"]


def test_killed_while_it_is_written_nothing_half_is_published(service, language):
    assert language
    asked = LANGUAGE | {"structure": [], "method": "magnitude"}  # the only file written anew
    first = service.finish(service.submit(**asked))
    job_id = service.submit(**asked)
    storage = service.running.settings.storage.dir
    half = storage / "staging" / f"{job_id}-1" / "model.safetensors.new"
    deadline = time.monotonic() + 90
    while not half.exists() and time.monotonic() < deadline:
        time.sleep(0.0005)
    child = process(service, "worker").children()[0]
    os.kill(child.pid, signal.SIGKILL)
    assert half.exists()
    job = service.finish(job_id)
    assert (first["status"], job["status"], job["attempt"]) == ("succeeded", "succeeded", 2)
    told = [
        {each["path"]: each["sha256"] for each in service.artifacts(each["id"])}
        for each in (first, job)
    ]
    assert told[0] == told[1]
    assert [path.name for path in storage.glob(f"*/{job_id}-*")] == [f"{job_id}-2"]
    assert not list(storage.rglob("*.new"))
    kept = service.running.settings.checkpoints.dir / job_id
    service.wait(job_id, lambda _: not kept.exists(), seconds=60)
