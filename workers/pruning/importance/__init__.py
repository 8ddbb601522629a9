"""Which weights go first: one criterion, one file."""

from app.recipes.recipe import Chita, Random, Recipe, SparseGPT, Wanda
from workers.pruning.importance.chita import ChitaCriterion
from workers.pruning.importance.criterion import Criterion
from workers.pruning.importance.l2_normalized import L2NormalisedCriterion
from workers.pruning.importance.lamp import LampCriterion
from workers.pruning.importance.magnitude import MagnitudeCriterion
from workers.pruning.importance.multiflow import FlowCriterion
from workers.pruning.importance.random import RandomCriterion
from workers.pruning.importance.snip import SnipCriterion
from workers.pruning.importance.sparsegpt import SparseGPTCriterion
from workers.pruning.importance.wanda import WandaCriterion

_PLAIN: dict[str, type[Criterion]] = {
    "magnitude": MagnitudeCriterion,
    "l2-normalised": L2NormalisedCriterion,
    "lamp": LampCriterion,
    "flow": FlowCriterion,
    "snip": SnipCriterion,
}


def find_criterion(recipe: Recipe) -> Criterion:
    """The criterion that carries out the recipe's importance."""
    match importance := recipe.importance:
        case Wanda():
            return WandaCriterion(sequential=importance.sequential)
        case SparseGPT():
            return SparseGPTCriterion(importance)
        case Chita():
            return ChitaCriterion(importance)
        case Random():
            return RandomCriterion(recipe.seed)
    return _PLAIN[importance.kind]()
