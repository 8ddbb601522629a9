"""What a trained router keeps of scenes-llava's answers, beside what needs no training.

Every way to choose is held to the same budget and to the dense model's own answers, on prompts and
pictures of the test split, whose layouts and digits the router has not seen. Intervals are paired
bootstraps over the prompts.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import Figure
from benchmarks.par import layers, swap
from benchmarks.par.contest import FASTV, contest
from benchmarks.par.subject import MODELS, Subject, answered, asked, load, train
from workers.pipeline.evaluation.interval import RecordScores, compare
from workers.pruning.routing.answers import Answered, Closeness, closeness, joined, log_probs
from workers.pruning.routing.judging import PRIOR, RANDOM, ROUTER, UNIFORM, averaged
from workers.pruning.routing.policies import Rules, deciding
from workers.pruning.routing.runtime import Router, par
from workers.scenes.splits import Split

JUDGING = 540


def figures() -> dict[str, Figure]:
    """All of them."""
    torch.set_num_threads(1)
    found: dict[str, Figure] = {}
    for name, path in MODELS.items():
        found |= model_figures(name, path)
    return found


@torch.no_grad()
def model_figures(name: str, path: Path) -> dict[str, Figure]:
    """Train once, judge at every budget."""
    subject = load(path)
    router = train(subject).router
    batches = answered(subject.adapter, asked(Split.TEST, 1, JUDGING))
    found: dict[str, Figure] = {}
    for budget, rules in subject.budgets.items():
        judged = judge(subject, router, rules, batches)
        label = f"{name}, {budget} ({rules.profile.tokens:.0%}, {rules.profile.layers} layers)"
        told = budget_figures(label, judged)
        strict = budget != "many tokens"  # an even grid leaves nothing to gain there
        found |= told if strict else {name: Figure(each.value) for name, each in told.items()}
    if subject.skips_layers:
        found |= layers.figures(name, subject, router, batches)
    return found | swap.figures(name, subject, router)


def judge(
    subject: Subject, router: Router, rules: Rules, batches: list[Answered]
) -> Mapping[str, Closeness]:
    """Everyone on every prompt."""
    found: dict[str, list[tuple[tuple[int, ...], Closeness]]] = {}
    for batch in batches:
        dense = log_probs(subject.adapter, batch)
        for name, (policy, own) in contest(subject.adapter, router, rules, batch).items():
            choose = deciding(policy, own, batch.length)
            with par(subject.adapter.model, choose, drop_layer=rules.profile.drop_layer):
                near = closeness(dense, log_probs(subject.adapter, batch), batch.answers)
            found.setdefault(name, []).append((batch.places, near))
    whole = {name: joined(each) for name, each in found.items()}
    return {**averaged(whole), FASTV: whole[FASTV]}


def budget_figures(label: str, judged: Mapping[str, Closeness]) -> dict[str, Figure]:
    """KL, same tokens and same answers of everyone; the KL of each other one less the router's."""
    found: dict[str, Figure] = {}
    for name in (ROUTER, RANDOM, UNIFORM, PRIOR, FASTV):
        near = judged[name]
        found[f"{label}: {name} KL"] = Figure(float(near.kl.mean()))
        found[f"{label}: {name} same tokens"] = Figure(float(near.agreement.mean()))
        found[f"{label}: {name} same answers"] = Figure(float(near.exact.mean()))
        if name != ROUTER:
            change = compare(_scores(judged[ROUTER].kl), _scores(near.kl), 0).change
            found[f"{label}: {name} KL less router's, 2.5 %"] = Figure(change.low, least=0)
            found[f"{label}: {name} KL less router's, 97.5 %"] = Figure(change.high)
    return found


def _scores(values: Tensor) -> RecordScores:
    return RecordScores(values.numpy(), np.ones(len(values)))
