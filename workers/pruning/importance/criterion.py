"""What a criterion offers the engine."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from app.errors import NonFiniteError
from app.recipes.method import Importance
from workers.pruning.calibration.backward import Backward
from workers.pruning.calibration.statistics import Statistic
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.selection.selection import Selection, nonzero, zero, zeros

_SMALLEST = 1.5e-45  # above zero, in float32
_FEW = 64
_EQUAL = "all scores are equal: nothing tells its weights apart, and the first ones went"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pruning one matrix came to.

    Attributes:
        mask: True where a weight went, (out, in).
        mean_score: mean score over the matrix.
        lost_score: share of the matrix's summed scores that went, 0..1.
        error: squared output error per calibration sample, where the criterion knows it.
        relative_error: the same as a share of the squared outputs.
        dense_share: how far weights were solved towards what the dense model gives, where asked.
        target_damping: under which that was sought, where several were tried.
        warnings: what the user should hear about.
    """

    mask: torch.Tensor
    mean_score: float
    lost_score: float
    error: float | None = None
    relative_error: float | None = None
    dense_share: float | None = None
    target_damping: float | None = None
    warnings: tuple[str, ...] = ()


class Criterion(ABC):
    """An importance as the engine carries it out; by default it ranks and changes nothing else.

    Attributes:
        importance: whose scores it computes.
        statistic: what is summed over the inputs of a matrix; None where no inputs are read.
    """

    importance: ClassVar[type[Importance]]
    statistic: ClassVar[type[Statistic] | None] = None

    def __init__(self, settings: Any, seed: int = 0) -> None:
        """Take the recipe's settings of the importance, and its seed."""
        self.settings = settings
        self.seed = seed

    def gradient_digests(
        self, backward: Backward, matrices: Sequence[Matrix], pruned: int
    ) -> Mapping[Matrix, Any]:
        """What `scores` needs of the gradients of the loss, for all matrices at once.

        Of an importance that reads gradients.

        Args:
            backward: the calibration batches, on the model as it is now.
            matrices: those to prune.
            pruned: how many of their weights go in total.

        Returns:
            One entry per matrix, None for one that the loss does not depend on.
        """
        raise NotImplementedError

    def solve(
        self, weight: torch.Tensor, rows: torch.Tensor, digest: Any, selection: Selection
    ) -> tuple[torch.Tensor, Outcome]:
        """The pruned and updated (out, in) weights, and what that came to; `weight` stays.

        Of an importance whose schedule is joint.

        Args:
            weight: (out, in).
            rows: gradients at these weights, (batches, out * in).
            digest: of the matrix.
            selection: how many of its weights go.
        """
        raise NotImplementedError

    def digest(self, statistic: Any) -> Any:
        """What `scores` needs of the statistic, small enough to keep for a whole model."""
        return statistic

    def unseen_digest(self, matrix: Matrix) -> Any:
        """What `scores` needs to know of a matrix where no data is read."""
        del matrix

    @abstractmethod
    def scores(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """Non-negative float32 (out, in), newly made: the smallest go first."""

    def prune(self, weight: torch.Tensor, statistic: Any, selection: Selection) -> Outcome:
        """Prune (out, in) in place, given the statistic itself."""
        return self.drop(weight, self.digest(statistic), selection)

    def ranking(self, weight: torch.Tensor, digest: Any) -> torch.Tensor:
        """The scores, with weights that are zero already before all others.

        A checkpoint that was pruned before so ends at the target, whatever ranks its weights.
        """
        scores = self.scores(weight, digest)
        if zeros(weight):
            scores.clamp_(min=_SMALLEST).mul_(nonzero(weight))
        return scores

    def drop(self, weight: torch.Tensor, digest: Any, selection: Selection) -> Outcome:
        """Zero the selected weights of (out, in) with the smallest scores, in place.

        Raises:
            NonFiniteError: a score is NaN or infinite; the weights stay as they are.
        """
        scores = self.ranking(weight, digest)
        mask = selection.mask(scores)
        zero(weight, mask)
        return outcome(scores, mask)


def outcome(scores: torch.Tensor, mask: torch.Tensor) -> Outcome:
    """Score statistics of a finished choice; uses `scores` up."""
    warnings = (_EQUAL,) if _constant(scores) else ()
    total = float(scores.sum())
    mean = total / scores.numel()
    zero(scores, mask)
    kept = float(scores.sum())
    lost = max(0.0, 1 - kept / total) if total else 0.0
    return Outcome(mask, mean, lost, warnings=warnings)


def _constant(scores: torch.Tensor) -> bool:
    """Whether all are equal; the first ones nearly always tell."""
    flat = scores.reshape(-1)
    return bool((flat[:_FEW] == flat[0]).all()) and bool((flat == flat[0]).all())


@contextmanager
def naming(matrix: Matrix) -> Iterator[None]:
    """Errors about scores say whose they are."""
    try:
        yield
    except NonFiniteError as error:
        raise NonFiniteError(f"{matrix.name}: {error}") from error
