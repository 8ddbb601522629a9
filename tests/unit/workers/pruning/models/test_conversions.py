"""Parameters put together from tensors of the files: the same values, parts that are views."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers.core_model_loading import (
    Chunk,
    Concatenate,
    ErnieFuseAndSplitTextVisionExperts,
    Interleave,
    MergeModulelist,
    PermuteForRope,
    Transpose,
)

from app.recipes.recipe import build_recipe
from tests.tiny_models import records
from workers.pruning.engine.prune import prune
from workers.pruning.engine.targets import coverage_of, find_targets
from workers.pruning.models import loading
from workers.pruning.models.conversions import Assembled, assemble
from workers.pruning.models.export import export_checkpoint
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.structure import View
from workers.pruning.models.loading import load_model

CONFIG = SimpleNamespace(num_attention_heads=2)
EXPERTS = {f"{p}.*": {f"{p}.{e}": (6, 4) for e in range(3)} for p in ("gate", "up")}
ROPE = PermuteForRope(permute_layer_names=["q", "k"])
CASES = {
    "merged": (EXPERTS, ["x"], [MergeModulelist(0), Concatenate(1)]),
    "one": ({"down.*": {f"down.{e}": (4, 6) for e in range(3)}}, ["x"], [MergeModulelist(0)]),
    "joined": ({"q": {"q": (4, 6)}, "k": {"k": (2, 6)}}, ["x"], [Concatenate(0)]),
    "turned": ({"w": {"w": (3, 4, 10)}}, ["x"], [Transpose(1, 2)]),
    "flipped": ({"w": {"w": (4, 10)}}, ["x"], [Transpose(0, 1)]),
    "interleaved": ({"w": {"w": (3, 8, 5)}}, ["x"], [Interleave(1)]),
    "cut": ({"w": {"w": (3, 8, 5)}}, ["a", "b"], [Interleave(1), Chunk(1)]),
    "permuted": ({"qkv": {"qkv": (24, 6)}}, ["q", "k", "v"], [Chunk(0), ROPE]),
    "two": (
        {f"{p}.*": {f"{p}.{e}": (6, 4) for e in range(4)} for p in ("gate", "up")},
        ["text", "vision"],
        [ErnieFuseAndSplitTextVisionExperts(0, 1)],
    ),
}


class _Doubled:
    """An operation that computes."""

    def convert(self, tensors, **_):
        return {"x": 2 * next(iter(tensors.values()))[0]}


def run(operations, tensors, targets, model):
    found = dict(tensors)
    for operation in operations:
        found = operation.convert(
            found,
            source_patterns=list(tensors),
            target_patterns=targets,
            full_layer_name=targets[0],
            model=model,
            config=CONFIG,
        )
    return {n: each[0] if isinstance(each, list) else each for n, each in found.items()}


def converted(sources, targets, operations):
    """What transformers makes of random tensors, and what we do."""
    tensors = {p: {k: torch.randn(s) for k, s in named.items()} for p, named in sources.items()}
    model = SimpleNamespace(get_parameter=lambda name: plain[name])
    lists = {pattern: list(named.values()) for pattern, named in tensors.items()}
    plain = run(operations, lists, targets, model)
    made = assemble(tensors, lambda probes, shapes: run(operations, probes, targets, shapes), model)
    return plain, made, tensors


@pytest.mark.parametrize("case", CASES)
def test_the_values_are_those_of_the_conversion(case):
    plain, made, _ = converted(*CASES[case])
    assert made.keys() == plain.keys()
    for name, weight in made.items():
        assert isinstance(weight, Assembled)
        assert torch.equal(weight.read(torch.float32), plain[name]), name
        assert weight.read(torch.bfloat16).dtype is torch.bfloat16
        assert torch.equal(weight + 0, plain[name])


@pytest.mark.parametrize("case", CASES)
def test_matrices_are_views_of_file_tensors_and_cover_the_parameter(case):
    plain, made, tensors = converted(*CASES[case])
    files = {key for named in tensors.values() for key in named}
    for name, weight in made.items():
        experts = range(len(weight)) if weight.ndim == 3 else (None,)
        places = [View(None if e is None else (e, len(weight))) for e in experts]
        found = [part for place in places for part in weight.matrices(place)]
        for unit, source, inside in found:
            assert unit.key in files
            part = source.of(unit.tensor)
            assert part.untyped_storage().data_ptr() == unit.tensor.untyped_storage().data_ptr()
            assert torch.equal(part, inside.of(plain[name]))
            before = weight._version
            part.zero_()
            assert weight._version > before
        assert int(weight.read(torch.float32).count_nonzero()) == 0


def test_a_conversion_that_computes_is_not_followed():
    sources = {"w": {"w": (4, 6)}}
    plain, made, _ = converted(sources, ["x"], [_Doubled()])
    assert plain["x"].shape == (4, 6)
    assert made is None


def test_what_cannot_be_reversed_stays_dense_and_the_model_is_pruned(
    experts_directory, tmp_path, monkeypatch
):
    monkeypatch.setattr(loading, "assemble", lambda *_: None)
    directory = experts_directory("mixtral")
    adapter = adapt(load_model(directory))
    assert not any(matrix.routed for matrix in adapter.matrices)
    assert any("left dense, as transformers computes them" in text for text in adapter.warnings)
    recipe = build_recipe("wanda", {}, "2:4", sparsity=0.5)
    coverage = coverage_of(adapter, recipe, find_targets(adapter.towers, recipe))
    reasons = {each.name: each.reason for each in coverage.dense}
    assert "cannot be reversed" in reasons["model.layers.*.mlp.experts.gate_up_proj"]
    report = prune(
        adapter, recipe, list(adapter.batches(records("text"), batch_size=3, max_length=24))
    )
    assert report.model.sparsity == 0.5
    assert report.warnings[0].startswith("the recipe reaches ")
    export_checkpoint(directory, tmp_path, adapter.matrices)
    again = adapt(load_model(tmp_path))
    for mine, other in zip(adapter.matrices, again.matrices, strict=True):
        assert torch.equal(mine.weight, other.weight)


def test_a_parameter_is_read_only(experts_directory):
    adapter = adapt(load_model(experts_directory("mixtral")))
    weight = next(m.parameter for m in adapter.matrices if m.routed)
    assert isinstance(weight, Assembled)
    assert isinstance(weight, nn.Parameter)
    with pytest.raises(TypeError, match="as they are stored"):
        weight.detach().zero_()
