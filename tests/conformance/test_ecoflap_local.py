"""Wanda and SparseGPT against recorded results of the official code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.recipes.methods.sparsegpt import SparseGPT
from app.recipes.methods.wanda import Wanda
from app.recipes.pattern import Unstructured
from workers.pruning.calibration.statistics import Hessian, SquareSum
from workers.pruning.importance.sparsegpt import SparseGPTCriterion
from workers.pruning.importance.wanda import WandaCriterion
from workers.pruning.selection.selection import Selection, budget, smallest

DATA = Path(__file__).parents[3] / "shared" / "conformance" / "ecoflap"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the recorded cases lie beside the project, not in it"
)
SPARSITIES = [0.3, 0.5, 0.6]
ROW, MATRIX = Unstructured(group="row"), Unstructured(group="matrix")


@pytest.fixture(params=sorted(path.stem[-1] for path in DATA.glob("ecoflap_local_?.npz")))
def case(request):
    return np.load(DATA / f"ecoflap_local_{request.param}.npz")


def observed(statistic, case):
    """Four batches of two samples, as the official loop fed them."""
    x = torch.from_numpy(case["X"])
    seen = statistic(x.shape[-1], x.device)
    for batch in x:
        seen.add(batch.flatten(0, 1), len(batch))
    return seen


def test_wanda_statistic(case):
    mean = observed(SquareSum, case).mean.float().numpy()
    np.testing.assert_allclose(mean, case["scaler_row"], rtol=1e-5)


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_wanda_rows(case, sparsity):
    weight = torch.from_numpy(case["W"].copy())
    selection = Selection(ROW, budget(weight.shape, sparsity, ROW))
    outcome = WandaCriterion(Wanda()).prune(weight, observed(SquareSum, case), selection)
    assert np.array_equal(outcome.mask.numpy(), case[f"wanda_row_pruned_{sparsity}"])


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_wanda_matrix(case, sparsity):
    """The official threshold is inclusive: it takes the weight after the last of the budget."""
    weight = torch.from_numpy(case["W"].copy())
    criterion = WandaCriterion(Wanda())
    scores = criterion.scores(weight, criterion.digest(observed(SquareSum, case)))
    official = case[f"wanda_matrix_pruned_{sparsity}"]
    count = budget(weight.shape, sparsity, MATRIX)
    assert official.sum() == count + 1
    assert np.array_equal(smallest(scores, count + 1).numpy(), official)
    assert (smallest(scores, count).numpy() <= official).all()


@pytest.mark.parametrize("sparsity", SPARSITIES)
def test_sparsegpt(case, sparsity):
    weight = torch.from_numpy(case["W"].copy())
    selection = Selection(MATRIX, budget(weight.shape, sparsity, MATRIX))
    criterion = SparseGPTCriterion(SparseGPT())
    outcome = criterion.prune(weight, observed(Hessian, case), selection)
    official = case[f"sparsegpt_off_W_{sparsity}"]
    agreement = (outcome.mask.numpy() == (official == 0)).mean()
    assert agreement >= 0.995
    same = (outcome.mask.numpy() == (official == 0)).all(1)
    assert np.allclose(weight.numpy()[same], official[same], rtol=1e-3, atol=1e-3)
