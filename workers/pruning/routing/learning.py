"""Rounds of mining and training; the best by held-out KL is kept."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from app.errors import CalibrationDataError, RecipeError
from app.recipes.routing import Routing
from app.recipes.routing_report import RoundReport
from workers.pruning.models.adapter import Adapter
from workers.pruning.resume import Checkpoints, Entry, NoCheckpoints
from workers.pruning.routing.answers import Answered
from workers.pruning.routing.judging import ROUTER, judge
from workers.pruning.routing.mining import Search, mine
from workers.pruning.routing.pairs import PairStore
from workers.pruning.routing.policies import Rules, routed
from workers.pruning.routing.prior import as_logits, block_influence
from workers.pruning.routing.runtime import FullRouter, Router, SlimRouter, anatomy
from workers.pruning.routing.training import Schedule, train


class Split(NamedTuple):
    """Places of records; no image is in two parts."""

    train: tuple[int, ...]
    choose: tuple[int, ...]
    judge: tuple[int, ...]


def split(images: Sequence[str], held_out: float, seed: int) -> Split:
    """Deal the records out by their images.

    Args:
        images: digest of each record's image.
        held_out: share of the images that is not trained on, half of it for choosing.
        seed: of the deal.

    Raises:
        CalibrationDataError: there are too few images for three parts.
    """
    unlike = list(dict.fromkeys(images))
    random.Random(seed).shuffle(unlike)  # noqa: S311 - a reproducible order, no secret
    each = max(1, round(len(unlike) * held_out / 2))
    if len(unlike) < 2 * each + 1:
        raise CalibrationDataError(
            f"{len(unlike)} different images are too few to train, choose and judge a router on"
        )
    part = {image: 2 if at < each else 1 if at < 2 * each else 0 for at, image in enumerate(unlike)}
    places: tuple[list[int], ...] = ([], [], [])
    for place, image in enumerate(images):
        places[part[image]].append(place)
    return Split(*map(tuple, places))


_FULL_DEPTH = 2  # layers of the full router
# Adam's rate goes with 1 / width (Yang et al., arXiv 2203.03466, table 8).
_RATE, _WIDTH = 3e-4, 256
Stage = Literal["mining", "training"]


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a round is.

    Attributes:
        stage: mining, or training.
        round: from 0.
        done: batches mined, or steps trained.
        total: of them.
        report: of the round, once it is finished.
    """

    stage: Stage
    round: int
    done: int
    total: int
    report: RoundReport | None = None


Listener = Callable[[TrainingProgress], None]
"""Told after every batch; what it raises ends the run."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What came of the rounds.

    Attributes:
        router: of the best round, in evaluation mode.
        influence: (N,) block influence.
        rounds: all of them.
        chosen: number of the best.
    """

    router: Router
    influence: Tensor
    rounds: tuple[RoundReport, ...]
    chosen: int


def learn(
    adapter: Adapter,
    routing: Routing,
    rules: Rules,
    *,
    training: Sequence[Answered],
    choosing: Sequence[Answered],
    scratch: Path,
    checkpoints: Checkpoints | None = None,
    listener: Listener = lambda _step: None,
) -> Learned:
    """Train a router for the model, which stays as it is.

    Every round draws from a generator of its own and starts from the one before, so a run that
    continues from checkpoints comes to the same bits.

    Args:
        adapter: the dense model.
        routing: rounds, candidates, rates.
        rules: the budget that pairs are mined at.
        training: prompts that pairs come from.
        choosing: prompts that decide which round is best.
        scratch: an empty directory for the pairs of a round.
        checkpoints: where finished rounds are kept.
        listener: told how far it is.

    Raises:
        RecipeError: the candidates of every prompt come to the same, so nothing can be learnt.
    """
    kept = checkpoints or NoCheckpoints()
    influence = _influence(adapter, training, kept)
    router = new_router(adapter, routing)
    router.prior.copy_(as_logits(influence))
    rounds: list[RoundReport] = []
    states: list[dict[str, Tensor]] = []
    for number in range(routing.rounds):
        found = kept.get(f"round-{number}")
        if found is None:
            report = _round(
                adapter,
                router,
                routing,
                rules,
                training=training,
                choosing=choosing,
                store=PairStore(scratch),
                number=number,
                listener=listener,
            )
            state = {name: value.cpu().clone() for name, value in router.state_dict().items()}
            kept.put(f"round-{number}", Entry(report.model_dump(mode="json"), state))
            listener(TrainingProgress("training", number, 1, 1, report))
        else:
            report = RoundReport.model_validate(found.values)
            state = {name: value.clone() for name, value in found.tensors.items()}
            router.load_state_dict(state)
        rounds.append(report)
        states.append(state)
    chosen = min(range(len(rounds)), key=lambda number: rounds[number].held_out_kl)
    router.load_state_dict(states[chosen])
    return Learned(router.eval(), influence, tuple(rounds), chosen)


