"""A mixture of experts over HTTP: its packed experts pruned like any other matrix, or left out."""

import json
import shutil

import pytest
import transformers

from tests.acceptance import ways_out
from tests.models_of_experts import TEXT

JOB = {
    "model": "qwen3_moe",
    "method": "wanda",
    "sparsity": 0.5,
    "calibration": {"set": "sentences", "samples": 8, "max_length": 32},
}
TOO_MANY = 100_000


@pytest.fixture(scope="module")
def done(service, models):
    TEXT["qwen3_moe"](models / "qwen3_moe")
    ids = [service.submit(**JOB, expert_tokens=tokens) for tokens in (1, TOO_MANY)]
    jobs = [service.finish(each) for each in ids]
    assert [job["status"] for job in jobs] == ["succeeded"] * 2, jobs
    return jobs


@pytest.fixture(scope="module")
def pruned(service, done, tmp_path_factory):
    return service.download(done[0]["id"], tmp_path_factory.mktemp("qwen3_moe"))


def report_of(directory):
    return json.loads((directory / "pruning_report.json").read_text())


def test_experts_are_reached_and_the_plan_says_as_much(service, done, pruned):
    report, plan = report_of(pruned), service.http.post("/v1/plans", json=JOB).json()
    coverage = report["coverage"]
    assert coverage["reached"] == report["model"]["weights"]
    assert plan["reached"] == pytest.approx(coverage["reached"] / coverage["weights"])
    assert coverage["reached"] > 0.95 * coverage["block_weights"]
    assert done[0]["result"]["reached_blocks"] > 0.95
    experts = [m for m in report["matrices"] if ".experts." in m["module"]]
    assert len(experts) == 2 * 4 * 3  # blocks, experts, projections
    assert not any(m["module"].rpartition(".")[2] == "gate" for m in report["matrices"])


def test_sparsity_is_exact_and_plain_transformers_loads_it(pruned):
    report = report_of(pruned)
    assert report["model"]["zeros"] == report["model"]["asked"] == report["model"]["weights"] // 2
    model, told = transformers.Qwen3MoeForCausalLM.from_pretrained(pruned, output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    for index, layer in enumerate(model.model.layers):
        mlp = layer.mlp
        packed = (mlp.experts.gate_up_proj, mlp.experts.down_proj)
        zeros = [
            m["zeros"] for m in report["matrices"] if f"layers.{index}.mlp.experts." in m["module"]
        ]
        assert sum(int((weight == 0).sum()) for weight in packed) == sum(zeros)
        assert bool((mlp.gate.weight != 0).all())


def test_experts_that_saw_too_few_tokens_are_named(service, done, tmp_path):
    enough, few = (job["result"] for job in done)
    assert not any("4 of 4 experts" in warning for warning in enough["warnings"])
    told = [w for w in few["warnings"] if f"saw fewer than {TOO_MANY} calibration tokens" in w]
    assert len(told) == 2  # a block each
    assert "4 of 4 experts" in told[0]
    report = report_of(service.download(done[1]["id"], tmp_path))
    assert report["model"]["zeros"] == report["model"]["asked"]


@pytest.fixture(scope="module")
def fewer(service, done, tmp_path_factory):
    """A job that leaves one of four experts out, and its files."""
    assert done
    asked = {"model": "qwen3_moe", "calibration": JOB["calibration"]}
    asked |= {"method": "experts", "parameters": {"removed": 0.25}}
    job = service.finish(service.submit(**asked))
    assert job["status"] == "succeeded", job["error"]
    plan = service.http.post("/v1/plans", json=asked).json()["structure"]
    told = job["result"]["structure"]
    assert (plan["parameters_kept"], plan["bytes_kept"]) == (
        told["parameters_kept"],
        told["bytes_kept"],
    )
    return job, ways_out.bring(service, job["id"], tmp_path_factory.mktemp("fewer"))


def test_fewer_experts_generate_by_every_way_out(service, fewer):
    job, directory = fewer
    told = job["result"]["structure"]
    assert transformers.AutoConfig.from_pretrained(directory).num_experts == 3
    size, _ = ways_out.generate(directory)
    assert size == told["parameters_kept"] < told["parameters"]
    assert job["result"]["sizes"]["dense"] == (directory / "model.safetensors").stat().st_size
    said = ways_out.secateur(service, "reproduce", directory / "manifest.json")
    assert "files are the same" in said


def test_a_mixture_without_some_experts_gives_more_of_them(service, models, fewer, tmp_path):
    shutil.copytree(fewer[1], models / "three-experts")
    asked = JOB | {"model": "three-experts", "expert_tokens": 1}
    job = service.finish(service.submit(**asked, structure=[{"kind": "experts", "removed": 0.34}]))
    assert job["status"] == "succeeded", job["error"]
    tower = job["result"]["structure"]["towers"][0]
    assert (tower["experts"], tower["experts_kept"]) == (3, 2)
    assert job["result"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    ways_out.generate(service.download(job["id"], tmp_path))
