"""What a trained router keeps of scenes-llava's answers, beside what needs no training.

Every way to choose is held to the same budget and to the dense model's own answers, on prompts and
pictures of the test split, whose layouts and digits the router has not seen. Intervals are paired
bootstraps over the prompts. The question-swap test asks two things about one picture.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from app.domain.routing import Routing, TokensAndLayers
from benchmarks.figures import Figure
from workers.pipeline.evaluation.interval import Scores, compare
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.loading import load_model
from workers.pruning.models.records import CalibrationRecord
from workers.pruning.models.registry import adapt
from workers.pruning.par.answers import Answered, Closeness, answer, closeness, joined, log_probs
from workers.pruning.par.judging import PRIOR, RANDOM, ROUTER, UNIFORM, averaged, contestants
from workers.pruning.par.learning import Learned, learn
from workers.pruning.par.policies import Policy, Rules, deciding
from workers.pruning.par.runtime import (
    VISION,
    Decision,
    Profile,
    Router,
    anatomy,
    layer_candidates,
    par,
)
from workers.pruning.par.runtime import (
    Scores as RouterScores,
)
from workers.scenes.drawing import draw
from workers.scenes.questions import KINDS
from workers.scenes.samples import Sample, samples
from workers.scenes.scene import POSITIONS, SIDE, sample_scene
from workers.scenes.splits import Split

HERE = Path(__file__).parent
MODELS = {
    "scenes-llava": HERE.parent / "models" / "scenes-llava",
    "scenes-llava-8": HERE / "scenes-llava-8",
}
TRAINING, CHOOSING, JUDGING, PAIRS = 900, 180, 540, 250
FASTV = "fastv"
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Subject:
    """One model with the budget its router is trained for."""

    adapter: Adapter
    joint: Rules

    @property
    def budgets(self) -> dict[str, Rules]:
        """What the router is judged at: the budget it was trained for, and each half of it."""
        profile, layers = self.joint.profile, len(anatomy(self.adapter.model).layers)
        found = {"tokens": replace(self.joint, profile=replace(profile, layers=layers))}
        if profile.layers < layers:
            found["layers"] = replace(self.joint, profile=replace(profile, tokens=1.0))
            found["both"] = self.joint
        return found


def load(path: Path) -> Subject:
    """The model; tokens leave before layer 1 where two would leave too little to prune."""
    adapter = adapt(load_model(path))
    layers = len(anatomy(adapter.model).layers)
    drop_layer = 1 if layers < 6 else 2
    able = layer_candidates(layers, drop_layer)
    run = layers - (len(able) - 1 if able else 0)  # one candidate alone leaves nothing to choose
    return Subject(adapter, Rules(Profile(0.306, run, drop_layer), able, 0.1))


def asked(split: Split, seed: int, count: int) -> list[Sample]:
    """Questions of every kind in turn, each about a scene of its own."""
    streams = [samples(split, seed=seed, kind=kind) for kind in KINDS]
    return list(islice((sample for row in zip(*streams, strict=True) for sample in row), count))


def answered(adapter: Adapter, questions: list[Sample]) -> list[Answered]:
    """With dense answers."""
    records = [CalibrationRecord(each.question, each.image) for each in questions]
    made = answer(adapter, records, batch_size=_BATCH, max_length=128, answer_tokens=32)
    return list(made)


def train(subject: Subject) -> Learned:
    """A slim router, with a job's defaults."""
    routing = Routing(budget=TokensAndLayers(tokens=subject.joint.profile.tokens))
    questions = asked(Split.CALIBRATION, 0, TRAINING + CHOOSING)
    with TemporaryDirectory() as scratch:
        return learn(
            subject.adapter,
            routing,
            subject.joint,
            training=answered(subject.adapter, questions[:TRAINING]),
            choosing=answered(subject.adapter, questions[TRAINING:]),
            scratch=Path(scratch),
            listener=lambda step: print(step.report) if step.report else None,
        )


# ------------------------------------------------------------------------------- the policies


def attention(adapter: Adapter, batch: Answered, layer: int) -> Tensor:
    """(B, P): what the prompt's last token attends to in a layer, mean over heads.

    FastV (Chen et al., ECCV 2024, arXiv 2403.06764) ranks image tokens by it.
    """
    model: Any = adapter.model
    before = model.config._attn_implementation  # noqa: SLF001 - there is no other way to ask
    model.set_attn_implementation("eager")
    try:
        maps = adapter.call(batch.inputs, output_attentions=True).attentions[layer]
    finally:
        model.set_attn_implementation(before)
    return maps[:, :, batch.length - 1, : batch.length].mean(1)


def fastv(adapter: Adapter, batch: Answered, rules: Rules, prior: Tensor) -> Policy:
    """Tokens by attention in the layer before they leave; layers by least influence."""
    seen = attention(adapter, batch, max(rules.profile.drop_layer - 1, 0))
    return lambda _embeddings, segments: RouterScores(seen, prior.expand(len(segments), -1))


