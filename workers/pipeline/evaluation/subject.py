"""A model in front of its evaluation records: what every metric looks at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from app.errors import CalibrationDataError, NonFiniteError
from app.recipes.data import EvaluationDataError
from app.recipes.evaluation import EvaluationSpec
from workers.pipeline.data.record import Record
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.inputs.inputs import CalibrationRecord
from workers.pruning.models.layout.replay import Batch


@dataclass(frozen=True, slots=True)
class Subject:
    """The model and the records.

    Attributes:
        adapter: the model.
        records: what it is judged on.
        spec: lengths and batch size.
        check: called before every batch; what it raises ends the evaluation.
    """

    adapter: Adapter
    records: Sequence[Record]
    spec: EvaluationSpec
    check: Callable[[], None] = lambda: None

    @property
    def architecture(self) -> str:
        """Name of the model's class."""
        return type(self.adapter.model).__name__

    @property
    def writes(self) -> bool:
        """The model generates text."""
        return bool(self.adapter.model.can_generate())

    @property
    def predicts_tokens(self) -> bool:
        """The model gives logits for every token; BLIP's question answering gives a loss alone."""
        return self.writes and not self.architecture.endswith("QuestionAnswering")

    @property
    def matches_pairs(self) -> bool:
        """The model embeds images and texts in one space."""
        return "return_loss" in self.adapter.accepted or self.architecture.endswith("TextRetrieval")

    @property
    def classifies(self) -> bool:
        """The model ends in one score per class."""
        return self.architecture.endswith(("ImageClassification", "SequenceClassification"))

    @property
    def several_classes(self) -> bool:
        """A classifier has more than one class: with one, every model is right."""
        return int(getattr(self.adapter.model.config, "num_labels", 2)) > 1

    @property
    def embeds_text(self) -> bool:
        """The model turns texts into hidden states and does nothing else."""
        return (
            isinstance(self.adapter.processor, PreTrainedTokenizerBase)
            and self.architecture.endswith("Model")
            and not self.matches_pairs
            and not self.writes
        )

    def every(self, field: str) -> bool:
        """Every record has the field."""
        return all(getattr(record, field) is not None for record in self.records)

    def batches(self, records: Sequence[CalibrationRecord] | None = None) -> Iterator[Batch]:
        """The records, or others, as the model's inputs, in order.

        Raises:
            EvaluationDataError: a record cannot be given to this model.
        """
        given = [record.calibration for record in self.records] if records is None else records
        made = self.adapter.batches(
            given, batch_size=self.spec.batch_size, max_length=self.spec.max_length
        )
        try:
            for batch in made:
                self.check()
                yield batch
        except CalibrationDataError as error:
            raise EvaluationDataError(f"evaluation set: {error}") from error


def finite(values: Tensor, what: str) -> Tensor:
    """The tensor itself.

    Raises:
        NonFiniteError: it holds NaN or infinite values: ranks of these mean nothing.
    """
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError(f"the model's {what} are NaN or infinite")
    return values
