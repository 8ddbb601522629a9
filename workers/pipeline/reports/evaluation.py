"""What readers are told of the quality, and some answers of both models."""

from collections.abc import Iterator

from app.recipes.evaluation import EvaluationReport

HEAD = ("metric", "records", "dense", "pruned", "difference")
ANSWERS = ("record", "prompt", "expected", "dense", "pruned")
INTERVALS = "Brackets are 95 % bootstrap intervals; differences are paired by record."


def rows(report: EvaluationReport) -> Iterator[tuple[str, ...]]:
    """A row of the table for each metric."""
    for name, measured in report.metrics.items():
        estimates = (measured.before, measured.after, measured.change)
        yield (
            name.value,
            f"{measured.samples:,}",
            *(f"{each.value:.4g} [{each.low:.4g}, {each.high:.4g}]" for each in estimates),
        )


def answers(report: EvaluationReport) -> Iterator[tuple[str, ...]]:
    """A row for each sample; a model card shows none, as the records may not be for everybody."""
    for each in report.answers:
        yield str(each.record), each.prompt, each.expected, each.dense, each.pruned


def as_markdown(report: EvaluationReport) -> list[str]:
    """Lines for a model card."""
    table = [HEAD, tuple("---" for _ in HEAD), *rows(report)]
    lines = [
        f"Evaluated on {report.samples} records of `{report.set}`, none of them seen before.",
        INTERVALS,
        "",
        *(f"| {' | '.join(line)} |" for line in table),
        *(f"\n{text}." for text in report.warnings),
    ]
    if gate := report.gate:
        verdict = "passed" if gate.passed else "FAILED"
        allowed = f"{gate.metric} may get {gate.max_drop:g} worse and got {gate.drop:.4g} worse"
        lines += ["", f"Quality gate {verdict}: {allowed}."]
    return lines
