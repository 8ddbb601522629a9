"""Retrieval among the evaluation records: R@1 and R@5 both ways."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from app.recipes.evaluation import MetricName
from workers.pipeline.evaluation.interval import RecordScores
from workers.pipeline.evaluation.metric import OwnMetric, ScoresOf
from workers.pipeline.evaluation.pairs import embed_pairs
from workers.pipeline.evaluation.subject import Subject

_K = {
    1: (MetricName.TEXT_RECALL_1, MetricName.IMAGE_RECALL_1),
    5: (MetricName.TEXT_RECALL_5, MetricName.IMAGE_RECALL_5),
}


class Recall(OwnMetric):
    """Text recall: an image finds its text among all texts; image recall the other way.

    A text that several records share is right for each of their images, and the other way round.
    The gallery is the whole set; the interval resamples the queries.
    """

    names = tuple(name for both in _K.values() for name in both)

    @staticmethod
    def fits(subject: Subject) -> bool:
        """Dual encoders on image-text pairs."""
        return subject.matches_pairs and subject.every("image") and subject.every("text")

    def measure(self, subject: Subject) -> ScoresOf:
        """A hit or a miss per record, direction and k."""
        images, texts = embed_pairs(subject)
        index = {text: n for n, text in enumerate(dict.fromkeys(r.text for r in subject.records))}
        group = torch.tensor([index[record.text] for record in subject.records])
        right = group[:, None] == group[None, :]  # (images, texts)
        similarity = images @ texts.T
        found: dict[MetricName, RecordScores] = {}
        for k, (text_recall, image_recall) in _K.items():
            found[text_recall] = _hits(similarity, right, k)
            found[image_recall] = _hits(similarity.T, right.T, k)
        return found

    def doubts(self, subject: Subject, scores: ScoresOf) -> Mapping[MetricName, str]:
        """Also where any ranking has something right among its first k."""
        same = Counter(record.text for record in subject.records)
        wrong = len(subject.records) - min(same.values())
        found = dict(super().doubts(subject, scores))
        for k, names in _K.items():
            if wrong < k:
                told = (
                    f"with {wrong} wrong ones to choose from, something right is always among {k}"
                )
                found |= dict.fromkeys(names, told)
        return found


def _hits(similarity: Tensor, right: Tensor, k: int) -> RecordScores:
    """Whether fewer than k wrong ones are as similar as the best right one.

    Ties count against the model: one that embeds everything alike finds nothing.
    """
    best = similarity.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    before = ((similarity >= best) & ~right).sum(1)
    hits = (before < k).double().numpy()
    return RecordScores(hits, np.ones_like(hits))
