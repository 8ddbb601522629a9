"""Training what is left of the weights, without labels: what the dense model gave is the goal.

Adam in float32, its rate relative to the root mean square of each matrix's weights, rising over
the first tenth of the steps and falling to zero. Every fourth batch is held out: it chooses the
rate, tells when the weights are best, and whether they are kept at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.recipes.recovery import Recovery
from workers.pruning.calibration.beside import is_held_out
from workers.pruning.models.layout.structure import Matrix
from workers.pruning.recovery.weights import TrainedWeights
from workers.pruning.resume import Checkpoints, Entry, NoCheckpoints

_TRIED = 0.2  # of the steps, to choose a rate
_WARMUP = 0.1
_PATIENCE = 2  # looks in a row that found no better weights, and training ends
_STATE = "recovery"
_MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's names


@dataclass(frozen=True, slots=True)
class Recovered:
    """What training came to.

    Attributes:
        before: distance from what the dense model gave, on what was held out.
        after: the same with the weights that are kept.
        rate: that was taken; None where the weights stay as they were.
    """

    before: float
    after: float
    rate: float | None


@dataclass(frozen=True, slots=True)
class Goal:
    """What the weights are trained towards.

    Attributes:
        batches: how many there are.
        missed: of a batch, how far its outputs are from the goal, and what that is a share of.
        rates: of which the best is taken.
        looks: how often in a training the batches held out are looked at.
        tick: told of every step.
    """

    batches: int
    missed: Callable[[int], tuple[Tensor, Tensor]]
    rates: tuple[float, ...]
    looks: int = 1
    tick: Callable[[], None] = lambda: None


class Training:
    """One set of weights and its goal."""

    def __init__(
        self, weights: TrainedWeights, goal: Goal, checkpoints: Checkpoints | None = None
    ) -> None:
        """Nothing is trained yet.

        Args:
            weights: to train; they hold the best ones in the end.
            goal: see there.
            checkpoints: what an earlier run with the very same arguments left.
        """
        self._weights = weights
        self._goal = goal
        self._checkpoints = checkpoints or NoCheckpoints()
        batches = range(goal.batches)
        self._held = [number for number in batches if is_held_out(number, len(batches))]
        self._shown = [number for number in batches if number not in self._held]

    def run(self, settings: Recovery) -> Recovered | None:
        """Train, and store the weights where they are better.

        None where no batch is held out, or no weight can be trained.
        """
        if not self._held or not self._weights.values:
            return None
        start = self._weights.copies()
        before = self._error()
        given = settings.learning_rate
        rates = self._goal.rates if given is None else (given,)
        rate = rates[0]
        if len(rates) > 1:
            tried = max(1, round(_TRIED * settings.steps))
            errors = {each: self._tried(start, each, tried) for each in rates}
            rate = min(errors, key=lambda each: errors[each])
        after = self._best(start, rate, settings.steps)
        if not after < before:
            return Recovered(before, before, None)
        self._weights.store()
        return Recovered(before, after, rate)

    def _tried(self, start: Mapping[Matrix, Tensor], rate: float, steps: int) -> float:
        """The error after so many steps from the start."""
        name = f"{_STATE}/{rate:g}"
        if (kept := self._checkpoints.get(name)) is not None:
            return float(kept.values["error"])
        _Descent(self._weights, start, rate, steps).go_on(steps, self._differentiated)
        error = self._error()
        self._checkpoints.put(name, Entry({"error": error}))
        return error

    def _best(self, start: Mapping[Matrix, Tensor], rate: float, steps: int) -> float:
        """The least error on the way, whose weights are left; ends where it falls no more."""
        descent = _Descent(self._weights, start, rate, steps)
        least, worse, looks = float("inf"), 0, self._goal.looks
        best: Mapping[Matrix, Tensor] | None = None  # None: those that the weights have now
        if (kept := self._checkpoints.get(_STATE)) is not None:
            least, worse = kept.values["least"], kept.values["worse"]
            best = descent.resume(kept)
        while descent.at < steps and worse < _PATIENCE:
            look = descent.at * looks // steps + 1
            descent.go_on(-(-look * steps // looks), self._differentiated)
            error = self._error()
            worse = 0 if error < least else worse + 1
            if not worse:
                least = error
                best = self._weights.copies() if descent.at < steps else None
            if looks > 1:
                told = {"least": least, "worse": worse}
                self._checkpoints.put(_STATE, descent.state(told, best or self._weights.values))
        if best is not None:
            self._weights.set(best)
        return least

    def _differentiated(self, at: int) -> None:
        """Gradients of the batch whose turn it is."""
        number = self._shown[at % len(self._shown)]
        with torch.enable_grad(), self._weights.standing_in(trained=True):
            missed, whole = self._goal.missed(number)
            if missed.requires_grad:  # else nothing of it depends on these weights
                (missed / whole).backward()  # type: ignore[no-untyped-call]  # torch's
        self._weights.hold_zeros()
        self._goal.tick()

    @torch.no_grad()
    def _error(self) -> float:
        missed = whole = 0.0
        with self._weights.standing_in(trained=False):
            for number in self._held:
                some, of = self._goal.missed(number)
                missed, whole = missed + float(some), whole + float(of)
                self._goal.tick()
        return missed / whole if whole else 0.0


class _Descent:
    """Adam, step after step."""

    def __init__(
        self, weights: TrainedWeights, start: Mapping[Matrix, Tensor], rate: float, steps: int
    ) -> None:
        weights.set(start)
        groups = []
        for matrix, weight in weights.values.items():
            size = float(start[matrix].square().sum() / max(1, int(start[matrix].count_nonzero())))
            groups.append({"params": [weight], "lr": rate * size**0.5})
        self.at = 0
        self._weights = weights
        self._steps = steps
        self._optimiser = torch.optim.Adam(groups)
        self._rates = [group["lr"] for group in groups]

    def go_on(self, until: int, differentiate: Callable[[int], None]) -> None:
        """Take steps, each once the gradients are there."""
        for at in range(self.at, until):
            differentiate(at)
            for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
                group["lr"] = rate * _rate_at(at, self._steps)
            self._optimiser.step()
            self._optimiser.zero_grad()
        self.at = until

    def state(self, told: Mapping[str, Any], best: Mapping[Matrix, Tensor]) -> Entry:
        """Everything that the steps to come depend on, and the best weights so far."""
        tensors = {}
        for matrix, weight in self._weights.values.items():
            tensors[f"now/{matrix.name}"] = weight
            tensors[f"best/{matrix.name}"] = best[matrix]
            for name in _MOMENTS:
                none = torch.zeros_like(weight)  # what the goal does not depend on has no gradient
                tensors[f"{name}/{matrix.name}"] = self._optimiser.state[weight].get(name, none)
        return Entry({**told, "at": self.at}, {k: v.cpu() for k, v in tensors.items()})

    def resume(self, kept: Entry) -> dict[Matrix, Tensor]:
        """Go on from there; returns the best weights so far."""
        self.at, best = kept.values["at"], {}
        for matrix, weight in self._weights.values.items():
            weight.copy_(kept.tensors[f"now/{matrix.name}"])
            best[matrix] = kept.tensors[f"best/{matrix.name}"].to(weight.device, copy=True)
            self._optimiser.state[weight] = {"step": torch.tensor(float(self.at))} | {
                name: kept.tensors[f"{name}/{matrix.name}"].to(weight.device, copy=True)
                for name in _MOMENTS
            }
        return best


def _rate_at(at: int, steps: int) -> float:
    return min(1.0, (at + 1) / max(1.0, _WARMUP * steps)) * (1 - at / steps)
