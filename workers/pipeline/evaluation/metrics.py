"""All metrics, and which of them a job measures."""

from app.errors import MetricNotApplicableError
from app.recipes.evaluation import MetricName
from workers.pipeline.evaluation.accuracy import Accuracy
from workers.pipeline.evaluation.classification import Classification
from workers.pipeline.evaluation.divergence import Divergence
from workers.pipeline.evaluation.metric import Metric
from workers.pipeline.evaluation.perplexity import Perplexity
from workers.pipeline.evaluation.recall import Recall
from workers.pipeline.evaluation.similarity import Similarity
from workers.pipeline.evaluation.subject import Subject

METRICS: tuple[type[Metric], ...] = (
    Perplexity,
    Accuracy,
    Classification,
    Recall,
    Similarity,
    Divergence,
)


def choose(subject: Subject) -> list[type[Metric]]:
    """The metrics that were asked for, or all that fit.

    Raises:
        MetricNotApplicableError: one that was asked for does not fit, or none does.
    """
    fitting = [metric for metric in METRICS if metric.fits(subject)]
    measured = {name for metric in fitting for name in metric.names}
    asked = set(subject.spec.metrics)
    if missing := sorted(asked - measured) or (not fitting and sorted(MetricName)):
        known = ", ".join(sorted(measured)) or "nothing"
        raise MetricNotApplicableError(
            f"{', '.join(missing)} cannot be measured for {subject.architecture} on the records of "
            f"{subject.spec.set}; what can be: {known}"
        )
    return [metric for metric in fitting if not asked or asked.intersection(metric.names)]
