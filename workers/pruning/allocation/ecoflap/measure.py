"""Stage 1: a score for every matrix in every batch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from app.errors import CalibrationDataError
from app.recipes.allocation import Density, FirstOrder, GradientNorm, ZerothOrder
from app.recipes.allocation_scores import AllocationScores
from workers.pruning.allocation.ecoflap.backward import SUMS, BackwardEstimator, norm
from workers.pruning.allocation.ecoflap.density import DensityEstimator
from workers.pruning.allocation.ecoflap.zeroth_order import ZerothOrderEstimator
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.precision import computing_in_float32, in_float32
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.resume import Checkpoints, Entry, NoCheckpoints

Tick: TypeAlias = Callable[[int, Matrix], None]
"""Told the batch's number and the last matrix done; what it raises ends the measuring."""


class BatchEstimator(Protocol):
    """One way to score the matrices on one batch."""

    def scores(
        self, index: int, batch: Batch, matrices: Sequence[Matrix], tick: Tick
    ) -> Mapping[Matrix, float]:
        """Score of every matrix on which the loss of the batch depends.

        Args:
            index: number of the batch in the whole run, whatever part of it is measured here.
            batch: model inputs.
            matrices: in execution order.
            tick: told on the way.
        """


def measure(
    adapter: Adapter,
    settings: GradientNorm | ZerothOrder | FirstOrder | Density,
    batches: Iterable[tuple[int, Batch]],
    matrices: Sequence[Matrix],
    *,
    seed: int = 0,
    tick: Tick = lambda _batch, _matrix: None,
    checkpoints: Checkpoints | None = None,
) -> AllocationScores:
    """Score the matrices on the batches.

    A score depends on its own matrix, its own batch and the seed alone: parts of a run, cut by
    batches or by matrices and measured anywhere in any order, merge into the whole run's result.

    Args:
        adapter: the model, in evaluation mode; comes back as it was.
        settings: the estimator.
        batches: each with its number in the whole run.
        matrices: in execution order.
        seed: of the draws of the zeroth-order estimator.
        tick: told on the way.
        checkpoints: keep the scores of every finished batch.

    Differences of losses and small gradients are lost in half precision: all is computed in
    float32, whatever the model computes in elsewhere.

    Raises:
        CalibrationDataError: there are no batches.
        NonFiniteError: the loss is NaN or infinite.
    """
    kept = checkpoints or NoCheckpoints()
    found: dict[int, dict[Matrix, float]] = {}
    with computing_in_float32(adapter.model):
        estimator = _find(adapter, settings, seed)
        for index, batch in batches:
            name = f"scores/{index}"
            if (known := kept.get(name)) is not None:
                values = known.values
                found[index] = {m: values[m.name] for m in matrices if m.name in values}
                continue
            found[index] = dict(estimator.scores(index, in_float32(batch), matrices, tick))
            kept.put(name, Entry({m.name: score for m, score in found[index].items()}))
    if not found:
        raise CalibrationDataError("ecoflap needs calibration data")
    inside = [m for m in matrices if any(m in scores for scores in found.values())]
    order = sorted(found)
    return AllocationScores(
        estimator=settings,
        seed=seed,
        batches=tuple(order),
        values={m.name: tuple(found[i].get(m, 0.0) for i in order) for m in inside},
        outside=tuple(sorted({m.name for m in matrices} - {m.name for m in inside})),
    )


def _find(
    adapter: Adapter, settings: GradientNorm | ZerothOrder | FirstOrder | Density, seed: int
) -> BatchEstimator:
    match settings:
        case GradientNorm():
            return BackwardEstimator(adapter, norm)
        case FirstOrder():
            return BackwardEstimator(adapter, SUMS[settings.form])
        case ZerothOrder():
            return ZerothOrderEstimator(adapter, settings, seed)
        case Density():
            return DensityEstimator(adapter)
