"""Stage one: noisy decisions, run through the physical runtime, the best and the worst kept.

Source: arXiv 2412.06458; noise on the router's attention logits, output KL and pairs are the
paper's. Noise on the scores as well, relative to their spread, is ours: a router that starts from
"keep" tells tokens apart by next to nothing, and a set of layers hardly moves by attention noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from workers.pruning.models.adapter import Adapter
from workers.pruning.par.answers import Answered, closeness, log_probs
from workers.pruning.par.pairs import Pairs
from workers.pruning.par.policies import Rules
from workers.pruning.par.runtime import VISION, Decision, Router, Scores, par

_NEGLIGIBLE = 1e-4
"""Nats. Pairs nearer than this teach nothing."""


@dataclass(frozen=True, slots=True)
class Search:
    """How candidates are made.

    Attributes:
        candidates: decisions per record.
        noise: scale of the noise.
    """

    candidates: int
    noise: float


@dataclass(frozen=True, slots=True, eq=False)
class Mined:
    """One batch.

    Attributes:
        pairs: of the records whose best and worst candidate differ.
        best: (B,) KL of each record's best candidate.
        worst: (B,) KL of its worst.
    """

    pairs: Pairs
    best: Tensor
    worst: Tensor


def mine(
    adapter: Adapter,
    router: Router,
    answered: Sequence[Answered],
    *,
    rules: Rules,
    search: Search,
    generator: torch.Generator,
) -> Iterator[Mined]:
    """Pairs of every batch: in turn with tokens alone pruned, layers alone, and both.

    Args:
        adapter: the dense model.
        router: as trained so far.
        answered: calibration prompts with dense answers.
        rules: the target budget.
        search: how candidates are made.
        generator: of all noise, on the model's device.
    """
    kinds = _kinds(rules, len(router.layer_tokens))
    for index, batch in enumerate(answered):
        found = kinds[index % len(kinds)]
        yield _mine(adapter, router, batch, rules=found, search=search, generator=generator)


def _kinds(rules: Rules, layers: int) -> list[Rules]:
    """The budgets that pairs are mined at; those that prune nothing are left out."""
    profile = rules.profile
    tokens, skips = profile.tokens < 1, profile.layers < layers
    found = []
    if tokens:
        found.append(replace(rules, profile=replace(profile, layers=layers)))
    if skips:
        found.append(replace(rules, profile=replace(profile, tokens=1.0)))
    return [*found, rules] if tokens and skips else found


def _mine(
    adapter: Adapter,
    router: Router,
    batch: Answered,
    *,
    rules: Rules,
    search: Search,
    generator: torch.Generator,
) -> Mined:
    dense = log_probs(adapter, batch)
    seen: list[tuple[Tensor, Tensor, Decision]] = []

    def choose(embeddings: Tensor, segments: Tensor) -> Decision:
        prompt, parts = embeddings[:, : batch.length], segments[:, : batch.length]
        decision = rules.decide(_noisy(router, prompt, parts, search.noise, generator), parts)
        seen.append((prompt, parts, decision))
        return decision

    with par(adapter.model, choose, drop_layer=rules.profile.drop_layer):
        losses = [
            closeness(dense, log_probs(adapter, batch), batch.answers).kl
            for _ in range(search.candidates)
        ]
    kl = torch.stack(losses)  # (candidates, B)
    ends = torch.stack([kl.argmin(0), kl.argmax(0)])
    best, worst = kl.gather(0, ends)
    embeddings, segments, _ = seen[0]
    rows = torch.arange(len(segments), device=segments.device)
    kept = torch.stack([_kept(decision, segments) for _, _, decision in seen])
    run = torch.stack([_run(decision, router, segments) for _, _, decision in seen])
    chosen = (worst - best > _NEGLIGIBLE).nonzero().squeeze(1)
    pairs = Pairs(
        embeddings=embeddings[chosen],
        segments=segments[chosen],
        kept=kept[ends, rows][:, chosen],
        run=run[ends, rows][:, chosen],
    )
    return Mined(pairs, best, worst)


def _noisy(
    router: Router, embeddings: Tensor, segments: Tensor, noise: float, generator: torch.Generator
) -> Scores:
    with torch.no_grad():
        scores = router(embeddings, segments, noise=noise, generator=generator)
    tokens = _shaken(scores.tokens, segments == VISION, noise, generator)
    # One set of layers serves the batch, so its noise is one row.
    means = scores.layers.mean(0, keepdim=True)
    layers = _shaken(means, torch.ones_like(means, dtype=torch.bool), noise, generator)
    return Scores(tokens, layers.expand_as(scores.layers))


def _shaken(logits: Tensor, mask: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Gumbel noise of `noise` deviations of each row's logits.

    Top-k then draws without putting back (Kool et al., arXiv 1903.06059).
    """
    count = mask.sum(1, keepdim=True).clamp(min=1)
    mean = logits.masked_fill(~mask, 0).sum(1, keepdim=True) / count
    spread = ((logits - mean).masked_fill(~mask, 0).square().sum(1, keepdim=True) / count).sqrt()
    uniform = torch.rand(logits.shape, generator=generator, device=logits.device).clamp(min=1e-9)
    return logits - noise * spread.clamp(min=1e-6) * (-uniform.log()).log()


def _kept(decision: Decision, segments: Tensor) -> Tensor:
    """(B, P) image tokens that stay."""
    vision = segments == VISION
    if decision.keep is None:
        return vision
    kept = torch.zeros_like(segments).scatter_(1, decision.keep.clamp(min=0), 1).bool()
    return kept & vision


def _run(decision: Decision, router: Router, segments: Tensor) -> Tensor:
    """(B, N) layers that run."""
    run = torch.zeros(len(router.layer_tokens), dtype=torch.bool, device=segments.device)
    run[list(decision.layers)] = True
    return run.expand(len(segments), -1)
