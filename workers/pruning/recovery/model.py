"""Train what is left of a whole model towards the dense model's predictions.

The dense model writes an answer to every prompt, and the pruned model learns what the dense one
predicted for each token of it and for some of the prompt; of texts without a prompt, every token
counts, of a classifier its classes, of other models all that they give for a record. Own design:
distillation along the dense model's own answers (on-policy ones of the teacher; Kim and Rush,
EMNLP 2016, arXiv 1606.07947), zeros held.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from app.recipes.recovery import Recovery
from workers.pruning.calibration.outputs import Known, distance
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.precision import computing_in_float32
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.recovery.training import Goal, Recovered, Training
from workers.pruning.recovery.weights import TrainedWeights
from workers.pruning.resume import Checkpoints

RATES = (0.03, 0.01, 0.003)
LOOKS = 10


def recover_model(
    adapter: Adapter,
    known: Sequence[Known],
    matrices: Sequence[Matrix],
    settings: Recovery,
    *,
    tick: Callable[[], None],
    checkpoints: Checkpoints,
) -> Recovered | None:
    """Train, and store the weights where they are better.

    Args:
        adapter: of the pruned model.
        known: what the dense model gave.
        matrices: to train.
        settings: of the recipe.
        tick: told of every step.
        checkpoints: what an earlier run with the very same arguments left.

    Returns:
        None where no batch is held out, or no matrix is a linear layer's whole weight.
    """

    def missed(number: int) -> tuple[Tensor, Tensor]:
        found = distance(adapter, known[number])
        return found, found.new_ones(())

    weights = TrainedWeights(adapter.model, matrices)
    goal = Goal(len(known), missed, RATES, LOOKS, tick)
    with computing_in_float32(adapter.model):
        return Training(weights, goal, checkpoints).run(settings)
