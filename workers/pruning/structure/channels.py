"""Which channels of an MLP stay, and what reads them solved for again.

W (out, n) reads channels x of second moments H = E x x^T, or of covariances where W has a bias: the
mean of what goes is then moved into the bias. With S the channels that stay, R the others and
lambda = damping x mean(diag H),

    V = argmin E |W x - V x_S|^2 + lambda |V - W_S|^2 = W_S + W_R H_RS (H_SS + lambda)^-1

Scores (the largest stay): energy H_jj |W_j|^2 (FLAP, arXiv 2312.11983), variance Cov_jj |W_j|^2,
magnitude: squares of all weights that make or read j. obs is no score but an elimination: with V
solved for on the channels that are left, |V_j|^2 / ((H + lambda)^-1)_jj is what is lost without j
(optimal brain surgeon). The least of them go in rounds, and inverse and V are brought up to date by
the Schur complement of what went; ZipLM (arXiv 2302.04089) takes them one by one. The affine form
is CORP's (arXiv 2602.05243).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from app.errors import NonFiniteError
from app.recipes.structure import Score, Width
from workers.pruning.structure.moments import Moments

_TRIED: tuple[Score, ...] = ("energy", "variance", "obs", "magnitude")
_ESCALATIONS = 8
_ROUNDS = 8  # of elimination, each of the same ratio
_UNCERTAIN = 1e-6  # of the mean second moment


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of the channels of one MLP.

    Attributes:
        kept: indices, ascending.
        weight: what reads them, (out, kept) float32.
        shift: to be added to the bias, (out,) float32; None where there is none.
        score: that chose them.
        error: squared error on tokens held out, as a share of the output's square.
    """

    kept: Tensor
    weight: Tensor
    shift: Tensor | None
    score: str
    error: float | None


class Problem:
    """The channels of one MLP, before any is gone."""

    def __init__(
        self,
        weight: Tensor,
        made_by: Tensor,
        moments: Moments,
        *,
        settings: Width,
        bias: bool,
        unit: int = 1,
    ) -> None:
        """Take what decides.

        Args:
            weight: what reads the channels, (out, n).
            made_by: sum of squares of the weights that make each channel, (n,).
            moments: of the channels.
            settings: of the recipe.
            bias: what reads them has a bias.
            unit: neighbours that stay together or go, as the channels of a head do.
        """
        self._unit = unit
        self._weight = weight.float()
        self._made_by = made_by
        self._moments = moments
        self._settings = settings
        self._bias = bias

    def choose(self, count: int) -> Choice:
        """The `count` channels that stay, by the score asked for or the best of all on held tokens.

        What was held out is summed too before the weights are solved for.
        """
        score = self._settings.score
        held, error = [each.float() for each in self._moments.held], None
        if held:
            tokens = torch.cat(held)
            tried = _TRIED if score == "auto" else (score,)
            errors = [(self._tried(name, count, tokens), name) for name in tried]
            error, score = min(errors, key=lambda each: each[0])
            self._moments.take_in_held()
            self._forget()
        elif score == "auto":
            score = "variance" if self._bias else "energy"
        return self._solved(score, count, error)

    def _tried(self, score: str, count: int, tokens: Tensor) -> float:
        """Squared error on tokens, as a share of the output's square."""
        found = self._solved(score, count, None)
        apart = self._weight.clone()
        apart[:, found.kept] -= found.weight
        outputs = tokens @ self._weight.T
        missed = tokens @ apart.T
        if found.shift is not None:
            missed -= found.shift
        whole = float(outputs.square().sum(dtype=torch.float64))
        return float(missed.square().sum(dtype=torch.float64)) / whole if whole else 0.0

    def _solved(self, score: str, count: int, error: float | None) -> Choice:
        rank = _SCORES.get(score)
        kept = self._eliminated(count) if rank is None else _largest(rank(self), count, self._unit)
        left = torch.ones(self._weight.shape[1], dtype=torch.bool, device=kept.device)
        left[kept] = False
        gone = left.nonzero().flatten()
        weight = self._weight[:, kept]
        if self._settings.solve:
            moments, _ = self._second
            factor = _cholesky(moments[kept][:, kept], self._damping)
            missed = self._weight[:, gone] @ moments[gone][:, kept]
            weight = weight + torch.cholesky_solve(missed.T, factor).T
        shift = None
        if self._bias and self._settings.solve:
            mean = self._second[1]
            shift = self._weight @ mean - weight @ mean[kept]
        return Choice(kept, weight, shift, score, error)

    @cached_property
    def _second(self) -> tuple[Tensor, Tensor]:
        """Of the channels: centred where a bias can take the mean."""
        return self._moments.second(centred=self._bias)

    @cached_property
    def _damping(self) -> float:
        """No less than what sums in float32 are uncertain by, which may be all of a covariance."""
        moments, mean = self._second
        own = float(moments.diagonal().mean())
        whole = own + float(mean.square().mean()) if self._bias else own
        tiny = torch.finfo(torch.float32).tiny
        return max(self._settings.damping * own, _UNCERTAIN * whole, tiny)

    def _forget(self) -> None:
        """Measure anew: the moments have changed."""
        for name in ("_second", "_damping"):
            self.__dict__.pop(name, None)

    def _energy(self) -> Tensor:
        moments, mean = self._second
        found = moments.diagonal()
        return self._read(found + mean.square() if self._bias else found)

    def _variance(self) -> Tensor:
        moments, mean = self._second
        found = moments.diagonal()
        return self._read((found if self._bias else found - mean.square()).clamp(min=0))

    def _eliminated(self, count: int) -> Tensor:
        """The channels that are left once those of least loss have gone, round by round."""
        moments, width = self._second[0].clone(), self._weight.shape[1]
        inverse = torch.cholesky_inverse(_cholesky(moments, self._damping))
        weight, left = self._weight, torch.arange(width, device=inverse.device)
        for number in range(1, _ROUNDS + 1):
            size = round(width * (count / width) ** (number / _ROUNDS) / self._unit) * self._unit
            if size == len(left):
                continue
            kept = _largest(weight.square().sum(0) / inverse.diagonal(), size, self._unit)
            going = torch.ones(len(left), dtype=torch.bool, device=kept.device)
            going[kept] = False
            gone = going.nonzero().flatten()
            across = inverse[gone][:, kept]
            factor = _cholesky(inverse[gone][:, gone], 0.0)
            solved = torch.cholesky_solve(across, factor)
            weight = weight[:, kept] - weight[:, gone] @ solved
            inverse = inverse[kept][:, kept].addmm_(across.T, solved, alpha=-1)
            left = left[kept]
        return left

    def _magnitude(self) -> Tensor:
        return self._weight.square().sum(0) + self._made_by

    def _read(self, of_channels: Tensor) -> Tensor:
        return of_channels * self._weight.square().sum(0)


