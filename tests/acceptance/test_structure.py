"""A smaller model over HTTP: planned, made, downloaded, loaded by plain transformers."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file

from tests.acceptance import ways_out
from tests.tiny_models import DECODER, save, tokenizer

JOB = {"model": "minilm", "calibration": {"samples": 16}}
WIDTH = {"method": "width", "parameters": {"mlp_removed": 0.5}}
PLAIN = {
    "method": "width",
    "parameters": {"mlp_removed": 0.5, "score": "magnitude", "solve": False},
}
EVALUATION = {"set": "sentences", "samples": 16, "metrics": ["similarity"]}

HEADS = {
    "model": "three-blocks",
    "method": "width",
    "parameters": {"mlp_removed": 0.5, "heads_removed": 0.5},
    "calibration": {"samples": 8},
}


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


BOTH = {
    "recipe": {"structure": [{"kind": "depth"}, {"kind": "width"}]},
    "target_parameters": 0.8,
}


def test_a_target_is_met_by_what_is_downloaded(service, tmp_path):
    plan = service.http.post("/v1/plans", json=JOB | BOTH).json()
    job = service.finish(service.submit(**JOB, **BOTH), seconds=240)
    assert job["status"] == "succeeded", job["error"]
    told = job["result"]["structure"]
    assert told["parameters_kept"] == plan["structure"]["parameters_kept"]
    directory = service.download(job["id"], tmp_path)
    model = transformers.AutoModel.from_pretrained(directory)
    left = sum(parameter.numel() for parameter in model.parameters())
    assert 0.75 * told["parameters"] < left <= 0.8 * told["parameters"]
    manifest = json.loads((directory / "manifest.json").read_text())
    steps = plan["spec"]["recipe"]["structure"]
    assert manifest["job"]["recipe"]["structure"] == steps
    assert manifest["request"]["target_parameters"] == 0.8
    depth, width = steps
    assert 0 < depth["removed"] < width["mlp_removed"] < 1
    said = ways_out.secateur(service, "reproduce", directory / "manifest.json")
    assert f"all {len(manifest['files'])} files are the same" in said


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (WIDTH | {"target_parameters": 1000}, "structure_target_out_of_reach"),
        (WIDTH | {"target_flops_ratio": 0.01}, "structure_target_out_of_reach"),
        (WIDTH | {"target_parameters": 10**12}, "structure_target_out_of_reach"),
        (
            {"method": "experts", "target_parameters": 0.5},
            "structure_wiring_unknown",
        ),
        (
            {"method": "wanda", "sparsity": 0.5, "target_parameters": 0.5},
            "structure_target_without_structure",
        ),
        ({"method": "depth", "parameters": {"removed": 0.01}}, "structure_share_out_of_reach"),
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


@pytest.fixture(scope="module")
def narrow(service, models, tmp_path_factory):
    """A language model without half of its heads and channels: its job, and its files."""
    config = transformers.LlamaConfig(**DECODER | {"num_hidden_layers": 3})
    save(models / "three-blocks", transformers.LlamaForCausalLM, config, tokenizer())
    job = service.finish(service.submit(**HEADS))
    assert job["status"] == "succeeded", job["error"]
    return job, ways_out.bring(service, job["id"], tmp_path_factory.mktemp("narrow"))


def test_heads_are_gone_by_every_way_out(narrow):
    job, directory = narrow
    told, config = job["result"]["structure"], json.loads((directory / "config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (2, 1)
    assert config["head_dim"] == DECODER["hidden_size"] // DECODER["num_attention_heads"]
    size, _ = ways_out.generate(directory)
    assert size == told["parameters_kept"] < told["parameters"]
    assert job["result"]["sizes"]["dense"] == (directory / "model.safetensors").stat().st_size


def test_it_is_reproduced_to_the_byte(service, narrow):
    manifest = narrow[1] / "manifest.json"
    count = len(json.loads(manifest.read_text())["files"])
    said = ways_out.secateur(service, "reproduce", manifest)
    assert f"all {count} files are the same" in said


@pytest.mark.parametrize(
    "how",
    [
        {"method": "width", "parameters": {"mlp_removed": 0.5}},
        {"method": "depth", "parameters": {"removed": 0.34}},
        {"method": "depth", "parameters": {"keep": [1]}},
        {"method": "wanda", "sparsity": 0.5},
    ],
    ids=["width", "depth", "keep", "zeros"],
)
def test_a_smaller_model_is_a_model(service, models, narrow, tmp_path, how):
    copied = models / "narrow"
    if not copied.exists():
        shutil.copytree(narrow[1], copied)
    asked = {"model": "narrow", "calibration": HEADS["calibration"]} | how
    plan = service.http.post("/v1/plans", json=asked)
    assert plan.status_code == 200, plan.text
    job = service.finish(service.submit(**asked))
    assert job["status"] == "succeeded", job["error"]
    directory = service.download(job["id"], tmp_path)
    size, _ = ways_out.generate(directory)
    left_out = "Blocks left out: model.layers." in (directory / "README.md").read_text()
    assert left_out == (how["method"] == "depth")
    before = narrow[0]["result"]["structure"]["parameters_kept"]
    if how["method"] == "wanda":
        assert size == before
        assert job["result"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    else:
        told = job["result"]["structure"]
        assert (told["parameters"], told["parameters_kept"]) == (before, size)
        assert plan.json()["structure"]["parameters_kept"] == size < before
