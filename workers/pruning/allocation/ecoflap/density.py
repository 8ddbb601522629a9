"""TAMP's score: how unlike each other a matrix makes the tokens of a sample."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from app.errors import CalibrationDataError
from workers.pruning.calibration.tokens import Stream, likeness, stream_of
from workers.pruning.calibration.walk import steps
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.forwards import Forward, replaced
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.layout.structure import Matrix


class DensityEstimator:
    """Scores matrices by their outputs on streams of image and text tokens.

    Others have no score: the vision tower, and experts, which see some tokens of a sample only.
    """

    def __init__(self, adapter: Adapter) -> None:
        """Score the matrices of this model."""
        self._adapter = adapter

    def scores(
        self,
        index: int,
        batch: Batch,
        matrices: Sequence[Matrix],
        tick: Callable[[int, Matrix], None],
    ) -> Mapping[Matrix, float]:
        """Sum over the batch's samples of (1 - v) + (1 - l) + (1 - x) for every matrix.

        Raises:
            CalibrationDataError: the batch has no image tokens among its input ids.
        """
        stream = stream_of(self._adapter.model.config, batch)
        if stream is None:
            raise CalibrationDataError(
                "density tells image tokens from text tokens, and this model has no stream of both "
                "on these records"
            )
        wanted = [matrix for matrix in matrices if not matrix.routed]
        blocks = [block for tower in self._adapter.towers for block in tower.blocks]
        found: dict[nn.Module, float] = defaultdict(float)
        scored: dict[Matrix, float] = {}
        with torch.no_grad():
            for step in steps(self._adapter, [batch], last=blocks[-1]):
                inside = set(step.block.module.modules())
                mine = [m for m in wanted if not inside.isdisjoint(m.callers)]
                callers = list(dict.fromkeys(c for m in mine for c in m.callers if c in inside))
                with replaced(callers, _Watcher(callers, stream, found).stand_in):
                    step.advance()
                for matrix in mine:
                    known = [found[caller] for caller in matrix.callers if caller in found]
                    if known:
                        scored[matrix] = sum(known)
                    tick(index, matrix)
        return scored


class _Watcher:
    """Adds up the scores of modules by what they give."""

    def __init__(
        self, callers: Sequence[nn.Module], stream: Stream, found: dict[nn.Module, float]
    ) -> None:
        self._callers, self._stream, self._found = callers, stream, found

    def stand_in(self, at: int, forward: Forward) -> Forward:
        module = self._callers[at]

        def run(*args: Any, **kwargs: Any) -> Any:
            outputs = forward(*args, **kwargs)
            if isinstance(outputs, Tensor) and outputs.ndim > 1:
                self._take(module, outputs)
            return outputs

        return run

    def _take(self, module: nn.Module, outputs: Tensor) -> None:
        shape = self._stream.image.shape
        if outputs.numel() != shape.numel() * outputs.shape[-1]:
            return
        for row, image, real in zip(
            outputs.reshape(*shape, -1), self._stream.image, self._stream.real, strict=True
        ):
            alike = likeness(row[real], image[real])
            self._found[module] += 3 - alike.image - alike.text - alike.across
