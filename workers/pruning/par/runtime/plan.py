"""A decision made physical: which positions are left, and what is padding among them."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workers.pruning.par.runtime.anatomy import PADDING, TEXT, VISION
from workers.pruning.par.runtime.decision import Decision
from workers.pruning.par.runtime.errors import ParError


@dataclass
class Plan:
    """A decision made physical; lives as long as its cache.

    Attributes:
        length: S of the prompt.
        layers: those that run.
        drop_layer: image tokens leave before this one.
        positions: (B, S'), ascending, of what is left; None where nothing leaves.
        valid: (B, S'), False where padding, or a dropped token that fills up a shorter row, stands.
        partly: by layer the rows that run it, of layers that only some of them run.
    """

    length: int
    layers: frozenset[int]
    drop_layer: int
    positions: Tensor | None = None
    valid: Tensor | None = None
    partly: dict[int, Tensor] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Positions that left."""
        return 0 if self.positions is None else self.length - self.positions.shape[1]

    def mask(self, given: Tensor | None, new: int) -> Tensor:
        """(B, S' + new) padding mask behind the drop; `given` is (B, S + new) or None."""
        assert self.valid is not None  # noqa: S101 (asked for only where tokens left)
        tail = self.valid.new_ones(len(self.valid), new)
        if given is not None:
            tail = given[:, self.length :].to(tail)
        return torch.cat([self.valid, tail], dim=1)


def plan_of(decision: Decision, segments: Tensor, drop_layer: int) -> Plan:
    """The plan of a decision on prompts of these segments (B, S).

    Raises:
        ParError: the decision keeps a position that holds no image token.
    """
    length = segments.shape[1]
    plan = Plan(length, frozenset(decision.layers), drop_layer)
    if decision.rows is not None:
        counts = decision.rows.sum(0).tolist()
        plan.partly = {
            index: decision.rows[:, index].nonzero().squeeze(1)
            for index, count in enumerate(counts)
            if 0 < count < len(decision.rows)
        }
    if decision.keep is None:
        return plan
    kept = torch.zeros_like(segments).scatter_(1, decision.keep.clamp(min=0), 1).bool()
    kept[:, 0] = (decision.keep == 0).any(1)  # -1 was written there
    if bool((kept & (segments != VISION)).any()):
        raise ParError("A decision may keep positions of image tokens only.")
    # Rows of different lengths are filled up, with padding first, and what fills up is masked.
    stays = kept | (segments == TEXT)
    width = int(stays.sum(1).max())
    if width < length or bool((~kept & (segments == VISION)).any()):
        rank = 2 * stays.long() + (segments == PADDING)
        order = rank.sort(dim=1, descending=True, stable=True).indices[:, :width]
        plan.positions = order.sort(1).values
        plan.valid = stays.gather(1, plan.positions)
    return plan


def pick(tensor: Tensor, positions: Tensor, dim: int) -> Tensor:
    """Entries of a (..., B or 1, S, ...) tensor at `positions` (B, S') of dimension `dim` < 0."""
    shape = list(tensor.shape)
    shape[dim - 1] = len(positions)
    index = positions.to(tensor.device).reshape(positions.shape + (1,) * (-1 - dim))
    taken = [*shape]
    taken[dim] = positions.shape[1]
    return tensor.expand(shape).gather(dim, index.expand(taken))
