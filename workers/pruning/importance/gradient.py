"""What a criterion that reads gradients offers the engine."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from workers.pruning.backward import Backward
from workers.pruning.importance.criterion import Criterion
from workers.pruning.models.structure import Matrix


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
