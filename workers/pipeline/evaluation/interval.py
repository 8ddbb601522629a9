"""95 % intervals by the percentile bootstrap over records (Efron and Tibshirani, 1993, ch. 13)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.recipes.evaluation import Estimate, Measured

RESAMPLES = 2000
_CHUNK = 100  # resamples held in memory at a time
_TAIL = 2.5  # per cent on either side
_LARGEST = 700.0  # exp of more than that is no float64

Array = NDArray[np.float64]


def exponential(mean: Array) -> Array:
    """Perplexity of a mean negative log-likelihood in nats; huge ones are cut at exp(700)."""
    return np.exp(np.minimum(mean, _LARGEST))


def identity(mean: Array) -> Array:
    """For metrics that are means themselves."""
    return mean


@dataclass(frozen=True, slots=True)
class RecordScores:
    """A metric record by record: its value is `of(sum(weights * values) / sum(weights))`.

    Attributes:
        values: (records,).
        weights: (records,); tokens of the record where the metric is a mean over tokens.
        of: applied to the weighted mean.
    """

    values: Array
    weights: Array
    of: Callable[[Array], Array] = identity

    def resampled(self, counts: Array) -> Array:
        """The metric on resamples; `counts` (resamples, records) says how often each is in."""
        return self.of((counts @ (self.weights * self.values)) / (counts @ self.weights))

    def only(self, records: NDArray[np.bool_]) -> Self:
        """The same of some records; (records,)."""
        return replace(self, values=self.values[records], weights=self.weights[records])

    @property
    def value(self) -> float:
        """The metric on the records as they are."""
        return float(self.resampled(np.ones((1, len(self.values))))[0])


def compare(before: RecordScores, after: RecordScores, seed: int) -> Measured:
    """Both figures and their difference, all over the same resamples of the records.

    Args:
        before: of the dense model.
        after: of the pruned model, same records in the same order.
        seed: of the resamples.
    """
    measured = (before.weights > 0) & (after.weights > 0)  # others would make empty resamples
    before, after = before.only(measured), after.only(measured)
    n = len(before.values)
    rng = np.random.default_rng(seed)
    drawn: list[tuple[Array, Array]] = []
    for _ in range(RESAMPLES // _CHUNK):
        counts = rng.multinomial(n, np.full(n, 1 / n), size=_CHUNK).astype(np.float64)
        drawn.append((before.resampled(counts), after.resampled(counts)))
    dense, pruned = (np.concatenate(side) for side in zip(*drawn, strict=True))
    return Measured(
        samples=n,
        before=_estimate(before.value, dense),
        after=_estimate(after.value, pruned),
        change=_estimate(after.value - before.value, pruned - dense),
    )


def _estimate(value: float, drawn: Array) -> Estimate:
    low, high = np.percentile(drawn, [_TAIL, 100 - _TAIL])
    return Estimate(value=value, low=float(low), high=float(high))
