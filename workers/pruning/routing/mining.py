"""Stage one: noisy decisions, run through the physical runtime and paired, a good and a bad one.

Source: arXiv 2412.06458; candidates by noise, pairs by output KL are the paper's. It keeps the best
and the worst; ours pairs the second best with the second worst as well, and so on: the forwards are
paid for, and more pairs tell better which of the tokens was the one that mattered. Ours, too: where
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
_CLEAR = 1.0
"""Nats. Pairs further apart than this count the same: the answer is lost, however far."""


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
        pairs: of the records that have candidates worth telling apart.
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
    number: int = 0,
) -> Iterator[Mined]:
    """Pairs of every batch: in turn with tokens alone pruned, layers alone, and both.

    The round moves the turns on, so that in three rounds every prompt is mined in every way.

    Args:
        adapter: the dense model.
        router: as trained so far.
        answered: calibration prompts with dense answers.
        rules: the target budget.
        search: how candidates are made.
        generator: of all noise, on the model's device.
        number: of the round.
    """
    kinds = _kinds(rules, len(router.layer_tokens))
    for index, batch in enumerate(answered):
        found = kinds[(index + number) % len(kinds)]
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
        among = levels[-1].kept[0, 0]
    found = torch.cat([level.worse - level.better for level in levels])
    gaps = found.masked_fill(found <= _NEGLIGIBLE, 0).clamp(max=_CLEAR)
    chosen = gaps.any(0).nonzero().squeeze(1)
    pairs = Pairs(
        embeddings=drawn.embeddings[chosen],
        segments=drawn.segments[chosen],
        kept=torch.cat([level.kept for level in levels], dim=1)[:, :, chosen],
        run=torch.cat([level.run for level in levels], dim=1)[:, :, chosen],
        gaps=gaps[:, chosen],
    )
    return Mined(pairs, levels[0].better[0], levels[0].worse[0])


def _levels(rules: Rules) -> list[Rules]:
    """The budget, and tighter ones where tokens are pruned at all."""
    profile = rules.profile
    if profile.tokens == 1:
        return [rules]
    shares = (profile.tokens * part for part in _TIGHTER)
    return [replace(rules, profile=replace(profile, tokens=share)) for share in shares]


class _Level(NamedTuple):
    """The candidates of every record at one budget in k pairs, the clearest first.

    Attributes:
        kept: (2, k, B, P) image tokens of the better and of the worse.
        run: (2, k, B, N) their layers.
        better: (k, B) KL.
        worse: (k, B).
    """

    kept: Tensor
    run: Tensor
    better: Tensor
    worse: Tensor


def _level(
    adapter: Adapter, batch: Answered, drawn: Candidates, *, dense: Tensor, count: int
) -> _Level:
    with par(adapter.model, drawn, drop_layer=drawn.rules.profile.drop_layer):
        losses = [
            closeness(dense, log_probs(adapter, batch), batch.answers).kl for _ in range(count)
        ]
    kl = torch.stack(losses)  # (candidates, B)
    order = kl.sort(dim=0, stable=True).indices
    ends = torch.stack([order[: count // 2], order.flip(0)[: count // 2]])  # (2, k, B)
    rows = torch.arange(kl.shape[1], device=kl.device)
    kept, run = torch.stack(drawn.kept), torch.stack(drawn.run)
    return _Level(kept[ends, rows], run[ends, rows], *kl[ends, rows])
