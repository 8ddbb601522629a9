"""Families whose images become tokens: their parts told, as right as found, and run once."""

import functools
import json
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers.models.gemma3n import modeling_gemma3n

from app.planning import plan
from app.recipes.modality import Modality
from app.recipes.recipe import Recipe, build_recipe
from benchmarks.families import plain
from benchmarks.families.inputs import batches_for
from benchmarks.families.sizes import CHANGES
from benchmarks.families.tensors import INPUTS
from benchmarks.families.tiny import Marks, build
from workers.pruning.calibration.statistics import Calibration, SquareSum
from workers.pruning.calibration.walk import steps
from workers.pruning.engine.prune import evaluating, prune
from workers.pruning.engine.targets import find_targets
from workers.pruning.memory import Memory
from workers.pruning.models.export import copy_checkpoint, write_back
from workers.pruning.models.families.image_tokens import ImageTokensAdapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.generic import GenericAdapter
from workers.pruning.models.layout.replay import BatchRun
from workers.pruning.models.loading import load_model

CLASSES = sorted(ImageTokensAdapter.architectures)
# The plan knows no rules for the names in their files.
GUESSED = {f"{name}ForConditionalGeneration" for name in ("Gemma3n", "Kimi_K25", "Molmo2")}
SEEING = Modality.VISION


class Convolutions(nn.Module):
    """Stands for what timm sees with, which is not installed: 32 x 32 pixels -> 4 x 4 features."""

    def __init__(self, config):
        super().__init__()
        self.layer = nn.Conv2d(3, config.hidden_size, 8, 8)

    def forward(self, pixel_values, **_):
        return modeling_gemma3n.BaseModelOutputWithPooling(self.layer(pixel_values))


@pytest.fixture(scope="module", autouse=True)
def without_timm():
    own = modeling_gemma3n.AutoModel

    def made(config):
        return Convolutions(config) if "vision" in config.model_type else own.from_config(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_gemma3n, "AutoModel", SimpleNamespace(from_config=made))
        yield


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return functools.cache(lambda name: tiny(name, tmp_path_factory.mktemp(name)))


def tiny(name, directory):
    model = build(name, CHANGES.get(name, {}), Marks())
    batches = batches_for(model, INPUTS.get(name, {}))
    model.save_pretrained(directory)
    return load_model(directory), batches


@contextmanager
def counted(adapter):
    """How often every matrix is multiplied by."""
    used = Counter()
    handles = [
        caller.register_forward_hook(lambda *_, m=m: used.update([m]))
        for m in adapter.matrices
        for caller in m.callers
    ]
    yield used
    for handle in handles:
        handle.remove()


def walked(adapter, batches):
    """Sums of squares of every matrix's inputs, and the forwards that each tower has run.

    Forwards: by the matrix multiplied by most often, beside what a plain forward needs.
    """
    calibration = Calibration(SquareSum)
    with torch.no_grad(), evaluating(adapter.model):
        with counted(adapter) as once:
            adapter.forward(batches[0])
        with counted(adapter) as used:
            for step in steps(adapter, batches, last=adapter.towers[-1].blocks[-1]):
                step.advance(calibration, step.block.matrices)
    sums = {m: calibration.of(m) for m in adapter.matrices}
    runs = {
        tower.modality: max(used[m] / once[m] for b in tower.blocks for m in b.matrices if once[m])
        for tower in adapter.towers
        if any(m in once for b in tower.blocks for m in b.matrices)
    }
    return {m: found.total for m, found in sums.items() if found is not None}, runs


@pytest.mark.parametrize("name", CLASSES)
def test_parts_are_those_that_the_generic_adapter_finds(name, family):
    loaded, batches = family(name)
    for include_bridge in (False, True):
        own = adapt(loaded, include_bridge=include_bridge)
        found = GenericAdapter(loaded, include_bridge=include_bridge)
        assert type(own) is ImageTokensAdapter
        assert [(t.name, t.modality) for t in own.towers] == [
            (t.name, t.modality) for t in found.towers
        ]
        assert {m.name for m in own.matrices} == {m.name for m in found.matrices}
        assert sorted(own.bridges) == sorted(found.bridges)
        assert not any("of no known kind" in text for text in own.warnings)
        assert not any("guessed" in text for text in own.warnings)

    sums, _ = walked(own, batches)
    run = plain.Forward(own.forward)
    assert plain.difference(sums, plain.square_sums(run, batches, own.matrices)) is None


