"""Totals that fall short of what was asked fail a job; those beyond it are the report's to tell."""

import pytest

from app.errors import VerificationError
from app.recipes.allocation import Uniform
from app.recipes.pruning_report import PruningReport, Tally, Target
from app.recipes.recipe import Recipe
from workers.pipeline.export import verify_target


def report(difference, rounding="total"):
    target = Target(
        scope="model",
        weights=1000,
        sparsity=0.5,
        target=500,
        zeros=500 + difference,
        difference=difference,
    )
    return PruningReport(
        recipe=Recipe(allocation=Uniform(rounding=rounding), sparsity=0.5),
        targets=(target,),
        matrices=(),
        blocks={},
        modalities={},
        model=Tally(weights=1000, asked=500, zeros=500 + difference),
        warnings=(),
    )


@pytest.mark.parametrize("difference", [0, 1, 200])
def test_as_many_zeros_as_asked_or_more_pass(difference):
    verify_target(report(difference))


def test_one_weight_short_fails():
    with pytest.raises(VerificationError, match="499 weights are zero and 500 were asked for"):
        verify_target(report(-1))


def test_the_papers_rounding_may_fall_short():
    verify_target(report(-40, "paper"))
