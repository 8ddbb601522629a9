"""ECoFLaP as a recipe: any importance, any granularity, scores given back, words where it fails."""

import math
from decimal import Decimal

import pytest
import torch

from app.errors import AllocationScoreError, CalibrationDataError, RecipeError
from app.recipes.allocation import ECoFLaP, GradientNorm, Reused
from app.recipes.pruning_report import PruningReport
from app.recipes.recipe import Recipe, build_recipe
from tests.families import BY_NAME, records
from workers.pruning.engine.prune import prune
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


@pytest.fixture
def llava(family_directory):
    return loaded(family_directory("llava"), "llava")


def loaded(directory, family):
    adapter = adapt(load_model(directory))
    rows = records(BY_NAME[family].kind, 8)
    return adapter, list(adapter.batches(rows, batch_size=2, max_length=24))


def run(pair, parameters=None, *, pattern="unstructured", sparsity=0.5, scores=None, **options):
    adapter, batches = pair
    recipe = build_recipe("ecoflap", parameters or {}, pattern, sparsity=sparsity, **options)
    return prune(adapter, recipe, batches, scores=scores)


@pytest.mark.parametrize("local", ["wanda", "sparsegpt", "multiflow", "magnitude"])
@pytest.mark.parametrize("granularity", ["block", "matrix", "tower"])
def test_any_importance_spends_the_budget_exactly(llava, local, granularity):
    report = run(llava, {"local": local, "granularity": granularity, "samples": 4}, sparsity=0.6)
    model = report.model
    assert model.zeros == model.weights * 6 // 10
    assert all(group.pruned <= group.weights * 0.7 for group in report.allocation.groups)
    assert len({round(group.sparsity, 3) for group in report.allocation.groups}) > 1
    for group in report.allocation.groups:
        members = [m for m in report.matrices if m.module.startswith(group.name)]
        assert sum(m.zeros for m in members if m.module in report.allocation.scores.values) == (
            group.pruned
        )


@pytest.mark.parametrize("sparsity", [0.999, 0.333, 0.01, 0.0001])
def test_the_papers_rounding_keeps_one_weight_less(family_directory, sparsity):
    for rounding, more in (("total", 0), ("paper", 1)):
        model = run(
            loaded(family_directory("llama"), "llama"), {"rounding": rounding}, sparsity=sparsity
        ).model
        assert model.zeros == int(Decimal(str(sparsity)) * model.weights) + more


def test_matrices_of_a_block_share_its_sparsity(llava):
    report = run(llava)
    for group in report.allocation.groups:
        members = [m for m in report.matrices if m.block == group.name]
        for member in members:
            assert member.zeros == pytest.approx(group.sparsity * member.weights, abs=1)
    ordered = sorted(report.allocation.groups, key=lambda group: group.score)
    assert ordered[0].sparsity > ordered[-1].sparsity


def test_each_modality_can_have_its_own_budget(llava):
    report = run(llava, {"per_modality": True}, sparsity={"vision": 0.3, "language": 0.6})
    for modality, share in (("vision", 0.3), ("language", 0.6)):
        tally = report.modalities[modality]
        assert tally.zeros == math.floor(tally.weights * share + 1e-9)
    with pytest.raises(RecipeError, match='"budget": "modality"'):
        run(llava, sparsity={"vision": 0.3, "language": 0.6})


def test_avg_asks_how_much_a_weight_matters(llava):
    by_sum = run(llava).allocation
    by_mean = run(llava, {"aggregate": "avg"}, scores=by_sum.scores).allocation
    for one, other in zip(by_sum.groups, by_mean.groups, strict=True):
        assert other.score == pytest.approx(one.score / one.weights)


def test_scores_are_given_back_at_another_sparsity(llava, family_directory):
    first = run(llava, {"samples": 4})
    told = []
    again = loaded(family_directory("llava"), "llava")
    recipe = build_recipe("ecoflap", {"scores_from": "job_1"}, "unstructured", sparsity=0.7)
    stored = PruningReport.model_validate_json(first.model_dump_json()).allocation.scores
    second = prune(*pair_with(recipe, again), told.append, stored)
    assert second.model.sparsity == pytest.approx(0.7, abs=1e-3)
    assert second.allocation.scores == first.allocation.scores
    assert not any(progress.phase == "allocating" for progress in told)
    with pytest.raises(AllocationScoreError, match="job_1"):
        prune(*pair_with(recipe, again))


