"""One optimiser for both models, and its learning-rate curves."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

WARM_UP = 50  # steps

Curve = Callable[[float], float]  # from the share of steps done to the share of the peak rate


def cosine(done: float) -> float:
    """Falls from the peak to zero."""
    return (1 + math.cos(math.pi * done)) / 2


def constant(_done: float) -> float:
    """Stays at the peak."""
    return 1


def late_fall(done: float) -> float:
    """Stays at the peak for the first half, then falls linearly to zero."""
    return min(1, 2 * (1 - done))


def optimise(
    rates: Mapping[nn.Module, float],
    losses: Callable[[int], Tensor],
    *,
    steps: range,
    curve: Curve = cosine,
) -> None:
    """Minimise `losses(step)` over `steps` with AdamW.

    The learning rate rises to its peak over `WARM_UP` steps and follows the curve.

    Args:
        rates: peak learning rate by module; a part of another module comes after it.
        losses: the loss of a step.
        steps: numbers of the steps, which name their batches.
        curve: of the learning rate.
    """
    peaks = {weight: rate for module, rate in rates.items() for weight in module.parameters()}
    groups = [{"params": [weight], "peak": rate} for weight, rate in peaks.items()]
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.05)
    for done, step in enumerate(steps):
        share = min(1, (done + 1) / WARM_UP) * curve(done / len(steps))
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * share
        loss = losses(step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(peaks, 1.0)
        optimiser.step()
        if (done + 1) % 50 == 0:
            print(f"step {done + 1}/{len(steps)} loss {loss.item():.4f}", flush=True)
