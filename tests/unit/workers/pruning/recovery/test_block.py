"""Training what is left of a block: nearer to the dense block, zeros kept, never worse."""

import pytest
import torch

from app.errors import CalibrationDataError, RecipeError
from app.recipes.recipe import build_recipe
from app.recipes.reconstruction import LeastSquares
from app.recipes.recovery import Recovery
from tests.families import BY_NAME, records
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.layout.replay import TowerPass
from workers.pruning.models.loading import load_model
from workers.pruning.recovery import training

SETTINGS = Recovery(steps=20)


def recipe_of(method="magnitude", pattern="unstructured", settings=SETTINGS, **more):
    return build_recipe(method, {}, pattern, sparsity=0.5, recovery=settings, **more)


@pytest.fixture
def pruned(family_directory):
    def run(recipe, family="llama", batch_size=2, dtype=None):
        adapter = adapt(load_model(family_directory(family), **({"dtype": dtype} if dtype else {})))
        rows = records(BY_NAME[family].kind)
        batches = list(adapter.batches(rows, batch_size=batch_size, max_length=24))
        return adapter, prune(adapter, recipe, batches)

    return run


CASES = [
    *(("llama", method, "unstructured") for method in ("magnitude", "wanda", "multiflow")),
    ("llama", "wanda", "2:4"),
    *((family, "magnitude", "unstructured") for family in ("clip", "llava", "gpt2", "bert")),
]


@pytest.mark.parametrize(("family", "method", "pattern"), CASES)
def test_blocks_come_nearer_and_zeros_stay(pruned, family, method, pattern):
    plain, _ = pruned(recipe_of(method, pattern, None), family)
    trained, report = pruned(recipe_of(method, pattern), family)
    assert report.model.zeros == report.model.asked
    assert any(m.recovery[1] < m.recovery[0] for m in report.matrices)
    assert all(m.recovery[1] <= m.recovery[0] for m in report.matrices)
    if method != "wanda":  # which looks at what the trained blocks before hand over
        for one, other in zip(plain.matrices, trained.matrices, strict=True):
            assert torch.equal(one.weight == 0, other.weight == 0), one.name
    assert any(
        not torch.equal(one.weight, other.weight)
        for one, other in zip(plain.matrices, trained.matrices, strict=True)
    )


def test_what_does_not_help_is_not_kept(pruned, monkeypatch):
    plain, _ = pruned(recipe_of(settings=None))
    monkeypatch.setattr(training.Training, "_best", lambda *_: float("inf"))
    kept, report = pruned(recipe_of())
    for one, other in zip(plain.matrices, kept.matrices, strict=True):
        assert torch.equal(one.weight, other.weight)
    assert all(m.recovery[1] == m.recovery[0] for m in report.matrices)


def test_a_rate_that_breaks_the_weights_is_not_kept(pruned):
    plain, _ = pruned(recipe_of(settings=None))
    kept, _ = pruned(recipe_of(settings=Recovery(steps=30, learning_rate=1.0)))
    for one, other in zip(plain.matrices, kept.matrices, strict=True):
        assert torch.isfinite(other.weight).all()
        assert torch.equal(one.weight == 0, other.weight == 0)


def test_half_precision_is_trained_in_float32_and_rounded_once(pruned):
    _, report = pruned(recipe_of(), dtype=torch.bfloat16)
    assert report.model.zeros >= report.model.asked
    assert any(m.recovery[1] < m.recovery[0] for m in report.matrices)


def test_nothing_of_it_stays_on_the_model(pruned):
    adapter, _ = pruned(recipe_of())
    assert all(parameter.grad is None for parameter in adapter.model.parameters())
    assert not any("forward" in vars(module) for module in adapter.model.modules())


def test_one_batch_has_none_to_hold_out_and_that_is_said(pruned):
    plain, _ = pruned(recipe_of(settings=None), batch_size=99)
    kept, report = pruned(recipe_of(), batch_size=99)
    assert any("not trained: it takes two calibration batches" in w for w in report.warnings)
    assert all(matrix.recovery is None for matrix in report.matrices)
    for one, other in zip(plain.matrices, kept.matrices, strict=True):
        assert torch.equal(one.weight, other.weight)


def test_it_follows_least_squares_and_one_pass(pruned):
    recipe = recipe_of("wanda", reconstruction=LeastSquares(objective="mixed"), walk="one-pass")
    _, report = pruned(recipe)
    assert all(m.recovery[1] <= m.recovery[0] for m in report.matrices)
    assert report.model.zeros == report.model.asked


@pytest.mark.parametrize(
    ("method", "parameters"), [("chita", {}), ("iterative-snip", {"stages": 2})]
)
def test_what_cannot_be_followed_is_refused_in_words(method, parameters):
    with pytest.raises(RecipeError, match="recovery"):
        build_recipe(method, parameters, "unstructured", sparsity=0.5, recovery=SETTINGS)


def test_it_needs_data_whatever_ranks_the_weights(family_directory):
    assert recipe_of().needs_data
    with pytest.raises(CalibrationDataError, match="recovery needs calibration data"):
        prune(adapt(load_model(family_directory("llama"))), recipe_of())


def test_blocks_that_hand_over_more_than_hidden_states_are_left_and_that_is_said(
    pruned, monkeypatch
):
    advance = TowerPass.advance
    monkeypatch.setattr(TowerPass, "advance", lambda *args: (advance(*args), None)[1])
    _, report = pruned(recipe_of())
    assert any("hidden states alone" in warning for warning in report.warnings)
    assert all(matrix.recovery is None for matrix in report.matrices)
