"""Several sparsities from one calibration pass equal as many runs on their own."""

import pytest
import torch

from app.domain.errors import RecipeError
from app.domain.methods import build_recipe
from tests.families import BY_NAME, records
from workers.pruning.models.loading import load_model
from workers.pruning.models.registry import adapt
from workers.pruning.prune import prune
from workers.pruning.sweep import sweep

SWEPT = ["multiflow", "magnitude", "lamp", "random", "l2-normalised", "snip"]


@pytest.fixture
def make(family_directory):
    def build(family="llava"):
        adapter = adapt(load_model(family_directory(family)))
        rows = records(BY_NAME[family].kind)
        return adapter, list(adapter.batches(rows, batch_size=3, max_length=24))

    return build


def recipe_of(method, sparsity=0.5, **parameters):
    return build_recipe(method, parameters, "unstructured", sparsity=sparsity)


@pytest.mark.parametrize("method", SWEPT)
def test_a_sweep_equals_single_runs(method, make):
    swept, batches = make()
    sparsities = [0.7, 0.25, 0.5]
    for sparsity, report in zip(
        sorted(sparsities), sweep(swept, recipe_of(method), sparsities, batches), strict=True
    ):
        alone, _ = make()
        expected = prune(alone, recipe_of(method, sparsity), batches)
        assert report.recipe.sparsity == sparsity
        assert report.model_copy(update={"warnings": ()}) == expected.model_copy(
            update={"warnings": ()}
        )
        assert set(report.warnings) == set(expected.warnings)
        for mine, theirs in zip(swept.matrices, alone.matrices, strict=True):
            assert torch.equal(mine.weight, theirs.weight), (sparsity, mine.name)


def test_the_model_is_seen_once(make):
    adapter, batches = make()
    told = []
    caller = adapter.matrices[-1].callers[0]
    calls = []
    caller.register_forward_pre_hook(lambda *_: calls.append(1))
    reports = list(
        sweep(adapter, recipe_of("multiflow"), [0.2, 0.4, 0.6, 0.8], batches, told.append)
    )
    assert len(reports) == 4
    assert len(calls) == len(batches)
    assert sum(p.phase == "calibrating" for p in told) == len(reports[0].blocks)


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "iterative-snip", "chita", "chita++"])
def test_methods_that_measure_anew_are_refused(method, make):
    adapter, batches = make()
    with pytest.raises(RecipeError, match="measures anew"):
        next(sweep(adapter, recipe_of(method), [0.5], batches))


@pytest.mark.parametrize("sparsities", [[], [0.0, 0.5], [0.5, 1.0]])
def test_sparsities_out_of_range_are_refused(sparsities, make):
    adapter, batches = make()
    with pytest.raises(RecipeError, match="above 0 and below 1"):
        next(sweep(adapter, recipe_of("multiflow"), sparsities, batches))


def test_a_fixed_pattern_is_refused(make):
    adapter, batches = make()
    recipe = build_recipe("multiflow", {}, "2:4", sparsity=0.5)
    with pytest.raises(RecipeError, match="fixes sparsity"):
        next(sweep(adapter, recipe, [0.5], batches))
