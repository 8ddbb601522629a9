"""CHITA against the paper's steps restated in float64 numpy, whole matrix of gradients and all."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from app.recipes.methods.chita import Chita
from app.recipes.pattern import Unstructured
from app.recipes.recipe import Recipe, build_recipe
from tests.families import records
from workers.pruning.calibration.backward import Backward
from workers.pruning.engine.prune import prune
from workers.pruning.importance.quadratic import Quadratic
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

DAMPING, BLOCK = 0.01, 100


@pytest.fixture
def make(family_directory):
    def build(family="llama"):
        adapter = adapt(load_model(family_directory(family)))
        return adapter, list(adapter.batches(records("text", 8), batch_size=2, max_length=24))

    return build


def rows_of(adapter, batches):
    """A: one row per batch, by plain backward passes."""
    rows = []
    for batch in batches:
        adapter.model.zero_grad()
        adapter.loss(batch).backward()
        rows.append(
            np.concatenate(
                [m.part_of(m.parameter.grad).double().numpy().ravel() for m in adapter.matrices]
            )
        )
    adapter.model.zero_grad()
    return np.array(rows)


def objective(rows, w, alpha, ridge, beta):
    away = w - beta
    return ((rows @ away) ** 2).sum() / 2 + ridge * (away**2).sum() + alpha @ beta


def top(values, count):
    mask = np.zeros(len(values), bool)
    mask[np.argsort(-np.abs(values), kind="stable")[:count]] = True
    return mask


def search(problem, beta, support):
    """One projected gradient step; beta afterwards, as many non-zeros as before."""
    rows, w, alpha, ridge = problem
    gradient = alpha - rows.T @ (rows @ (w - beta)) + 2 * ridge * (beta - w)
    inner = np.where(support, gradient, 0)
    step = inner @ inner / (((rows @ inner) ** 2).sum() + 2 * ridge * inner @ inner)

    def leads():
        moved = np.abs(beta - step * gradient)
        return moved[support].max() >= moved[~support].max()

    if leads():
        return np.where(support, beta - step * gradient, 0)
    step /= 2
    while not leads():
        step /= 2
    best = np.where(support, beta, 0)
    for _ in range(10):
        moved = beta - step * gradient
        moved = np.where(top(moved, support.sum()), moved, 0)
        if objective(rows, w, alpha, ridge, moved) >= objective(rows, w, alpha, ridge, best):
            break
        best, step = moved, step * 2
    return best


def restated(adapter, batches, sparsity):
    rows = rows_of(adapter, batches)
    sizes = [m.numel for m in adapter.matrices]
    w = np.concatenate([m.weight.double().numpy().ravel() for m in adapter.matrices])
    alpha, ridge = rows.sum(0) / 2, len(rows) * DAMPING / 2
    kept = len(w) - int(sparsity * len(w))
    beta = search((rows, w, alpha, ridge), w, top(w, kept))
    result = np.zeros_like(w)
    offset = 0
    for size in sizes:
        for low in range(0, size, BLOCK):
            part = slice(offset + low, offset + min(low + BLOCK, size))
            support = beta[part] != 0
            if not support.any():
                continue
            a, v, al = rows[:, part], w[part], alpha[part]
            if not support.all():
                support = search((a, v, al, ridge), beta[part], support) != 0
            inner = a[:, support]
            system = inner.T @ inner + 2 * ridge * np.eye(support.sum())
            right = inner.T @ (a @ v) + 2 * ridge * v[support] - al[support]
            result[part][support] = np.linalg.solve(system, right)
        offset += size
    return result


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_weights_equal_a_restatement(sparsity, make):
    adapter, batches = make()
    expected = restated(adapter, batches, sparsity)
    parameters = {"damping": DAMPING, "block_size": BLOCK}
    recipe = build_recipe("chita", parameters, "unstructured", sparsity=sparsity)
    report = prune(adapter, recipe, batches)
    mine = np.concatenate([m.weight.numpy().ravel() for m in adapter.matrices])
    assert report.model.zeros == int(sparsity * len(mine))
    assert ((mine == 0) != (expected == 0)).mean() < 0.002  # float32 gradients, near ties
    same = (mine == 0) == (expected == 0)
    assert np.abs(mine - expected)[same].max() < 1e-2 * np.abs(expected).max()


def test_surviving_weights_lower_the_objective_below_plain_pruning(make):
    adapter, batches = make()
    rows = rows_of(adapter, batches)
    dense = np.concatenate([m.weight.double().numpy().ravel() for m in adapter.matrices])
    alpha, ridge = rows.sum(0) / 2, len(rows) * DAMPING / 2
    plain = np.where(top(dense, len(dense) // 2), dense, 0)
    recipe = Recipe(
        allocation=build_recipe("chita", {}, "unstructured", sparsity=0.5).allocation,
        importance=Chita(damping=DAMPING, block_size=10**5),
        sparsity=0.5,
    )
    prune(adapter, recipe, batches)
    solved = np.concatenate([m.weight.double().numpy().ravel() for m in adapter.matrices])

    def value(beta):  # of all matrices on their own, as CHITA sees them
        ends = np.cumsum([0, *(m.numel for m in adapter.matrices)])
        parts = [slice(a, b) for a, b in pairwise(ends)]
        return sum(objective(rows[:, p], dense[p], alpha[p], ridge, beta[p]) for p in parts)

    assert value(solved) < value(plain)


def test_rows_of_one_block_at_a_time(make, monkeypatch):
    adapter, batches = make()
    asked = []
    original = Backward.rows

    def rows(self, matrices):
        made = original(self, matrices)
        asked.append(sum(each.numel() for each in made.values()))
        return made

    monkeypatch.setattr(Backward, "rows", rows)
    prune(adapter, build_recipe("chita", {}, "unstructured", sparsity=0.5), batches)
    total = len(batches) * sum(m.numel for m in adapter.matrices)
    assert len(asked) == len(adapter.towers[0].blocks)
    assert sum(asked) == total
    assert max(asked) < total


def test_stages_keep_what_is_pruned_pruned(make):
    adapter, batches = make()
    seen = []

    def masks():
        return [(m.weight == 0).clone() for m in adapter.matrices]

    def watch(progress):
        if progress.phase == "calibrating" and progress.done == 1:
            seen.append(masks())

    recipe = build_recipe("chita++", {"stages": 3}, "unstructured", sparsity=0.8)
    prune(adapter, recipe, batches, watch)
    seen.append(masks())
    for earlier, later in pairwise(seen):
        for before, after in zip(earlier, later, strict=True):
            assert bool((after | ~before).all())


def test_a_row_pattern_keeps_its_rows(make):
    adapter, batches = make()
    recipe = Recipe(importance=Chita(), pattern=Unstructured(group="row"), sparsity=0.5)
    prune(adapter, recipe, batches)
    for matrix in adapter.matrices:
        assert ((matrix.weight == 0).sum(1) == matrix.weight.shape[1] // 2).all()


@pytest.mark.parametrize("rows", [3, 40])
def test_minimum_is_where_the_gradient_vanishes(rows):
    generator = torch.Generator().manual_seed(rows)
    a = torch.randn(rows, 20, generator=generator, dtype=torch.float64)
    w, alpha = torch.randn(2, 20, generator=generator, dtype=torch.float64)
    support = torch.rand(20, generator=generator) > 0.4
    beta = Quadratic(a, w, alpha, 0.1).minimum(support).requires_grad_()
    (
        (a @ (w - beta)).square().sum() / 2 + 0.1 * (beta - w).square().sum() + alpha @ beta
    ).backward()
    assert beta.grad[support].abs().max() < 1e-9
    assert not beta.detach()[~support].any()
