"""The models that quality is measured on, their prompts, and routers trained as a job's are."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from app.recipes.routing import Routing, TokensAndLayers
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.loading import load_model
from workers.pruning.routing.answers import Answered, answer
from workers.pruning.routing.learning import Learned, learn
from workers.pruning.routing.policies import Rules
from workers.pruning.routing.questions import asked_twice
from workers.pruning.routing.runtime import Profile, anatomy, layer_candidates
from workers.scenes.questions import KINDS
from workers.scenes.samples import Sample, samples
from workers.scenes.splits import Split

HERE = Path(__file__).parent
MODELS = {
    "scenes-llava": HERE.parent / "models" / "scenes-llava",
    "scenes-llava-8": HERE / "scenes-llava-8",
}
TRAINING, CHOOSING = 900, 180
# Six of 36 image tokens. A picture has nine cells of four: an even grid of eleven (`balanced`) sees
# every cell, and what is asked hardly matters.
FEW, MANY = 1 / 6, 0.306
_TRAINED, _JUDGED = 8, 64  # prompts in a batch; eight is a job's default


@dataclass(frozen=True, slots=True)
class Subject:
    """One model with the budget its router is trained for."""

    adapter: Adapter
    joint: Rules

    @property
    def layers(self) -> int:
        """All of them."""
        return len(anatomy(self.adapter.model).layers)

    @property
    def image_tokens(self) -> int:
        """Of one picture."""
        return int(self.adapter.model.config.image_seq_length)

    @property
    def budgets(self) -> dict[str, Rules]:
        """What the router is judged at: what it was trained for, and parts of that.

        Layers alone have figures of their own.
        """
        found = {"tokens": self.with_profile(layers=self.layers)}
        found["many tokens"] = self.with_profile(tokens=MANY, layers=self.layers)
        return found | ({"both": self.joint} if self.skips_layers else {})

    @property
    def skips_layers(self) -> bool:
        """Whether its budget leaves layers out."""
        return self.joint.profile.layers < self.layers

    def with_profile(self, **changes: float) -> Rules:
        """The rules at another budget."""
        return replace(self.joint, profile=replace(self.joint.profile, **changes))


def load(path: Path) -> Subject:
    """The model; tokens leave before layer 1 where two would leave too little to prune."""
    adapter = adapt(load_model(path))
    layers = len(anatomy(adapter.model).layers)
    drop_layer = 1 if layers < 6 else 2
    able = layer_candidates(layers, drop_layer)
    run = layers - (len(able) - 1 if able else 0)  # one candidate alone leaves nothing to choose
    return Subject(adapter, Rules(Profile(FEW, run, drop_layer), able, 0.1))


def asked(split: Split, seed: int, count: int) -> list[Sample]:
    """Questions of every kind in turn, each about a scene of its own."""
    streams = [samples(split, seed=seed, kind=kind) for kind in KINDS]
    return list(islice((sample for row in zip(*streams, strict=True) for sample in row), count))


def answered(adapter: Adapter, questions: list[Sample]) -> list[Answered]:
    """With dense answers."""
    return _answered(adapter, _records(questions), _JUDGED)


def _records(questions: list[Sample]) -> list[CalibrationRecord]:
    return [CalibrationRecord(each.question, each.image) for each in questions]


def _answered(
    adapter: Adapter, records: list[CalibrationRecord], batch_size: int
) -> list[Answered]:
    made = answer(adapter, records, batch_size=batch_size, max_length=128, answer_tokens=32)
    return list(made)


def train(subject: Subject) -> Learned:
    """A slim router, with a job's defaults."""
    routing = Routing(budget=TokensAndLayers(tokens=subject.joint.profile.tokens))
    questions = asked(Split.CALIBRATION, 0, TRAINING + CHOOSING)
    unlike = [str(place) for place in range(TRAINING)]  # each is about a picture of its own
    training = asked_twice(_records(questions[:TRAINING]), unlike)
    with TemporaryDirectory() as scratch:
        return learn(
            subject.adapter,
            routing,
            subject.joint,
            training=_answered(subject.adapter, training, _TRAINED),
            choosing=answered(subject.adapter, questions[TRAINING:]),
            scratch=Path(scratch),
            listener=lambda step: print(step.report, flush=True) if step.report else None,
        )
