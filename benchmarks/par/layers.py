"""Layers alone: every set that may be left out is run, so every choice is judged by the prompt.

Beside everyone's choice stand the bounds: the best of all fixed sets, and the best set of each
prompt, found by looking.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from benchmarks.figures import Figure
from benchmarks.par.contest import contest, prompts_of
from benchmarks.par.subject import Subject
from workers.pipeline.evaluation.interval import RecordScores, compare
from workers.pruning.routing.answers import Answered, closeness, joined, log_probs
from workers.pruning.routing.judging import PRIOR, RANDOM, ROUTER, SEEDS, UNIFORM
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.runtime import Decision, Router, par, running_layers

Sets = tuple[tuple[int, ...], ...]


def figures(
    name: str, subject: Subject, router: Router, batches: list[Answered]
) -> dict[str, Figure]:
    """KL of every choice; the router against the others, those of the gate with a target."""
    rules = subject.with_profile(tokens=1.0)
    sets = _sets(rules, subject.layers)
    kl = _table(subject, sets, batches)
    taken = _taken(subject, router, rules, batches)
    found = {
        who: kl[[sets.index(each) for each in each_], range(len(kl[0]))]
        for who, each_ in taken.items()
    }
    found[RANDOM] = torch.stack([found.pop(f"{RANDOM}-{seed}") for seed in SEEDS]).mean(0)
    label = f"{name}, layers ({rules.profile.layers} of {subject.layers})"
    return _figures(label, kl, found)


def _sets(rules: Rules, total: int) -> Sets:
    """Layers that run, for every choice of those that do not."""
    skips = combinations(rules.candidates, total - rules.profile.layers)
    return tuple(tuple(at for at in range(total) if at not in skipped) for skipped in skips)


def _table(subject: Subject, sets: Sets, batches: list[Answered]) -> Tensor:
    """(sets, prompts) KL to the dense answers."""
    rows: list[list[tuple[tuple[int, ...], object]]] = [[] for _ in sets]
    for batch in batches:
        dense = log_probs(subject.adapter, batch)
        for row, run in zip(rows, sets, strict=True):
            with par(subject.adapter.model, lambda _e, _s, run=run: Decision(None, run)):
                near = closeness(dense, log_probs(subject.adapter, batch), batch.answers)
            row.append((batch.places, near))
    return torch.stack([joined(row).kl for row in rows])


def _taken(
    subject: Subject, router: Router, rules: Rules, batches: list[Answered]
) -> Mapping[str, list[tuple[int, ...]]]:
    """Everyone's set for each prompt, as if it came alone."""
    found: dict[str, dict[int, tuple[int, ...]]] = {}
    for batch in batches:
        embeddings, segments = prompts_of(subject.adapter, batch)
        for name, (policy, own) in contest(subject.adapter, router, rules, batch).items():
            scores = policy(embeddings, segments).layers
            for place, row in zip(batch.places, scores, strict=True):
                run = running_layers(row[None], own.profile.layers, own.candidates)
                found.setdefault(name, {})[place] = run
    return {name: [each[place] for place in sorted(each)] for name, each in found.items()}


def _figures(label: str, kl: Tensor, found: Mapping[str, Tensor]) -> dict[str, Figure]:
    own, fixed = found[ROUTER], kl.mean(1)
    figures = {
        f"{label}: router KL": Figure(float(own.mean())),
        f"{label}: KL of the best fixed set": Figure(float(fixed.min())),
        f"{label}: KL of the worst fixed set": Figure(float(fixed.max())),
        f"{label}: KL of each prompt's best set": Figure(float(kl.min(0).values.mean())),
    }
    for name in (RANDOM, UNIFORM, PRIOR):
        near = found[name]
        change = compare(_scores(own), _scores(near), 0).change
        # No better set beats whoever happens on the best one; only a set for each prompt does.
        least = None if float(near.mean()) <= float(fixed.min()) else 0
        figures[f"{label}: {name} KL"] = Figure(float(near.mean()))
        figures[f"{label}: {name} KL less router's, 2.5 %"] = Figure(change.low, least=least)
    return figures


def _scores(values: Tensor) -> RecordScores:
    array = values.numpy().astype(float)
    return RecordScores(array, np.ones_like(array))
