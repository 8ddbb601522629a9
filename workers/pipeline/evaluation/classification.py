"""Classification accuracy: by the model's own head, or zero-shot by the names of the classes."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from app.recipes.data import EvaluationDataError
from app.recipes.evaluation import MetricName
from workers.pipeline.evaluation.interval import RecordScores
from workers.pipeline.evaluation.metric import OwnMetric, ScoresOf
from workers.pipeline.evaluation.pairs import embed_pairs
from workers.pipeline.evaluation.subject import Subject, finite
from workers.pruning.models.inputs.inputs import CalibrationRecord


class Classification(OwnMetric):
    """Is the highest score on the record's label?

    Zero-shot (Radford et al., ICML 2021, section 3.1) compares an image with the labels of the set
    as they are written; a prompt template belongs into the labels.
    """

    names = (MetricName.CLASSIFICATION,)

    @staticmethod
    def fits(subject: Subject) -> bool:
        """Classifiers and dual encoders on labelled records, with more than one class."""
        if not subject.every("label"):
            return False
        if subject.classifies:
            return subject.several_classes
        several = len({record.label for record in subject.records}) > 1
        return subject.matches_pairs and subject.every("image") and several

    def measure(self, subject: Subject) -> ScoresOf:
        """A hit or a miss per record."""
        labels = [str(record.label) for record in subject.records]
        if subject.classifies:
            classes = subject.adapter.model.config.id2label or {}
            known = {str(label): int(number) for number, label in classes.items()}
            if unknown := sorted(set(labels) - set(known)):
                raise EvaluationDataError(f"the model has no class {unknown[0]!r}")
            logits = torch.cat([subject.adapter.call(b).logits.cpu() for b in subject.batches()])
            if beyond := sorted(x for x in set(labels) if not 0 <= known[x] < logits.shape[-1]):
                raise EvaluationDataError(
                    f"class {beyond[0]!r} has the number {known[beyond[0]]}, and the model "
                    f"{logits.shape[-1]} scores"
                )
            chosen = finite(logits, "scores of classes").argmax(-1)
        else:
            known = {label: n for n, label in enumerate(sorted(set(labels)))}
            chosen = _zero_shot(subject, list(known))
        hits = np.array([known[label] for label in labels]) == chosen.numpy()
        return {
            MetricName.CLASSIFICATION: RecordScores(hits.astype(np.float64), np.ones(len(hits)))
        }

    def doubts(self, subject: Subject, scores: ScoresOf) -> Mapping[MetricName, str]:
        """Also where all records are of one class."""
        if len({record.label for record in subject.records}) == 1:
            told = "all records have the same label: a model that always gives it is right"
            return {MetricName.CLASSIFICATION: told}
        return super().doubts(subject, scores)


def _zero_shot(subject: Subject, classes: list[str]) -> Tensor:
    # The adapters read pairs: each image goes with any class, each class with any image.
    pictures = [CalibrationRecord(classes[0], record.image) for record in subject.records]
    images, _ = embed_pairs(subject, pictures)
    names = [CalibrationRecord(name, subject.records[0].image) for name in classes]
    _, texts = embed_pairs(subject, names)
    return (images @ texts.T).argmax(-1)
