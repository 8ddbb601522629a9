"""What a criterion offers the engine."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from app.errors import NonFiniteError
from workers.pruning.calibration.statistics import Statistic
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.selection.selection import Selection, zero

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
        warnings: what the user should hear about.
    """

    mask: torch.Tensor
    mean_score: float
    lost_score: float
    error: float | None = None
    warnings: tuple[str, ...] = ()


class Criterion(ABC):
    """An importance as the engine carries it out; by default it ranks and changes nothing else.

    Attributes:
        statistic: what it wants summed over the inputs of a matrix; None when it needs no data.
        sequential: whether a block is calibrated on the activations of already pruned blocks.
        updates_weights: whether weights that stay are moved.
    """

    statistic: ClassVar[type[Statistic] | None] = None
    sequential: bool = False
    updates_weights: ClassVar[bool] = False

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
        kept = weight != 0
        if not bool(kept.all()):
            scores.clamp_(min=_SMALLEST).mul_(kept)
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