@pytest.mark.parametrize("name", sorted({*CLASSES} - GUESSED))
def test_the_plan_names_what_the_job_prunes(name, family):
    loaded, _ = family(name)
    config = json.loads(loaded.config.to_json_string(use_diff=False))
    recipe = Recipe(sparsity=0.5)
    planned = plan.prunable(loaded.checkpoint.tensors, config, recipe)
    pruned = find_targets(adapt(loaded).towers, recipe).blocks
    assert plan.is_known(config)
    assert {(m.file_key, m.name, m.modality) for m in planned} == {
        (m.file_key, m.name, m.modality) for m in pruned
    }


@pytest.mark.parametrize("name", CLASSES)
def test_every_tower_runs_once_for_each_batch(name, family, monkeypatch):
    """And once more, in all, where the form of a block's output is learnt, or what is not fed."""
    loaded, batches = family(name)
    batches = [*batches, *batches]
    with monkeypatch.context() as patch:
        if not name.startswith("Florence2"):  # stages of other widths
            patch.delattr(BatchRun, "fetch")
        _, runs = walked(adapt(loaded), batches)
    _, found = walked(GenericAdapter(loaded), batches)
    assert runs.keys() >= {Modality.LANGUAGE}
    assert max(runs.values()) <= len(batches) + 2
    assert all(found[modality] >= count for modality, count in runs.items())
    assert SEEING not in runs or found[SEEING] > runs[SEEING]


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("InternVL", 1),
        ("Mistral3", -2),
        ("LlavaOnevision", 1),
        ("LlavaOnevision", [-1, 1]),
        ("LlavaOnevision", [0, -2]),
    ],
)
def test_features_of_any_layer_are_the_dense_ones(name, layers, tmp_path, monkeypatch):
    name = f"{name}ForConditionalGeneration"
    changes = {**CHANGES.get(name, {}), "vision_feature_layer": layers}
    monkeypatch.setitem(CHANGES, name, changes)
    loaded, batches = tiny(name, tmp_path)
    adapter = adapt(loaded, include_bridge=True)
    sums, runs = walked(adapter, batches)
    run = plain.Forward(adapter.forward)
    assert plain.difference(sums, plain.square_sums(run, batches, adapter.matrices)) is None
    assert runs[SEEING] <= len(batches) + 1


PATCHES = {
    "Gemma4ForConditionalGeneration": {"pixel_values": 5.0, "image_position_ids": -1},
    "Lfm2VlForConditionalGeneration": {"pixel_values": 5.0, "pixel_attention_mask": 0},
}


@pytest.mark.parametrize("name", sorted(PATCHES))
def test_patches_that_pad_an_image_count_for_nothing(name, family):
    loaded, batches = family(name)
    padded = [
        batch
        | {
            key: torch.cat([batch[key], torch.full_like(batch[key][:, :4], filled)], 1)
            for key, filled in PATCHES[name].items()
        }
        for batch in batches
    ]
    adapter = adapt(loaded)
    seeing = {m for m in adapter.matrices if m.modality is SEEING}
    without, _ = walked(adapter, batches)
    within, _ = walked(adapter, padded)
    expected = {m: total for m, total in without.items() if m in seeing}
    assert plain.difference({m: within[m] for m in seeing}, expected) is None


@pytest.mark.parametrize("name", ["Qwen3VLMoe", "Gemma4"])
def test_blocks_from_disk_give_the_same_bits_as_in_memory(name, tmp_path):
    source = tmp_path / "source"
    _, batches = tiny(f"{name}ForConditionalGeneration", source)
    recipe = build_recipe("sparsegpt", {}, "unstructured", sparsity=0.5)
    files = []
    for on_disk in (False, True):
        target = tmp_path / f"{on_disk}"
        copy_checkpoint(source, target)
        memory = Memory(target) if on_disk else Memory()
        adapter = adapt(load_model(source, memory=memory))
        prune(adapter, recipe, batches)
        write_back(target, adapter.matrices, memory)
        files.append((target / "model.safetensors").read_bytes())
    assert files[0] == files[1] != (source / "model.safetensors").read_bytes()


def test_blocks_are_handed_no_cache_and_configurations_stay(family):
    loaded, batches = family("Qwen3VLForConditionalGeneration")
    adapter, caches = adapt(loaded), []
    handle = loaded.model.model.language_model.layers[0].register_forward_pre_hook(
        lambda _block, _args, given: caches.append(given["past_key_values"]), with_kwargs=True
    )
    adapter.forward(batches[0])
    handle.remove()
    assert caches == [None]
    assert loaded.config.text_config.use_cache is True
