"""Stage one: noisy decisions, run through the physical runtime, the best and the worst kept.

Source: arXiv 2412.06458; candidates by noise, pairs by output KL are the paper's. Ours: where
tokens are pruned, the search goes on within the best set, for the best half and the best quarter of
it. A budget that holds everything there is to see in a picture cannot tell which part of it the
question needs; a quarter of that budget can.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from workers.pruning.models.adapter import Adapter
from workers.pruning.routing.answers import Answered, closeness, log_probs
from workers.pruning.routing.candidates import Candidates, Noise
from workers.pruning.routing.pairs import Pairs
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.runtime import Router, par

_TIGHTER = (1.0, 0.5, 0.25)
"""Shares of the token budget at which a prompt is searched, one after the other."""
_NEGLIGIBLE = 1e-4
"""Nats. Pairs nearer than this teach nothing."""


@dataclass(frozen=True, slots=True)
class Search:
    """How candidates are made.

    Attributes:
        candidates: decisions per record; half as many at each tighter budget.
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
    dense, among = log_probs(adapter, batch), None
    levels: list[_Level] = []
    for narrow in _levels(rules):
        noise = Noise(search.noise, generator)
        drawn = Candidates(router, narrow, noise, length=batch.length, among=among)
        count = search.candidates if not levels else max(2, search.candidates // 2)
        levels.append(_level(adapter, batch, drawn, dense=dense, count=count))
        among = levels[-1].kept[0]
    differ = torch.stack([level.worst - level.best > _NEGLIGIBLE for level in levels])
    chosen = differ.any(0).nonzero().squeeze(1)
    pairs = Pairs(
        embeddings=drawn.embeddings[chosen],
        segments=drawn.segments[chosen],
        kept=torch.stack([level.kept for level in levels], dim=1)[:, :, chosen],
        run=torch.stack([level.run for level in levels], dim=1)[:, :, chosen],
        differ=differ[:, chosen],
    )
    return Mined(pairs, levels[0].best, levels[0].worst)


def _levels(rules: Rules) -> list[Rules]:
    """The budget, and tighter ones where tokens are pruned at all."""
    profile = rules.profile
    if profile.tokens == 1:
        return [rules]
    shares = (profile.tokens * part for part in _TIGHTER)
    return [replace(rules, profile=replace(profile, tokens=share)) for share in shares]


class _Level(NamedTuple):
    """The best and the worst candidate of every record at one budget.

    Attributes:
        kept: (2, B, P) image tokens of the best and of the worst.
        run: (2, B, N) their layers.
        best: (B,) KL.
        worst: (B,).
    """

    kept: Tensor
    run: Tensor
    best: Tensor
    worst: Tensor


def _level(
    adapter: Adapter, batch: Answered, drawn: Candidates, *, dense: Tensor, count: int
) -> _Level:
    with par(adapter.model, drawn, drop_layer=drawn.rules.profile.drop_layer):
        losses = [
            closeness(dense, log_probs(adapter, batch), batch.answers).kl for _ in range(count)
        ]
    kl = torch.stack(losses)  # (candidates, B)
    ends = torch.stack([kl.argmin(0), kl.argmax(0)])
    rows = torch.arange(kl.shape[1], device=kl.device)
    kept, run = torch.stack(drawn.kept), torch.stack(drawn.run)
    return _Level(kept[ends, rows], run[ends, rows], *kl.gather(0, ends))