def _influence(adapter: Adapter, training: Sequence[Answered], checkpoints: Checkpoints) -> Tensor:
    found = checkpoints.get("influence")
    if found is not None:
        return found.tensors["influence"].clone()
    influence = block_influence(adapter, training)
    checkpoints.put("influence", Entry(tensors={"influence": influence}))
    return influence


def new_router(adapter: Adapter, routing: Routing) -> Router:
    """A router that has learnt nothing, without a prior; the seed decides its weights."""
    subject = anatomy(adapter.model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(routing.seed)
        router = (
            SlimRouter(subject.hidden_size, len(subject.layers))
            if routing.router == "slim"
            else FullRouter(subject, min(_FULL_DEPTH, len(subject.layers)))
        )
    return router.to(adapter.model.device).eval()


def _round(
    adapter: Adapter,
    router: Router,
    routing: Routing,
    rules: Rules,
    *,
    training: Sequence[Answered],
    choosing: Sequence[Answered],
    store: PairStore,
    number: int,
    listener: Listener,
) -> RoundReport:
    seed = routing.seed * 1000 + number
    generator = torch.Generator(adapter.model.device).manual_seed(seed)
    pairs, apart, best, worst = 0, 0, 0.0, 0.0
    search = Search(routing.candidates, routing.noise)
    mined = mine(
        adapter,
        router,
        training,
        rules=rules,
        search=search,
        generator=generator,
        number=number,
    )
    for done, batch in enumerate(mined, start=1):
        store.add(batch.pairs)
        pairs += int(batch.pairs.gaps.count_nonzero())
        apart += int(batch.pairs.gaps[0].count_nonzero())
        best += float(batch.best.sum())
        worst += float(batch.worst.sum())
        listener(TrainingProgress("mining", number, done, len(training)))
    if not apart:
        raise RecipeError(
            "every candidate keeps the model's answers as they are: at this budget there is "
            "nothing to learn; prune more, or use the prior alone"
        )
    share = rules.profile.layers / len(router.layer_tokens)
    rate = routing.learning_rate or _RATE * _WIDTH / router.width
    schedule = Schedule(routing.epochs, rate, rules.profile.tokens, share)
    with torch.enable_grad():
        losses = train(
            router,
            store,
            schedule,
            order=torch.Generator().manual_seed(seed),
            tick=lambda done, total: listener(TrainingProgress("training", number, done, total)),
        )
    return RoundReport(
        pairs=pairs,
        best=best / _count(training),
        worst=worst / _count(training),
        losses=tuple(losses),
        held_out_kl=_held_out_kl(adapter, router, rules, choosing),
    )


def _held_out_kl(
    adapter: Adapter, router: Router, rules: Rules, choosing: Sequence[Answered]
) -> float:
    policies: dict[str, Any] = {ROUTER: (routed(router), rules)}
    found = judge(adapter, choosing, policies)
    return float(found[ROUTER].kl.mean())


def _count(answered: Sequence[Answered]) -> int:
    return sum(len(batch.places) for batch in answered)
