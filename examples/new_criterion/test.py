"""RIA against a plain restatement. Goes to `tests/unit/workers/pruning/importance/test_ria.py`."""

import torch
from app.recipes.methods.ria import Ria
from workers.pruning.importance.ria import RiaCriterion


def test_scores_are_those_of_the_paper() -> None:
    """Entry by entry, in float64."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(3, 5, generator=generator)
    norms = torch.rand(5, generator=generator)
    scores = RiaCriterion(Ria()).scores(weight, norms.pow(0.5))
    for i in range(3):
        for j in range(5):
            each = float(weight[i, j].abs())
            row = float(weight[i].double().abs().sum())
            column = float(weight[:, j].double().abs().sum())
            expected = (each / row + each / column) * float(norms[j]) ** 0.5
            torch.testing.assert_close(float(scores[i, j]), expected, rtol=1e-5, atol=0.0)
