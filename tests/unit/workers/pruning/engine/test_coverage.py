"""What a recipe reaches of a model: in the plan as in the job."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.planning import plan
from app.recipes.recipe import Recipe
from tests.models_of_experts import TEXT
from workers.pruning.engine.prune import prune
from workers.pruning.engine.targets import coverage_of, find_targets
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

RECIPE = Recipe(sparsity=0.5)


def covered(directory, recipe=RECIPE):
    adapter = adapt(load_model(directory), include_bridge=recipe.include_bridge)
    return coverage_of(adapter, recipe, find_targets(adapter.towers, recipe))


def planned(directory, recipe=RECIPE):
    loaded = load_model(directory)
    config = json.loads((directory / "config.json").read_text())
    tensors = loaded.checkpoint.tensors
    return plan.coverage_of(tensors, config, recipe, plan.prunable(tensors, config, recipe))


def test_every_weight_is_reached_or_left(family_directory):
    found = covered(family_directory("llama"))
    model = adapt(load_model(family_directory("llama"))).model
    assert found.weights == sum(p.numel() for p in model.parameters())
    assert found.reached + sum(each.weights for each in found.dense) <= found.weights
    reasons = {each.name: each.reason for each in found.dense}
    assert reasons["model.embed_tokens.weight"] == "an embedding"
    assert reasons["lm_head.weight"] == "an output head"
    assert found.block_share > 0.97


def test_what_a_recipe_leaves_alone_has_a_reason(family_directory):
    recipe = Recipe(sparsity={"language": 0.5}, targets=("*.mlp.*",), ignore=("*.layers.1.*",))
    dense = covered(family_directory("llava"), recipe).dense
    found = {(each.name, each.tensors, each.reason) for each in dense}
    layers = "model.language_model.layers.*"
    assert (f"{layers}.self_attn.q_proj.weight", 1, "no target of the recipe") in found
    assert (f"{layers}.self_attn.q_proj.weight", 1, "the recipe ignores it") in found
    assert (f"{layers}.mlp.up_proj.weight", 1, "the recipe ignores it") in found
    reasons = {reason for _, _, reason in found}
    assert "no sparsity is asked for vision" in reasons
    assert any("include_bridge" in reason for reason in reasons)


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss", "hunyuan_v1_moe", "qwen3_moe"])
def test_plan_and_job_agree_on_mixtures_of_experts(name, experts_directory):
    directory = experts_directory(name)
    job, told = covered(directory), planned(directory)
    assert told.weights == job.weights
    assert told.reached == job.reached
    assert job.block_share >= 0.9
    assert abs(told.block_share - job.block_share) < 0.01
    steering = [each.reason for each in job.dense if ".gate." in each.name or "router" in each.name]
    assert all("steers" in reason or "linear layer" in reason for reason in steering)


def test_a_recipe_that_reaches_little_is_warned_of_first(family_directory):
    adapter = adapt(load_model(family_directory("llama")))
    recipe = Recipe(sparsity=0.5, targets=("*.q_proj",))
    report = prune(adapter, recipe)
    assert report.warnings[0].startswith("the recipe reaches ")
    assert "no target of the recipe" in report.warnings[0]
    assert report.model.sparsity == 0.5
    assert report.model_sparsity == pytest.approx(report.model.zeros / report.coverage.weights)
    assert report.model_sparsity < 0.05


def test_a_recipe_that_reaches_most_is_not_warned_of(experts_directory):
    assert set(TEXT) > {"dbrx"}
    report = prune(adapt(load_model(experts_directory("dbrx"))), RECIPE)
    assert report.coverage.share > 0.7
    assert not any("reaches" in text for text in report.warnings)


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("mtp.layers.0.mlp.up_proj.weight", {}),  # as in Qwen3.5
        ("model.layers.2.mlp.up_proj.weight", {"num_nextn_predict_layers": 1}),  # as in DeepSeek-V3
    ],
)
def test_layers_that_the_class_leaves_out_are_counted_and_listed(
    key, config, family_directory, tmp_path
):
    directory = tmp_path / "model"
    shutil.copytree(family_directory("llama"), directory)
    tensors = load_file(directory / "model.safetensors")
    save_file({**tensors, key: torch.zeros(24, 16)}, directory / "model.safetensors")
    saved = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(saved | config))
    before = covered(family_directory("llama"))
    for found in (covered(directory), planned(directory)):
        assert (found.weights, found.reached) == (before.weights + 24 * 16, before.reached)
        reasons = {each.name: each.reason for each in found.dense}
        assert reasons[re.sub(r"(?<=\.)\d+", "*", key)] == "not read by the model's class"
