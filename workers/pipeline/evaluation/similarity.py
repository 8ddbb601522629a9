"""How close a sentence's embedding stays to the dense model's."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from app.recipes.data import EvaluationDataError
from app.recipes.evaluation import MetricName, MetricNotApplicableError
from workers.pipeline.evaluation.interval import RecordScores
from workers.pipeline.evaluation.metric import Metric, ScoresOf
from workers.pipeline.evaluation.subject import Subject

_ALIKE = 1e-6


class Similarity(Metric):
    """Cosine between the mean-pooled last hidden states of the pruned and the dense model."""

    names = (MetricName.SIMILARITY,)

    def __init__(self, scratch: Path) -> None:
        """Nothing is kept yet."""
        super().__init__(scratch)
        self._dense = torch.empty(0)

    @staticmethod
    def fits(subject: Subject) -> bool:
        """Text encoders on texts."""
        return subject.embeds_text and all(record.full_text for record in subject.records)

    def before(self, subject: Subject) -> ScoresOf:
        """Keep the dense embeddings; each is its own likeness.

        Raises:
            EvaluationDataError: an embedding is zero, which is like nothing.
        """
        self._dense = embeddings(subject)
        for number in torch.nonzero(~self._dense.any(1)).flatten().tolist():
            raise EvaluationDataError(f"the dense embedding of record {number + 1} is zero")
        return self._scores(torch.ones(len(self._dense)))

    def after(self, subject: Subject) -> ScoresOf:
        """Compare."""
        return self._scores((embeddings(subject) * self._dense).sum(-1))

    def doubts(self, subject: Subject, scores: ScoresOf) -> Mapping[MetricName, str]:
        """Also where the dense model embeds all records alike."""
        if len(self._dense) > 1 and torch.allclose(self._dense, self._dense[:1], atol=_ALIKE):
            told = "the dense model embeds all records alike, as a broken model would"
            return {MetricName.SIMILARITY: told}
        return super().doubts(subject, scores)

    def _scores(self, cosine: Tensor) -> ScoresOf:
        values = cosine.double().numpy()
        return {
            MetricName.SIMILARITY: RecordScores(values, torch.ones_like(cosine).double().numpy())
        }


def embeddings(subject: Subject) -> Tensor:
    """Normalised embeddings, (records, hidden), float32."""
    return torch.cat(list(_pooled(subject)))


def _pooled(subject: Subject) -> Iterator[Tensor]:
    for batch in subject.batches():
        states = getattr(subject.adapter.call(batch), "last_hidden_state", None)
        if not isinstance(states, Tensor) or states.shape[:2] != batch["input_ids"].shape:
            raise MetricNotApplicableError(
                f"{subject.architecture} has no hidden state per token to compare"
            )
        hidden = states.float()  # (records, tokens, hidden)
        mask = batch["attention_mask"].unsqueeze(-1).float()
        yield functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1).cpu()
