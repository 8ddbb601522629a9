"""What stays of one batch of prompts: hard top-k by budget."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.pruning.par.runtime.anatomy import VISION
from workers.pruning.par.runtime.errors import ParError
from workers.pruning.par.runtime.router import Scores

DROP_LAYER = 2
"""Image tokens leave before this decoder layer (paper: layers 0 and 1 see every token)."""


@dataclass(frozen=True, eq=False)
class Decision:
    """What stays, for one batch of prompts.

    Attributes:
        keep: (B, T) positions of the image tokens that stay, ascending; -1 fills up rows that keep
            fewer. None keeps all.
        layers: indices of the layers that run, ascending; for any row where `rows` is given.
        rows: (B, N) bool, which layers run for each row; None where all rows have those of
            `layers`.
    """

    keep: Tensor | None
    layers: tuple[int, ...]
    rows: Tensor | None = None


DecideFn = Callable[[Tensor, Tensor], Decision]
"""(embeddings (B, S, D), segments (B, S)) to a decision; asked once per prompt with an image."""


def layer_candidates(layers: int, drop_layer: int = DROP_LAYER) -> tuple[int, ...]:
    """Layers that may be skipped: the second half less the last (ours, after the paper's finding).

    Never 0 to max(drop_layer, 1): the first pair is vital, and layer 0 knows the cache's length.
    """
    return tuple(range(max(layers // 2, max(drop_layer, 1) + 1), layers - 1))


def decide(
    scores: Scores,
    segments: Tensor,
    *,
    tokens: int | Tensor,
    layers: int,
    candidates: tuple[int, ...] | None = None,
    coverage_floor: float = 0.1,
    per_row: bool = False,
) -> Decision:
    """Hard top-k by budget: T image tokens per row, L layers for the batch or for each row.

    Args:
        scores: of a router.
        segments: (B, S). Text is never dropped.
        tokens: T, or (B,) one for each row. A row with fewer image tokens keeps all of them.
        layers: L, of N.
        candidates: layers that may be skipped; `layer_candidates(N)` where not given. The lowest
            mean scores over the rows that hold an image are skipped.
        coverage_floor: share of T spread evenly over the row's image tokens, whatever they score.
        per_row: each row skips its own layers, and none without an image; else all rows skip the
            same.

    Raises:
        ParError: fewer candidates than layers to skip, or a budget below 1.
    """
    vision = segments == VISION
    counts = vision.sum(1)
    budget = torch.as_tensor(tokens, device=counts.device).expand_as(counts)
    if bool((budget[counts > 0] < 1).any()):
        raise ParError("PAR keeps at least one image token.")
    budget = torch.minimum(budget, counts)
    keep = None if torch.equal(budget, counts) else _top(scores, vision, budget, coverage_floor)
    if not per_row:
        return Decision(keep, running_layers(scores.layers[counts > 0], layers, candidates))
    rows = torch.zeros_like(scores.layers, dtype=torch.bool)
    for index, count in enumerate(counts.tolist()):
        own = scores.layers[index : index + bool(count)]  # without an image none: all layers run
        rows[index, list(running_layers(own, layers, candidates))] = True
    return Decision(keep, tuple(rows.any(0).nonzero().squeeze(1).tolist()), rows)


def _top(scores: Scores, vision: Tensor, budget: Tensor, floor: float) -> Tensor:
    """(B, max budget) positions; ties go to the first."""
    ranks, counts = vision.cumsum(1) - 1, vision.sum(1, keepdim=True)
    grid = (budget * floor).long().unsqueeze(1)  # image tokens that the floor gives away
    # Rank r is on the grid if one of the g points (i + 1/2) n / g falls into [r, r + 1): count the
    # points before r and before r + 1.
    twice = 2 * counts.clamp(min=1)
    before = -((counts - 2 * ranks * grid) // twice)
    after = -((counts - 2 * (ranks + 1) * grid) // twice)
    chosen = scores.tokens.masked_fill(after > before, torch.inf)
    chosen = chosen.masked_fill(~vision, -torch.inf)
    width = int(budget.max())
    order = chosen.sort(dim=1, descending=True, stable=True).indices[:, :width]
    spare = torch.arange(width, device=order.device) >= budget.unsqueeze(1)
    beyond = vision.shape[1]
    kept = order.masked_fill(spare, beyond).sort(1).values
    return kept.masked_fill(kept == beyond, -1)


def running_layers(
    scores: Tensor, layers: int, candidates: tuple[int, ...] | None = None
) -> tuple[int, ...]:
    """The L layers that run; the candidates of the lowest mean score do not.

    Args:
        scores: (rows, N) logits; without a row every layer runs.
        layers: L.
        candidates: layers that may be skipped; `layer_candidates(N)` where not given.

    Raises:
        ParError: fewer candidates than layers to skip.
    """
    total = scores.shape[1]
    candidates = layer_candidates(total) if candidates is None else candidates
    if not total - len(candidates) <= layers <= total:
        raise ParError(
            f"Of {total} layers {len(candidates)} may be skipped, so {layers} cannot be the number "
            f"that runs; choose {total - len(candidates)} to {total}."
        )
    if len(scores) == 0 or layers == total:
        return tuple(range(total))
    mean = scores.mean(0)
    ranked = sorted(candidates, key=lambda index: float(mean[index]))
    skipped = set(ranked[: total - layers])
    return tuple(index for index in range(total) if index not in skipped)


def token_budget(counts: Tensor, share: float) -> Tensor:
    """T of rows with `counts` (B,) image tokens: the nearest whole number, at least 1."""
    return (counts * share).round().long().clamp(min=1)
