"""SNIP and iterative SNIP against plain backward passes in float64 arithmetic."""

import numpy as np
import pytest
import torch
import transformers as tf

from app.errors import CalibrationDataError, NonFiniteError, RecipeError
from app.recipes.methods.snip import Snip
from app.recipes.modality import Modality
from app.recipes.pattern import NM
from app.recipes.recipe import Recipe, build_recipe
from tests.families import BY_NAME
from tests.tiny_models import VISION_CONFIG, records, save
from tests.unit.workers.pruning.references import lowest
from workers.pruning.engine.prune import prune
from workers.pruning.importance.snip import SnipCriterion
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model


@pytest.fixture
def make(family_directory):
    def build(family, dtype=None):
        adapter = adapt(load_model(family_directory(family), dtype))
        rows = records(BY_NAME[family].kind)
        return adapter, list(adapter.batches(rows, batch_size=3, max_length=24))

    return build


def restated(adapter, batches, sparsity, stages):
    """Masks over all weights in a row, the model pruned stage by stage."""
    for stage in range(1, stages + 1):
        adapter.model.zero_grad()
        for batch in batches:
            adapter.loss(batch).backward()
        weights = [m.weight.double().numpy() for m in adapter.matrices]
        gradients = [m.part_of(m.parameter.grad).double().numpy() for m in adapter.matrices]
        scores = np.concatenate(
            [np.abs(w * g).ravel() for w, g in zip(weights, gradients, strict=True)]
        )
        scores[np.concatenate([w.ravel() for w in weights]) == 0] = -1  # dead first
        share = sparsity if stage == stages else 1 - (1 - sparsity) ** (stage / stages)
        gone = np.split(
            lowest(scores, int(share * len(scores))), np.cumsum([w.size for w in weights])[:-1]
        )
        with torch.no_grad():
            for matrix, mask in zip(adapter.matrices, gone, strict=True):
                matrix.weight[torch.from_numpy(mask.reshape(matrix.weight.shape))] = 0


@pytest.mark.parametrize("family", ["llama", "t5", "gpt2"])
@pytest.mark.parametrize(("method", "stages"), [("snip", 1), ("iterative-snip", 3)])
def test_masks_equal_a_restatement(family, method, stages, make):
    adapter, batches = make(family)
    other, _ = make(family)
    parameters = {"stages": stages} if stages > 1 else {}
    report = prune(adapter, build_recipe(method, parameters, "unstructured", sparsity=0.6), batches)
    restated(other, batches, 0.6, stages)
    assert report.model.zeros == int(0.6 * report.model.weights)
    for mine, theirs in zip(adapter.matrices, other.matrices, strict=True):
        agree = (mine.weight == theirs.weight).float().mean()
        assert agree == 1, mine.name  # what survives is unchanged, too


def test_stages_follow_the_exponential_schedule():
    recipe = Recipe(importance=Snip(stages=4), sparsity={"vision": 0.9, "language": 0.5})
    stages = recipe.stages()
    assert stages[-1] == recipe
    for number, stage in enumerate(stages[:-1], 1):
        assert stage.sparsity_of(Modality.VISION) == pytest.approx(1 - 0.1 ** (number / 4))
        assert stage.sparsity_of(Modality.LANGUAGE) == pytest.approx(1 - 0.5 ** (number / 4))
    with pytest.raises(ValueError, match="no stages towards it"):
        Recipe(importance=Snip(stages=2), sparsity=0.5, pattern=NM(n=2, m=4))


def test_a_dead_weight_goes_before_a_live_one_without_gradient():
    weight, gradient = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[0.0, 5.0, 1.0]])
    scores = SnipCriterion(Snip()).scores(weight, gradient)
    assert scores[0, 1] == 0 < scores[0, 0] < scores[0, 2]


def test_what_the_loss_does_not_depend_on_goes_first_and_is_told(make):
    adapter, batches = make("llava")  # its last vision block is not read
    report = prune(adapter, build_recipe("snip", {}, "unstructured", sparsity=0.5), batches)
    told = [text for text in report.warnings if "the loss does not depend on" in text]
    unused = [m for m in report.matrices if any(m.module in text for text in told)]
    assert unused
    assert all(m.zeros == m.weights for m in unused)


def test_a_model_without_a_loss_is_refused(tmp_path):
    config = tf.VitDetConfig(**VISION_CONFIG, pretrain_image_size=16)
    save(tmp_path, tf.VitDetBackbone, config, None)
    adapter = adapt(load_model(tmp_path))
    batches = [{"pixel_values": torch.ones(2, 3, 16, 16)}]
    with pytest.raises(RecipeError, match="no training loss"):
        prune(adapter, build_recipe("snip", {}, "unstructured", sparsity=0.5), batches)


def test_data_is_needed(make):
    adapter, _ = make("llama")
    with pytest.raises(CalibrationDataError, match="snip needs calibration data"):
        prune(adapter, build_recipe("snip", {}, "unstructured", sparsity=0.5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype, make):
    adapter, batches = make("llama", dtype)
    report = prune(adapter, build_recipe("snip", {}, "unstructured", sparsity=0.5), batches)
    assert report.model.zeros == report.model.asked
    assert all(p.dtype == dtype and p.grad is None for p in adapter.model.parameters())


def test_a_gradient_that_is_not_finite_is_named(make):
    adapter, batches = make("llama")
    matrix = adapter.matrices[3]

    def poisoned(batch):
        return type(adapter).loss(adapter, batch) + (matrix.parameter * 0).sum().sqrt()

    adapter.loss = poisoned  # the root of zero has an infinite slope
    with pytest.raises(NonFiniteError, match=matrix.name):
        prune(adapter, build_recipe("snip", {}, "unstructured", sparsity=0.5), batches)
