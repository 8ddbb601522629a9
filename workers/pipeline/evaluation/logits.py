"""What a model predicts at each real position of a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.recipes.evaluation import MetricNotApplicableError
from workers.pipeline.evaluation.subject import Subject
from workers.pruning.models.inputs.inputs import IGNORED_LABEL
from workers.pruning.models.layout.replay import Batch
from workers.pruning.models.losses import next_token_labels


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions at the real positions of a batch, in order.

    Attributes:
        log_probs: (positions, classes), float32.
        targets: (positions,) the token that follows; `IGNORED_LABEL` where there is none.
        rows: (positions,) which record of the batch a position belongs to.
    """

    log_probs: Tensor
    targets: Tensor
    rows: Tensor


def predict(subject: Subject, batch: Batch) -> Predictions:
    """Run the model and gather.

    Language models are read at every text token, encoder-decoders at every written token,
    classifiers once per record.

    Raises:
        MetricNotApplicableError: the model has no logits of these shapes.
    """
    real, targets = _real(subject, batch)
    output, real = subject.adapter.call_at(batch, real)
    logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise MetricNotApplicableError(f"{subject.architecture} has no logits to look at.")
    if logits.shape[-1] < 2:  # noqa: PLR2004 (of one class, every prediction is the same)
        raise MetricNotApplicableError(
            f"{subject.architecture} gives one score: predictions of one class cannot differ."
        )
    if logits.ndim == 2:  # noqa: PLR2004 (records, classes)
        rows = torch.arange(len(logits))
        return _gathered(logits, torch.full_like(rows, IGNORED_LABEL), rows)
    if logits.shape[:2] != real.shape:
        raise MetricNotApplicableError(
            f"{subject.architecture} gives logits {tuple(logits.shape)} for {tuple(real.shape)} "
            "tokens; metrics of single tokens do not apply."
        )
    return _gathered(logits[real], targets, real.nonzero()[:, 0])


def _real(subject: Subject, batch: Batch) -> tuple[Tensor, Tensor]:
    """The real tokens, (batch, tokens) bool, and of each of them the one that follows."""
    if "labels" in batch:
        real = batch["labels"] != IGNORED_LABEL
        return real, batch["labels"][real]
    if "input_ids" not in batch:
        return torch.zeros(0, 0, dtype=torch.bool), torch.zeros(0)
    tokens = next_token_labels(subject.adapter.model, batch)
    real = tokens != IGNORED_LABEL
    following = torch.full_like(tokens, IGNORED_LABEL)
    following[:, :-1] = tokens[:, 1:]
    return real, following[real]


def _gathered(logits: Tensor, targets: Tensor, rows: Tensor) -> Predictions:
    return Predictions(logits.float().log_softmax(-1).cpu(), targets.cpu(), rows.cpu())


def mean_by_row(values: Tensor, rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean of `values` per row (0 where a row has none) and how many each had, float64."""
    sums = torch.zeros(count, dtype=torch.float64).index_add_(0, rows, values.double())
    sizes = torch.bincount(rows, minlength=count).double()
    return sums / sizes.clamp(min=1), sizes
