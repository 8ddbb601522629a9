"""What a model can do, measured before and after pruning."""

from collections.abc import Collection
from enum import StrEnum
from typing import Self

from pydantic import Field

from app.errors import UserError
from app.recipes.data import DatasetName
from app.recipes.tasks import HarnessTask
from app.strict import Strict


class MetricName(StrEnum):
    """Everything that can be measured."""

    PERPLEXITY = "perplexity"
    ACCURACY = "accuracy"
    CLASSIFICATION = "classification"
    TEXT_RECALL_1 = "text_recall@1"
    TEXT_RECALL_5 = "text_recall@5"
    IMAGE_RECALL_1 = "image_recall@1"
    IMAGE_RECALL_5 = "image_recall@5"
    SIMILARITY = "similarity"
    KL = "kl"
    AGREEMENT = "agreement"

    @property
    def lower_is_better(self) -> bool:
        """Perplexity and divergence are losses, the others scores."""
        return self in {MetricName.PERPLEXITY, MetricName.KL}


_READS = {
    MetricName.PERPLEXITY: {"text"},
    MetricName.ACCURACY: {"prompt", "answer"},
    MetricName.CLASSIFICATION: {"label"},
    MetricName.TEXT_RECALL_1: {"image", "text"},
    MetricName.TEXT_RECALL_5: {"image", "text"},
    MetricName.IMAGE_RECALL_1: {"image", "text"},
    MetricName.IMAGE_RECALL_5: {"image", "text"},
}
_OF_WRITERS = {MetricName.PERPLEXITY, MetricName.ACCURACY, MetricName.KL, MetricName.AGREEMENT}
_OF_CLASSIFIERS = {MetricName.CLASSIFICATION, MetricName.KL, MetricName.AGREEMENT}
_BY_HEAD = {
    "ForCausalLM": _OF_WRITERS,
    "ForConditionalGeneration": _OF_WRITERS,
    "LMHeadModel": _OF_WRITERS,
    "ForImageClassification": _OF_CLASSIFIERS,
    "ForSequenceClassification": _OF_CLASSIFIERS,
    "CLIPModel": set(MetricName) - _OF_WRITERS,
    "SiglipModel": set(MetricName) - _OF_WRITERS,
    "Siglip2Model": set(MetricName) - _OF_WRITERS,
    "BertModel": {MetricName.SIMILARITY},
}
"""What may be measured of models by the end of their class's name; of others, anything."""


def measurable(architecture: str, fields: Collection[str]) -> set[MetricName]:
    """What may be measured as far as names tell; a worker that has the model may know better.

    Args:
        architecture: name of the model's class.
        fields: of the evaluation's records.
    """
    heads = (found for head, found in _BY_HEAD.items() if architecture.endswith(head))
    known = next(heads, set(MetricName))
    return {metric for metric in known if _READS.get(metric, set()) <= set(fields)}


SAMPLE_ANSWERS = 8  # that a result shows where nobody says how many


class EvaluationSpec(Strict):
    """On which records a model is judged, and by what; and by which tasks of harnesses."""

    set: DatasetName | None = Field(
        default=None, description="what to measure on; left out where tasks alone judge"
    )
    tasks: tuple[HarnessTask, ...] = Field(
        default=(),
        max_length=32,
        description="tasks of lm-eval and lmms-eval, run on the files of both models",
        examples=[[]],
    )
    samples: int = Field(default=256, ge=1, le=10_000, description="records, if there are as many")
    metrics: tuple[MetricName, ...] = Field(
        default=(),
        max_length=len(MetricName),
        description="what to measure; empty: everything that fits the model and the records",
    )
    max_length: int = Field(
        default=128,
        ge=4,
        le=8192,
        description="tokens a text is cut to; those of images not counted",
    )
    max_new_tokens: int = Field(
        default=48, ge=1, le=1024, description="tokens an answer may have (accuracy)"
    )
    batch_size: int = Field(default=16, ge=1, le=256, description="records per forward pass")
    seed: int = Field(default=0, ge=0, lt=2**32, description="which records; the bootstrap too")
    sample_answers: int | None = Field(
        default=None,
        ge=0,
        le=32,
        description="answers that the result shows, dense beside pruned (accuracy), in its files "
        "too; 0 keeps none; left out: 8, and none in the files, which travel",
    )

    @property
    def answers_kept(self) -> int:
        """How many answers the result shows."""
        return SAMPLE_ANSWERS if self.sample_answers is None else self.sample_answers


