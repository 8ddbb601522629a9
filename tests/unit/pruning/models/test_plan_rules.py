"""The plan's rules on names, held against what each family's adapter really prunes."""

import json

import pytest
import transformers as tf

from app.domain.module_names import is_known
from app.domain.pattern_check import check_patterns
from app.domain.plans import prunable
from app.domain.recipe import Recipe
from tests.families import FAMILIES
from tests.tiny import DECODER, save, tokenizer
from workers.pruning.models.loading import load_model
from workers.pruning.models.registry import adapt
from workers.pruning.prune import prune

RECIPE = Recipe(sparsity=0.5)


@pytest.mark.parametrize("name", sorted(family.name for family in FAMILIES))
def test_the_plan_names_what_the_adapter_prunes(name, family_directory):
    directory = family_directory(name)
    loaded = load_model(directory)
    adapter = adapt(loaded)
    real = {matrix.file_key: matrix.modality for matrix in adapter.matrices}
    tensors = loaded.checkpoint.tensors
    config = json.loads((directory / "config.json").read_text())
    planned = {m.file_key: m.modality for m in prunable(tensors, config, Recipe(sparsity=0.5))}
    assert planned == real
    assert is_known(config)
    names = {m.file_key: m.name for m in prunable(tensors, config, Recipe(sparsity=0.5))}
    assert names == {matrix.file_key: matrix.name for matrix in adapter.matrices}


@pytest.mark.parametrize("name", ["blip_caption", "gpt2", "qwen2_vl"])
def test_parts_of_a_fused_projection_are_planned_by_the_names_that_are_printed(
    name, family_directory
):
    loaded = load_model(family_directory(name))
    parts = [m.name for m in adapt(loaded, split_qkv=True).matrices if m.name.endswith("]")]
    recipe = Recipe(sparsity=0.5, split_qkv=True, targets=parts)
    config = json.loads((loaded.directory / "config.json").read_text())
    tensors = loaded.checkpoint.tensors
    planned = prunable(tensors, config, recipe)
    assert sum(matrix.numel for matrix in planned) == sum(
        tensors[matrix.file_key].numel for matrix in planned
    )
    check_patterns(tensors, config, recipe)
    first = prunable(tensors, config, recipe.model_copy(update={"targets": (parts[1],)}))
    assert [3 * m.numel for m in first] == [tensors[first[0].file_key].numel]


@pytest.mark.parametrize("name", ["llama", "llava", "qwen2_vl", "blip_retrieval", "vit", "t5"])
@pytest.mark.parametrize("form", ["{key}", "{stem}", "{name}", "{name}.weight", "re:{key}$"])
@pytest.mark.parametrize("field", ["targets", "ignore"])
def test_a_matrix_may_be_given_by_any_name_that_is_printed(name, form, field, family_directory):
    """As the files have it, or the model: plan and job take the same."""
    directory = family_directory(name)
    loaded = load_model(directory)
    adapter = adapt(loaded)
    matrix = adapter.matrices[3]
    key = matrix.file_key
    given = form.format(key=key, stem=key.removesuffix(".weight"), name=matrix.name)
    recipe = Recipe(sparsity=0.5, **{field: (given,)})
    config = json.loads((directory / "config.json").read_text())
    check_patterns(loaded.checkpoint.tensors, config, recipe)
    planned = {m.name for m in prunable(loaded.checkpoint.tensors, config, recipe)}
    assert {m.module for m in prune(adapter, recipe).matrices} == planned
    others = {each.name for each in adapter.matrices} - {matrix.name}
    assert planned == ({matrix.name} if field == "targets" else others)


MOE = {
    "mixtral": (tf.MixtralForCausalLM, {"num_local_experts": 4}),
    "qwen3_moe": (
        tf.Qwen3MoeForCausalLM,
        {"num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8},
    ),
    "olmoe": (tf.OlmoeForCausalLM, {"num_experts": 4}),
}


@pytest.mark.parametrize("kind", MOE)
def test_packed_experts_are_left_out_of_the_plan_as_the_job_leaves_them_alone(kind, tmp_path):
    model_class, more = MOE[kind]
    config = model_class.config_class(**DECODER | more)
    save(tmp_path, model_class, config, tokenizer())
    loaded = load_model(tmp_path)
    tensors = loaded.checkpoint.tensors
    assert any(".experts.0." in key for key in tensors)
    planned = prunable(tensors, json.loads((tmp_path / "config.json").read_text()), RECIPE)
    assert {m.file_key for m in planned} == {m.file_key for m in adapt(loaded).matrices}
