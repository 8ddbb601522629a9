"""Which weights go first: one criterion, one file."""

from app.domain.recipe import Importance, Magnitude, SparseGPT, Wanda
from workers.pruning.importance.criterion import Criterion
from workers.pruning.importance.magnitude import MagnitudeCriterion
from workers.pruning.importance.sparsegpt import SparseGPTCriterion
from workers.pruning.importance.wanda import WandaCriterion


def find_criterion(importance: Importance) -> Criterion:
    """The criterion that carries out a recipe's importance."""
    match importance:
        case Magnitude():
            return MagnitudeCriterion()
        case Wanda():
            return WandaCriterion(sequential=importance.sequential)
        case SparseGPT():
            return SparseGPTCriterion(importance)
