"""Noisy decisions of a router, which mining compares.

Source: arXiv 2412.06458; N(0, 1) noise on the router's attention logits is the paper's. Noise on
the scores as well, relative to their spread, is ours: a router that starts from "keep" tells tokens
apart by next to nothing, and a set of layers hardly moves by attention noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.pruning.routing.policies import Rules
from workers.pruning.routing.runtime import VISION, Decision, Router, Scores


@dataclass(frozen=True, slots=True)
class Noise:
    """How decisions are shaken.

    Attributes:
        scale: of all of it.
        generator: on the model's device.
    """

    scale: float
    generator: torch.Generator


class Candidates:
    """Draws a decision whenever the runtime asks for one, and remembers it.

    Args:
        router: as trained so far.
        rules: the budget.
        noise: on scores and attention.
        length: P of the prompts; answers behind them stay unseen.
        among: (B, P) image tokens to choose from; None for all.

    Attributes:
        embeddings: (B, P, D) of the prompts, once a decision was drawn.
        segments: (B, P).
        kept: per decision (B, P) bool, image tokens that stay.
        run: per decision (B, N) bool, layers that run.
    """

    embeddings: Tensor
    segments: Tensor

    def __init__(
        self, router: Router, rules: Rules, noise: Noise, *, length: int, among: Tensor | None
    ) -> None:
        self.rules = rules
        self.kept: list[Tensor] = []
        self.run: list[Tensor] = []
        self._router, self._noise, self._length, self._among = router, noise, length, among

    def __call__(self, embeddings: Tensor, segments: Tensor) -> Decision:
        """The runtime's question: (B, S, D) and (B, S), answers included."""
        self.embeddings, self.segments = embeddings[:, : self._length], segments[:, : self._length]
        decision = self.rules.decide(self._scores(), self.segments)
        self.kept.append(_kept(decision, self.segments))
        self.run.append(_run(decision, len(self._router.layer_tokens), self.segments))
        return decision

    def _scores(self) -> Scores:
        scale, generator = self._noise.scale, self._noise.generator
        with torch.no_grad():
            scores = self._router(self.embeddings, self.segments, noise=scale, generator=generator)
        among = self.segments == VISION if self._among is None else self._among
        tokens = _shaken(scores.tokens, among, self._noise)
        # One set of layers serves the batch, so its noise is one row.
        means = scores.layers.mean(0, keepdim=True)
        layers = _shaken(means, torch.ones_like(means, dtype=torch.bool), self._noise)
        least = torch.finfo(tokens.dtype).min
        return Scores(tokens.masked_fill(~among, least), layers.expand_as(scores.layers))


def _shaken(logits: Tensor, mask: Tensor, noise: Noise) -> Tensor:
    """Gumbel noise of `noise.scale` deviations of each row's logits.

    Top-k then draws without putting back (Kool et al., arXiv 1903.06059).
    """
    count = mask.sum(1, keepdim=True).clamp(min=1)
    mean = logits.masked_fill(~mask, 0).sum(1, keepdim=True) / count
    spread = ((logits - mean).masked_fill(~mask, 0).square().sum(1, keepdim=True) / count).sqrt()
    uniform = torch.rand(logits.shape, generator=noise.generator, device=logits.device)
    gumbel = -(-uniform.clamp(min=1e-9).log()).log()
    return logits + noise.scale * spread.clamp(min=1e-6) * gumbel


def _kept(decision: Decision, segments: Tensor) -> Tensor:
    """(B, P) image tokens that stay."""
    vision = segments == VISION
    if decision.keep is None:
        return vision
    kept = torch.zeros_like(segments).scatter_(1, decision.keep.clamp(min=0), 1).bool()
    return kept & vision


def _run(decision: Decision, layers: int, segments: Tensor) -> Tensor:
    """(B, N) layers that run."""
    run = torch.zeros(layers, dtype=torch.bool, device=segments.device)
    run[list(decision.layers)] = True
    return run.expand(len(segments), -1)