_SCORES: dict[str, Callable[[Problem], Tensor]] = {
    "energy": Problem._energy,  # noqa: SLF001 - of this module
    "variance": Problem._variance,  # noqa: SLF001 - the same
    "magnitude": Problem._magnitude,  # noqa: SLF001 - the same
}


def _largest(scores: Tensor, count: int, unit: int) -> Tensor:
    """Indices of the largest, ascending; of equal ones the first. Units by the sum of theirs.

    Raises:
        NonFiniteError: a score is NaN or infinite.
    """
    if not bool(torch.isfinite(scores).all()):
        raise NonFiniteError("a score of a channel is NaN or infinite")
    units = scores.view(-1, unit).sum(1).argsort(descending=True, stable=True)
    first = units[: count // unit].sort().values[:, None] * unit
    return (first + torch.arange(unit, device=scores.device)).flatten()


def _cholesky(matrix: Tensor, damping: float) -> Tensor:
    """The lower factor of the matrix with so much added to its diagonal, or ten times as much.

    Raises:
        NonFiniteError: no damping helps.
    """
    added = 0.0
    for _ in range(_ESCALATIONS):
        matrix.diagonal().add_(damping - added)
        added = damping
        lower: Tensor
        lower, failed = torch.linalg.cholesky_ex(matrix)
        if not failed:
            return lower
        damping = 10 * damping or _UNCERTAIN * float(matrix.diagonal().mean())
    raise NonFiniteError("second moments of channels are not positive definite at any damping")


def by_magnitude(weight: Tensor, made_by: Tensor, count: int, unit: int = 1) -> Choice:
    """The channels of the largest weights, where nothing is known of what passes through them."""
    scores = weight.float().square().sum(0) + made_by
    kept = _largest(scores, count, unit)
    return Choice(kept, weight.float()[:, kept], None, "magnitude", None)