def judge(
    subject: Subject, router: Router, rules: Rules, batches: list[Answered]
) -> Mapping[str, Closeness]:
    """Every policy on every prompt."""
    found: dict[str, list[tuple[tuple[int, ...], Closeness]]] = {}
    free = rules.without_floor()
    for batch in batches:
        dense = log_probs(subject.adapter, batch)
        contest = contestants(router, rules)
        contest[FASTV] = (fastv(subject.adapter, batch, rules, router.prior), free)
        for name, (policy, own) in contest.items():
            choose = deciding(policy, own, batch.length)
            with par(subject.adapter.model, choose, drop_layer=rules.profile.drop_layer):
                near = closeness(dense, log_probs(subject.adapter, batch), batch.answers)
            found.setdefault(name, []).append((batch.places, near))
    whole = {name: joined(each) for name, each in found.items()}
    return {**averaged(whole), FASTV: whole[FASTV]}


# ---------------------------------------------------------------------------- the question swap


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


def swapped() -> Iterator[tuple[Sample, Sample]]:
    """Two questions about two things of one picture."""
    for index in range(PAIRS):
        rng = Split.TEST.rng(7, len(KINDS) + 1, index)
        scene = sample_scene(Split.TEST, rng)
        image = draw(scene, rng)
        first, second = scene.things[0], scene.things[-1]
        yield tuple(
            Sample("cell", scene, image, f"what is in the {POSITIONS[thing.cell]} ?", str(thing))
            for thing in (first, second)
        )


def kept_ranks(
    subject: Subject, router: Router, rules: Rules, questions: list[Sample]
) -> list[set[int]]:
    """Which image tokens, by rank, the router keeps of each prompt."""
    found: list[set[int]] = [set() for _ in questions]
    every = tuple(range(len(router.prior)))
    for batch in answered(subject.adapter, questions):

        def watch(embeddings: Tensor, segments: Tensor, batch: Answered = batch) -> Decision:
            prompt = segments[:, : batch.length]
            scores = router(embeddings[:, : batch.length], prompt)
            decision = rules.decide(scores, prompt)
            first = (prompt == VISION).long().argmax(1)
            for place, row, start in zip(batch.places, decision.keep, first, strict=True):
                found[place] = set((row - start).tolist())
            return Decision(None, every)

        with par(subject.adapter.model, watch, drop_layer=rules.profile.drop_layer):
            subject.adapter.call(batch.inputs)
    return found


def swap_figures(name: str, subject: Subject, router: Router) -> dict[str, Figure]:
    """How often the other question keeps another set, and how much of what it asks for is kept."""
    pairs = list(swapped())
    rules = subject.joint
    flat = [sample for pair in pairs for sample in pair]
    kept = kept_ranks(subject, router, rules, flat)
    tokens = int(subject.adapter.model.config.image_seq_length)
    recall = []
    for sample, ranks in zip(flat, kept, strict=True):
        cell = relevant(sample)
        wanted = set(patches(cell, tokens)) if cell is not None else set()
        recall.append(len(wanted & ranks) / len(wanted))
    other = [
        len(set(patches(relevant(b) or 0, tokens)) & kept[2 * i]) / (tokens // 9)
        for i, (_, b) in enumerate(pairs)
    ]
    differ = np.mean([kept[2 * i] != kept[2 * i + 1] for i in range(len(pairs))])
    return {
        f"{name}: another question, another keep set": Figure(float(differ), least=0.9),
        f"{name}: recall of the patch asked for": Figure(float(np.mean(recall))),
        f"{name}: recall of the other question's patch": Figure(float(np.mean(other))),
        f"{name}: recall of a random set": Figure(len(kept[0]) / tokens),
    }


# -------------------------------------------------------------------------------- the figures


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
    learned = train(subject)
    batches = answered(subject.adapter, asked(Split.TEST, 1, JUDGING))
    found: dict[str, Figure] = {}
    for budget, rules in subject.budgets.items():
        judged = judge(subject, learned.router, rules, batches)
        label = f"{name}, {budget} ({rules.profile.tokens:.0%}, {rules.profile.layers} layers)"
        found |= budget_figures(label, judged)
    return found | swap_figures(name, subject, learned.router)


def budget_figures(label: str, judged: Mapping[str, Closeness]) -> dict[str, Figure]:
    """KL, agreement and exact match of the router; the KL of each other way less the router's."""
    own = judged[ROUTER]
    found = {
        f"{label}: router KL": Figure(float(own.kl.mean())),
        f"{label}: router same tokens": Figure(float(own.agreement.mean())),
        f"{label}: router same answers": Figure(float(own.exact.mean())),
    }
    for name in (RANDOM, UNIFORM, PRIOR, FASTV):
        near = judged[name]
        change = compare(_scores(own.kl), _scores(near.kl), 0).change
        print(
            f"{label}: {name:8s} KL {near.kl.mean():.4f} same tokens {near.agreement.mean():.3f} "
            f"same answers {near.exact.mean():.3f}; KL over the router's {change.value:.4f} "
            f"[{change.low:.4f}, {change.high:.4f}]"
        )
        # The gate asks a router to beat the first three.
        least = None if name == FASTV else 0
        found[f"{label}: {name} KL less router's, 2.5 %"] = Figure(change.low, least=least)
    return found


def _scores(values: Tensor) -> Scores:
    return Scores(values.numpy(), np.ones(len(values)))
