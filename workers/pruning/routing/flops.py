"""Floating-point operations of a prompt under PAR, counted, and the budget that meets a target.

A multiplication and an addition are two. Attention counts its whole square, as PyTorch's counter
does. What is counted is the language model's layers and the router, not the vision tower, nor the
output head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from workers.pruning.routing.runtime import (
    DROP_LAYER,
    TEXT,
    Anatomy,
    ParError,
    Profile,
    Router,
    layer_candidates,
)


def _cpu_attention(query: Sequence[int], key: Sequence[int], *_: Any, **__: Any) -> int:
    """PyTorch has a formula for every fused attention but the CPU's; shapes (B, heads, S, head)."""
    batch, heads, queries, width = query
    return 4 * batch * heads * queries * key[2] * width  # q @ k and scores @ v


_FORMULAS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention}  # noqa: SLF001 (an operator's name)


def count(work: Callable[[], object]) -> dict[str, int]:
    """Operations of `work`, run for real: `Global` and every module's dotted name."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        work()
    by_module = counter.get_flop_counts()
    return {name: sum(operations.values()) for name, operations in by_module.items()}


@dataclass(frozen=True)
class Prompt:
    """Lengths of a typical prompt.

    Attributes:
        text: text tokens.
        vision: image tokens, at least 1.
    """

    text: int
    vision: int


class Costs:
    """Operations of one prompt at any budget, counted on shapes alone: no arithmetic is done.

    Args:
        subject: the model's anatomy.
        router: included in every pruned count; None for a decision that costs nothing.
        prompt: lengths.
    """

    def __init__(self, subject: Anatomy, router: Router | None, prompt: Prompt) -> None:
        self._subject, self.prompt = subject, prompt
        self.layers = len(subject.layers)
        self._known: dict[int, int] = {}
        with torch.device("meta"):
            self._one = type(subject.layers[0])(subject.text.config, 0)
        self.router = 0 if router is None else self._count_router(router)

    def dense(self) -> int:
        """Every token through every layer."""
        return self.layers * self._layer(self.prompt.text + self.prompt.vision)

    def pruned(self, tokens: int, layers: int, drop_layer: int = DROP_LAYER) -> int:
        """T image tokens and L layers, the router included; layers before the drop all run."""
        whole = self.prompt.text + self.prompt.vision
        before = drop_layer * self._layer(whole) if drop_layer else 0
        after = (layers - drop_layer) * self._layer(self.prompt.text + tokens)
        return self.router + before + after

    def ratio(self, tokens: int, layers: int, drop_layer: int = DROP_LAYER) -> float:
        """Pruned / dense."""
        return self.pruned(tokens, layers, drop_layer) / self.dense()

    def cached(self, tokens: int, layers: int, drop_layer: int = DROP_LAYER) -> float:
        """Positions cached after the prompt, over all layers, by those of the dense model."""
        whole, left = self.prompt.text + self.prompt.vision, self.prompt.text + tokens
        return (drop_layer * whole + (layers - drop_layer) * left) / (self.layers * whole)

    def tokens(self, share: float) -> int:
        """T of the typical prompt."""
        return max(1, round(self.prompt.vision * share))

    def _layer(self, length: int) -> int:
        if length not in self._known:
            self._known[length] = self._count_layer(length)
        return self._known[length]

    def _count_layer(self, length: int) -> int:
        config = self._subject.text.config
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        hidden = torch.empty(1, length, config.hidden_size, device="meta")
        angles = torch.empty(1, length, head, device="meta")
        arguments = {"attention_mask": None, "position_embeddings": (angles, angles)}
        return count(lambda: self._one(hidden, **arguments))["Global"]

    def _count_router(self, router: Router) -> int:
        length, device = self.prompt.text + self.prompt.vision, router.layer_tokens.device
        embeddings = torch.zeros(1, length, self._subject.hidden_size, device=device)
        segments = torch.full((1, length), TEXT, device=device)
        return count(lambda: router(embeddings, segments))["Global"]


# The paper's budgets as shares, from nothing to dense: tokens, and the layers paired with them.
_TOKENS = (0.0, 0.222, 0.25, 0.306, 0.444, 1.0)
_LAYERS = (0.5, 0.75, 0.75, 0.875, 0.875, 1.0)


def solve(
    costs: Costs,
    target: float,
    *,
    prunes_tokens: bool = True,
    drop_layer: int = DROP_LAYER,
    candidates: Sequence[int] | None = None,
) -> Profile:
    """The budget that spends `target` of the dense operations, or just less.

    Many pairs of T and L do. The one nearest to the paper's own budgets is taken (ours): for each
    L the largest T that fits, then the L whose share of layers is closest to what the paper pairs
    with that share of tokens.

    Args:
        costs: of the typical prompt.
        target: pruned / dense, above 0 and below 1.
        prunes_tokens: False for a model of which layers only are skipped.
        drop_layer: image tokens leave before this layer.
        candidates: layers that may be skipped.

    Raises:
        ParError: no budget is that cheap; the message says what the cheapest costs.
    """
    vision = costs.prompt.vision
    candidates = layer_candidates(costs.layers, drop_layer) if candidates is None else candidates
    least = 1 if prunes_tokens else vision
    options = [
        (tokens, layers)
        for layers in range(costs.layers - len(candidates), costs.layers + 1)
        if (tokens := _most_tokens(costs, target, layers, least, drop_layer)) is not None
    ]
    if not options:
        cheapest = costs.ratio(least, costs.layers - len(candidates), drop_layer)
        raise ParError(
            f"No budget costs {target:.3f} of the dense prompt; the cheapest, {least} image tokens "
            f"and {costs.layers - len(candidates)} layers, costs {cheapest:.3f}."
        )
    tokens, layers = min(options, key=lambda each: _distance(costs, *each))
    return Profile(tokens / vision, layers, drop_layer)


def _most_tokens(
    costs: Costs, target: float, layers: int, least: int, drop_layer: int
) -> int | None:
    """The largest T in [least, vision] within the target, by bisection; None without one."""
    low, high = least - 1, costs.prompt.vision
    while low < high:
        middle = (low + high + 1) // 2
        if costs.ratio(middle, layers, drop_layer) <= target:
            low = middle
        else:
            high = middle - 1
    return low if low >= least else None


def _distance(costs: Costs, tokens: int, layers: int) -> tuple[float, int]:
    """How far a pair is from the paper's path; of equals, the one with more layers is first."""
    wanted = np.interp(tokens / costs.prompt.vision, _TOKENS, _LAYERS)
    return abs(layers / costs.layers - float(wanted)), -layers
