"""A router beside what needs no training, at the same budget, on records it has not seen."""

from collections.abc import Callable, Iterable, Mapping

import torch

from workers.pruning.models.adapter import Adapter
from workers.pruning.routing.answers import Answered, Closeness, closeness, joined, log_probs
from workers.pruning.routing.policies import (
    Policy,
    Rules,
    deciding,
    even_policy,
    random_policy,
    routed,
)
from workers.pruning.routing.runtime import Router, par

ROUTER = "router"
RANDOM, UNIFORM, PRIOR = BASELINES = ("random", "uniform", "prior")
"""Random tokens and layers; evenly spaced ones; evenly spaced tokens, layers of least influence."""
SEEDS = range(5)
"""Of the random policy; its figures are means over these."""


def judge(
    adapter: Adapter,
    answered: Iterable[Answered],
    policies: Mapping[str, tuple[Policy, Rules]],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Closeness]:
    """How near to the dense answers each policy stays, record by record.

    Args:
        adapter: the dense model.
        answered: prompts with dense answers.
        policies: with the rules each is held to.
        tick: told after every batch; what it raises ends it.
    """
    found: dict[str, list[tuple[tuple[int, ...], Closeness]]] = {name: [] for name in policies}
    for batch in answered:
        dense = log_probs(adapter, batch)
        for name, (policy, rules) in policies.items():
            decide_fn = deciding(policy, rules, batch.length)
            with par(adapter.model, decide_fn, drop_layer=rules.profile.drop_layer):
                near = closeness(dense, log_probs(adapter, batch), batch.answers)
            found[name].append((batch.places, near))
        tick()
    return {name: joined(batches) for name, batches in found.items()}


def contestants(router: Router, rules: Rules) -> dict[str, tuple[Policy, Rules]]:
    """The router and every baseline; baselines have no coverage floor, each is what it is."""
    free, layers = rules.without_floor(), len(router.prior)
    return {
        ROUTER: (routed(router), rules),
        **{_seeded(seed): (random_policy(layers, seed), free) for seed in SEEDS},
        UNIFORM: (even_policy(free), free),
        PRIOR: (even_policy(free, router.prior), free),
    }


def averaged(closeness: Mapping[str, Closeness]) -> dict[str, Closeness]:
    """The same with one random policy: per record the mean over its seeds."""
    drawn = [closeness[_seeded(seed)] for seed in SEEDS]
    mean = Closeness(*(torch.stack(column).mean(0) for column in zip(*drawn, strict=True)))
    return {
        ROUTER: closeness[ROUTER],
        RANDOM: mean,
        UNIFORM: closeness[UNIFORM],
        PRIOR: closeness[PRIOR],
    }


def _seeded(seed: int) -> str:
    return f"{RANDOM}-{seed}"
