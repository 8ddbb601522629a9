"""What a pass over the dense model found out, kept for runs that differ in sparsity alone."""

from collections.abc import Mapping

import torch

from workers.pruning.engine.dense_pass import Rank
from workers.pruning.engine.report_builder import Ledger
from workers.pruning.engine.targets import Targets
from workers.pruning.importance.criterion import Criterion
from workers.pruning.importance.magnitude import MagnitudeCriterion
from workers.pruning.models.layout.structure import Matrix


class Digests:
    """Digests of dense activations by matrix name, (in,) float32 each.

    Attributes:
        found: what this run has measured; empty where it needed no pass over the dense model.
    """

    def __init__(self, known: Mapping[str, torch.Tensor] | None = None) -> None:
        """Begin with what another run has found; None where nothing is known."""
        self._known = known
        self.found: dict[str, torch.Tensor] = {}

    def ranks(
        self, targets: Targets, criterion: Criterion, ledger: Ledger
    ) -> dict[Matrix, Rank] | None:
        """What `survey` would return, without the pass; None where that is not known.

        What a sequential criterion sees depends on the sparsity. A matrix without a digest saw no
        data in the other run either.
        """
        if self._known is None or criterion.statistic is None or criterion.sequential:
            return None
        ranks = {}
        for matrix in targets.blocks:
            if matrix.name in self._known:
                ranks[matrix] = Rank(matrix, criterion, self._known[matrix.name])
            else:
                ledger.unseen(matrix)
                ranks[matrix] = Rank(matrix, MagnitudeCriterion())
        return ranks

    def keep(self, ranks: Mapping[Matrix, Rank]) -> None:
        """Take in what a survey has found."""
        for matrix, rank in ranks.items():
            if rank.criterion.statistic is not None and isinstance(rank.digest, torch.Tensor):
                self.found[matrix.name] = rank.digest