class QualityGate(Strict):
    """How much worse a model may get before its job ends as failed."""

    metric: MetricName
    max_drop: float = Field(
        ge=0,
        allow_inf_nan=False,
        description="largest loss in the metric's own unit; where lower is better, largest rise",
    )
    keep_artifacts: bool = Field(
        default=False, description="publish the files even where the gate fails the job"
    )


class Estimate(Strict):
    """A metric with its 95 % interval (percentile bootstrap over records)."""

    value: float
    low: float
    high: float


class Measured(Strict):
    """One metric, dense and pruned.

    Attributes:
        samples: records (for recall: queries) that were scored.
        change: after - before, paired by record.
    """

    samples: int
    before: Estimate
    after: Estimate
    change: Estimate


class GateReport(QualityGate):
    """What came of the gate; `drop` is how much worse the metric got."""

    drop: float
    passed: bool


MOST_CHARACTERS = 240  # of a text in a sample


class SampleAnswer(Strict):
    """What was said to one record; long texts are cut.

    Attributes:
        record: number of the record in the evaluation, from 1.
        prompt: what was asked.
        expected: the answer of the record.
        dense: the dense model's answer.
        pruned: the pruned model's answer.
    """

    record: int
    prompt: str
    expected: str
    dense: str
    pruned: str

    @classmethod
    def of(cls, record: int, **texts: str) -> Self:
        """A sample of texts of any length, with what cannot be printed replaced."""
        return cls(record=record, **{name: _shown(text) for name, text in texts.items()})


def _shown(text: str) -> str:
    """The beginning of a text; PostgreSQL stores no NUL, and UTF-8 no half of a pair."""
    text = text.strip()
    cut = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "\u2026"
    return "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in cut)


class EvaluationReport(Strict):
    """The evaluation of one run.

    Attributes:
        set: name of the data set.
        sha256: digest of the records used, in order.
        samples: how many there were.
        gate: None where no gate was set.
        warnings: metrics that say little or nothing on these records, and why.
        answers: those to the first records, where accuracy was measured.
    """

    set: str
    sha256: str
    samples: int
    metrics: dict[MetricName, Measured]
    gate: GateReport | None = None
    warnings: tuple[str, ...] = ()
    answers: tuple[SampleAnswer, ...] = ()


def in_files(
    report: EvaluationReport | None, spec: EvaluationSpec | None
) -> EvaluationReport | None:
    """The evaluation as files tell it, which are published and shared.

    Answers quote the client's records, so files have them only where the job asks for answers.
    """
    if report is None or (spec is not None and spec.sample_answers):
        return report
    return report.model_copy(update={"answers": ()})


class EvaluationOverlapError(UserError):
    """A record serves calibration and evaluation: the figures would be flattered."""

    code = "evaluation_data_overlaps"


class MetricNotApplicableError(UserError):
    """A metric was asked for that this model, or these records, do not allow."""

    code = "metric_not_applicable"


def check_metrics(
    architecture: str, name: str, fields: Collection[str], asked: Collection[MetricName]
) -> None:
    """Refuse metrics that cannot be measured.

    Args:
        architecture: name of the model's class.
        name: of the evaluation set.
        fields: of its records.
        asked: the metrics.

    Raises:
        MetricNotApplicableError: the message says which, and what can be.
    """
    known = measurable(architecture, fields)
    if missing := sorted(set(asked) - known):
        raise MetricNotApplicableError(
            f"{', '.join(missing)} cannot be measured for {architecture or 'this model'} on the "
            f"records of {name}; what may be: {', '.join(sorted(known)) or 'nothing'}"
        )


class QualityGateError(UserError):
    """The pruned model is worse than the quality gate allows."""

    code = "quality_gate_failed"