def pair_with(recipe, pair):
    return pair[0], recipe, pair[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [(None, "has no score"), (0.0, "score 0"), (-1.0, "score -1"), (math.nan, "score nan")],
)
def test_unusable_scores_are_refused_by_name(llava, change, message):
    scores = run(llava, {"samples": 4}).allocation.scores
    name = "model.language_model.layers.1.mlp.up_proj"
    values = dict(scores.values)
    if change is None:
        del values[name]
    else:
        values[name] = (change,) * len(scores.batches)
    broken = scores.model_copy(update={"values": values})
    with pytest.raises(AllocationScoreError, match=rf"layers\.1\.mlp\.up_proj.* {message}"):
        run(llava, {"granularity": "matrix"}, scores=broken)


def test_the_report_says_whether_the_ranking_is_resolved(llava):
    clear = run(llava).allocation
    assert clear.resolved > 0.8
    assert all(0 < group.stderr < group.score for group in clear.groups)
    noisy = run(llava, {"estimator": "zeroth-order", "samples": 4})
    assert noisy.allocation.resolved < 0.8
    assert any("not resolved" in text for text in noisy.warnings)
    single = run(llava, {"samples": 2})
    assert single.allocation.resolved is None
    assert any("one batch" in text for text in single.warnings)


def test_blocks_the_loss_does_not_read_stay_at_the_target(llava):
    report = run(llava)
    last = "model.vision_tower.encoder.layers.2"
    assert any("does not depend on 6 matrices" in text for text in report.warnings)
    assert last not in {group.name for group in report.allocation.groups}
    assert report.blocks[last].sparsity == pytest.approx(0.5, abs=1e-3)


def test_mixed_n_m_keeps_the_pattern_in_every_matrix(family_directory):
    pair = loaded(family_directory("llama"), "llama")
    scores = run(pair, {"max_sparsity": 0.75}, pattern="4:8").allocation.scores
    skewed = {
        name: tuple(value * (5 if "layers.1" in name else 1) for value in values)
        for name, values in scores.values.items()
    }
    scores = scores.model_copy(update={"values": skewed})
    pair = loaded(family_directory("llama"), "llama")
    report = run(pair, {"max_sparsity": 0.75}, pattern="4:8", scores=scores)
    for matrix in pair[0].matrices:
        zeros = (matrix.weight == 0).reshape(-1, 8).sum(1)
        assert (zeros == zeros[0]).all()
    assert report.model.sparsity == 0.5
    assert len({group.sparsity for group in report.allocation.groups}) == 2


@pytest.mark.parametrize(
    ("parameters", "pattern", "sparsity", "message"),
    [
        ({}, "1:4", 0.75, "every block would be 1:4"),
        ({"max_sparsity": 0.6}, "2:4", 0.5, "every block would be 2:4"),
        ({"max_sparsity": 0.4}, "unstructured", 0.5, "below the target"),
    ],
)
def test_recipes_without_room_are_refused_in_words(parameters, pattern, sparsity, message):
    with pytest.raises(RecipeError, match=message):
        build_recipe("ecoflap", parameters, pattern, sparsity=sparsity)


def test_data_is_needed_unless_scores_and_importance_need_none(llava):
    adapter, batches = llava
    recipe = Recipe(allocation=ECoFLaP(scores=GradientNorm(samples=4)), sparsity=0.5)
    with pytest.raises(CalibrationDataError):
        prune(adapter, recipe)
    scores = prune(adapter, recipe, batches).allocation.scores
    again = Recipe(allocation=ECoFLaP(scores=Reused(job="job_1")), sparsity=0.7)
    assert prune(adapter, again, scores=scores).model.sparsity == pytest.approx(0.7, abs=1e-3)
    assert torch.isfinite(adapter.matrices[0].weight).all()
