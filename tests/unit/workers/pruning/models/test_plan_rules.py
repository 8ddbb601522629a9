"""The plan's rules on names, held against what each family's adapter really prunes."""

import json
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
import transformers
from transformers import conversion_mapping
from transformers.core_model_loading import WeightConverter

from app.planning.model_files.headers import StoredTensor
from app.planning.model_files.outlines import Outline
from app.planning.plan import check_patterns, is_known, prunable
from app.planning.quantization import plan_quantization, quantizable
from app.recipes.module_patterns import has_experts
from app.recipes.quantization import NotQuantizableError
from app.recipes.recipe import Recipe
from benchmarks.families.sizes import CHANGES
from benchmarks.families.tiny import Marks, build
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


CONVERTED = [
    *("Glm5NextForConditionalGeneration", "Molmo2ForConditionalGeneration"),
    *("QianfanOCRForConditionalGeneration", "Step3p7ForConditionalGeneration", "Tipsv2Model"),
    *("Dinov2Model", "Dinov2WithRegistersModel", "FalconForCausalLM"),
]


@pytest.mark.parametrize("name", CONVERTED)
def test_what_the_loader_converts_is_refused_by_the_plan_in_the_same_words(name, tmp_path):
    build(name, CHANGES.get(name, {}), Marks()).save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    with pytest.raises(NotQuantizableError) as by_worker:
        Quantizer(adapt(loaded), "int8")
    config = json.loads((tmp_path / "config.json").read_text())
    outline = Outline(loaded.checkpoint.tensors, config)
    with pytest.raises(NotQuantizableError) as by_plan:
        plan_quantization(outline, Recipe(sparsity=0.5, quantization="int8"))
    assert str(by_plan.value) == str(by_worker.value)


def test_every_type_whose_weights_transformers_cuts_is_known():
    known = {kind for kind, each in _converted_types() if not has_experts(each)}
    assert len(known) > 10
    for kind in known:
        outline = Outline({"layers.0.fc.weight": StoredTensor((16, 16))}, {"model_type": kind})
        with pytest.raises(NotQuantizableError, match="cuts stored weights"):
            plan_quantization(outline, Recipe(sparsity=0.5, quantization="int8"))


def _converted_types():
    """Types of models with the names of weights that are cut in loading."""
    for key, conversions in conversion_mapping._build_checkpoint_conversion_mapping().items():
        for each in conversions:
            cuts = isinstance(each, WeightConverter) and len(each.target_patterns) > 1
            if cuts and any(source.endswith("weight") for source in each.source_patterns):
                yield _type_of(key), each.source_patterns


def _type_of(key):
    """The type that a key of the mapping means, which may be that of a class."""
    if key[0].islower():
        return key
    files = Path(transformers.__file__).parent.glob("models/*/modeling_*.py")
    home = next(file for file in files if f"class {key}(" in file.read_text())
    module = import_module(f"transformers.models.{home.parent.name}.{home.stem}")
    return getattr(module, key).config_class.model_type


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
