"""How long a PAR job takes: answers, candidates of every round, and what judges the router."""

from dataclasses import dataclass

from app.planning.memory import ModelLayout
from app.recipes.modality import Modality
from app.recipes.routing import FlopsRatio, Routing

_TIGHTER = (0.5, 0.25)  # of the token budget, at which half as many candidates are tried
_QUESTIONS = 2  # that a picture is asked which is trained on
_CONTESTANTS = 8  # the router and its baselines
_KINDS = 3  # of candidates, in turn: tokens alone, layers alone, both
_DECODER_LAYERS = 2  # of the full router
_TRAINED = 3.0  # forward passes that one with its backward costs


@dataclass(frozen=True, slots=True)
class Pace:
    """What the dense model takes, in seconds.

    Attributes:
        vision: for one picture, before the decoder.
        decoder: for one prompt with its picture.
        batch: for every forward pass beside, however short.
    """

    vision: float
    decoder: float
    batch: float

    @property
    def whole(self) -> float:
        """One prompt; prompts of one length alone share a batch."""
        return self.vision + self.decoder + self.batch


def estimate_routing(
    layout: ModelLayout, pace: Pace, routing: Routing, *, samples: int, text: int
) -> float:
    """Seconds from the first answer to the last verdict.

    Args:
        layout: of the model.
        pace: of the model.
        routing: the job's recipe.
        samples: records that are given.
        text: most tokens of a prompt beside those of its picture.
    """
    held_out = max(1.0, routing.held_out / 2 * samples)  # to choose by, and to judge by
    trained = _QUESTIONS * max(1.0, samples - 2 * held_out)
    answered = 2 * held_out + trained
    pruned = _Pruned(layout, pace, routing, text + routing.answer_tokens)
    mining = pace.whole + pruned.candidates()
    training = 0.0
    if routing.router == "full":
        training = routing.epochs * _TRAINED * _DECODER_LAYERS * pace.decoder / pruned.layers
    seconds = answered * (pace.whole + routing.answer_tokens * pace.batch) + trained * pace.whole
    seconds += routing.rounds * trained * (mining + training)
    seconds += routing.rounds * held_out * (pace.whole + pruned.seconds())
    return seconds + held_out * (pace.whole + _CONTESTANTS * pruned.seconds())


class _Pruned:
    """Seconds of a prompt at the job's budget."""

    def __init__(self, layout: ModelLayout, pace: Pace, routing: Routing, text: int) -> None:
        self.layers = sum(block.modality is Modality.LANGUAGE for block in layout.blocks) or 1
        self._pace, self._routing, self._text = pace, routing, text
        self._patches = layout.patches

    def seconds(self, narrower: float = 1.0, *, tokens: bool = True, layers: bool = True) -> float:
        """One prompt with a part of the token budget, or with tokens or layers alone pruned."""
        budget, routing = self._routing.budget, self._routing
        if isinstance(budget, FlopsRatio):
            share = budget.ratio * narrower
        else:
            kept = _share(budget.tokens, self._patches) * narrower if tokens else 1.0
            early = min(1.0, routing.drop_layer / self.layers)  # layers that see all tokens
            seen = (self._text + kept * self._patches) / (self._text + self._patches or 1)
            share = early + (1 - early) * seen
            share *= _share(budget.layers, self.layers) if layers else 1.0
        return self._pace.vision + share * self._pace.decoder + self._pace.batch

    def candidates(self) -> float:
        """All candidates of one prompt; which kind they are of goes by turns, so this is a mean."""
        count = self._routing.candidates
        seconds = 0.0
        for tokens, layers in ((True, False), (False, True), (True, True)):
            seconds += count * self.seconds(tokens=tokens, layers=layers)
            if tokens:
                few = max(2, count // 2)
                seconds += sum(few * self.seconds(part, layers=layers) for part in _TIGHTER)
        return seconds / _KINDS


def _share(amount: float, whole: int) -> float:
    """Of an amount that is a share up to 1, and a count above."""
    return amount if amount <= 1 else min(1.0, amount / max(whole, 1))
