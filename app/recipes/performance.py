"""What a result takes to run beside the dense model, measured on the machine that made it.

Both models run in turns; a ratio is the median over rounds of result / dense. Its interval is that
of the sign test: a median lies between the k-th smallest and the k-th largest of n values with a
probability that depends on n and k alone, whatever the values' distribution (Conover, Practical
Nonparametric Statistics, 1999, ch. 3.2). With few rounds that is less than 95 %, and is told.
"""

from collections.abc import Sequence
from math import comb
from statistics import median
from typing import Literal, TypeAlias

from app.strict import Strict

ROUNDS = 9  # at most; the interval then leaves out the smallest and the largest
BUDGET = 600.0  # seconds for all of it, loading included
PROMPT = 512  # tokens of text at most
ANSWER = 32  # tokens that are written after it
IMAGE = (448, 448)  # width and height in pixels
_WANTED = 0.95

Timed: TypeAlias = Literal["prefill", "decode", "encode"]


class Shapes(Strict):
    """What the models were run on.

    Attributes:
        batch: rows.
        tokens: of a row's prompt, those of the image included; 0 where the model reads no text.
        image_tokens: of these; 0 where the image has no places among them.
        image: width and height in pixels before preprocessing; None without one.
        answer: tokens written after the prompt; 0 where the model writes none.
    """

    batch: int
    tokens: int
    image_tokens: int
    image: tuple[int, int] | None
    answer: int


class Amount(Strict):
    """Bytes of both models."""

    dense: int
    result: int

    @property
    def ratio(self) -> float:
        """Of the result's to the dense model's."""
        return self.result / self.dense if self.dense else 1.0


class Ratio(Strict):
    """Median over rounds of result / dense, with its interval."""

    value: float
    low: float
    high: float


class Timing(Strict):
    """A time of both models in seconds, medians over rounds, and what became of it."""

    dense: float
    result: float
    ratio: Ratio

    @classmethod
    def of(cls, dense: Sequence[float], result: Sequence[float]) -> "Timing":
        """From the times of each round, one at least, in the same order."""
        ratios = sorted(new / old for old, new in zip(dense, result, strict=True))
        rank = _rank(len(ratios))
        found = Ratio(value=median(ratios), low=ratios[rank - 1], high=ratios[-rank])
        return cls(dense=median(dense), result=median(result), ratio=found)


def _rank(rounds: int) -> int:
    """The largest k for which the interval is as certain as wanted; 1 where none is."""
    return max((k for k in range(1, rounds // 2 + 1) if _certain(rounds, k) >= _WANTED), default=1)


def _certain(rounds: int, rank: int) -> float:
    outside: int = sum(comb(rounds, below) for below in range(rank))
    return 1 - 2 * outside / 2.0**rounds


def confidence(rounds: int) -> float:
    """How certain the interval of so many rounds holds the median; 0 of one round."""
    return max(0.0, _certain(rounds, _rank(rounds)))


class PerformanceReport(Strict):
    """What was measured.

    Attributes:
        device: both models ran on: cpu, cuda:0.
        threads: of the CPU.
        dtype: of the result's weights in use.
        shapes: of the inputs.
        rounds: in which each model ran once.
        confidence: of every interval, 0 to 1; by the number of rounds alone.
        together: whether both models were in memory at a time; else each was loaded anew for every
            round, for want of memory.
        bytes: parameters and buffers once the model has run.
        peak_bytes: most memory of a process that loads the model and runs it; on a GPU, what the
            model and its work took of the GPU's.
        seconds: `prefill` from the prompt to the first token, `decode` of each further token;
            `encode` of one forward where the model writes nothing.
    """

    device: str
    threads: int
    dtype: str
    shapes: Shapes
    rounds: int
    confidence: float
    together: bool
    bytes: Amount
    peak_bytes: Amount
    seconds: dict[Timed, Timing]

    @property
    def time(self) -> Timing:
        """The one that counts most: of a token where the model writes some, else of a forward."""
        order: tuple[Timed, ...] = ("decode", "encode", "prefill")
        return next(self.seconds[name] for name in order if name in self.seconds)


NotMeasuredCode: TypeAlias = Literal[
    "measuring_failed", "measuring_no_inputs", "measuring_out_of_memory", "measuring_timed_out"
]


class NotMeasured(Strict):
    """Why there is no report; the result itself is as good as any.

    Attributes:
        code: `measuring_no_inputs` where the checkpoint has no tokenizer or processor to make some
            with, `measuring_timed_out` where no round was done in time.
        reason: in words.
    """

    code: NotMeasuredCode
    reason: str
