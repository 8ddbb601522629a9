"""What readers are told of the tasks of evaluation harnesses."""

from collections.abc import Iterator, Sequence

from app.recipes.tasks import TaskFailure, TaskReport, TaskScore

HEAD = ("task", "version", "metric", "records", "dense", "pruned")


def summary(reports: Sequence[TaskReport | TaskFailure]) -> str:
    """Which harnesses ran, and which tasks have no figures."""
    ran = {f"{each.harness} {each.harness_version}" for each in _ran(reports)}
    told = [f"Run by {' and '.join(sorted(ran))}; ± is its standard error."] if ran else []
    told += [
        f"{each.harness}/{each.task} has no figures: {each.reason} ({each.code})."
        for each in reports
        if isinstance(each, TaskFailure)
    ]
    return " ".join(told)


def rows(reports: Sequence[TaskReport | TaskFailure]) -> Iterator[tuple[str, ...]]:
    """A row for each metric of each task that was run."""
    for each in _ran(reports):
        for name, metric in each.metrics.items():
            yield (
                f"{each.harness}/{each.task}",
                each.task_version or "not told",
                name,
                f"{each.samples:,}",
                _figure(metric.before),
                _figure(metric.after),
            )


def as_markdown(reports: Sequence[TaskReport | TaskFailure]) -> list[str]:
    """Lines for a model card."""
    body = list(rows(reports))
    lines = [HEAD, tuple("---" for _ in HEAD), *body] if body else []
    return [summary(reports), "", *(f"| {' | '.join(line)} |" for line in lines)]


def _ran(reports: Sequence[TaskReport | TaskFailure]) -> list[TaskReport]:
    return [each for each in reports if isinstance(each, TaskReport)]


def _figure(score: TaskScore) -> str:
    if score.value is None:
        return "no finite number"
    off = "" if score.stderr is None else f" ± {score.stderr:.2g}"
    return f"{score.value:.4g}{off}"
