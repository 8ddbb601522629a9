"""The plan's rules on names, held against what each family's adapter really prunes."""

import json
from collections import Counter

import pytest

from app.planning.model_files.outlines import Outline
from app.planning.plan import check_patterns, is_known, prunable
from app.planning.quantization import plan_quantization, quantizable
from app.recipes.quantization import NotQuantizableError
from app.recipes.recipe import Recipe
from tests.families import FAMILIES
from tests.models_of_experts import TEXT
from workers.pruning.engine.prune import prune
from workers.pruning.engine.targets import find_targets
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model
from workers.pruning.models.quantization import Quantizer

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


@pytest.mark.parametrize("name", sorted(family.name for family in FAMILIES))
def test_the_plan_names_what_is_stored_in_8_bits(name, family_directory):
    loaded = load_model(family_directory(name))
    config = json.loads((loaded.directory / "config.json").read_text())
    outline = Outline(loaded.checkpoint.tensors, config)
    recipe = Recipe(sparsity=0.5, quantization="int8")
    if name == "gpt2":
        with pytest.raises(NotQuantizableError):
            Quantizer(adapt(loaded), "int8")
        with pytest.raises(NotQuantizableError):
            plan_quantization(outline, recipe)
        return
    quantizer = Quantizer(adapt(loaded), "int8")
    assert {m.file_key for m in quantizable(outline)} == {layer.key for layer in quantizer.layers}
    assert plan_quantization(outline, recipe).matrices == len(quantizer.layers)


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


# Zero experts have weights in the files that compute nothing; JetMoE's projections are whole.
@pytest.mark.parametrize("kind", sorted(TEXT.keys() - {"longcat_flash", "jetmoe"}))
def test_experts_are_planned_as_the_matrices_that_the_job_prunes(kind, experts_directory):
    loaded = load_model(experts_directory(kind))
    config = json.loads((loaded.directory / "config.json").read_text())
    planned = prunable(loaded.checkpoint.tensors, config, RECIPE)
    real = find_targets(adapt(loaded).towers, RECIPE).blocks
    assert Counter((m.file_key, m.shape) for m in planned) == Counter(
        (m.file_key, tuple(m.weight.shape)) for m in real
    )
    assert not any("router" in m.file_key or ".gate." in m.file_key for m in planned)
