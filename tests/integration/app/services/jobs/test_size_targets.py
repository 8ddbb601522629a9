"""A job that says how large its result is to be: planned, queued, cloned, swept, refused."""

import json

import pytest

from tests.integration.app.headers import write_header
from tests.integration.app.problem import assert_problem

BLOCK = {
    "self_attn.q_proj": [64, 64],
    "self_attn.o_proj": [64, 64],
    "mlp.gate_proj": [256, 64],
    "mlp.up_proj": [256, 64],
    "mlp.down_proj": [64, 256],
}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64}
BOTH = {"recipe": {"structure": [{"kind": "depth"}, {"kind": "width"}]}}


@pytest.fixture(autouse=True)
def model(checkpoint):
    shapes = {"model.embed_tokens.weight": [100, 64]}
    for number in range(8):
        shapes |= {f"model.layers.{number}.{name}.weight": size for name, size in BLOCK.items()}
    write_header(checkpoint, shapes)
    (checkpoint.parent / "config.json").write_text(json.dumps(CONFIG))


def planned(client, **how):
    answer = client.post("/v1/plans", json={"model": "tiny"} | how)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    "how", [{"method": "width"}, {"method": "depth"}, BOTH, BOTH | {"sparsity": 0.5}]
)
def test_plan_and_job_have_the_shares_that_were_found(client, worker, how):
    target = how | {"target_parameters": 0.6}
    plan = planned(client, **target)
    told = plan["structure"]
    assert 0.45 < told["parameters_kept"] / told["parameters"] <= 0.6
    job = client.post("/v1/jobs", json={"model": "tiny"} | target).json()
    assert job["recipe"] == plan["spec"]["recipe"]
    claimed = worker.claim()
    assert claimed.spec.recipe.model_dump(mode="json") == plan["spec"]["recipe"]
    clone = client.post(f"/v1/jobs/{job['id']}/clone", json={"target_parameters": 0.8}).json()
    assert clone["recipe"]["structure"] != job["recipe"]["structure"]
    assert worker.claim().spec.recipe.structure != claimed.spec.recipe.structure


def test_a_retry_has_the_shares_of_the_first(client, worker):
    job = client.post("/v1/jobs", json={"model": "tiny", "target_parameters": 0.6} | BOTH).json()
    worker.fail(worker.claim())
    again = client.post(f"/v1/jobs/{job['id']}/retry").json()
    assert again["recipe"] == job["recipe"]
    assert worker.claim().spec.recipe.structure[0].removed > 0


def test_a_search_of_the_sparsity_goes_on_from_the_size(client, worker):
    how = BOTH | {
        "target_parameters": 0.8,
        "sparsity": "auto",
        "quality_gate": {"metric": "accuracy", "max_drop": 0.02},
        "evaluation": {"set": "shapes"},
    }
    plan = planned(client, **how)
    assert plan["structure"]["parameters_kept"] <= 0.8 * plan["structure"]["parameters"]
    assert client.post("/v1/jobs", json={"model": "tiny"} | how).status_code == 202
    spec = worker.claim().spec
    assert spec.search is not None
    assert spec.recipe.model_dump(mode="json") == plan["spec"]["recipe"]


def test_operations_are_a_target_and_both_can_be_met(client):
    both = {"target_flops_ratio": 0.5, "target_parameters": 300_000}
    told = planned(client, method="width", **both)["structure"]
    (tower,) = told["towers"]
    assert tower["flops_kept"] <= 0.5 * tower["flops"]
    assert told["parameters_kept"] <= 300_000
    assert tower["tokens"] == 512


def test_a_sweep_of_sizes_takes_each_from_its_recipe(client, worker):
    sizes = [{"target_parameters": 0.8}, {"target_parameters": 0.6}]
    body = {"model": "tiny", "methods": [{"method": "width"}], "recipes": sizes}
    answer = client.post("/v1/sweeps", json=body)
    assert answer.status_code == 202, answer.text
    taken = sorted(worker.claim().spec.recipe.structure[0].mlp_removed for _ in sizes)
    assert 0 < taken[0] < taken[1]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"method": "width", "target_parameters": 0.01}, "structure_target_out_of_reach"),
        ({"method": "width", "target_parameters": 10**9}, "structure_target_out_of_reach"),
        ({"method": "depth", "target_flops_ratio": 0.01}, "structure_target_out_of_reach"),
        ({"method": "experts", "target_parameters": 0.5}, "structure_wiring_unknown"),
        (
            {
                "method": "width",
                "parameters": {"heads_removed": 0.5},
                "target_parameters": 0.6,
            },
            "structure_not_configurable",
        ),
        (
            {"method": "wanda", "sparsity": 0.5, "target_parameters": 0.5},
            "structure_target_without_structure",
        ),
        ({"method": "depth", "parameters": {"removed": 0.99}}, "structure_share_out_of_reach"),
        ({"method": "width", "target_flops_ratio": 1.5}, "field_invalid"),
        ({"method": "width", "target_parameters": 0}, "field_invalid"),
    ],
)
def test_what_cannot_be_met_is_refused_before_it_is_queued(client, how, code):
    for path in ("/v1/plans", "/v1/jobs"):
        assert_problem(client.post(path, json={"model": "tiny"} | how), 422, code)


SEARCHED = {
    "target_parameters": "auto",
    "evaluation": {"set": "sentences"},
    "quality_gate": {"metric": "perplexity", "max_drop": 1.0},
}


@pytest.mark.parametrize("method", ["width", "depth"])
def test_the_smallest_is_looked_for_on_a_ladder_of_structures(client, worker, method):
    asked = {"method": method} | SEARCHED
    plan = planned(client, **asked)
    [ladder] = plan["spec"]["search"]["ladders"]
    shares, steps = ladder["removed"], ladder["structures"]
    assert ladder["axis"] == "structure"
    assert shares == sorted(set(shares))
    assert len(shares) == len(steps) == {"width": 19, "depth": 6}[method]  # two ends stay
    field = {"width": "mlp_removed", "depth": "removed"}[method]
    assert [step[0][field] for step in steps] == shares
    assert plan["spec"]["recipe"]["structure"] == steps[(len(steps) - 1) // 2]
    assert plan["evaluations"] == {"width": 6, "depth": 4}[method]  # and the dense model
    assert any("structure" in text and "tried first" in text for text in plan["warnings"])
    client.post("/v1/jobs", json={"model": "tiny"} | asked)
    assert worker.claim().spec.search.model_dump(mode="json") == plan["spec"]["search"]


def test_structure_is_looked_for_before_zeros(client):
    plan = planned(client, **BOTH, **SEARCHED, sparsity="auto")
    axes = [ladder["axis"] for ladder in plan["spec"]["search"]["ladders"]]
    assert axes == ["structure", "sparsity"]
    assert plan["spec"]["recipe"]["sparsity"] == 0.5


def test_what_is_looked_for_needs_a_gate(client):
    answer = client.post(
        "/v1/jobs", json={"model": "tiny", "method": "depth", "target_parameters": "auto"}
    )
    problem = assert_problem(answer, 422, "sparsity_auto_without_gate")
    assert "structure is to be found" in problem["detail"]


def test_blocks_that_are_named_leave_nothing_to_look_for(client):
    asked = SEARCHED | {"method": "depth", "parameters": {"keep": [0, 1, 7]}}
    answer = client.post("/v1/plans", json={"model": "tiny"} | asked)
    assert_problem(answer, 422, "structure_target_out_of_reach")
