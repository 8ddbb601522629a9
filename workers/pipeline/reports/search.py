"""What readers are told of a search for the sparsest model within a quality gate."""

from collections.abc import Iterator

from app.recipes.search import SearchReport

HEAD = ("sparsity", "metric", "worse by", "at worst", "within the gate")


def summary(report: SearchReport) -> str:
    """In two sentences."""
    if report.found is None:
        found = "None of the sparsities that were tried is good enough"
    else:
        found = f"{report.found:g} is the largest sparsity found to be good enough"
    return (
        f"{found}: {report.metric} may get {report.max_drop:g} worse. The upper end of its 95 % "
        "interval, paired by record, decides."
    )


def rows(report: SearchReport) -> Iterator[tuple[str, ...]]:
    """A row of the table for each sparsity."""
    for each in report.tried:
        yield (
            f"{each.sparsity:g}",
            f"{each.value:.4g}",
            f"{each.drop:.4g}",
            f"{each.at_worst:.4g}",
            "yes" if each.qualifies else "no",
        )


def as_markdown(report: SearchReport) -> list[str]:
    """Lines for a model card."""
    lines = [HEAD, tuple("---" for _ in HEAD), *rows(report)]
    return [summary(report), "", *(f"| {' | '.join(line)} |" for line in lines)]
