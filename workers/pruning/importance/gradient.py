"""What a criterion that reads gradients offers the engine."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from app.errors import CalibrationDataError
from workers.pruning.calibration.backward import Backward
from workers.pruning.importance.criterion import Criterion
from workers.pruning.models.layout.structure import Matrix


class GradientCriterion(Criterion):
    """Ranks by gradients of the loss on the model as it is when the survey begins."""

    @abstractmethod
    def digests(
        self, backward: Backward, matrices: Sequence[Matrix], pruned: int
    ) -> Mapping[Matrix, Any]:
        """What `scores` needs, for all matrices at once.

        Args:
            backward: the calibration batches.
            matrices: those to prune.
            pruned: how many of their weights go in total.

        Returns:
            One entry per matrix, None for one that the loss does not depend on.
        """


def telling(gradients: Mapping[Matrix, Tensor]) -> dict[Matrix, Tensor]:
    """The gradients that are not zero throughout: the others tell no weight from another.

    Raises:
        CalibrationDataError: there are none, as with a classifier of one class, whose loss is 0
            whatever its weights are.
    """
    found = {matrix: gradient for matrix, gradient in gradients.items() if bool(gradient.any())}
    if not found:
        raise CalibrationDataError(
            "the gradient of the loss is zero for every matrix: it says nothing about the weights. "
            "Take other calibration data, or a method without gradients"
        )
    return found
