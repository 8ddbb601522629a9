"""How far the pruned model's predictions are from the dense model's."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.recipes.evaluation import MetricName
from workers.pipeline.evaluation.interval import RecordScores
from workers.pipeline.evaluation.logits import mean_by_row, predict
from workers.pipeline.evaluation.metric import Metric, ScoresOf
from workers.pipeline.evaluation.subject import Subject


class Divergence(Metric):
    """KL(dense || pruned) in nats, and how often both rank the same class first.

    Means over real positions. The dense log-probabilities wait on disk, one file per batch: they
    take 4 bytes per position and class.
    """

    names = (MetricName.KL, MetricName.AGREEMENT)

    def __init__(self, scratch: Path) -> None:
        """Nothing is kept yet."""
        super().__init__(scratch)
        self._first: set[int] = set()

    @staticmethod
    def fits(subject: Subject) -> bool:
        """Language models, and classifiers of several classes: with one, nothing can differ."""
        return subject.predicts_tokens or (subject.classifies and subject.several_classes)

    def before(self, subject: Subject) -> ScoresOf:
        """Keep the dense predictions; the dense model agrees with itself."""
        for index, batch in enumerate(subject.batches()):
            log_probs = predict(subject, batch).log_probs
            self._first |= set(log_probs.argmax(-1).tolist())
            torch.save(log_probs, self._file(index))
        ones = np.ones(len(subject.records))
        return {
            MetricName.KL: RecordScores(np.zeros_like(ones), ones),
            MetricName.AGREEMENT: RecordScores(ones, ones),
        }

    def after(self, subject: Subject) -> ScoresOf:
        """Compare record by record, weighted by positions."""
        divergence: list[Tensor] = []
        agreement: list[Tensor] = []
        sizes: list[Tensor] = []
        for index, batch in enumerate(subject.batches()):
            found = predict(subject, batch)
            dense = torch.load(self._file(index), weights_only=True)
            count = len(next(iter(batch.values())))
            terms = dense.exp() * (dense - found.log_probs)
            terms.masked_fill_(dense == -torch.inf, 0)  # p log(p / q) where p = 0
            kl = terms.sum(-1).clamp(min=0)
            same = (dense.argmax(-1) == found.log_probs.argmax(-1)).double()
            mean, size = mean_by_row(kl, found.rows, count)
            divergence.append(mean)
            agreement.append(mean_by_row(same, found.rows, count)[0])
            sizes.append(size)
        weights = torch.cat(sizes).numpy()
        return {
            MetricName.KL: RecordScores(torch.cat(divergence).numpy(), weights),
            MetricName.AGREEMENT: RecordScores(torch.cat(agreement).numpy(), weights),
        }

    def doubts(self, subject: Subject, scores: ScoresOf) -> Mapping[MetricName, str]:
        """Agreement with a model that ranks one class first everywhere is no merit."""
        if len(self._first) == 1:
            told = "the dense model ranks the same class first everywhere, as a broken one would"
            return {MetricName.AGREEMENT: told}
        return super().doubts(subject, scores)

    def _file(self, index: int) -> Path:
        return self.scratch / f"log-probs-{index}.pt"
