"""Train the weights that a block has left towards what the dense block gave.

Own design; distillation of pruned blocks is common, for example in Guo et al. (EBFT),
arXiv 2402.12419.
"""

from collections.abc import Sequence

from torch import Tensor

from app.recipes.recovery import Recovery
from workers.pruning.calibration.walk import Step
from workers.pruning.models.layout.forwards import hidden_of
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.recovery.training import Goal, Recovered, Training
from workers.pruning.recovery.weights import TrainedWeights

RATES = (0.2, 0.1, 0.03)


def recover_block(
    step: Step, outputs: Sequence[Tensor], matrices: Sequence[Matrix], settings: Recovery
) -> Recovered | None:
    """Train, and store the weights where they are better.

    The distance is squared, as a share of the squares of the dense outputs.

    Args:
        step: the pruned block with what it is fed.
        outputs: what the dense block gave for each batch, in the dense model.
        matrices: of the block.
        settings: of the recipe.

    Returns:
        None where no batch is held out, or the block has no layer that can be trained.
    """

    def missed(number: int) -> tuple[Tensor, Tensor]:
        each, _ = step.passes[number]
        args, kwargs = each.inputs(step.index)
        given = hidden_of(step.block.module(*args, **kwargs))
        wanted = outputs[number].to(given.device)
        mask = each.mask_of(wanted)
        if mask is not None:
            given, wanted = given[mask], wanted[mask]
        each.rest()
        return (given.float() - wanted.float()).square().sum(), wanted.float().square().sum()

    weights = TrainedWeights(step.block.module, matrices)
    return Training(weights, Goal(len(step.passes), missed, RATES)).run(settings)
