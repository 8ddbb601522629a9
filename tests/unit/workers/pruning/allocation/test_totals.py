"""The total that is asked for is reached to the weight, on matrices that no sparsity divides."""

from decimal import Decimal
from math import floor

import numpy as np
import pytest
import torch

from app.errors import RecipeError
from app.recipes.allocation import Pooled, Uniform
from app.recipes.methods.magnitude import Magnitude
from app.recipes.methods.multiflow import Flow
from app.recipes.methods.random import Random
from app.recipes.methods.sparsegpt import SparseGPT
from app.recipes.methods.wanda import Wanda
from app.recipes.pattern import NM, Unstructured
from app.recipes.recipe import Recipe, build_recipe
from tests.families import BY_NAME, records
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

ROW = Unstructured(group="row")


@pytest.fixture
def make(family_directory):
    def build(family="llama"):
        adapter = adapt(load_model(family_directory(family)))
        made = records(BY_NAME[family].kind)
        return adapter, list(adapter.batches(made, batch_size=2, max_length=24))

    return build


def exact(sparsity, weights):
    return floor(Decimal(str(sparsity)) * weights)


@pytest.mark.parametrize("sparsity", [0.01, 0.05, 0.29, 0.333, 0.8, 0.99])
@pytest.mark.parametrize(
    ("importance", "pattern"),
    [
        (Magnitude(), Unstructured()),
        (Magnitude(), ROW),
        (Wanda(), ROW),
        (Wanda(sequential=False), ROW),
        (SparseGPT(), Unstructured()),
        (SparseGPT(block_size=5), ROW),
        (Flow(), Unstructured()),
    ],
    ids=lambda value: getattr(value, "group", None) or getattr(value, "kind", None),
)
def test_uniform_reaches_the_total_and_every_matrix_and_row_its_share(
    make, importance, pattern, sparsity
):
    adapter, batches = make()
    report = prune(
        adapter, Recipe(importance=importance, pattern=pattern, sparsity=sparsity), batches
    )
    (target,) = report.targets
    assert target.scope == "model"
    assert target.target == target.zeros == exact(sparsity, report.model.weights)
    assert target.difference == report.difference == 0
    for matrix in adapter.matrices:
        zeros = (matrix.weight == 0).sum(1)
        assert abs(int(zeros.sum()) - sparsity * matrix.numel) < 1
        if pattern is ROW:
            assert zeros.max() - zeros.min() <= 1


@pytest.mark.parametrize("allocation", [Uniform(), Pooled(pool="modality")])
def test_modalities_reach_totals_of_their_own(make, allocation):
    adapter, _ = make("llava")
    recipe = Recipe(allocation=allocation, sparsity={"vision": 0.037, "language": 0.61})
    report = prune(adapter, recipe)
    assert [each.scope for each in report.targets] == ["vision", "language"]
    for each in report.targets:
        assert each.zeros == each.target == exact(each.sparsity, each.weights)


def test_sparsity_zero_leaves_a_modality_dense(make):
    adapter, _ = make("llava")
    before = {m: m.weight.clone() for m in adapter.matrices if m.modality == "vision"}
    report = prune(adapter, Recipe(sparsity={"vision": 0, "language": 0.5}))
    assert all(torch.equal(matrix.weight, kept) for matrix, kept in before.items())
    assert {each.scope for each in report.targets} == {"language"}


def test_sparsity_zero_for_all_is_refused_in_words(make):
    adapter, _ = make()
    with pytest.raises(RecipeError, match="sparsity is 0"):
        prune(adapter, Recipe(sparsity=0))


def test_a_target_below_one_weight_says_so(make):
    adapter, _ = make()
    report = prune(adapter, Recipe(sparsity=1e-6))
    assert report.model.zeros == 0
    assert any("less than one weight" in text for text in report.warnings)


def test_the_papers_rounding_is_there_by_name_and_told_as_short(make):
    adapter, batches = make()
    recipe = build_recipe("wanda", {"rounding": "paper"}, "unstructured", sparsity=0.05)
    report = prune(adapter, recipe, batches)
    for matrix in adapter.matrices:
        rows, columns = matrix.weight.shape
        assert int((matrix.weight == 0).sum()) == rows * exact(0.05, columns)
    assert report.difference < 0
    assert any("rounded down" in text for text in report.warnings)


def test_a_pattern_fixes_its_own_target(make):
    adapter, _ = make()
    report = prune(adapter, Recipe(sparsity=0.75, pattern=NM(n=1, m=4)))
    (target,) = report.targets
    assert (target.sparsity, target.target, target.difference) == (0.75, target.weights * 3 // 4, 0)


@pytest.mark.parametrize("importance", [Magnitude(), Random(), Wanda(), Flow()])
@pytest.mark.parametrize("allocation", [Uniform(), Pooled()])
def test_weights_that_were_zero_before_count_towards_the_target(make, importance, allocation):
    adapter, batches = make()
    generator = np.random.default_rng(0)
    for matrix in adapter.matrices:
        gone = torch.from_numpy(generator.random(tuple(matrix.weight.shape)) < 0.2)
        matrix.weight[gone] = 0
        matrix.weight[:, 3] = matrix.weight[0, 3]  # ties
    recipe = Recipe(importance=importance, allocation=allocation, sparsity=0.377)
    report = prune(adapter, recipe, batches)
    assert report.difference == 0
    assert report.model.zeros == exact(0.377, report.model.weights)


def test_more_zeros_than_asked_are_told(make):
    adapter, _ = make()
    for matrix in adapter.matrices:
        matrix.weight[:, ::2] = 0
    report = prune(adapter, Recipe(sparsity=0.25))
    assert report.model.sparsity >= 0.5
    assert report.difference == report.model.zeros - exact(0.25, report.model.weights)
    assert any("were zero before" in text for text in report.warnings)
