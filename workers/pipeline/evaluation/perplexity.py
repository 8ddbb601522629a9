"""Token perplexity: exp of the mean negative log-likelihood over all text tokens."""

import torch

from app.recipes.evaluation import MetricName
from workers.pipeline.evaluation.interval import RecordScores, exponential
from workers.pipeline.evaluation.logits import mean_by_row, predict
from workers.pipeline.evaluation.metric import OwnMetric, ScoresOf
from workers.pipeline.evaluation.subject import Subject
from workers.pruning.models.inputs.inputs import IGNORED_LABEL


class Perplexity(OwnMetric):
    """Over text tokens, each given what stands before it; image placeholders do not count."""

    names = (MetricName.PERPLEXITY,)

    @staticmethod
    def fits(subject: Subject) -> bool:
        """Language models on texts; questions are no text to be predicted."""
        return subject.predicts_tokens and subject.every("text")

    def measure(self, subject: Subject) -> ScoresOf:
        """Mean negative log-likelihood of each record, weighted by its tokens."""
        means, sizes = [], []
        for batch in subject.batches():
            found = predict(subject, batch)
            known = found.targets != IGNORED_LABEL
            targets, rows = found.targets[known], found.rows[known]
            loss = -found.log_probs[known].gather(1, targets[:, None])[:, 0]
            mean, size = mean_by_row(loss, rows, len(next(iter(batch.values()))))
            means.append(mean)
            sizes.append(size)
        scores = RecordScores(torch.cat(means).numpy(), torch.cat(sizes).numpy(), of=exponential)
        return {MetricName.PERPLEXITY: scores}
