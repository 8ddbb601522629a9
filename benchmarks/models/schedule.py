"""One optimiser and one learning-rate curve for both models."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

WARM_UP = 50  # steps


def optimise(
    model: nn.Module,
    losses: Callable[[int], Tensor],
    *,
    steps: range,
    peak: float,
    decay: float = 0.5,
) -> None:
    """Minimise `losses(step)` over `steps` with AdamW.

    The learning rate rises to `peak`, stays there and falls linearly to zero over the last share
    `decay` of the steps.
    """
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for done, step in enumerate(steps):
        share = min(1, (done + 1) / WARM_UP)
        if decay:
            share = min(share, (len(steps) - done) / (decay * len(steps)))
        for group in optimiser.param_groups:
            group["lr"] = peak * share
        loss = losses(step)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if (done + 1) % 50 == 0:
            print(f"step {done + 1}/{len(steps)} loss {loss.item():.4f}", flush=True)
