"""Stage two: preferences train the router, much as in DPO; the large model is not needed.

A decision keeps a set of tokens V and of layers. The log-ratio of two Bernoulli decisions that DPO
asks for is a difference of sums of logits, over V+ less V- and over V- less V+, + the better and -
the worse one. The margin here takes means in their place: it is normalised by the number of tokens
(of layers) in which the two differ, so that long differences weigh no more than short ones. It is
not DPO's log-ratio. With d_v = mean s over V+ less V- minus mean s over V- less V+, d_l alike for
layers:
L = -log sigmoid(beta [(d_v - d_v_ref) + alpha (d_l - d_l_ref)])
  + lam (mean sigmoid(s_v) - T / N_v)^2 + lam (mean sigmoid(s_l) - L / N)^2 + 0.1 BCE(s, +).
In a batch a pair weighs as much as its two decisions differ in KL: two that lose next to nothing of
the answer differ by what does not matter.
DPO and the sparsity terms are the paper's (arXiv 2412.06458; Rafailov et al., arXiv 2305.18290);
its equations are not public, so the normalised margin, all weights and the BCE term are ours.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from workers.pruning.routing.pairs import Pairs, PairStore
from workers.pruning.routing.runtime import VISION, Router, Scores

BETA, ALPHA, SPARSITY, IMITATION = 1.0, 1.0, 1.0, 0.1


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast.

    Attributes:
        epochs: over the pairs.
        learning_rate: peak of AdamW; a cosine brings it to zero.
        tokens: T / N_v the token probabilities are drawn to.
        layers: L / N the layer probabilities are drawn to.
    """

    epochs: int
    learning_rate: float
    tokens: float
    layers: float


def train(
    router: Router,
    store: PairStore,
    schedule: Schedule,
    *,
    order: torch.Generator,
    tick: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[float]:
    """Train in place on one round's pairs; returns the mean loss of each epoch.

    Args:
        router: starts as its own reference.
        store: at least one batch of pairs.
        schedule: epochs, rate, budget.
        order: of the batches.
        tick: told after every step how many of how many are done; what it raises ends it.
    """
    router.train()
    device = router.prior.device
    with torch.no_grad():
        references = [_margins(router, _placed(pairs, device))[0] for _, pairs in store.batches()]
    optimiser = torch.optim.AdamW(router.parameters(), lr=schedule.learning_rate)
    total = schedule.epochs * store.count
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))
    )
    means = []
    for epoch in range(schedule.epochs):
        summed = 0.0
        for step, (place, pairs) in enumerate(store.batches(order)):
            loss = _loss(router, _placed(pairs, device), references[place], schedule)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own is not annotated
            torch.nn.utils.clip_grad_norm_(router.parameters(), 1.0)
            optimiser.step()
            rate.step()
            summed += loss.item()
            tick(epoch * store.count + step + 1, total)
        means.append(summed / store.count)
    router.eval()
    return means


def _placed(pairs: Pairs, device: torch.device) -> Pairs:
    return Pairs(*(getattr(pairs, each.name).to(device) for each in fields(Pairs)))


def _margins(router: Router, pairs: Pairs) -> tuple[Tensor, Scores]:
    """d_v + alpha d_l of each pair, (K, B), and the scores behind it."""
    scores: Scores = router(pairs.embeddings, pairs.segments)
    tokens = _difference(scores.tokens, pairs.kept)
    return tokens + ALPHA * _difference(scores.layers, pairs.run), scores


def _difference(logits: Tensor, sets: Tensor) -> Tensor:
    """Mean logit of what only the better set has, less that of what only the worse has; (K, B)."""
    better, worse = sets
    return _mean(logits, better & ~worse) - _mean(logits, worse & ~better)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of each row under its mask or weights; 0 where these are."""
    total = weights.sum(-1)
    return (values * weights).sum(-1) / torch.where(total == 0, 1, total)


def _loss(router: Router, pairs: Pairs, reference: Tensor, schedule: Schedule) -> Tensor:
    margins, scores = _margins(router, pairs)
    vision, every = pairs.segments == VISION, torch.ones_like(scores.layers, dtype=torch.bool)
    weights = pairs.gaps.flatten()
    preference = -_mean(functional.logsigmoid(BETA * (margins - reference)).flatten(), weights)
    tokens = _mean(scores.tokens.sigmoid(), vision) - schedule.tokens
    layers = _mean(scores.layers.sigmoid(), every) - schedule.layers
    imitation = _bce(scores.tokens, pairs.kept, vision) + _bce(scores.layers, pairs.run, every)
    imitation = _mean(imitation.flatten(), weights)
    sparsity = tokens.square().mean() + layers.square().mean()
    return preference + SPARSITY * sparsity + IMITATION * imitation


def _bce(logits: Tensor, sets: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy to the better set where the two sets differ at all in it, (K, B)."""
    better, worse = sets
    differs = (better != worse).any(-1, keepdim=True) & mask
    each = functional.binary_cross_entropy_with_logits(
        logits.expand(better.shape), better.to(logits), reduction="none"
    )
    return _mean(each, differs)
