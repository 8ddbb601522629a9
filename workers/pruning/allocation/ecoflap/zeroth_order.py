"""The paper's estimate: how far the loss moves when one matrix is shaken.

S_b(W) = mean over draws of |L_b(W + eps Z) - L_b(W - eps Z)| / (2 eps), Z ~ N(0, 1); the sum over
batches b estimates sqrt(2/pi) times the summed gradient norms (ECoFLaP, Sung et al., ICLR 2024,
arXiv 2310.02998, section 4.1). The definition is the paper's, the computation ours: weights are
never written to, what a perturbation has not touched is not computed again, and both signs of
several draws go through the model together.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, takewhile
from statistics import fmean

import torch
from torch import Tensor, nn

from app.errors import NonFiniteError, RecipeError
from app.recipes.allocation import ZerothOrder
from workers.pruning.allocation.ecoflap.memo import Memo
from workers.pruning.allocation.ecoflap.perturbation import (
    Perturbation,
    Shake,
    noise,
    readers,
    swapped,
)
from workers.pruning.allocation.ecoflap.replicas import losses_of, stacked
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.discovery import find_stacks
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix

# Most draws, and most tokens, in one forward pass; more only take memory.
_SIDE_BY_SIDE, _TOKENS = 4, 1024
_HARDER = 1e3


class ZerothOrderEstimator:
    """Forward passes only."""

    def __init__(self, adapter: Adapter, settings: ZerothOrder, seed: int) -> None:
        self._adapter = adapter
        self._settings = settings
        self._seed = seed
        self._home = {m: b.module for t in adapter.towers for b in t.blocks for m in b.matrices}
        self._parts = _parts(adapter.model, list(self._home.values()))

    def scores(
        self,
        index: int,
        batch: Batch,
        matrices: Sequence[Matrix],
        tick: Callable[[int, Matrix], None],
    ) -> Mapping[Matrix, float]:
        """Score of every matrix that moves the loss."""
        found: dict[Matrix, float] = {}
        with torch.no_grad():
            dense = _Dense(self._adapter, batch, self._parts, self._replicas(batch))
            for block, members in groupby(matrices, key=self._home.__getitem__):
                inside = dense.inside(block)
                for matrix in members:
                    with dense.skipping(inside, readers(matrix, self._adapter.model)):
                        score = self._score(dense, inside, matrix, index)
                    if score is not None:
                        found[matrix] = score
                tick(index, matrix)
        return found

    def _replicas(self, batch: Batch) -> int:
        """Both signs of some draws at once; one at a time where tokens are many."""
        tokens = max((x.numel() for x in batch.values() if not x.is_floating_point()), default=1)
        most = min(_SIDE_BY_SIDE, _TOKENS // (2 * tokens))
        some = (n for n in range(1, most + 1) if self._settings.draws % n == 0)
        return 2 * max(some, default=0) or 1

    def _score(self, dense: "_Dense", inside: Memo, matrix: Matrix, batch: int) -> float | None:
        eps = self._settings.epsilon
        shakes = [(d, sign * eps) for d in range(self._settings.draws) for sign in (1, -1)]

        def noise_of(draw: int) -> Tensor:
            return noise(self._seed, matrix, batch, draw)

        if matrix.callers and not matrix.routed:
            at_once = dense.replicas if inside.splits(matrix.callers, dense.replicas) else 1
            perturbation = Perturbation(matrix, noise_of, inside)
        else:
            at_once, perturbation = 1, None

        def shaken(some: Sequence[Shake]) -> list[float]:
            if perturbation is not None:
                applied = perturbation.applied(some)
            else:
                delta = some[0][1] * noise_of(some[0][0])
                applied = swapped(matrix, self._adapter.model, delta)
            with applied:
                losses = dense.losses_now()[: len(some)]
            if not all(map(math.isfinite, losses)):
                raise NonFiniteError(f"the loss is NaN or infinite when {matrix.name} is perturbed")
            return losses

        losses = [
            loss for i in range(0, len(shakes), at_once) for loss in shaken(shakes[i : i + at_once])
        ]
        if set(losses) == {dense.losses[0]}:  # too small to see, or nothing reads the output?
            hard = [(draw, _HARDER * factor) for draw, factor in shakes[:at_once]]
            if set(shaken(hard)) == {dense.losses[0]}:
                return None
        pairs = zip(losses[::2], losses[1::2], strict=True)
        return fmean(abs(plus - minus) / (2 * eps) for plus, minus in pairs)


class _Dense:
    """One batch in the unperturbed model: everything blocks returned, and the losses.

    Attributes:
        replicas: copies of the batch side by side; one where the loss cannot be taken apart.
        losses: of each.
    """

    def __init__(
        self, adapter: Adapter, batch: Batch, parts: Sequence[nn.Module], replicas: int
    ) -> None:
        self._adapter = adapter
        for count in (replicas, 1):
            self.replicas = count
            self._inputs = stacked(batch, count)
            self._memo = Memo()
            with self._memo.recording(parts):
                losses = losses_of(adapter, self._inputs, count)
            if losses is not None:
                self.losses = losses
                break

    def inside(self, block: nn.Module) -> Memo:
        """What the modules with matrices inside a block return."""
        memo = Memo()
        units = [m for m in block.modules() if m is not block and _has_matrix(m)]
        with memo.recording(units):
            self._memo.run_again(block)
        return memo

    @contextmanager
    def skipping(self, inside: Memo, touched: Sequence[nn.Module]) -> Iterator[None]:
        """Whatever holds none of the touched modules is skipped where its inputs are the same."""
        with self._memo.skipping(touched), inside.skipping(touched):
            yield

    def losses_now(self) -> list[float]:
        """Losses of the replicas in the model as it now is."""
        losses = losses_of(self._adapter, self._inputs, self.replicas)
        if losses is None:
            raise RecipeError("the loss of this model changes its form; use gradient-norm")
        return losses


def _parts(model: nn.Module, homes: Sequence[nn.Module]) -> list[nn.Module]:
    """Blocks, and what lies beside them before the last one: embeddings, projectors.

    What follows it, such as the head, no perturbation leaves alone.
    """
    stacks = (module for stack in find_stacks(model) for _, module in stack.blocks)
    blocks = dict.fromkeys([*homes, *stacks])
    above = [
        m for m in model.modules() if m not in blocks and not blocks.keys().isdisjoint(m.modules())
    ]
    beside = {child for module in above for child in module.children()}.difference(above)
    before = takewhile(lambda module: module is not homes[-1], model.modules())
    return list(dict.fromkeys([*blocks, *(module for module in before if module in beside)]))


def _has_matrix(module: nn.Module) -> bool:
    return any(parameter.ndim > 1 for parameter in module.parameters())
