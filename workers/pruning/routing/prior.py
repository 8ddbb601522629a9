"""Block influence: how much a decoder layer turns its input, the fixed part of the layer scores.

Men et al., "ShortGPT", arXiv 2403.03853, eq. 1: 1 - mean cos(h_in, h_out) over real tokens.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from workers.pruning.models.adapter import Adapter
from workers.pruning.models.layout.forwards import hidden_of
from workers.pruning.routing.answers import Answered
from workers.pruning.routing.runtime import anatomy


def block_influence(adapter: Adapter, answered: Iterable[Answered]) -> Tensor:
    """(N,) float64 on prompts and dense answers; the model is as before, whatever happens.

    Args:
        adapter: the dense model.
        answered: what to run it on.
    """
    layers = anatomy(adapter.model).layers
    sums = torch.zeros(len(layers), dtype=torch.float64)
    seen, mask = 0, torch.ones(0)

    def watch(index: int) -> Any:
        def hook(_module: Any, args: tuple[Any, ...], output: Any) -> None:
            cosine = functional.cosine_similarity(args[0].float(), hidden_of(output).float(), -1)
            sums[index] += (cosine.double() * mask).sum().item()

        return hook

    handles = [layer.register_forward_hook(watch(at)) for at, layer in enumerate(layers)]
    try:
        for batch in answered:
            mask = batch.inputs["attention_mask"].double()
            adapter.call(batch.inputs)
            seen += int(mask.sum())
    finally:
        for handle in handles:
            handle.remove()
    return 1 - sums / max(seen, 1)


def as_logits(influence: Tensor) -> Tensor:
    """(N,) float32 prior of the layer logits: mean 0 and deviation 1, the last layer on top.

    The scale is ours: influences differ by a few hundredths, logits by whole numbers.
    """
    spread = influence.std(correction=0).clamp(min=1e-6)
    scaled = (influence - influence.mean()) / spread
    scaled[-1] = scaled.max()
    return scaled.float()
