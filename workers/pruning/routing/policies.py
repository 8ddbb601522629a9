"""Who decides which tokens and layers stay: the router, or what it has to beat.

A policy scores prompts; the rules turn scores into a decision at one budget, the same for all.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.pruning.models.adapter import Adapter
from workers.pruning.routing.answers import Answered
from workers.pruning.routing.runtime import (
    VISION,
    DecideFn,
    Decision,
    Profile,
    Router,
    Scores,
    decide,
    par,
    token_budget,
)

Policy = Callable[[Tensor, Tensor], Scores]
"""Prompts (B, P, D) with segments (B, P) to scores; higher stays."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A budget and what limits the choice.

    Attributes:
        profile: share of the tokens, number of layers, where tokens leave.
        candidates: layers that may be skipped.
        coverage_floor: share of the kept tokens that lies on an even grid.
    """

    profile: Profile
    candidates: tuple[int, ...]
    coverage_floor: float

    def decide(self, scores: Scores, segments: Tensor) -> Decision:
        """Hard top-k at the budget."""
        return decide(
            scores,
            segments,
            tokens=token_budget((segments == VISION).sum(1), self.profile.tokens),
            layers=self.profile.layers,
            candidates=self.candidates,
            coverage_floor=self.coverage_floor,
        )

    def without_floor(self) -> "Rules":
        """For baselines, which are judged as they are."""
        return replace(self, coverage_floor=0.0)


def deciding(policy: Policy, rules: Rules, length: int | None) -> DecideFn:
    """A policy as the runtime asks for it; what stands behind the first `length` stays unseen."""

    def choose(embeddings: Tensor, segments: Tensor) -> Decision:
        prompt = segments[:, :length]
        return rules.decide(policy(embeddings[:, :length], prompt), prompt)

    return choose


def routed(router: Router) -> Policy:
    """The router as it is deployed: without noise."""

    def score(embeddings: Tensor, segments: Tensor) -> Scores:
        with torch.no_grad():
            scores: Scores = router(embeddings, segments)
        return scores

    return score


def random_policy(layers: int, seed: int) -> Policy:
    """Any tokens, any layers."""
    generator = torch.Generator().manual_seed(seed)

    def score(_embeddings: Tensor, segments: Tensor) -> Scores:
        tokens = torch.rand(segments.shape, generator=generator)
        skips = torch.rand(len(segments), layers, generator=generator)
        return Scores(tokens.to(segments.device), skips.to(segments.device))

    return score


def even_policy(rules: Rules, prior: Tensor | None = None) -> Policy:
    """Tokens on an even grid; layers evenly spaced, or those the prior (N,) ranks lowest."""
    layers = _even_layers(rules) if prior is None else prior

    def score(_embeddings: Tensor, segments: Tensor) -> Scores:
        vision = segments == VISION
        counts = vision.sum(1, keepdim=True)
        kept = token_budget(counts.squeeze(1), rules.profile.tokens).unsqueeze(1)
        ranks = vision.cumsum(1) - 1
        # Rank r stays where one of T evenly spaced points (i + 1/2) n / T falls into (r, r + 1].
        first = (2 * ranks * kept + counts) // (2 * counts).clamp(min=1)
        following = (2 * (ranks + 1) * kept + counts) // (2 * counts).clamp(min=1)
        tokens = (following > first).float()
        return Scores(tokens, layers.to(segments.device).expand(len(segments), -1))

    return score


def _even_layers(rules: Rules) -> Tensor:
    """(N,) 0 for candidates spaced evenly from the last one down, 1 for the others."""
    total = rules.candidates[-1] + 2 if rules.candidates else rules.profile.layers
    skips, count = total - rules.profile.layers, len(rules.candidates)
    scores = torch.ones(total)
    for index in range(skips):
        scores[rules.candidates[-1 - index * count // skips]] = 0
    return scores


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
