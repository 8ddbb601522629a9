"""A mixture of experts over HTTP: its packed experts pruned like any other matrix."""

import json

import pytest
import transformers

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
