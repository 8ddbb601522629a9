"""Several perturbations of one batch side by side on its batch axis, each with its own loss."""

import math
from collections.abc import Callable, Mapping
from inspect import signature
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.replay import Batch


def stacked(batch: Batch, replicas: int) -> dict[str, Tensor]:
    """The batch, repeated along its first dimension."""
    return {
        key: torch.cat([value] * replicas) if value.ndim else value for key, value in batch.items()
    }


def losses_of(adapter: Adapter, batch: Batch, replicas: int) -> list[float] | None:
    """Loss of each replica in a stacked batch.

    Models average one cross-entropy over the whole batch; it is caught and taken apart. A loss
    made otherwise, such as a contrast between the records of a batch, cannot be taken apart.

    Returns:
        One loss per replica; None where there are several and the loss is no single cross-entropy.
    """
    with _Apart(replicas) as apart:
        whole = float(adapter.loss(batch))
    if len(apart.losses) != 1 or not math.isclose(fmean(apart.losses[0]), whole, rel_tol=1e-5):
        return [whole] if replicas == 1 else None
    losses: list[float] = apart.losses[0]
    return losses


class _Apart(TorchFunctionMode):
    """Takes every mean cross-entropy apart into those of the replicas.

    Tokens are averaged in float64: a difference of two losses is far smaller than the losses, and
    a float32 mean would round it away.
    """

    def __init__(self, replicas: int) -> None:
        super().__init__()
        self._replicas = replicas
        self.losses: list[list[float]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        if func is not functional.cross_entropy:
            return func(*args, **kwargs)
        call = _CROSS_ENTROPY.bind(*args, **kwargs)
        call.apply_defaults()
        each = call.arguments
        target, ignored = each["target"], each["ignore_index"]
        plain = each["reduction"] == "mean" and each["weight"] is None and target.ndim == 1
        if not plain or len(target) % self._replicas:
            return func(*args, **kwargs)
        each["reduction"] = "none"
        tokens = func(*call.args, **call.kwargs).double()
        counted = (target != ignored).chunk(self._replicas)
        parts = zip(tokens.chunk(self._replicas), counted, strict=True)
        means = torch.stack([part.sum() / count.sum() for part, count in parts])
        self.losses.append([float(mean) for mean in means])
        return means.mean()


_CROSS_ENTROPY = signature(functional.cross_entropy)
