"""The question swap: two questions about two things of one picture.

A router that looks at pictures alone keeps the same tokens for both. One that reads the question
keeps others, and more of the patch that is asked for than of the other question's.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure
from benchmarks.par.contest import FASTV, contest, prompts_of
from benchmarks.par.subject import Subject, answered
from workers.pipeline.evaluation.interval import RecordScores, compare
from workers.pruning.routing.answers import Answered
from workers.pruning.routing.judging import PRIOR, RANDOM, ROUTER, SEEDS, UNIFORM
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.runtime import VISION, Router
from workers.scenes.drawing import draw
from workers.scenes.questions import KINDS
from workers.scenes.samples import Sample
from workers.scenes.scene import POSITIONS, SIDE, sample_scene
from workers.scenes.splits import Split

PAIRS = 250
Kept = dict[str, dict[int, set[int]]]
"""Who chooses -> prompt -> image tokens that stay, by rank."""


def swapped() -> Iterator[tuple[Sample, Sample]]:
    """Two questions about two things of one picture."""
    for index in range(PAIRS):
        rng = Split.TEST.rng(7, len(KINDS) + 1, index)
        scene = sample_scene(Split.TEST, rng)
        image = draw(scene, rng)
        first, second = (
            Sample("cell", scene, image, f"what is in the {POSITIONS[thing.cell]} ?", str(thing))
            for thing in (scene.things[0], scene.things[-1])
        )
        yield first, second


def relevant(sample: Sample) -> int | None:
    """The cell a question is about, where it is one."""
    if sample.kind in {"cell", "digit"}:
        return next(at for at, name in enumerate(POSITIONS) if f"the {name} ?" in sample.question)
    if sample.kind == "position":
        return POSITIONS.index(sample.answer)
    return None


def patches(cell: int, tokens: int) -> list[int]:
    """Image tokens, by rank, that show a cell of the grid."""
    side = round(tokens**0.5)
    each = side // SIDE
    row, column = divmod(cell, SIDE)
    rows = range(row * each, (row + 1) * each)
    return [y * side + x for y in rows for x in range(column * each, (column + 1) * each)]


def figures(name: str, subject: Subject, router: Router) -> dict[str, Figure]:
    """At the tokens asked for, which do not hold all of a picture, and at many."""
    questions = [sample for pair in swapped() for sample in pair]
    batches = answered(subject.adapter, questions)
    found: dict[str, Figure] = {}
    for budget in ("tokens", "many tokens"):
        rules, strict = subject.budgets[budget], budget == "tokens"
        kept = _kept(subject, router, rules, batches)
        label = f"{name}, {budget} ({rules.profile.tokens:.0%})"
        told = _figures(label, questions, kept, subject.image_tokens)
        found |= told if strict else {name: Figure(each.value) for name, each in told.items()}
    return found


def _kept(subject: Subject, router: Router, rules: Rules, batches: list[Answered]) -> Kept:
    """What everyone keeps of each prompt."""
    found: Kept = {}
    for batch in batches:
        embeddings, segments = prompts_of(subject.adapter, batch)
        first = (segments == VISION).long().argmax(1)
        policies = contest(subject.adapter, router, rules, batch)
        for name, (policy, own) in policies.items():
            keep = own.decide(policy(embeddings, segments), segments).keep
            for place, row, start in zip(batch.places, keep, first, strict=True):
                found.setdefault(name, {})[place] = set((row - start).tolist())
    return found


def _figures(label: str, questions: list[Sample], kept: Kept, tokens: int) -> dict[str, Figure]:
    """How often the other question keeps another set; how much of the patches asked for stays."""
    places = range(len(questions))
    wanted = [set(patches(relevant(each) or 0, tokens)) for each in questions]

    def recall(name: str, of: list[set[int]]) -> NDArray[np.float64]:
        shares = (
            len(of[at] & kept[name][at]) / min(len(of[at]), len(kept[name][at])) for at in places
        )
        return np.fromiter(shares, float)

    def differ(name: str) -> float:
        return float(np.mean([kept[name][at] != kept[name][at + 1] for at in places[::2]]))

    own, other = recall(ROUTER, wanted), recall(ROUTER, [wanted[at ^ 1] for at in places])
    others = {
        RANDOM: np.mean([recall(f"{RANDOM}-{seed}", wanted) for seed in SEEDS], axis=0),
        UNIFORM: recall(UNIFORM, wanted),
        PRIOR: recall(PRIOR, wanted),
        FASTV: recall(FASTV, wanted),
    }
    label = f"{label}, question swapped"
    found = {
        f"{label}: another keep set": Figure(differ(ROUTER), least=0.9),
        f"{label}: another keep set, {FASTV}": Figure(differ(FASTV)),
        f"{label}: recall of the patch asked for": Figure(float(own.mean())),
        f"{label}: recall of the other question's patch": Figure(float(other.mean())),
        f"{label}: recall asked for less other's, 2.5 %": Figure(_low(other, own), least=0),
    }
    for name, shares in others.items():
        found[f"{label}: recall, {name}"] = Figure(float(shares.mean()))
        # FastV looks for the patch alone, by the prompt's last token; answers are judged elsewhere.
        least = None if name == FASTV else 0
        found[f"{label}: recall over {name}, 2.5 %"] = Figure(_low(shares, own), least=least)
    return found


def _low(base: NDArray[np.float64], own: NDArray[np.float64]) -> float:
    """Lower end of the paired 95 % interval of `own` less `base`."""
    ones = np.ones(len(base))
    return compare(RecordScores(base, ones), RecordScores(own, ones), 0).change.low
