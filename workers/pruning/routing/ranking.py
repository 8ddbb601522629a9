"""Which layers a router would leave out of every prompt: what a static export is made from."""

from collections.abc import Iterable

import torch
from torch import Tensor

from workers.pruning.models.adapter import Adapter
from workers.pruning.routing.answers import Answered
from workers.pruning.routing.policies import Rules, routed
from workers.pruning.routing.runtime import Decision, Router, par


def remaining_layers(
    adapter: Adapter, router: Router, rules: Rules, answered: Iterable[Answered]
) -> tuple[int, ...]:
    """Indices that stay, ascending: all but the candidates of the lowest mean score.

    Args:
        adapter: the dense model.
        router: trained.
        rules: how many layers run, and which may be skipped.
        answered: prompts to average over.
    """
    every = tuple(range(len(router.prior)))
    summed, score = torch.zeros(len(every)), routed(router)

    def watch(embeddings: Tensor, segments: Tensor) -> Decision:
        summed.add_(score(embeddings[:, :length], segments[:, :length]).layers.sum(0).cpu())
        return Decision(None, every)

    with par(adapter.model, watch, drop_layer=rules.profile.drop_layer):
        for batch in answered:
            length = batch.length
            adapter.call(batch.inputs)
    ranked = sorted(rules.candidates, key=lambda index: float(summed[index]))
    skipped = set(ranked[: len(every) - rules.profile.layers])
    return tuple(index for index in every if index not in skipped)
